"""Contains the endpoints with which administrators invite someone, and see and end invitations."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import invitations, roles
from db.errors import UnknownRole
from db.messages import Message, UserText
from db.viewer import Admin
from web.forms.form import Form, read_fields
from web.forms.schemas import Invitation
from web.http.session import verify_admin
from web.http.sudo import verify_sudo_admin
from web.rendering.flash_messages import confirm, pop_flash
from web.rendering.form_errors import EMAIL_TAKEN, UNKNOWN_ROLE
from web.rendering.responses import changed_fragment, now, page, refused_form, url_path
from web.state import app_state

TITLE: Final = Message("Invitations")


@dataclass(frozen=True, slots=True)
class OpenInvitation:
    """An invitation in the list. `url` is the link to copy, or empty."""

    id: str
    email: str
    role: str
    team: str
    inviter: str | None
    expires_at: datetime
    url: str


async def show(request: Request) -> Response:
    admin = await verify_admin(request)
    context = await _context(request, admin) | {"flash": pop_flash(request)}
    return page(request, "invitations/page.html", TITLE, layout="app", **context)


async def submit(request: Request) -> Response:
    """Invites someone, by mail if mails are sent."""
    sudo = await verify_sudo_admin(request)
    admin = sudo.viewer
    form = Form.check(Invitation, await read_fields(request))
    try:
        if form.data and not await invitations.invite(
            sudo, email=form.data.email, role=form.data.role, team=form.data.team
        ):
            form.add_error("email", EMAIL_TAKEN)
    except UnknownRole:
        form.add_error("role", UNKNOWN_ROLE)
    if form.data is None:
        return refused_form(
            request,
            "invitations/page.html",
            TITLE,
            form_id="invitations",
            fragment="invitations/content.html",
            layout="app",
            **await _context(request, admin) | {"form": form},
        )
    sends_mail = app_state(request.scope).settings.sends_mail
    return await _respond_to_change(request, admin, "invited" if sends_mail else "invited-by-link")


async def resend(request: Request) -> Response:
    admin = await verify_admin(request)
    await read_fields(request)
    await invitations.resend(admin, request.path_params["id"])
    return await _respond_to_change(request, admin, "invited-again")


async def withdraw(request: Request) -> Response:
    admin = await verify_admin(request)
    await read_fields(request)
    await invitations.withdraw(admin, request.path_params["id"])
    return await _respond_to_change(request, admin, "invitation-withdrawn")


async def _respond_to_change(request: Request, admin: Admin, flash: str) -> Response:
    context = await _context(request, admin)
    return changed_fragment(
        request,
        TITLE,
        to="admin-invitations",
        fragment="invitations/content.html",
        toast=confirm(request, flash),
        **context,
    )


async def _context(request: Request, admin: Admin) -> dict[str, Any]:
    labels = {role.name: role.title for role in await roles.list_roles(admin)}
    base_url = app_state(request.scope).settings.base_url
    found = [
        OpenInvitation(
            invitation.id,
            invitation.email,
            labels.get(invitation.role, UserText(invitation.role)),
            invitation.team,
            invitation.inviter,
            invitation.expires_at,
            # Administrators see the link on purpose, so that they can pass it on.
            base_url + url_path(request, "join-link", token=invitation.token.reveal())
            if invitation.token
            else "",
        )
        for invitation in await invitations.list_invitations(admin)
    ]
    return {
        "me": admin.me,
        "now": now(request),
        "flash": "",
        "form": Form.blank(Invitation, role="user"),
        "roles": list(labels.items()),
        "found": found,
    }
