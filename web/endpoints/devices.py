"""Devices: the sessions of one's own account, and how to end them."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from db.access import devices
from db.viewer import Viewer
from web.cookie import keep_device, verify_session
from web.respond import changed, leave, now, page, path_of
from web.words import plural

TITLE = "Devices"


async def show(request: Request) -> Response:
    viewer = await verify_session(request)
    return page(request, "devices/page.html", TITLE, layout="house", **await _list(request, viewer))


async def revoke(request: Request) -> Response:
    """End one session. Ending one's own is logging out."""
    viewer = await verify_session(request)
    if await devices.revoke_device(viewer, request.path_params["id"]) == viewer.session_id:
        return leave(request, to=path_of(request, "login"), delete_cookie=True)
    return await _changed(request, viewer, "Device logged out.")


async def revoke_others(request: Request) -> Response:
    viewer = await verify_session(request)
    ended = await devices.revoke_others(viewer)
    return await _changed(request, viewer, f"{ended} {plural(ended, 'other device', 'other devices')} logged out.")


async def revoke_all(request: Request) -> Response:
    """End every session of the account, this one too."""
    viewer = await verify_session(request)
    keep_device(request, await devices.revoke_all(viewer))
    return leave(request, to=path_of(request, "login"), delete_cookie=True)


async def _changed(request: Request, viewer: Viewer, toast: str) -> Response:
    context = await _list(request, viewer)
    return changed(request, TITLE, to="devices", fragment="devices/list.html", toast=toast, **context)


async def _list(request: Request, viewer: Viewer) -> dict[str, Any]:
    return {"devices": await devices.list_devices(viewer), "me": viewer.me, "now": now(request)}
