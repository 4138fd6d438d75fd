"""Contains the endpoints that log users in and out."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from db.access import links, login, passkey_login, providers
from db.access.providers import ProviderLink
from db.errors import LinkInvalid, RateLimited, Refused, Unavailable
from db.messages import Message
from db.providers.provider import Provider
from db.sessions.claimants import NewClaim
from web.forms.form import Form, read_fields
from web.forms.schemas import LogIn
from web.http.claim import has_claim
from web.http.client_info import get_client_info
from web.http.link_cookie import delete_link_cookie, read_link_cookie
from web.http.provider_cookies import delete_identity
from web.http.redirects import carried_page, default_page, safe_page
from web.http.remember import read_choice
from web.http.session import end_current_session, read_claims
from web.rendering.flash_messages import offer_passkey, pop_flash, set_flash
from web.rendering.form_errors import BUSY, apply_error
from web.rendering.passkey_forms import PasskeyForm, make_login_form
from web.rendering.provider_departure import start_log_in
from web.rendering.provider_texts import link_text, trouble_text
from web.rendering.responses import (
    field_fragment,
    page,
    redirect_across_login,
    redirect_to_second_step,
    refused_form,
    url_path,
)
from web.state import app_state

TITLE = Message("Log in")
# Query parameters of the log-in page. Each selects the text that explains why it is displayed.
REASONS = ("guessed", "ended", "again", "new", "cookies")
TARGET_REASONS = {"/verify": "verify", "/change-email": "change-email"}
NO_MATCH = Message("Email or password is incorrect.")
LOGIN_ERRORS = {
    RateLimited: Message("Too many attempts to log in. Log-in is paused. Try again in {wait}."),
    Unavailable: BUSY,
}


async def show(request: Request) -> Response:
    query = request.query_params
    target = carried_page(request, query.get("next"))
    reason = next(
        (reason for reason in REASONS if query.get(reason) == "1"),
        _target_reason(request, target) if target else "",
    )
    form = Form.blank(LogIn, next=target)
    left = pop_flash(request)
    return page(
        request,
        "login/page.html",
        TITLE,
        form=form,
        remember=read_choice(request),
        reason=reason,
        left=left,
        uses_other=_uses_other(request),
        organization=None,
        trouble=await trouble_text(request) or await link_text(request),
        providers=await _list_buttons(request),
        passkey=await _make_passkey_form(request, target),
    )


async def submit(request: Request) -> Response:
    """Logs the user in, or leads to the provider of the organization that the email belongs to.

    The response is the same for an unknown email, a wrong password, a disabled account and, if
    emails must be confirmed, an unconfirmed one, after the same work.
    """
    fields = await read_fields(request)
    if provider := await _find_organization_provider(request, fields):
        return await start_log_in(request, provider, fields or {})
    form = Form.check(LogIn, fields)
    remember = read_choice(request, fields)
    if form.data is None:
        return await _respond_with_errors(request, form, fields, remember)
    try:
        had_link = await _has_verify_link(request)
        session = await login.log_in(
            app_state(request.scope).store,
            email=form.data.email,
            password=form.data.password,
            client=get_client_info(request),
            verify_token=read_link_cookie(request.scope),
            is_remembered=bool(remember),
            next_page=carried_page(request, form.data.next),
        )
    except (RateLimited, Refused, Unavailable) as error:
        return await _respond_with_errors(
            request, form, fields, remember, *apply_error(request, form, error, LOGIN_ERRORS)
        )
    if session is None:
        form.message = NO_MATCH
        return await _respond_with_errors(request, form, fields, remember)
    if isinstance(session, NewClaim):
        return redirect_to_second_step(request, session)
    offer_passkey(request)
    target = safe_page(request, form.data.next)
    if had_link and not await _has_verify_link(request):
        delete_link_cookie(request.scope)
        set_flash(request, "email-confirmed")
        target = default_page(request) if target == url_path(request, "verify") else target
    return redirect_across_login(request, to=target, session=session)


async def check(request: Request) -> Response:
    """Returns the field of the email, which says where the users of an organization log in."""
    fields = await read_fields(request)
    provider = await _find_organization_provider(request, fields)
    form = Form.blank(LogIn, email=(fields or {}).get("email", ""))
    form.values = {**form.values, "next": carried_page(request, request.query_params.get("next"))}
    return field_fragment(
        request,
        "login/email.html",
        name="email",
        form=form,
        uses_other=False,
        organization=ProviderLink(provider.name, provider.label) if provider else None,
    )


async def log_out(request: Request) -> Response:
    """Deletes the cookie and ends the session in the database, so no copy of the cookie works.

    Also ends a log-in that waits for its second step, and deletes an identity of a provider that
    waits for its user's decision.
    """
    # The form has no fields. This call refuses other content types with status 415.
    await read_fields(request)
    await end_current_session(request)
    delete_identity(request)
    # A user who starts a log-in again was not logged in.
    if read_claims(request.scope) is not None or not has_claim(request.scope):
        set_flash(request, "logged-out")
    return redirect_across_login(request, to=url_path(request, "login"), delete_cookie=True)


async def _has_verify_link(request: Request) -> bool:
    """Returns whether the link cookie has a live link to confirm an email.

    The log-in to its account uses the link.
    """
    token = read_link_cookie(request.scope)
    if token is None:
        return False
    try:
        await links.find_link(app_state(request.scope).store, "verify", token)
    except LinkInvalid:
        return False
    return True


async def _find_organization_provider(
    request: Request, fields: Mapping[str, str] | None
) -> Provider | None:
    """Returns the provider of the organization that the typed email belongs to.

    Returns None if the user chose to log in another way, because that provider is unavailable or
    does not know them. Returns None as well if the database is unavailable: the log-in that follows
    says so in its form.
    """
    state = app_state(request.scope)
    if not state.settings.organizations.is_enabled or (fields or {}).get("other") == "on":
        return None
    form = Form.check_field(LogIn, "email", fields)
    return (
        await providers.find_provider_of_email(state.store, form.data.email) if form.data else None
    )


def _uses_other(request: Request) -> bool:
    """Returns whether the page is for users who log in without their organization's provider."""
    return any(request.query_params.get(name) for name in ("other", "trouble", "link"))


