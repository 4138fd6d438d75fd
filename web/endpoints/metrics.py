"""Contains the Prometheus metrics, for clients on this machine or with a token."""

import hmac

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from db.crypto.secret import Secret
from web.middleware.local_clients import require_local_client
from web.state import app_state


async def show(request: Request) -> Response:
    metrics = app_state(request.scope).metrics
    if not _has_token(request.scope, metrics.token):
        require_local_client(request)
    return Response(await metrics.render(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _has_token(scope: Scope, token: Secret[str] | None) -> bool:
    """Returns whether the only Authorization header is the Bearer token (RFC 6750, section 2.1)."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    return (
        token is not None
        and len(given) == 1
        and hmac.compare_digest(given[0], b"Bearer " + token.reveal().encode())
    )
