"""Contains the endpoints of the roles: the list, and the page of one role, for administrators."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import roles
from db.errors import RateLimited, Refused, TooManyRoles, Unavailable
from db.messages import Message
from db.roles import RoleSummary
from db.viewer import Admin
from web.forms.form import Form, read_fields
from web.forms.schemas import NewRole, RoleEdit
from web.http.session import verify_admin
from web.http.sudo import verify_sudo_admin
from web.rendering.flash_messages import confirm, pop_flash
from web.rendering.form_errors import ROLE_NAME_TAKEN, apply_error
from web.rendering.responses import changed_fragment, page, refused_form
from web.state import app_state

TITLE: Final = Message("Roles")
TOO_MANY_ROLES: Final = Message("There are too many roles. Delete one first.")
ERRORS: Final = {
    RateLimited: Message(
        "Too many changes in a short time. Nothing was changed. Try again in {wait}."
    ),
    Unavailable: Message("We couldn't save the role just now. Try again in a few seconds."),
}


async def show(request: Request) -> Response:
    viewer = await verify_admin(request)
    context = await _list_context(request, viewer) | {"flash": pop_flash(request)}
    return page(request, "roles/page.html", TITLE, layout="app", **context)


async def create(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    form = Form.check(NewRole, await read_fields(request))
    status: tuple[int, int | None] = 422, None
    try:
        if form.data and not await roles.create_role(
            sudo, form.data.name, form.data.label, form.data.permissions
        ):
            form.add_error("name", ROLE_NAME_TAKEN)
    except TooManyRoles:
        form.message = TOO_MANY_ROLES
    except (RateLimited, Refused, Unavailable) as error:
        status = apply_error(request, form, error, ERRORS)
    if form.failed:
        context = await _list_context(request, viewer) | {"form": form}
        return _refuse(request, status, "roles/page.html", "roles/list.html", "roles", context)
    return await _respond_with_list(request, viewer, "role-added")


async def show_role(request: Request) -> Response:
    viewer = await verify_admin(request)
    role = await roles.get_role(viewer, _name(request))
    context = _role_context(request, viewer, role)
    return page(request, "roles/role.html", role.title, layout="app", **context)


async def change(request: Request) -> Response:
    """Saves the label and the permissions. Fields that were not sent are left unchanged."""
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    role = await roles.get_role(viewer, _name(request))
    form = Form.check(RoleEdit, await read_fields(request), current_values=_values(role))
    status: tuple[int, int | None] = 422, None
    try:
        if form.data:
            await roles.change_role(sudo, role.name, form.data.label, form.data.permissions)
    except (RateLimited, Refused, Unavailable) as error:
        status = apply_error(request, form, error, ERRORS)
    if form.failed:
        context = _role_context(request, viewer, role) | {"form": form}
        return _refuse(request, status, "roles/role.html", "roles/form.html", "role-edit", context)
    role = await roles.get_role(viewer, role.name)
    return changed_fragment(
        request,
        role.title,
        to="admin-roles",
        fragment="roles/form.html",
        toast=confirm(request, "role-saved"),
        **_role_context(request, viewer, role),
    )


async def delete(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    await roles.delete_role(sudo, _name(request))
    return await _respond_with_list(request, viewer, "role-deleted")


async def _respond_with_list(request: Request, viewer: Admin, flash: str) -> Response:
    return changed_fragment(
        request,
        TITLE,
        to="admin-roles",
        fragment="roles/list.html",
        toast=confirm(request, flash),
        **await _list_context(request, viewer),
    )


def _refuse(
    request: Request,
    answer: tuple[int, int | None],
    partial: str,
    fragment: str,
    form_id: str,
    context: dict[str, Any],
) -> Response:
    status, retry_after = answer
    return refused_form(
        request,
        partial,
        TITLE,
        form_id=form_id,
        fragment=fragment,
        status=status,
        retry_after=retry_after,
        layout="app",
        **context,
    )


async def _list_context(request: Request, viewer: Admin) -> dict[str, Any]:
    return {
        "me": viewer.me,
        "flash": "",
        "roles": await roles.list_roles(viewer),
        "form": Form.blank(NewRole),
        "declared": _declared(request),
    }


def _role_context(request: Request, viewer: Admin, role: RoleSummary) -> dict[str, Any]:
    return {
        "me": viewer.me,
        "role": role,
        "is_built_in": role.is_built_in,
        "form": Form.check(RoleEdit, {}, current_values=_values(role)),
        "declared": _declared(request),
    }


def _declared(request: Request) -> list[tuple[str, str]]:
    """Returns the permissions that the product declares, with what each allows."""
    return sorted(app_state(request.scope).permissions.items())


def _values(role: RoleSummary) -> dict[str, str]:
    return {"label": role.label, "permissions": "\n".join(role.permissions)}


def _name(request: Request) -> str:
    return str(request.path_params["role"])
