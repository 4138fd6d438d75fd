"""Contains the endpoints of the account page: the profile, its live checks and the password."""

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from db.access import account
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
    context = await _forms(request, viewer) | {"flash": pop_flash(request)}
    return page(request, "account/page.html", TITLE, layout="app", **context)


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
    current_values = await _current_values(viewer)
    form = Form.check(ProfileChange, await read_fields(request), current_values=current_values)
    try:
        if form.data and not await account.change_profile(
            viewer, **form.data.model_dump(exclude_unset=True)
        ):
            form.add_error("slug", SLUG_TAKEN)
    except (RateLimited, Unavailable) as error:
        return await _refused(
            request,
            viewer,
            "profile",
            *apply_error(request, form, error, PROFILE_ERRORS),
            profile=form,
        )
    if form.data is None:
        if form.values["slug"] != viewer.slug:
            form.notes["slug"] = UNCHECKED_NOTE
        return await _refused(request, viewer, "profile", profile=form)
    me = replace(viewer.me, name=form.data.name or viewer.name, slug=form.data.slug or viewer.slug)
    if me != viewer.me:
        refresh_navigation(request)
    saved = current_values | form.data.model_dump(exclude_unset=True)
    form = Form.blank(ProfileChange, **saved)
    toast, fragment = confirm(request, "profile-saved"), "account/profile.html"
    return changed_fragment(
        request, TITLE, to="account", fragment=fragment, me=me, profile=form, toast=toast
    )


async def change_password(request: Request) -> Response:
    """Changes the password if the current one is correct, and ends every other session.

    The current session continues with a new cookie.
    """
    viewer = await verify_session(request)
    current_values = await _current_values(viewer)
    form = Form.check(
        PasswordChange,
        await read_fields(request),
        request.app.state.password_policy,
        current_values,
    )
    if form.data is None:
        return await _refused(request, viewer, "password", password=form)
    try:
        done = await account.change_password(
            viewer, current=form.data.current_password, new=form.data.password
        )
    except (RateLimited, BreachedPassword, Unavailable) as error:
        return await _refused(
            request,
            viewer,
            "password",
            *apply_error(request, form, error, PASSWORD_ERRORS),
            password=form,
        )
    if done is None:
        form.add_error("current_password", WRONG_PASSWORD)
        return await _refused(request, viewer, "password", password=form)
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
        password=Form.blank(PasswordChange, request.app.state.password_policy),
        email=(await account.get_account(viewer)).email,
        toast=confirm(request, flash, f"Password changed.{others}"),
    )


async def _refused(
    request: Request,
    viewer: Viewer,
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
        **(await _forms(request, viewer) | form),
    )


async def _forms(request: Request, viewer: Viewer) -> dict[str, Any]:
    """Returns the context of the page, with both forms filled from the database.

    `_refused` replaces the form that was sent.
    """
    shown = await account.get_account(viewer)
    return {
        "me": viewer.me,
        "flash": "",
        "email": shown.email,
        "team": shown.team,
        "profile": Form.blank(ProfileChange, name=shown.name, slug=shown.slug, phone=shown.phone),
        "password": Form.blank(PasswordChange, request.app.state.password_policy),
    }


async def _current_values(viewer: Viewer) -> dict[str, str]:
    shown = await account.get_account(viewer)
    return {"name": shown.name, "email": shown.email, "slug": shown.slug, "phone": shown.phone}
