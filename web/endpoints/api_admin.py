"""Contains the endpoints of the JSON API for administrators."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from db.access import admin, audit, invitations, roles
from db.access.audit_entries import AdminEntry
from db.access.audit_search import EntryFilter
from db.errors import TooManyRoles, UnknownRole
from db.roles import RoleSummary
from db.viewer import Admin
from web.forms.form import Form, read_fields, read_query
from web.forms.schemas import (
    AuditQuery,
    Invitation,
    NewAccount,
    NewRole,
    RoleChange,
    RoleEdit,
    TeamChange,
    UsersQuery,
)
from web.http.session import delete_session_cookie, verify_admin
from web.http.sudo import verify_sudo_admin
from web.rendering.form_errors import EMAIL_TAKEN, ROLE_NAME_TAKEN, UNKNOWN_ROLE
from web.rendering.json_responses import as_json, invalid_input, ok
from web.rendering.problem_details import problem
from web.state import app_state

USER = ("id", "name", "email", "role", "role_label", "slug", "team", "delete_at")
INVITATION = ("id", "email", "role", "team", "inviter", "expires_at")
NO_MAIL = "This site sends no mail, so nobody could be told how to choose a password."
OWN_ACCOUNT = "Delete your own account on its page, which asks you to confirm that it's you."
ENTRY = ("number", "at", "event", "outcome", "actor_type", "actor_name", "actor_slug")
ENTRY_CLIENT = ("target_name", "target_slug", "ip_address", "browser")


async def list_users(request: Request) -> Response:
    """Returns one page of users. Raises Forbidden if the viewer is not an administrator."""
    viewer = await verify_admin(request)
    form = Form.check(UsersQuery, read_query(request))
    if form.data is None:
        return invalid_input(form, "query")
    query = form.data
    found = await admin.search_users(viewer, **query.model_dump())
    users = [_user(user) for user in (found.users if query.page <= found.pages else [])]
    return ok(users=users, total=found.total, page=query.page, pages=found.pages)


async def add_user(request: Request) -> Response:
    """Creates an account. A mail tells its user how to choose a password."""
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    form = Form.check(NewAccount, await read_fields(request))
    if not app_state(request.scope).settings.sends_mail:
        return problem(409, NO_MAIL)
    user_id = None
    try:
        user_id = await admin.add_user(sudo, **form.data.model_dump()) if form.data else None
    except UnknownRole:
        form.add_error("role", UNKNOWN_ROLE)
    if user_id is None:
        if form.data is not None:
            form.add_error("email", EMAIL_TAKEN)
        return invalid_input(form)
    return JSONResponse(_user(await admin.get_user(viewer, user_id)))


async def show_user(request: Request) -> Response:
    viewer = await verify_admin(request)
    return await _changed_user(request, viewer)


async def change_role(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    form = Form.check(RoleChange, await read_fields(request))
    if form.data is None:
        await admin.require_user(viewer, _user_id(request))
        return invalid_input(form)
    await admin.change_user_role(sudo, _user_id(request), form.data.role)
    return await _changed_user(request, viewer)


async def change_team(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    form = Form.check(TeamChange, await read_fields(request))
    if form.data is None:
        await admin.require_user(viewer, _user_id(request))
        return invalid_input(form)
    await admin.change_team(sudo, _user_id(request), form.data.team)
    return await _changed_user(request, viewer)


async def disable(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    await admin.disable(sudo, _user_id(request))
    _delete_own_cookie(request, viewer)
    return await _changed_user(request, viewer)


async def enable(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    await admin.enable(sudo, _user_id(request))
    return await _changed_user(request, viewer)


async def end_sessions(request: Request) -> Response:
    """Ends every session of a user and deletes the user's access tokens."""
    viewer = await verify_admin(request)
    ended = await admin.end_sessions(viewer, _user_id(request))
    _delete_own_cookie(request, viewer)
    return ok(ended=ended)


async def delete_user(request: Request) -> Response:
    """Disables an account, and makes it be deleted in seven days."""
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    if _user_id(request) == viewer.id:
        return problem(422, OWN_ACCOUNT)
    await admin.delete(sudo, _user_id(request))
    return await _changed_user(request, viewer)


async def keep_user(request: Request) -> Response:
    """Keeps an account that was about to be deleted. It stays disabled."""
    viewer = await verify_admin(request)
    await admin.keep(viewer, _user_id(request))
    return await _changed_user(request, viewer)


