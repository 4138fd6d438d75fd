"""Contains the endpoint of the static files."""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from web.state import app_state

CACHE_FOREVER: Final = "public, max-age=31536000, immutable"


async def show(request: Request) -> Response:
    assets = app_state(request.scope).assets
    asset = assets.find(request.path_params["name"])
    if asset is None:
        raise HTTPException(404)
    accepted = _accepted_codings(request.headers.get("accept-encoding", ""))
    coding = next((coding for coding in asset.bodies if coding in accepted), "identity")
    headers = {"Cache-Control": CACHE_FOREVER, "Vary": "Accept-Encoding"}
    if coding != "identity":
        headers["Content-Encoding"] = coding
    return Response(
        asset.bodies[coding], media_type=None, headers={"Content-Type": asset.type, **headers}
    )


def _accepted_codings(header: str) -> set[str]:
    """Returns the named codings, except those with `q=0` (RFC 9110, section 12.5.3)."""
    parts = [part.replace(" ", "").lower().partition(";q=") for part in header.split(",")]
    return {coding for coding, _, weight in parts if weight.strip("0.") or not weight}
