"""Contains the liveness and readiness probes."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from db.access import health
from db.errors import Unavailable
from web.state import app_state

# The limit is short because a load balancer can send its requests to another host.
TIMEOUT_SECONDS: Final = 3


async def alive(request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def ready(request: Request) -> Response:
    """Returns 503 during shutdown, so that a load balancer sends requests to other hosts."""
    if app_state(request.scope).draining:
        return PlainTextResponse("shutting down\n", 503)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await health.check_database(app_state(request.scope).store)
    except (Unavailable, TimeoutError):
        return PlainTextResponse("the database does not answer\n", 503, {"Retry-After": "5"})
    return PlainTextResponse("ok\n")
