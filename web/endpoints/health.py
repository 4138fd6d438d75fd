"""Contains the liveness and readiness probes.

The liveness probe also answers the signed question of `latchkey doctor`.
"""

import asyncio
import json
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from db.access import diagnosis, health
from db.errors import Unavailable
from web.http.client_info import client_ip_address
from web.state import app_state

# The limit is short because a load balancer can send its requests to another host.
TIMEOUT_SECONDS: Final = 3
QUESTION_HEADER: Final = "X-Latchkey-Doctor"
ANSWER_HEADER: Final = "X-Latchkey-Doctor-Answer"


async def alive(request: Request) -> Response:
    """Returns 200. A question of `latchkey doctor` also gets what arrived through the proxy."""
    question = request.headers.get(QUESTION_HEADER)
    if question is None:
        return PlainTextResponse("ok\n")
    state = app_state(request.scope)
    if not diagnosis.is_signed_question(state.store, question):
        return PlainTextResponse("ok\n")
    arrived = {
        "client": client_ip_address(request),
        "peer": request.client.host if request.client else "",
        "host": request.headers.get("host", ""),
        "forwarded_for": request.headers.get("x-forwarded-for", ""),
        "forwarded_proto": request.headers.get("x-forwarded-proto", ""),
        "time": state.clock().timestamp(),
    }
    return PlainTextResponse("ok\n", headers={ANSWER_HEADER: json.dumps(arrived)})


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
