"""Contains the endpoints that list and end the sessions of the viewer's account."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from db.access import devices
from db.messages import Message
from db.viewer import Viewer
from web.forms.form import read_fields
from web.http.session import set_device_cookie, verify_session
from web.rendering.flash_messages import confirm, pop_flash, set_flash
from web.rendering.responses import (
    changed_fragment,
    is_htmx,
    now,
    page,
    redirect_across_login,
    url_path,
)

TITLE = Message("Devices")


async def show(request: Request) -> Response:
    """Returns the list. `?confirm=others` adds a confirmation before the others are logged out."""
    viewer = await verify_session(request)
    context = await _read_list_context(request, viewer) | {"flash": pop_flash(request)}
    context["confirm"] = request.query_params.get("confirm") == "others"
    return page(request, "devices/page.html", TITLE, layout="app", **context)


async def revoke(request: Request) -> Response:
    """Ends one session. If it is the current session, logs the user out."""
    viewer = await verify_session(request)
    if await devices.revoke_device(viewer, request.path_params["id"]) == viewer.session_id:
        set_flash(request, "logged-out")
        return redirect_across_login(request, to=url_path(request, "login"), delete_cookie=True)
    return await _respond_to_change(request, viewer, confirm(request, "device-ended"))


async def revoke_others(request: Request) -> Response:
    """Ends every session except the current one.

    The form of the list sends `ask`. Without htmx, which displays a dialog, the response is then a
    redirect to a page with a confirmation.
    """
    viewer = await verify_session(request)
    if not is_htmx(request) and (await read_fields(request) or {}).get("ask"):
        return RedirectResponse(f"{url_path(request, 'devices')}?confirm=others", 303)
    ended = await devices.revoke_others(viewer)
    toast = Message.plural(
        "{count} other device logged out.", "{count} other devices logged out.", ended
    )
    return await _respond_to_change(request, viewer, confirm(request, "others-ended", toast))


async def revoke_all(request: Request) -> Response:
    """Ends every session of the account, including the current one."""
    viewer = await verify_session(request)
    set_device_cookie(request, await devices.revoke_all(viewer))
    set_flash(request, "logged-out-everywhere")
    return redirect_across_login(request, to=url_path(request, "login"), delete_cookie=True)


async def _respond_to_change(request: Request, viewer: Viewer, toast: str) -> Response:
    context = await _read_list_context(request, viewer)
    return changed_fragment(
        request, TITLE, to="devices", fragment="devices/list.html", toast=toast, **context
    )


async def _read_list_context(request: Request, viewer: Viewer) -> dict[str, Any]:
    return {
        "devices": await devices.list_devices(viewer),
        "me": viewer.me,
        "now": now(request),
        "confirm": False,
    }
