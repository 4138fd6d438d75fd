"""Contains the endpoints of the second step of a log-in."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from db.access import second_step
from db.errors import RateLimited, Refused, Unavailable
from db.factors.verification import GivenFactor
from db.messages import Message
from db.sessions.claimants import Claimant
from web.forms.form import Form, read_fields
from web.forms.schemas import AuthenticatorCode, PasskeyAnswer, RecoveryCodeUse
from web.http.claim import verify_claimant
from web.http.link_cookie import delete_link_cookie, read_link_cookie
from web.http.redirects import default_page, safe_page
from web.rendering.flash_messages import offer_passkey, set_flash
from web.rendering.form_errors import BUSY, WRONG_CODE, WRONG_RECOVERY_CODE, apply_error
from web.rendering.passkey_forms import make_passkey_form
from web.rendering.responses import page, redirect_across_login, refused_form, url_path

TITLE: Final = Message("One more step")
FormName = Literal["passkey", "code", "recovery"]
SCHEMAS: Final[Mapping[FormName, type[BaseModel]]] = {
    "passkey": PasskeyAnswer,
    "code": AuthenticatorCode,
    "recovery": RecoveryCodeUse,
}
WRONG: Final[Mapping[FormName, Message]] = {
    "passkey": Message("This passkey doesn't open your account here. Use another second step."),
    "code": WRONG_CODE,
    "recovery": WRONG_RECOVERY_CODE,
}
FRAGMENTS: Final[Mapping[FormName, str]] = {
    "passkey": "passkeys/assertion_form.html",
    "code": "second_step/code_form.html",
    "recovery": "second_step/recovery_form.html",
}
USE_PASSKEY: Final = Message("Use a passkey")
ERRORS: Final = {
    RateLimited: Message("Too many wrong codes. Try again in {wait}."),
    Unavailable: BUSY,
}


async def show(request: Request) -> Response:
    claimant = await verify_claimant(request)
    return page(request, "second_step/page.html", TITLE, **await _context(request, claimant))


async def submit(request: Request) -> Response:
    """Logs the claimant in if the code, the recovery code or the passkey is correct."""
    claimant = await verify_claimant(request)
    fields = await read_fields(request)
    name = _form_name(fields or {})
    form = Form.check(SCHEMAS[name], fields)
    remembers = (fields or {}).get("remember") == "on"
    if form.data is None:
        return await _respond_with_errors(request, claimant, name, form, remembers)
    try:
        done = await second_step.log_in(
            claimant,
            GivenFactor.from_fields(fields or {}),
            trusts_browser=remembers,
            verify_token=read_link_cookie(request.scope),
        )
    except (RateLimited, Refused, Unavailable) as error:
        failure = apply_error(request, form, error, ERRORS)
        return await _respond_with_errors(request, claimant, name, form, remembers, *failure)
    if done is None:
        _add_wrong(form, name)
        return await _respond_with_errors(request, claimant, name, form, remembers)
    if name == "code":
        offer_passkey(request)
    target = safe_page(request, claimant.next_page)
    if done.has_confirmed_email:
        delete_link_cookie(request.scope)
        set_flash(request, "email-confirmed")
        target = default_page(request) if target == url_path(request, "verify") else target
    if done.codes_left is not None:
        set_flash(request, f"codes-left-{done.codes_left}")
    return redirect_across_login(request, to=target, session=done.session)


def _form_name(fields: Mapping[str, Any]) -> FormName:
    """Returns which form was sent, by its first field that has a value."""
    if not fields.get("code"):
        if fields.get("recovery_code"):
            return "recovery"
        if fields.get("credential"):
            return "passkey"
        if "code" not in fields and "recovery_code" in fields:
            return "recovery"
    return "code"


def _add_wrong(form: Form[Any], name: FormName) -> None:
    """Adds the message about a wrong second step. The wrong code is not displayed again."""
    if name == "passkey":
        form.message = WRONG[name]
    else:
        form.add_error("code" if name == "code" else "recovery_code", WRONG[name])
    if name == "code":
        form.values = {}


async def _context(
    request: Request, claimant: Claimant, passkey_message: str = ""
) -> dict[str, Any]:
    """Returns the context of the page with its forms."""
    passkey = make_passkey_form(
        request,
        await second_step.begin_passkey(claimant),
        action=url_path(request, "login-factor"),
        label=USE_PASSKEY,
        is_primary=not claimant.has_authenticator,
        message=passkey_message,
    )
    return {
        "email": claimant.email,
        "has_authenticator": claimant.has_authenticator,
        "passkey": passkey,
        "days": second_step.offered_days(claimant),
        "remembers": False,
        "code": Form.blank(AuthenticatorCode),
        "recovery": Form.blank(RecoveryCodeUse),
    }


async def _respond_with_errors(
    request: Request,
    claimant: Claimant,
    name: FormName,
    form: Form[Any],
    remembers: bool,
    status: int = 422,
    retry_after: int | None = None,
) -> Response:
    context = await _context(request, claimant, form.message if name == "passkey" else "")
    context["remembers"] = remembers
    if name == "passkey" and context["passkey"] is None:
        # The account has no passkey here, so the page has no form for the message.
        name = "code" if claimant.has_authenticator else "recovery"
        context[name] = replace(context[name], message=form.message)
    elif name != "passkey":
        context[name] = form
    # An error that an earlier response has added to another form must not stay on the page.
    other_forms = {f"{other}-form": FRAGMENTS[other] for other in FRAGMENTS if other != name}
    if not claimant.has_authenticator:
        other_forms.pop("code-form", None)
    if context["passkey"] is None:
        other_forms.pop("passkey-form", None)
    return refused_form(
        request,
        "second_step/page.html",
        TITLE,
        form_id=f"{name}-form",
        fragment=FRAGMENTS[name],
        status=status,
        retry_after=retry_after,
        other_forms=other_forms,
        **context,
    )
