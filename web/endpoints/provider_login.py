"""Contains the endpoints that log users in with other identity providers."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from db.access import provider_accounts, provider_confirmation, providers
from db.access.provider_accounts import UnknownIdentity
from db.access.providers import AlreadyFinished, Failed, Returned, Trouble
from db.errors import RateLimited, Unavailable
from db.messages import Message
from db.providers.answers import ProviderAnswer
from db.sessions.claimants import NewClaim
from web.forms.form import read_fields
from web.http.client_info import get_client_info
from web.http.link_cookie import delete_link_cookie, read_link_cookie
from web.http.provider_cookies import keep_identity, read_flow_cookie, set_flow_cookie
from web.http.provider_sign_up import may_sign_up
from web.http.redirects import carried_page, safe_page
from web.http.session import is_prefetch, is_session_live, load_viewer, read_claims
from web.http.sudo import get_sid_hash, set_confirmation
from web.middleware.cross_origin import ForeignOrigin, require_own_origin
from web.observability.logs import log_unavailable
from web.rendering.provider_departure import start_log_in
from web.rendering.provider_texts import login_to_connect, trouble_url
from web.rendering.responses import (
    page,
    redirect_across_login,
    redirect_to_second_step,
    url_path,
)
from web.state import app_state

TITLE: Final = Message("Log in with {label}")
# The parameters of a callback (OpenID Connect Core 1.0, RFC 9207). Apple sends `user`.
PARAMETERS: Final = ("state", "code", "iss", "error", "user")
MAX_PARAMETER_CHARS: Final = 8_000


async def show(request: Request) -> Response:
    """Returns the page with the button, since a GET must not start a log-in (CVE-2015-9284)."""
    provider = await providers.get_provider(app_state(request.scope).store, _name(request))
    return page(
        request,
        "providers/page.html",
        TITLE.format(label=provider.label),
        provider=providers.ProviderLink(provider.name, provider.label),
        next=carried_page(request, request.query_params.get("next")),
    )


async def submit(request: Request) -> Response:
    """Starts a log-in, and leads to the provider."""
    provider = await providers.get_provider(app_state(request.scope).store, _name(request))
    return await start_log_in(request, provider, await read_fields(request) or {})


async def finish(request: Request) -> Response:
    """Logs the user in who comes back from the provider.

    A request that only looks at the URL, such as a prefetch, does nothing, since the state and the
    code can be used once.
    """
    if request.method == "HEAD" or is_prefetch(request):
        return Response(status_code=204)
    return await _finish(request, request.query_params)


async def finish_form(request: Request) -> Response:
    """Handles an answer that the provider's page sends by a form.

    The browser sends no cookies with it, because it comes from another site. So this returns a page
    that sends the same fields from here, and does nothing else.
    """
    fields = await read_fields(request) or {}
    try:
        require_own_origin(request.scope, app_state(request.scope).settings.base_url)
    except ForeignOrigin:
        provider = await providers.get_provider(app_state(request.scope).store, _name(request))
        sent = {name: _parameter(fields, name) for name in PARAMETERS}
        return page(
            request,
            "providers/callback_form.html",
            TITLE.format(label=provider.label),
            provider=providers.ProviderLink(provider.name, provider.label),
            fields={name: value for name, value in sent.items() if value},
        )
    return await _finish(request, fields)


async def _finish(request: Request, parameters: Mapping[str, str]) -> Response:
    """Handles the answer. No response leaves the browser on the URL of the callback, whose code
    other requests of the page could reveal.

    A redirect after a refusal has no Retry-After, which would delay the redirect itself (RFC 9110,
    section 10.2.3).
    """
    try:
        return await _handle_answer(request, parameters)
    except RateLimited:
        return _redirect_to_login(request, "limited")
    except Unavailable as error:
        log_unavailable(request, error)
        return _redirect_to_login(request, "busy")


async def _handle_answer(request: Request, parameters: Mapping[str, str]) -> Response:
    store, client = app_state(request.scope).store, get_client_info(request)
    cookie, state = read_flow_cookie(request), _parameter(parameters, "state")
    purpose = providers.find_purpose(store, _name(request), state, cookie)
    is_live = purpose == "link" or (
        read_claims(request.scope) is not None and await is_session_live(request)
    )
    if purpose == "login" and is_live:
        # Another tab has logged in since, or this is a second callback of the same log-in.
        return RedirectResponse(url_path(request, "dashboard"), 303)
    result = await providers.finish(
        store,
        _name(request),
        state,
        ProviderAnswer(*(_parameter(parameters, name) for name in PARAMETERS[1:])),
        client=client,
        cookie=cookie,
        sid_hash=get_sid_hash(request) if read_claims(request.scope) else "",
    )
    if isinstance(result, AlreadyFinished):
        return _redirect_to_login(request, "expired")
    if isinstance(result, Failed):
        return _redirect_to_login(request, result.trouble)
    set_flow_cookie(request, result.cookie)
    if purpose == "confirm":
        return await _confirm(request, result)
    if purpose == "link":
        keep_identity(request, result.asserted, connects=True)
        return RedirectResponse(f"{url_path(request, 'account-security')}?connect=1", 303)
    return await _log_in(request, result)


async def _confirm(request: Request, returned: Returned) -> Response:
    result = await provider_confirmation.confirm(await load_viewer(request), returned)
    if isinstance(result, Failed):
        return _redirect_to_login(request, result.trouble)
    set_confirmation(request, result)
    return RedirectResponse(safe_page(request, returned.flow.next_page), 303)


async def _log_in(request: Request, returned: Returned) -> Response:
    verify_token = read_link_cookie(request.scope)
    result = await provider_accounts.log_in(
        app_state(request.scope).store,
        returned,
        client=get_client_info(request),
        verify_token=verify_token,
    )
    if isinstance(result, NewClaim):
        return redirect_to_second_step(request, result)
    if isinstance(result, UnknownIdentity):
        return await _respond_to_unknown(request, result)
    if isinstance(result, Failed):
        return _redirect_to_login(request, result.trouble)
    if verify_token is not None:
        delete_link_cookie(request.scope)
    target = safe_page(request, returned.flow.next_page)
    return redirect_across_login(request, to=target, session=result)


async def _respond_to_unknown(request: Request, unknown: UnknownIdentity) -> Response:
    """Redirects a user whose identity no account has: to the log-in, or to a form to sign up."""
    state, name = app_state(request.scope), _name(request)
    if unknown.email_owner == "confirmed":
        keep_identity(request, unknown.asserted)
        return RedirectResponse(login_to_connect(request, name), 303)
    provider = await providers.get_provider(state.store, name)
    is_closed = not may_sign_up(request, provider, unknown.asserted)
    if is_closed and unknown.email_owner == "none":
        return _redirect_to_login(request, "closed")
    keep_identity(request, unknown.asserted)
    return RedirectResponse(url_path(request, "signup-with", provider=name), 303)


def _redirect_to_login(request: Request, trouble: Trouble) -> Response:
    """Redirects to the page that says what went wrong: for users who are logged in, that of their
    account.
    """
    page_name = "login" if read_claims(request.scope) is None else "account-security"
    return redirect_across_login(request, to=trouble_url(request, page_name, trouble))


def _name(request: Request) -> str:
    return str(request.path_params["provider"])


def _parameter(parameters: Mapping[str, object], name: str) -> str:
    """Returns a parameter, or an empty string if it is missing or too long."""
    value = parameters.get(name, "")
    return value if isinstance(value, str) and len(value) <= MAX_PARAMETER_CHARS else ""
