"""Contains the endpoints that create an account for an identity of another provider."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from db.access import provider_accounts, provider_signup, providers
from db.access.providers import Failed, ProviderLink
from db.errors import AccountNotCreated, RateLimited, Refused, Unavailable
from db.messages import Message
from db.providers.asserted import Asserted
from db.providers.provider import Provider
from db.sessions.claimants import NewClaim
from db.sessions.claims import NewSession
from web.forms.form import Form, read_fields
from web.forms.schemas import ProviderSignUp
from web.http.client_info import get_client_info
from web.http.provider_cookies import delete_identity, find_identity
from web.http.provider_sign_up import may_sign_up
from web.http.redirects import default_page
from web.rendering.form_errors import BUSY, EMAIL_TAKEN, apply_error, refuse_other_domains
from web.rendering.provider_texts import login_to_connect, trouble_url
from web.rendering.responses import (
    page,
    redirect_across_login,
    redirect_to_second_step,
    refused_form,
    url_path,
)
from web.state import app_state

TITLE: Final = Message("Almost there")
ERRORS: Final = {
    RateLimited: Message("Too many sign-ups from your network. Try again in {wait}."),
    Unavailable: BUSY,
    AccountNotCreated: Message("An error occurred while creating your account."),
}


async def show(request: Request) -> Response:
    asserted = await find_identity(request, _name(request))
    if asserted is None:
        return _redirect_to_login(request, "expired")
    owner = await provider_accounts.find_email_owner(app_state(request.scope).store, asserted)
    if owner == "confirmed":
        return RedirectResponse(login_to_connect(request, _name(request)), 303)
    form = _blank_form(asserted)
    return page(
        request, "providers/finish_page.html", TITLE, **await _context(request, asserted, form)
    )


async def submit(request: Request) -> Response:
    """Creates the account, or gives an unconfirmed account to the user of its email."""
    asserted = await find_identity(request, _name(request))
    fields = await read_fields(request) or {}
    if asserted is None:
        return _redirect_to_login(request, "expired")
    store, client = app_state(request.scope).store, get_client_info(request)
    provider = await providers.get_provider(store, asserted.provider)
    is_take_over = fields.get("mine") == "on"
    if is_take_over and not asserted.has_trusted_email:
        return _redirect_to_login(request, "expired")
    # A user who takes an account over types a name only if the provider sent none that is valid.
    sent = _valid_name(asserted) if is_take_over else {}
    form = Form.check(ProviderSignUp, {**fields, **sent, **_fixed_email(provider, asserted)})
    status: tuple[int, int | None] = 422, None
    result: NewSession | NewClaim | str | Failed | None = None
    try:
        if is_take_over:
            if form.data is not None:
                result = await provider_signup.take_over(
                    store,
                    asserted,
                    name=form.data.name,
                    client=client,
                    is_private=app_state(request.scope).settings.private,
                )
        elif not may_sign_up(request, provider, asserted):
            return _redirect_to_login(request, "closed")
        elif form.data is not None:
            domains = app_state(request.scope).settings.sign_up.domains
            if not refuse_other_domains(form, form.data.email, domains):
                result = await provider_signup.sign_up(
                    store,
                    asserted,
                    name=form.data.name,
                    email=form.data.email,
                    client=client,
                    is_private=app_state(request.scope).settings.private,
                )
    except (RateLimited, Refused, Unavailable, AccountNotCreated) as error:
        status = apply_error(request, form, error, ERRORS)
    if result == "taken" and provider.email_domain:  # The user cannot type another email.
        return redirect_across_login(request, to=login_to_connect(request, provider.name))
    if result == "taken":
        form.add_error("email", EMAIL_TAKEN)
    if result is None or result == "taken":
        return await _respond_with_errors(request, asserted, form, *status)
    delete_identity(request)
    if isinstance(result, NewClaim):
        return redirect_to_second_step(request, result)
    if isinstance(result, Failed):
        return _redirect_to_login(request, result.trouble)
    if isinstance(result, str):
        return redirect_across_login(request, to=f"{url_path(request, 'login')}?new=1")
    return redirect_across_login(request, to=default_page(request), session=result)


def _blank_form(asserted: Asserted) -> Form[ProviderSignUp]:
    """Returns the form with what the provider sent. A value that no field accepts is left out."""
    sent = {"name": asserted.name, "email": asserted.email}
    checked = Form.check(ProviderSignUp, sent)
    form = Form.blank(ProviderSignUp)
    form.values = {name: value for name, value in sent.items() if name not in checked.errors}
    return form


def _valid_name(asserted: Asserted) -> dict[str, str]:
    """Returns the name that the provider sent as a field; an empty mapping if it is not valid."""
    is_valid = "name" not in Form.check(ProviderSignUp, {"name": asserted.name}).errors
    return {"name": asserted.name} if is_valid else {}


def _fixed_email(provider: Provider, asserted: Asserted) -> dict[str, str]:
    """Returns the email that the user cannot change: a trusted one, and that of an organization."""
    is_fixed = asserted.has_trusted_email or provider.email_domain
    return {"email": asserted.email} if is_fixed else {}


async def _context(
    request: Request, asserted: Asserted, form: Form[ProviderSignUp]
) -> dict[str, Any]:
    store = app_state(request.scope).store
    provider = await providers.get_provider(store, asserted.provider)
    owner = await provider_accounts.find_email_owner(store, asserted)
    return {
        "provider": ProviderLink(provider.name, provider.label),
        "form": form,
        "fixed_email": _fixed_email(provider, asserted).get("email", ""),
        "has_trusted_email": asserted.has_trusted_email,
        "is_unconfirmed": owner == "unconfirmed",
        "has_valid_name": bool(_valid_name(asserted)),
    }


async def _respond_with_errors(
    request: Request,
    asserted: Asserted,
    form: Form[ProviderSignUp],
    status: int = 422,
    retry_after: int | None = None,
) -> Response:
    return refused_form(
        request,
        "providers/finish_page.html",
        TITLE,
        form_id="finish-form",
        fragment="providers/finish_form.html",
        status=status,
        retry_after=retry_after,
        **await _context(request, asserted, form),
    )


def _redirect_to_login(request: Request, trouble: str) -> Response:
    return redirect_across_login(request, to=trouble_url(request, "login", trouble))


def _name(request: Request) -> str:
    return str(request.path_params["provider"])
