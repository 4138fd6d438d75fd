"""Whether the program lives, and whether it can work."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from db.access import health
from db.errors import Unavailable
from web.state import app_state

TIMEOUT_SECONDS: Final = 3  # seconds; who asks is a machine that has others to ask


async def alive(request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def ready(request: Request) -> Response:
    """Returns 503 from the signal to stop on, so that a load balancer sends requests elsewhere."""
    if app_state(request.scope).draining:
        return PlainTextResponse("shutting down\n", 503)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await health.check_database(app_state(request.scope).store)
    except (Unavailable, TimeoutError):
        return PlainTextResponse("the database does not answer\n", 503, {"Retry-After": "5"})
    return PlainTextResponse("ok\n")
