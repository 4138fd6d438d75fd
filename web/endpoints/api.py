"""Route handlers: JSON for scripts, never a redirect, never HTML."""

from datetime import UTC

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from web.cookie import verify_session


async def session(request: Request) -> Response:
    """Who is logged in, for client code: the viewer's DTO, and when the session ends (RFC 3339, UTC)."""
    viewer = await verify_session(request)
    me, ends = viewer.me, viewer.expires_at.astimezone(UTC)
    return JSONResponse(
        {
            "user": {"id": me.id, "name": me.name, "role": me.role, "slug": me.slug},
            "expires_at": ends.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }
    )
