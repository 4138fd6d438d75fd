"""Contains the endpoints for administrators: the list of users, and changes to their accounts."""

from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from db.access import admin, data_export, roles
from db.access.admin import UserSummary
from db.errors import RateLimited, Refused, Unavailable, UnknownRole
from db.viewer import Admin
from web.forms.form import Form, read_fields, read_query
from web.forms.schemas import (
    NewAccount,
    PasswordConfirmation,
    RoleChange,
    TeamChange,
    UserDeletion,
    UsersQuery,
)
from web.http.session import verify_admin
from web.rendering.flash_messages import confirm, pop_flash, set_flash
from web.rendering.form_errors import (
    BUSY,
    EMAIL_TAKEN,
    UNKNOWN_ROLE,
    WRONG_PASSWORD,
    apply_error,
)
from web.rendering.responses import (
    changed_fragment,
    download,
    now,
    page,
    redirect_across_login,
    refused_form,
    url_path,
)

TITLE = "People"
ADD_TITLE = "Add an account"
DATA_ERRORS = {
    RateLimited: "Too many downloads or attempts. Try again in {wait}.",
    Unavailable: BUSY,
}


async def show(request: Request) -> Response:
    viewer = await verify_admin(request)
    context = await _list_context(request, viewer) | {"flash": pop_flash(request)}
    return page(request, "admin/page.html", TITLE, layout="app", **context)


async def show_user(request: Request) -> Response:
    """Returns the page with the actions for one user.

    With JavaScript, htmx loads the actions from this page into the user's menu in the list.
    """
    viewer = await verify_admin(request)
    user = await admin.get_user(viewer, _user_id(request))
    context = await _user_context(request, viewer, user) | {"flash": pop_flash(request)}
    return page(request, "admin/user.html", user.name, layout="app", **context)


async def show_addition(request: Request) -> Response:
    viewer = await verify_admin(request)
    form = Form.blank(NewAccount, role="user")
    return page(request, "admin/add.html", ADD_TITLE, layout="app", **await _addition(viewer, form))


async def add(request: Request) -> Response:
    """Creates an account. A mail tells its user how to choose a password."""
    viewer = await verify_admin(request)
    form = Form.check(NewAccount, await read_fields(request))
    try:
        if form.data and not await admin.add_user(viewer, **form.data.model_dump()):
            form.add_error("email", EMAIL_TAKEN)
    except UnknownRole:
        form.add_error("role", UNKNOWN_ROLE)
    if form.data is None:
        return refused_form(
            request,
            "admin/add.html",
            ADD_TITLE,
            form_id="add-form",
            fragment="admin/add_form.html",
            layout="app",
            **await _addition(viewer, form),
        )
    set_flash(request, "account-added")
    return redirect_across_login(request, to=url_path(request, "admin-users"))


async def _addition(viewer: Admin, form: Form[NewAccount]) -> dict[str, Any]:
    labels = [(role.name, role.label) for role in await roles.list_roles(viewer)]
    return {"me": viewer.me, "form": form, "roles": labels}


async def delete(request: Request) -> Response:
    """Disables an account and schedules its deletion in seven days, if the box is ticked."""
    viewer = await verify_admin(request)
    form = Form.check(UserDeletion, await read_fields(request))
    if _user_id(request) == viewer.id:
        raise HTTPException(422, "Delete your own account on your account page.")
    if form.data is None:
        return await _respond_on_page(request, viewer, "deletion", deletion=form)
    await admin.delete(viewer, _user_id(request))
    return _redirect_to_user(request, "account-closed")


async def keep(request: Request) -> Response:
    viewer = await verify_admin(request)
    await admin.keep(viewer, _user_id(request))
    return _redirect_to_user(request, "account-kept")


async def download_data(request: Request) -> Response:
    """Returns the file with everything that is stored about a user."""
    viewer = await verify_admin(request)
    user = await admin.get_user(viewer, _user_id(request))
    form = Form.check(PasswordConfirmation, await read_fields(request))
    if form.data is None:
        return await _respond_on_page(request, viewer, "data", data_form=form)
    try:
        data = await data_export.download_of_user(
            viewer, user.id, current=form.data.current_password
        )
    except (RateLimited, Refused, Unavailable) as error:
        answer = apply_error(request, form, error, DATA_ERRORS)
        return await _respond_on_page(request, viewer, "data", *answer, data_form=form)
    if data is None:
        form.add_error("current_password", WRONG_PASSWORD)
        return await _respond_on_page(request, viewer, "data", data_form=form)
    return download(data, f"{user.slug}-data.json")


def _redirect_to_user(request: Request, flash: str) -> Response:
    set_flash(request, flash)
    return redirect_across_login(request, to=url_path(request, "admin-user", id=_user_id(request)))


