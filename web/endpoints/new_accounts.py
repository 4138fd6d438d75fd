"""Contains the endpoints with which administrators create accounts."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from db.access import admin
from db.errors import UnknownRole
from db.messages import Message
from db.viewer import Admin
from web.forms.form import Form, read_fields
from web.forms.schemas import NewAccount
from web.http.session import verify_admin
from web.http.sudo import verify_sudo_admin
from web.rendering.flash_messages import set_flash
from web.rendering.form_errors import EMAIL_TAKEN, UNKNOWN_ROLE
from web.rendering.responses import page, redirect_across_login, refused_form, url_path

TITLE = Message("Add an account")


async def show(request: Request) -> Response:
    viewer = await verify_admin(request)
    form = Form.blank(NewAccount, role="user")
    return page(request, "admin/add.html", TITLE, layout="app", **await _context(viewer, form))


async def submit(request: Request) -> Response:
    """Creates an account. A mail tells its user how to choose a password."""
    sudo = await verify_sudo_admin(request)
    viewer = sudo.viewer
    form = Form.check(NewAccount, await read_fields(request))
    user_id = None
    try:
        user_id = await admin.add_user(sudo, **form.data.model_dump()) if form.data else None
    except UnknownRole:
        form.add_error("role", UNKNOWN_ROLE)
    if user_id is not None:
        set_flash(request, "account-added")
        return redirect_across_login(request, to=url_path(request, "admin-users"))
    if form.data is not None:
        form.add_error("email", EMAIL_TAKEN)
    return refused_form(
        request,
        "admin/add.html",
        TITLE,
        form_id="add-form",
        fragment="admin/add_form.html",
        layout="app",
        **await _context(viewer, form),
    )


async def _context(viewer: Admin, form: Form[NewAccount]) -> dict[str, Any]:
    labels = await admin.list_role_labels(viewer)
    return {"me": viewer.me, "form": form, "roles": list(labels.items())}
