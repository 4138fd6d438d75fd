"""Contains the endpoints for administrators: the list of users, and changes to their accounts."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from db.access import admin, admin_user, data_export
from db.access.admin_user import UserDetails
from db.errors import RateLimited, Refused, Unavailable
from db.messages import Message, UserText
from db.viewer import Admin
from web.forms.form import Form, read_fields, read_query, validate_query
from web.forms.schemas import (
    DataDownload,
    RoleChange,
    TeamChange,
    UserDeletion,
    UsersQuery,
)
from web.http.session import verify_admin
from web.http.sudo import verify_sudo_admin
from web.rendering.flash_messages import confirm, pop_flash, set_flash
from web.rendering.form_errors import BUSY, apply_error
from web.rendering.responses import (
    changed_fragment,
    download,
    is_htmx,
    now,
    page,
    redirect_across_login,
    refused_form,
    url_path,
)

TITLE = Message("People")
DATA_ERRORS = {
    RateLimited: Message("Too many downloads. Try again in {wait}."),
    Unavailable: BUSY,
}
UNKNOWN_ROLE_REFUSED: Final = Message("That role doesn't exist. Reload the page and try again.")
OWN_DELETION_REFUSED: Final = Message("Delete your own account on your account page.")
OWN_DEVICE_REFUSED: Final = Message("Log out your own devices on the page Devices.")
UNDO: Final = Message("Undo")
# The messages on the page of a user, which knows the name, by the names of FLASH_MESSAGES.
MESSAGES: Final[Mapping[str, Message]] = {
    "role-changed": Message("{name} now has the role {role}."),
    "team-changed": Message("{name} is now in the team {team}."),
    "team-left": Message("{name} is now in no team."),
    "account-disabled": Message("The account of {name} is disabled and logged out everywhere."),
    "account-enabled": Message("The account of {name} is enabled."),
    "account-closed": Message(
        "The account of {name} is disabled. It will be deleted in seven days."
    ),
    "account-kept": Message("The account of {name} won't be deleted."),
    "sessions-ended": Message("{name} is logged out everywhere."),
    "device-ended": Message("{name} is logged out on that device."),
}
SORT_ORDERS: Final = ("newest", "oldest", "name", "-name", "email", "-email", "login", "-login")


async def show(request: Request) -> Response:
    viewer = await verify_admin(request)
    context = await _list_context(request, viewer) | {"flash": pop_flash(request)}
    return page(request, "admin/page.html", TITLE, layout="app", **context)


async def show_user(request: Request) -> Response:
    """Returns the page of one user: devices, newest audit entries and actions."""
    viewer = await verify_admin(request)
    details = await admin_user.get_details(viewer, _user_id(request))
    context = _user_context(request, viewer, details)
    context["flash"] = pop_flash(request, _named_messages(details))
    return page(request, "admin/user.html", details.user.name, layout="app", **context)


async def change_role(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    form = Form.check(RoleChange, await read_fields(request))
    if form.data is None:
        await admin.require_user(viewer, _user_id(request))
        raise HTTPException(422, UNKNOWN_ROLE_REFUSED)
    role = form.data.role
    before = await admin.change_user_role(
        sudo, _user_id(request), role, expected=await _expected(request)
    )
    if _user_id(request) == viewer.id and role != "admin":
        set_flash(request, "role-given-up")
        # The caller may no longer see the list.
        return redirect_across_login(request, to=url_path(request, "dashboard"))
    undo = _undo(request, "admin-role", role=before, expected=role) if before != role else None
    return await _respond_to_change(request, viewer, "role-changed", undo)


async def change_team(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    form = Form.check(TeamChange, await read_fields(request))
    if form.data is None:
        await admin.require_user(viewer, _user_id(request))
        return await _respond_on_page(request, viewer, team_form=form)
    team = form.data.team
    before = await admin.change_team(
        sudo, _user_id(request), team, expected=await _expected(request)
    )
    undo = None
    if team is not None and team != before:
        undo = _undo(request, "admin-team", team=before, expected=team)
    return await _respond_to_change(request, viewer, "team-changed", undo)


async def disable(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    await admin.disable(sudo, _user_id(request), expected=await _expected(request))
    return await _respond_to_ended_sessions(request, viewer, "account-disabled")


async def enable(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    is_reversible = await admin.enable(sudo, _user_id(request), expected=await _expected(request))
    undo = _undo(request, "admin-disable", expected="") if is_reversible else None
    return await _respond_to_change(request, viewer, "account-enabled", undo)


async def end_sessions(request: Request) -> Response:
    viewer = await verify_admin(request)
    await admin.end_sessions(viewer, _user_id(request))
    return await _respond_to_ended_sessions(request, viewer, "sessions-ended")


async def revoke(request: Request) -> Response:
    """Ends one session of another user."""
    viewer = await verify_admin(request)
    if _user_id(request) == viewer.id:
        raise HTTPException(422, OWN_DEVICE_REFUSED)
    await admin_user.revoke_session(viewer, _user_id(request), str(request.path_params["session"]))
    return await _respond_on_page_of_user(request, viewer, "device-ended")


async def delete(request: Request) -> Response:
    """Disables an account and schedules its deletion in seven days, if the box is ticked."""
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    form = Form.check(UserDeletion, await read_fields(request))
    if _user_id(request) == viewer.id:
        raise HTTPException(422, OWN_DELETION_REFUSED)
    if form.data is None:
        return await _respond_on_page(request, viewer, deletion=form)
    await admin.delete(sudo, _user_id(request))
    return await _respond_on_page_of_user(request, viewer, "account-closed")


async def keep(request: Request) -> Response:
    viewer = await verify_admin(request)
    await admin.keep(viewer, _user_id(request))
    return await _respond_on_page_of_user(request, viewer, "account-kept")


async def download_data(request: Request) -> Response:
    """Returns the file with everything that is stored about a user."""
    sudo = await verify_sudo_admin(request)
    user = await admin.get_user(sudo.viewer, _user_id(request))
    form = Form.check(DataDownload, await read_fields(request))
    if form.data is None:
        return await _respond_on_page(request, sudo.viewer, data_form=form)
    try:
        data = await data_export.download_of_user(sudo, user.id)
    except (RateLimited, Refused, Unavailable) as error:
        answer = apply_error(request, form, error, DATA_ERRORS)
        return await _respond_on_page(request, sudo.viewer, *answer, data_form=form)
    return download(data, f"{user.slug}-data.json")


async def _expected(request: Request) -> str | None:
    """Returns the value that a form expects the account to have, or None if it expects nothing."""
    return (await read_fields(request) or {}).get("expected")


def _undo(request: Request, route: str, **fields: str) -> dict[str, Any]:
    """Returns the form of a toast that reverts a change, unless the account has changed since.

    The toast stays on the page of another user, which the response must not replace.
    """
    url = url_path(request, route, id=_user_id(request)) + _query_string(_read_list_query(request))
    fields |= {"return_to": "user"}
    target = f'#person[data-user="{_user_id(request)}"]'
    return {"url": url, "label": UNDO, "fields": fields, "target": target}


async def _respond_to_ended_sessions(request: Request, viewer: Admin, flash: str) -> Response:
    """Returns the changed page, or logs out administrators who ended their own sessions."""
    if _user_id(request) == viewer.id:
        set_flash(request, "logged-out-everywhere")
        return redirect_across_login(request, to=url_path(request, "login"), delete_cookie=True)
    return await _respond_to_change(request, viewer, flash)


async def _respond_to_change(
    request: Request, viewer: Admin, flash: str, undo: dict[str, Any] | None = None
) -> Response:
    """Returns the changed page of the user if the form was there, otherwise the changed list."""
    if (await read_fields(request) or {}).get("return_to") == "user":
        return await _respond_on_page_of_user(request, viewer, flash, undo)
    context = await _list_context(request, viewer)
    return changed_fragment(
        request,
        TITLE,
        to="admin-users",
        query_string=context["back"],
        fragment="admin/list.html",
        toast=confirm(request, flash),
        **context,
    )


async def _respond_on_page_of_user(
    request: Request, viewer: Admin, flash: str, undo: dict[str, Any] | None = None
) -> Response:
    if not is_htmx(request):
        set_flash(request, flash)
        query = _query_string(_read_list_query(request))
        url = url_path(request, "admin-user", id=_user_id(request)) + query
        return redirect_across_login(request, to=url)
    details = await admin_user.get_details(viewer, _user_id(request))
    disabled_at = details.user.disabled_at
    if flash == "account-disabled" and disabled_at:
        undo = _undo(request, "admin-enable", expected=disabled_at.isoformat())
    return changed_fragment(
        request,
        details.user.name,
        to="admin-users",
        fragment="admin/user_content.html",
        toast=_named_messages(details)[flash],
        undo=undo,
        **_user_context(request, viewer, details),
    )


async def _respond_on_page(
    request: Request,
    viewer: Admin,
    status: int = 422,
    retry_after: int | None = None,
    **form: Form[Any],
) -> Response:
    """Returns the page of the user with a refused form."""
    details = await admin_user.get_details(viewer, _user_id(request))
    return refused_form(
        request,
        "admin/user.html",
        details.user.name,
        form_id="person",
        fragment="admin/user_content.html",
        status=status,
        retry_after=retry_after,
        layout="app",
        **_user_context(request, viewer, details) | form,
    )


def _named_messages(details: UserDetails) -> dict[str, Message]:
    """Returns MESSAGES with the values of this user.

    The cookie has only the name of a message, so that an attacker cannot display other words.
    """
    user = details.user
    values = {"name": UserText(user.name), "team": UserText(user.team)}
    messages = {
        flash: message.format(**values, role=user.role_title) for flash, message in MESSAGES.items()
    }
    if not user.team:
        messages["team-changed"] = messages["team-left"]
    return messages


def _user_context(request: Request, viewer: Admin, details: UserDetails) -> dict[str, Any]:
    user = details.user
    return {
        "me": viewer.me,
        "user": user,
        "details": details,
        "now": now(request),
        "flash": "",
        "back": _query_string(_read_list_query(request)),
        "role_form": Form.blank(RoleChange, role=user.role),
        "team_form": Form.blank(TeamChange, team=user.team),
        "deletion": Form.blank(UserDeletion),
        "data_form": Form.blank(DataDownload),
    }


def _query_string(query: UsersQuery, **changed: Any) -> str:
    """Returns the query string of the list; empty if all values are the defaults."""
    changed_fields = query.model_copy(update=changed).model_dump(exclude_defaults=True)
    return f"?{urlencode(changed_fields)}" if changed_fields else ""


def _read_list_query(request: Request) -> UsersQuery:
    """Returns the query of the list, from the query string. Replaces invalid values by the
    defaults.
    """
    return validate_query(UsersQuery, read_query(request))[0]


async def _list_context(request: Request, viewer: Admin) -> dict[str, Any]:
    query = _read_list_query(request)
    found = await admin.search_users(viewer, **query.model_dump())
    query = query.model_copy(update={"page": found.page})
    return {
        "me": viewer.me,
        "now": now(request),
        "flash": "",
        "roles": await admin.list_role_labels(viewer),
        "found": found,
        "list_query": query,
        "is_filtered": bool(query.q or query.role or query.state),
        "back": _query_string(query),
        "sorts": {sort: _query_string(query, sort=sort, page=1) for sort in SORT_ORDERS},
        "cleared": _query_string(UsersQuery(sort=query.sort)),
        "previous": _query_string(query, page=found.page - 1),
        "next": _query_string(query, page=found.page + 1),
    }


def _user_id(request: Request) -> str:
    return str(request.path_params["id"])