async def _list_buttons(request: Request) -> list[ProviderLink]:
    """Returns the providers of the settings, and that of the organization whose log-in has failed,
    so that its user can try again.
    """
    store, name = app_state(request.scope).store, request.query_params.get("with", "")
    buttons = providers.list_links(store)
    if name in {link.name for link in buttons}:
        return buttons
    label = await providers.find_label(store, name)
    return [*buttons, ProviderLink(name, label)] if label else buttons


def _target_reason(request: Request, target: str) -> str:
    base_path = app_state(request.scope).settings.base_path
    return TARGET_REASONS.get(target.removeprefix(base_path), "next")


async def _make_passkey_form(request: Request, target: str) -> PasskeyForm | None:
    ceremony = await passkey_login.begin_log_in(app_state(request.scope).store)
    return make_login_form(request, ceremony, next_page=target)


async def _respond_with_errors(
    request: Request,
    form: Form[LogIn],
    fields: Mapping[str, str] | None,
    remember: bool | None,
    status: int = 422,
    retry_after: int | None = None,
) -> Response:
    form.values = {**form.values, "next": carried_page(request, form.values.get("next"))}
    return refused_form(
        request,
        "login/page.html",
        TITLE,
        form_id="login-form",
        fragment="login/form.html",
        status=status,
        retry_after=retry_after,
        form=form,
        remember=remember,
        reason="",
        left="",
        trouble="",
        uses_other=(fields or {}).get("other") == "on",
        organization=None,
        providers=providers.list_links(app_state(request.scope).store),
        passkey=await _make_passkey_form(request, form.values["next"]),
    )
