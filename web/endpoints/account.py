"""Contains the endpoints of the account page: the profile, its live checks, the email and the
password.
"""

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from db.access import account, email_change, email_verification
from db.access.account import Account
from db.errors import BreachedPassword, NotConfirmed, RateLimited, Refused, Unavailable
from db.messages import Message
from db.sessions.claims import NewSession
from db.sessions.sudo import Sudo
from db.viewer import Viewer
from web.forms.form import Form, read_fields
from web.forms.schemas import EmailChange, FirstPassword, PasswordChange, ProfileChange
from web.http.session import set_session_cookie, verify_session
from web.http.sudo import find_confirmation, verify_sudo
from web.rendering.flash_messages import confirm, pop_flash
from web.rendering.form_errors import BUSY, WRONG_PASSWORD, apply_error, refuse_other_domains
from web.rendering.responses import (
    changed_fragment,
    field_fragment,
    now,
    page,
    refresh_navigation,
    refused_form,
)
from web.state import app_state

TITLE = Message("Account")
# The element that each partial of the page replaces.
FORM_IDS = {
    "profile": "account-form",
    "email": "email-change",
    "password": "password-form",
}
SLUG_TAKEN = Message("This profile URL is taken. Please choose another.")
UNCHECKED_NOTE = Message("We'll check this when you save.")
OWN_EMAIL = Message("This is already your email.")
PROFILE_ERRORS = {
    RateLimited: Message("Too many changes in a short time. Try again in {wait}."),
    Unavailable: Message("We couldn't save your profile just now. Try again in a few seconds."),
}
PASSWORD_ERRORS = {
    RateLimited: Message(
        "Too many attempts to change your password. Nothing was changed. Try again in {wait}."
    ),
    Unavailable: BUSY,
}

EMAIL_ERRORS = {
    RateLimited: Message(
        "Too many attempts to change your email. Nothing was changed. Try again in {wait}."
    ),
    Unavailable: BUSY,
}


async def show(request: Request) -> Response:
    viewer = await verify_session(request, preload=email_verification.PRELOAD)
    context = await _context(request, viewer, await account.get_account(viewer))
    return page(
        request,
        "account/page.html",
        TITLE,
        layout="app",
        **context | {"flash": pop_flash(request)},
    )


async def check(request: Request) -> Response:
    """Returns the fragment of one validated field. Also looks up whether the slug is taken."""
    viewer = await verify_session(request)
    name = request.path_params["field"]
    form = Form.check_field(ProfileChange, name, await read_fields(request))
    if name == "slug" and form.data and await account.is_slug_taken(viewer, form.data.slug):
        form.add_error("slug", SLUG_TAKEN)
    return field_fragment(request, "account/field.html", form=form, name=name)


async def submit(request: Request) -> Response:
    """Saves the profile. Fields that were not sent are left unchanged."""
    viewer = await verify_session(request)
    saved = await account.get_account(viewer)
    form = Form.check(
        ProfileChange, await read_fields(request), current_values=_current_values(saved)
    )
    try:
        if form.data and not await account.change_profile(
            viewer, **form.data.model_dump(exclude_unset=True)
        ):
            form.add_error("slug", SLUG_TAKEN)
    except (RateLimited, Refused, Unavailable) as error:
        answer = apply_error(request, form, error, PROFILE_ERRORS)
        return await _respond_with_errors(request, viewer, saved, "profile", *answer, profile=form)
    if form.data is None:
        if form.values["slug"] != viewer.slug:
            form.notes["slug"] = UNCHECKED_NOTE
        return await _respond_with_errors(request, viewer, saved, "profile", profile=form)
    me = replace(viewer.me, name=form.data.name or viewer.name, slug=form.data.slug or viewer.slug)
    if me != viewer.me:
        refresh_navigation(request)
    values = _current_values(saved) | form.data.model_dump(exclude_unset=True)
    form = Form.blank(ProfileChange, **values)
    toast = confirm(request, "profile-saved")
    fragment = "account/profile.html"
    return changed_fragment(
        request, TITLE, to="account", fragment=fragment, me=me, profile=form, toast=toast
    )