async def list_invitations(request: Request) -> Response:
    """Returns the open invitations without their links, with which anyone could join."""
    viewer = await verify_admin(request)
    found = await invitations.list_invitations(viewer)
    return ok(invitations=[as_json(invitation, *INVITATION) for invitation in found])


async def invite(request: Request) -> Response:
    """Invites someone, by mail if mails are sent. The link to copy is on the page only."""
    sudo = await verify_sudo_admin(request)
    form = Form.check(Invitation, await read_fields(request))
    try:
        if form.data and not await invitations.invite(sudo, **form.data.model_dump()):
            form.add_error("email", EMAIL_TAKEN)
    except UnknownRole:
        form.add_error("role", UNKNOWN_ROLE)
    if form.data is None:
        return invalid_input(form)
    return await list_invitations(request)


async def resend_invitation(request: Request) -> Response:
    viewer = await verify_admin(request)
    await invitations.resend(viewer, str(request.path_params["id"]))
    return await list_invitations(request)


async def withdraw_invitation(request: Request) -> Response:
    viewer = await verify_admin(request)
    await invitations.withdraw(viewer, str(request.path_params["id"]))
    return await list_invitations(request)


async def list_entries(request: Request) -> Response:
    viewer = await verify_admin(request)
    form = Form.check(AuditQuery, read_query(request))
    if form.data and form.data.event not in ("", *audit.list_events(viewer)):
        form.add_error("event", "There is no such event.")
    if form.data is None:
        return invalid_input(form, "query")
    filters = EntryFilter(form.data.q, form.data.event, form.data.outcome)
    found = await audit.list_all(viewer, filters, page=form.data.page)
    entries = [
        as_json(entry, *ENTRY, *ENTRY_CLIENT)
        | {
            "label": entry.label(found.product_events),
            "note": entry.note(found.product_events),
        }
        for entry in found.entries
        if isinstance(entry, AdminEntry)
    ]
    return ok(entries=entries, page=found.page, more=found.more)


async def list_roles(request: Request) -> Response:
    viewer = await verify_admin(request)
    return ok(roles=[_role(role) for role in await roles.list_roles(viewer)])


async def create_role(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    form = Form.check(NewRole, await read_fields(request))
    try:
        if form.data and not await roles.create_role(
            sudo, form.data.name, form.data.label, form.data.permissions
        ):
            form.add_error("name", ROLE_NAME_TAKEN)
    except TooManyRoles:
        raise HTTPException(409, "There are too many roles.") from None
    if form.data is None:
        return invalid_input(form)
    return JSONResponse(_role(await roles.get_role(viewer, form.data.name)))


async def show_role(request: Request) -> Response:
    viewer = await verify_admin(request)
    return JSONResponse(_role(await roles.get_role(viewer, _role_name(request))))


async def change_role_settings(request: Request) -> Response:
    """Changes the label and the permissions of a role; a field that is not sent stays as it is."""
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    await roles.get_role(viewer, _role_name(request))
    form = Form.check(RoleEdit, await read_fields(request))
    if form.data is None:
        return invalid_input(form)
    await roles.change_role(sudo, _role_name(request), form.data.label, form.data.permissions)
    return JSONResponse(_role(await roles.get_role(viewer, _role_name(request))))


async def delete_role(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    await roles.delete_role(sudo, _role_name(request))
    return ok()


async def _changed_user(request: Request, viewer: Admin) -> Response:
    return JSONResponse(_user(await admin.get_user(viewer, _user_id(request))))


def _delete_own_cookie(request: Request, viewer: Admin) -> None:
    """Deletes the session cookie of administrators who ended their own sessions."""
    if viewer.scopes is None and _user_id(request) == viewer.id:
        delete_session_cookie(request)


def _user(user: admin.UserSummary) -> dict[str, object]:
    flags = {"disabled": bool(user.disabled), "verified": bool(user.verified)}
    return as_json(user, *USER) | flags


def _role(role: RoleSummary) -> dict[str, object]:
    return as_json(role, "name", "label", "user_count", "invitation_count") | {
        "permissions": list(role.permissions),
        "is_built_in": role.is_built_in,
    }


def _user_id(request: Request) -> str:
    return str(request.path_params["id"])


def _role_name(request: Request) -> str:
    return str(request.path_params["role"])