async def _respond_on_page(
    request: Request,
    viewer: Admin,
    which: str,
    status: int = 422,
    retry_after: int | None = None,
    **form: Form[Any],
) -> Response:
    """Returns the page of the user with a refused form. `which` is the form's partial."""
    user = await admin.get_user(viewer, _user_id(request))
    return refused_form(
        request,
        "admin/user.html",
        user.name,
        form_id=f"user-{which}",
        fragment=f"admin/user_{which}.html",
        status=status,
        retry_after=retry_after,
        layout="app",
        **await _user_context(request, viewer, user) | form,
    )


async def _user_context(request: Request, viewer: Admin, user: UserSummary) -> dict[str, Any]:
    query = await _read_list_query(request)
    return {
        "me": viewer.me,
        "roles": await roles.list_roles(viewer),
        "user": user,
        "now": now(request),
        "flash": "",
        "list_query": query,
        "back": _query_string(query),
        "team_error": None,
        "deletion": Form.blank(UserDeletion),
        "data_form": Form.blank(PasswordConfirmation),
    }


async def change_role(request: Request) -> Response:
    viewer = await verify_admin(request)
    form = Form.check(RoleChange, await read_fields(request))
    if form.data is None:
        await admin.require_user(viewer, _user_id(request))
        raise HTTPException(422, "That role doesn't exist. Reload the page and try again.")
    await admin.change_user_role(viewer, _user_id(request), form.data.role)
    if _user_id(request) == viewer.id and form.data.role != "admin":
        set_flash(request, "role-given-up")
        # The caller may no longer see the list.
        return redirect_across_login(request, to=url_path(request, "dashboard"))
    return await _respond_to_change(request, viewer, "role-changed")


async def change_team(request: Request) -> Response:
    viewer = await verify_admin(request)
    form = Form.check(TeamChange, await read_fields(request))
    if form.data is None:
        await admin.require_user(viewer, _user_id(request))
        return await _respond_with_team_error(request, viewer, form)
    await admin.change_team(viewer, _user_id(request), form.data.team)
    return await _respond_to_change(request, viewer, "team-changed")


async def disable(request: Request) -> Response:
    viewer = await verify_admin(request)
    await admin.disable(viewer, _user_id(request))
    return await _respond_to_ended_sessions(request, viewer, "account-disabled")


async def enable(request: Request) -> Response:
    viewer = await verify_admin(request)
    await admin.enable(viewer, _user_id(request))
    return await _respond_to_change(request, viewer, "account-enabled")


async def end_sessions(request: Request) -> Response:
    viewer = await verify_admin(request)
    await admin.end_sessions(viewer, _user_id(request))
    return await _respond_to_ended_sessions(request, viewer, "sessions-ended")


async def _respond_with_team_error(
    request: Request, viewer: Admin, form: Form[TeamChange]
) -> Response:
    """Returns the list with the typed team and the error message in the user's row."""
    field = form["team"]
    sentence = field.errors[0] if field.errors else form.message
    context = await _list_context(request, viewer)
    context["team_error"] = {"id": _user_id(request), "team": field.value, "sentence": sentence}
    return refused_form(
        request,
        "admin/page.html",
        TITLE,
        form_id="result-list",
        fragment="admin/list.html",
        layout="app",
        **context,
    )


async def _respond_to_ended_sessions(request: Request, viewer: Admin, flash: str) -> Response:
    """Returns the changed list, or logs out administrators who ended their own sessions."""
    if _user_id(request) == viewer.id:
        set_flash(request, "logged-out-everywhere")
        return redirect_across_login(request, to=url_path(request, "login"), delete_cookie=True)
    return await _respond_to_change(request, viewer, flash)


async def _respond_to_change(request: Request, viewer: Admin, flash: str) -> Response:
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


def _query_string(query: UsersQuery) -> str:
    """Returns the query string of the list; empty if all values are the defaults."""
    changed_fields = query.model_dump(exclude_defaults=True)
    return f"?{urlencode(changed_fields)}" if changed_fields else ""


async def _read_list_query(request: Request) -> UsersQuery:
    """Returns the query of the list, from the posted form or from the query string.

    Replaces invalid values by the defaults.
    """
    query = await read_fields(request) if request.method == "POST" else read_query(request)
    wrong = Form.check(UsersQuery, query).errors
    return UsersQuery.model_validate(
        {name: value for name, value in (query or {}).items() if name not in wrong}
    )


async def _list_context(request: Request, viewer: Admin) -> dict[str, Any]:
    query = await _read_list_query(request)
    found = await admin.search_users(viewer, q=query.q, page=query.page, sort=query.sort)
    query = query.model_copy(update={"page": found.page})
    common: dict[str, Any] = {"me": viewer.me, "now": now(request), "flash": "", "team_error": None}
    common["roles"] = await roles.list_roles(viewer)
    return {**common, "found": found, "list_query": query, "back": _query_string(query)}


def _user_id(request: Request) -> str:
    return str(request.path_params["id"])
