"""Contains the endpoints of the JSON API about the session and other users. No endpoint of the API
returns a redirect or HTML.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from db.access import users
from web.http.session import verify_session
from web.rendering.formatting import iso
from web.rendering.json_responses import as_json, ok
from web.rendering.openapi import build_document
from web.state import app_state


async def session(request: Request) -> Response:
    """Returns the viewer's DTO and the time at which the session or the access token ends."""
    viewer = await verify_session(request)
    return ok(
        user=as_json(viewer.me, "id", "name", "role", "slug"), expires_at=iso(viewer.expires_at)
    )


async def user(request: Request) -> Response:
    """Returns a profile. Fields that the viewer may not see are null."""
    viewer = await verify_session(request)
    profile = await users.get_profile(viewer, request.path_params["slug"])
    shown = ("name", "slug", "role", "role_label", "team", "email", "phone", "created_at")
    return JSONResponse(as_json(profile, *shown))


async def openapi(request: Request) -> Response:
    state = app_state(request.scope)
    product = state.product
    return JSONResponse(build_document(state.settings, product.brand.name, product.api_paths))
