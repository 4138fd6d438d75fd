"""Contains the endpoints of the viewer's passkeys: the list, the creation, names and removal."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import passkeys
from db.access.passkeys import Problem
from db.access.security import must_keep_factor
from db.errors import RateLimited, Refused, Unavailable
from db.factors.changes import FactorChange
from db.messages import Message
from db.sessions.sudo import Sudo
from db.viewer import Viewer
from web.forms.form import Form, read_fields
from web.forms.schemas import NewPasskey, PasskeyRename
from web.http.session import set_session_cookie, verify_session
from web.http.sudo import verify_new_session, verify_sudo
from web.rendering.factor_changes import NOT_SAVED, TOO_MANY, codes_context
from web.rendering.flash_messages import confirm, pop_flash, set_flash
from web.rendering.form_errors import BUSY, apply_error
from web.rendering.passkey_forms import make_passkey_form
from web.rendering.responses import (
    changed_fragment,
    is_htmx,
    now,
    page,
    redirect_across_login,
    refused_form,
    url_path,
)
from web.state import app_state

TITLE: Final = Message("Passkeys")
PROBLEMS: Final[Mapping[Problem, Message]] = {
    "wrong": Message("The passkey could not be added. Try again."),
    "expired": Message(
        "That took too long, so these are new recovery codes. Save them, and try again."
    ),
    "taken": Message("This passkey already belongs to an account. Create another one."),
    "too many": Message("You have too many passkeys. Remove one first."),
}
ERRORS: Final = {RateLimited: TOO_MANY, Unavailable: BUSY}


async def show(request: Request) -> Response:
    sudo = await verify_sudo(request)
    context = await _context(request, sudo) | {"flash": pop_flash(request)}
    return page(request, "passkeys/page.html", TITLE, layout="app", **context)


async def add(request: Request) -> Response:
    sudo = await verify_sudo(request)
    form = Form.check(NewPasskey, await read_fields(request))
    if not sudo.viewer.has_factor and form.values.get("saved") != "on":
        form.add_error("saved", NOT_SAVED)
    status: tuple[int, int | None] = 422, None
    result: FactorChange | Problem = "wrong"
    try:
        if form.data:
            result = await passkeys.add_passkey(
                sudo,
                name=form.data.name,
                credential=form.data.credential,
                challenge=form.data.challenge,
                enrollment=form.data.enrolment,
            )
            if not isinstance(result, FactorChange):
                form.message = PROBLEMS[result]
    except (RateLimited, Refused, Unavailable) as error:
        status = apply_error(request, form, error, ERRORS)
    if isinstance(result, FactorChange):
        set_flash(request, "passkey-added-others" if result.ended else "passkey-added")
        to = url_path(request, "account-passkeys")
        return redirect_across_login(request, to=to, session=result.session)
    return await _refuse(request, sudo, form, status, has_new_codes=result == "expired")


async def rename(request: Request) -> Response:
    viewer = await verify_session(request)
    form = Form.check(PasskeyRename, await read_fields(request))
    passkey_id = str(request.path_params["id"])
    status: tuple[int, int | None] = 422, None
    try:
        if form.data:
            await passkeys.rename_passkey(viewer, passkey_id, form.data.name)
    except (RateLimited, Refused, Unavailable) as error:
        status = apply_error(request, form, error, ERRORS)
    context = await _list_context(request, viewer)
    if form.failed:
        return refused_form(
            request,
            "passkeys/list_page.html",
            TITLE,
            form_id="passkey-list",
            fragment="passkeys/list.html",
            status=status[0],
            retry_after=status[1],
            layout="app",
            **context | {"rename": form, "renamed": passkey_id},
        )
    return changed_fragment(
        request,
        TITLE,
        to="account-passkeys",
        fragment="passkeys/list.html",
        toast=confirm(request, "passkey-renamed"),
        **context,
    )


async def remove(request: Request) -> Response:
    sudo = await verify_sudo(request)
    await read_fields(request)
    change = await passkeys.remove_passkey(sudo, str(request.path_params["id"]))
    # The forms of the response belong to the session that replaces the current one.
    set_session_cookie(request, change.session)
    toast = Message.plural(
        "Passkey removed. {count} other device was logged out.",
        "Passkey removed. {count} other devices were logged out.",
        change.ended,
    )
    flash = "passkey-removed-others" if change.ended else "passkey-removed"
    text = confirm(request, flash, toast if change.ended else "")
    context: dict[str, Any] = {}
    if is_htmx(request):
        context = await _context(request, await verify_new_session(request, change.session))
    return changed_fragment(
        request,
        TITLE,
        to="account-passkeys",
        fragment="passkeys/content.html",
        toast=text,
        **context,
    )


async def _refuse(
    request: Request,
    sudo: Sudo[Viewer],
    form: Form[NewPasskey],
    status: tuple[int, int | None],
    *,
    has_new_codes: bool,
) -> Response:
    """Returns the refused form.

    For htmx it is the form alone: the recovery codes above it stay on the page, and stay valid.
    If they have expired, the whole part of the page is replaced, with status 409.
    """
    context = await _context(request, sudo, form)
    if has_new_codes or not is_htmx(request):
        form.values = {**form.values, "saved": ""}
    else:
        context["enrolment"] = form.values.get("enrolment", "")
    return refused_form(
        request,
        "passkeys/page.html",
        TITLE,
        form_id="passkey-content" if has_new_codes else "passkey-form",
        fragment="passkeys/content.html" if has_new_codes else "passkeys/creation_form.html",
        status=409 if has_new_codes else status[0],
        retry_after=status[1],
        layout="app",
        **context | {"flash": ""},
    )


async def _context(
    request: Request, sudo: Sudo[Viewer], form: Form[NewPasskey] | None = None
) -> dict[str, Any]:
    """Returns the context of the page. Its challenge and its recovery codes are new."""
    context = await _list_context(request, sudo.viewer)
    state = app_state(request.scope)
    ceremony = await passkeys.begin_adding(
        sudo, email=context["owner"].email, site_name=state.product.brand.name
    )
    action = url_path(request, "account-passkeys")
    passkey = make_passkey_form(request, ceremony, action=action, label=Message("Add a passkey"))
    enrollment = await passkeys.draw_enrollment(sudo) if passkey else None
    codes = [code.reveal() for code in enrollment.codes] if enrollment else []
    return context | {
        "passkey": passkey,
        "is_full": len(context["passkeys"]) >= passkeys.MAX_PASSKEYS_PER_USER,
        "form": form or Form.blank(NewPasskey),
        "is_first": not sudo.viewer.has_factor,
        "enrolment": enrollment.token.reveal() if enrollment else "",
        **codes_context(request, context["owner"].email, codes),
    }


async def _list_context(request: Request, viewer: Viewer) -> dict[str, Any]:
    return {
        "me": viewer.me,
        "now": now(request),
        "passkeys": await passkeys.list_passkeys(viewer),
        "owner": await passkeys.get_owner(viewer),
        "rp_id": app_state(request.scope).settings.factors.rp_id,
        "must_keep_factor": await must_keep_factor(viewer),
        "rename": Form.blank(PasskeyRename),
        "renamed": "",
    }