async def change_password(request: Request) -> Response:
    """Changes the password if the current one is correct, and ends every other session.

    An account without a password gets its first one, if the user has confirmed their identity
    recently. The current session continues with a new cookie.
    """
    viewer = await verify_session(request)
    saved = await account.get_account(viewer)
    sudo = None if saved.has_password else await verify_sudo(request)
    policy = app_state(request.scope).password_policy
    form = Form.check(
        _password_schema(saved), await read_fields(request), policy, _current_values(saved)
    )
    if form.data is None:
        return await _respond_with_errors(request, viewer, saved, "password", password=form)
    try:
        done = await _change_password(request, viewer, sudo, form.data)
    except (RateLimited, BreachedPassword, Refused, Unavailable) as error:
        answer = apply_error(request, form, error, PASSWORD_ERRORS)
        return await _respond_with_errors(
            request, viewer, saved, "password", *answer, password=form
        )
    if done is None:
        form.add_error("current_password", WRONG_PASSWORD)
        return await _respond_with_errors(request, viewer, saved, "password", password=form)
    session, ended = done
    set_session_cookie(request, session)
    flash = "password-changed-others" if ended else "password-changed"
    toast = Message.plural(
        "Password changed. {count} other device was logged out.",
        "Password changed. {count} other devices were logged out.",
        ended,
    )
    return changed_fragment(
        request,
        TITLE,
        to="account",
        fragment="account/password.html",
        me=viewer.me,
        password=Form.blank(PasswordChange, policy),
        has_password=True,
        email=saved.email,
        password_changed_at=now(request),
        now=now(request),
        toast=confirm(request, flash, toast if ended else ""),
    )


async def _change_password(
    request: Request,
    viewer: Viewer,
    sudo: Sudo[Viewer] | None,
    data: PasswordChange | FirstPassword,
) -> tuple[NewSession, int] | None:
    """Returns the new session and how many others ended; None if the current password is wrong."""
    if isinstance(data, PasswordChange):
        confirmation = find_confirmation(request)
        return await account.change_password(
            viewer, current=data.current_password, new=data.password, confirmation=confirmation
        )
    if sudo is None:
        raise NotConfirmed
    return await account.set_password(sudo, new=data.password)


def _password_schema(saved: Account) -> type[PasswordChange] | type[FirstPassword]:
    return PasswordChange if saved.has_password else FirstPassword


async def change_email(request: Request) -> Response:
    """Sends a link to the new email. The email changes only when the link is opened.

    The response is the same if another account has the email.
    """
    sudo = await verify_sudo(request)
    viewer = sudo.viewer
    saved = await account.get_account(viewer)
    form = Form.check(EmailChange, await read_fields(request))
    if form.data and form.data.email == saved.email:
        form.add_error("email", OWN_EMAIL)
    elif form.data:
        domains = app_state(request.scope).settings.sign_up.domains
        refuse_other_domains(form, form.data.email, domains)
    if form.data is None:
        return await _respond_with_errors(request, viewer, saved, "email", email_form=form)
    try:
        await email_change.request_change(sudo, email=form.data.email)
    except (RateLimited, Refused, Unavailable) as error:
        answer = apply_error(request, form, error, EMAIL_ERRORS)
        return await _respond_with_errors(request, viewer, saved, "email", *answer, email_form=form)
    return await _changed_email(request, viewer, saved, confirm(request, "email-change-asked"))


async def cancel_email(request: Request) -> Response:
    """Ends the link that was sent to the new email."""
    viewer = await verify_session(request)
    await read_fields(request)
    await email_change.cancel_change(viewer)
    saved = await account.get_account(viewer)
    return await _changed_email(request, viewer, saved, confirm(request, "email-change-canceled"))


async def _changed_email(request: Request, viewer: Viewer, saved: Account, toast: str) -> Response:
    context = await _context(request, viewer, saved)
    return changed_fragment(
        request, TITLE, to="account", fragment="account/email.html", **context | {"toast": toast}
    )


async def _respond_with_errors(
    request: Request,
    viewer: Viewer,
    saved: Account,
    which: str,
    status: int = 422,
    retry_after: int | None = None,
    **form: Form[Any],
) -> Response:
    return refused_form(
        request,
        "account/page.html",
        TITLE,
        form_id=FORM_IDS[which],
        fragment=f"account/{which}.html",
        status=status,
        retry_after=retry_after,
        layout="app",
        **await _context(request, viewer, saved) | form,
    )


async def _context(request: Request, viewer: Viewer, saved: Account) -> dict[str, Any]:
    """Returns the context of the page, with its forms filled from the database.

    `_respond_with_errors` replaces the form that was sent.
    """
    return {
        "me": viewer.me,
        "flash": "",
        "email": saved.email,
        "team": saved.team,
        "delete_at": saved.delete_at,
        "password_changed_at": saved.password_changed_at,
        "has_password": saved.has_password,
        "chosen_language": saved.language,
        "now": now(request),
        "verification": await email_verification.get_state(viewer),
        "message": "",
        "email_form": Form.blank(EmailChange),
        "profile": Form.blank(ProfileChange, name=saved.name, slug=saved.slug, phone=saved.phone),
        "password": Form.blank(_password_schema(saved), app_state(request.scope).password_policy),
    }


def _current_values(saved: Account) -> dict[str, str]:
    return {"name": saved.name, "email": saved.email, "slug": saved.slug, "phone": saved.phone}
