"""Whether the program lives, and whether it can work."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from db.access import health
from db.refusals import Busy


async def alive(request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def ready(request: Request) -> Response:
    try:
        await health.ask(request.app.state.store)
    except Busy as busy:
        return PlainTextResponse("the database does not answer\n", 503, {"Retry-After": str(busy.retry_after)})
    return PlainTextResponse("ok\n")
