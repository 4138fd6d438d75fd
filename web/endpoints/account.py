"""Contains the endpoints of the account page: the profile, its live checks and the password."""

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from db.access import account
from db.access.account import Account
from db.errors import BreachedPassword, RateLimited, Unavailable
from db.viewer import Viewer
from web.forms.form import Form, read_fields
from web.forms.schemas import PasswordChange, ProfileChange
from web.http.session import set_session_cookie, verify_session
from web.rendering.flash_messages import confirm, pop_flash
from web.rendering.form_errors import apply_error
from web.rendering.formatting import plural
from web.rendering.responses import (
    changed_fragment,
    field_fragment,
    page,
    refresh_navigation,
    refused_form,
)
from web.state import app_state

TITLE = "Account"
SLUG_TAKEN = "This profile URL is taken. Please choose another."
UNCHECKED_NOTE = "We'll check this when you save."
WRONG_PASSWORD = "This is not your current password."  # noqa: S105  (a message)  # nosec B105
PROFILE_ERRORS = {
    RateLimited: "Too many changes in a short time. Try again in {wait}.",
    Unavailable: "We couldn't save your profile just now. Try again in a few seconds.",
}
PASSWORD_ERRORS = {
    RateLimited: (
        "Too many attempts to change your password. Nothing was changed. Try again in {wait}."
    ),
    Unavailable: "We're busy. Try again in a few seconds.",
}


async def show(request: Request) -> Response:
    viewer = await verify_session(request)
    context = _context(request, viewer, await account.get_account(viewer))
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
    except (RateLimited, Unavailable) as error:
        answer = apply_error(request, form, error, PROFILE_ERRORS)
        return _refused(request, viewer, saved, "profile", *answer, profile=form)
    if form.data is None:
        if form.values["slug"] != viewer.slug:
            form.notes["slug"] = UNCHECKED_NOTE
        return _refused(request, viewer, saved, "profile", profile=form)
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

    The current session continues with a new cookie.
    """
    viewer = await verify_session(request)
    saved = await account.get_account(viewer)
    policy = app_state(request.scope).password_policy
    form = Form.check(PasswordChange, await read_fields(request), policy, _current_values(saved))
    if form.data is None:
        return _refused(request, viewer, saved, "password", password=form)
    try:
        done = await account.change_password(
            viewer, current=form.data.current_password, new=form.data.password
        )
    except (RateLimited, BreachedPassword, Unavailable) as error:
        answer = apply_error(request, form, error, PASSWORD_ERRORS)
        return _refused(request, viewer, saved, "password", *answer, password=form)
    if done is None:
        form.add_error("current_password", WRONG_PASSWORD)
        return _refused(request, viewer, saved, "password", password=form)
    session, ended = done
    set_session_cookie(request, session)
    others = (
        f" {ended} other {plural(ended, 'device was', 'devices were')} logged out." if ended else ""
    )
    flash = "password-changed-others" if ended else "password-changed"
    return changed_fragment(
        request,
        TITLE,
        to="account",
        fragment="account/password.html",
        me=viewer.me,
        password=Form.blank(PasswordChange, policy),
        email=saved.email,
        toast=confirm(request, flash, f"Password changed.{others}"),
    )


def _refused(
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
        form_id=f"{'account' if which == 'profile' else which}-form",
        fragment=f"account/{which}.html",
        status=status,
        retry_after=retry_after,
        layout="app",
        **_context(request, viewer, saved) | form,
    )


def _context(request: Request, viewer: Viewer, saved: Account) -> dict[str, Any]:
    """Returns the context of the page, with both forms filled from the database.

    `_refused` replaces the form that was sent.
    """
    return {
        "me": viewer.me,
        "flash": "",
        "email": saved.email,
        "team": saved.team,
        "profile": Form.blank(ProfileChange, name=saved.name, slug=saved.slug, phone=saved.phone),
        "password": Form.blank(PasswordChange, app_state(request.scope).password_policy),
    }


def _current_values(saved: Account) -> dict[str, str]:
    return {"name": saved.name, "email": saved.email, "slug": saved.slug, "phone": saved.phone}
