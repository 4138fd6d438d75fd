"""Contains the profile page of a user. It displays only what the viewer may see."""

from starlette.requests import Request
from starlette.responses import Response

from db.access import users
from web.http.session import verify_session
from web.rendering.responses import now, page


async def show(request: Request) -> Response:
    viewer = await verify_session(request)
    profile = await users.get_profile(viewer, request.path_params["slug"])
    return page(
        request,
        "users/page.html",
        profile.name,
        layout="app",
        me=viewer.me,
        profile=profile,
        now=now(request),
    )
