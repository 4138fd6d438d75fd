"""Contains the endpoints of the JSON API about the viewer's own account."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from db.access import access_tokens, account, audit, devices
from db.access.audit_entries import OwnEntry
from db.viewer import Viewer
from web.forms.form import Form, read_fields, read_query
from web.forms.schemas import ActivityQuery, ProfileChange
from web.http.session import delete_session_cookie, set_device_cookie, verify_session
from web.rendering.json_responses import as_json, invalid_input, ok

SLUG_TAKEN = "This profile URL is taken. Please choose another."
DEVICE = ("id", "name", "device_type", "ip_address", "created_at", "last_seen_at")
TOKEN = ("id", "name", "created_at", "expires_at", "last_used_at")
OWN_ENTRY = ("at", "event", "outcome", "ip_address", "browser", "is_own")


async def show(request: Request) -> Response:
    viewer = await verify_session(request)
    return await _account(viewer)


async def change_profile(request: Request) -> Response:
    """Changes the fields that are sent, and returns the account."""
    viewer = await verify_session(request)
    form = Form.check(ProfileChange, await read_fields(request))
    if form.data and not await account.change_profile(
        viewer, **form.data.model_dump(exclude_unset=True)
    ):
        form.add_error("slug", SLUG_TAKEN)
    if form.data is None:
        return invalid_input(form)
    return await _account(viewer)


async def list_sessions(request: Request) -> Response:
    viewer = await verify_session(request)
    found = await devices.list_devices(viewer)
    return ok(
        sessions=[as_json(device, *DEVICE) | {"current": bool(device.current)} for device in found]
    )


async def revoke_session(request: Request) -> Response:
    viewer = await verify_session(request)
    if await devices.revoke_device(viewer, str(request.path_params["id"])) == viewer.session_id:
        delete_session_cookie(request)
    return ok(ended=1)


async def revoke_other_sessions(request: Request) -> Response:
    """Ends every session except the one of the request; a token has none."""
    viewer = await verify_session(request)
    return ok(ended=await devices.revoke_others(viewer))


async def revoke_all_sessions(request: Request) -> Response:
    """Ends every session and deletes every access token, including those of the request."""
    viewer = await verify_session(request)
    device_cookie = await devices.revoke_all(viewer)
    if viewer.scopes is None:
        set_device_cookie(request, device_cookie)
        delete_session_cookie(request)
    return ok()


async def list_activity(request: Request) -> Response:
    viewer = await verify_session(request)
    form = Form.check(ActivityQuery, read_query(request))
    if form.data is None:
        return invalid_input(form, "query")
    found = await audit.list_own(viewer, page=form.data.page)
    entries = [
        as_json(entry, *OWN_ENTRY)
        | {
            "is_own": bool(entry.is_own),
            "text": entry.text_parts(found.product_events),
        }
        for entry in found.entries
        if isinstance(entry, OwnEntry)
    ]
    return ok(entries=entries, page=found.page, more=found.more)


async def list_tokens(request: Request) -> Response:
    viewer = await verify_session(request)
    found = await access_tokens.list_tokens(viewer)
    return ok(tokens=[as_json(token, *TOKEN) | {"scopes": token.scopes.split()} for token in found])


async def revoke_token(request: Request) -> Response:
    viewer = await verify_session(request)
    await access_tokens.revoke_token(viewer, str(request.path_params["id"]))
    return ok(ended=1)


async def _account(viewer: Viewer) -> Response:
    own = await account.get_account(viewer)
    shown = as_json(own, "name", "email", "slug", "phone", "team")
    return JSONResponse(
        {"id": viewer.id, **shown, "role": viewer.role, "verified": viewer.verified}
    )
