"""Contains the endpoints of sign-up: the form, the live check of one field, and the submit."""

from contextlib import nullcontext, suppress
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from db.access import providers, signup
from db.errors import AccountNotCreated, BreachedPassword, RateLimited, Refused, Unavailable
from db.messages import Message
from db.sessions.claimants import NewClaim
from db.viewer import ClientInfo
from web.forms.common_domains import suggest_domain
from web.forms.form import Form, read_fields
from web.forms.schemas import SignUp
from web.http.client_info import get_client_info
from web.http.redirects import carried_page, page_after_login, safe_page
from web.http.remember import read_sign_up_choice
from web.rendering.error_pages import ErrorText, error_response
from web.rendering.form_errors import BUSY, EMAIL_TAKEN, apply_error, refuse_other_domains
from web.rendering.responses import (
    cached_page,
    field_fragment,
    page,
    redirect_across_login,
    redirect_to_second_step,
    refused_form,
    url_path,
)
from web.state import app_state

TITLE = Message("Create your account")
UNCHECKED_NOTE = Message("We'll check this when you send the form.")
DOMAIN_NOTE = Message("Did you mean {domain}?")
# The texts for users who follow an old link, by the value of SIGNUP.
UNAVAILABLE_TEXTS = {
    "invited": ErrorText(
        Message("Sign-up is by invitation"),
        (
            Message("To get an account, ask an administrator of this site to invite you."),
            Message(
                "If you were invited, open the link in your invitation. "
                "If you have an account, log in."
            ),
        ),
        "lid",
        Message("Log in"),
        "login",
        replaces_page=True,
    ),
    "closed": ErrorText(
        Message("Sign-up is closed"),
        (
            Message("To get an account, ask an administrator of this site."),
            Message("If you have an account, log in."),
        ),
        "lid",
        Message("Log in"),
        "login",
        replaces_page=True,
    ),
}
SIGNUP_ERRORS = {
    RateLimited: Message("Too many sign-ups from your network. Try again in {wait}."),
    Unavailable: BUSY,
    AccountNotCreated: Message("An error occurred while creating your account."),
}
SIGNUP_FAILURES = (RateLimited, BreachedPassword, Unavailable, Refused, AccountNotCreated)


async def show(request: Request) -> Response:
    form = Form.blank(SignUp, app_state(request.scope).password_policy)
    has_query = request.scope["query_string"]
    target = carried_page(request, request.query_params.get("next")) if has_query else ""
    # A page with `next` differs between callers, so it is not cached.
    show_page = page if target else cached_page
    return show_page(
        request,
        "signup/page.html",
        TITLE,
        panel="blank",
        providers=providers.list_links(app_state(request.scope).store),
        remember=read_sign_up_choice(request),
        **_context(form, target),
    )


async def show_unavailable(request: Request) -> Response:
    """Says who can get an account, if not everyone may sign up. Also answers the form, without
    reading it.
    """
    mode = app_state(request.scope).settings.sign_up.mode
    return error_response(request, 403, UNAVAILABLE_TEXTS[mode])


async def check(request: Request) -> Response:
    """Returns the fragment of one field, validated by the validator that the submit uses.

    An email is also looked up, by one indexed query, unless sign-up is private.
    """
    name = request.path_params["field"]
    form = Form.check_field(
        SignUp, name, await read_fields(request), app_state(request.scope).password_policy
    )
    if name == "email" and form.data:
        email, settings = form.data.email, app_state(request.scope).settings
        _suggest_domain(form, email)
        is_refused = refuse_other_domains(form, email, settings.sign_up.domains)
        if not is_refused and not settings.private:
            await _look_up(request, form, email)
    return field_fragment(
        request, "signup/field.html", name=name, **_context(form, page_after_login(request))
    )


async def submit(request: Request) -> Response:
    fields = await read_fields(request)
    form = Form.check(SignUp, fields, app_state(request.scope).password_policy)
    target = carried_page(request, (fields or {}).get("next"))
    remember = read_sign_up_choice(request, fields)
    if form.data is not None:
        domains = app_state(request.scope).settings.sign_up.domains
        refuse_other_domains(form, form.data.email, domains)
    if form.data is None:
        return _respond_with_errors(request, form, target, remember)
    try:
        return await _create(request, form, form.data, target, remember)
    except SIGNUP_FAILURES as error:
        return _respond_with_errors(
            request, form, target, remember, *apply_error(request, form, error, SIGNUP_ERRORS)
        )


async def _look_up(request: Request, form: Form[SignUp], email: str) -> None:
    """Adds an error to the form if the email is taken, and only a note after too many checks."""
    store = app_state(request.scope).store
    taken = await signup.is_email_taken(store, email, get_client_info(request))
    if taken:
        form.add_error("email", EMAIL_TAKEN)
    elif taken is None:
        form.notes.setdefault("email", UNCHECKED_NOTE)


def _suggest_domain(form: Form[SignUp], email: str) -> None:
    """Adds a hint if the domain is probably a typo. The email is accepted anyway."""
    domain = suggest_domain(email)
    if domain is not None:
        form.notes["email"] = DOMAIN_NOTE.format(domain=domain)


async def _create(
    request: Request, form: Form[SignUp], data: SignUp, target: str, remember: bool | None
) -> Response:
    """Creates the account and redirects to `target` or the dashboard.

    If the email must be confirmed first, redirects to the log-in page, whether or not an account
    was created.
    """
    state = app_state(request.scope)
    client = get_client_info(request)
    if state.settings.email_verification == "required":
        await _sign_up_privately(request, data, client)
        query = urlencode({"new": "1"} | ({"next": target} if target else {}), safe="/")
        return redirect_across_login(request, to=f"{url_path(request, 'login')}?{query}")
    session = await signup.sign_up(
        state.store,
        name=data.name,
        email=data.email,
        password=data.password,
        client=client,
        is_remembered=bool(remember),
        next_page=target,
    )
    if session is None:
        form.add_error("email", EMAIL_TAKEN)
        return _respond_with_errors(request, form, target, remember)
    if isinstance(session, NewClaim):
        return redirect_to_second_step(request, session)
    return redirect_across_login(request, to=safe_page(request, target), session=session)


async def _sign_up_privately(request: Request, data: SignUp, client: ClientInfo) -> None:
    """Creates the account, or sends a mail about the existing one. Both have the same response.

    If sign-up is private, a refusal has it too, because its text would show that the email was
    free.
    """
    state = app_state(request.scope)
    with suppress(Refused) if state.settings.private else nullcontext():
        await signup.sign_up_privately(
            state.store, name=data.name, email=data.email, password=data.password, client=client
        )


def _context(form: Form[SignUp], target: str) -> dict[str, Any]:
    """Returns the context of the templates.

    `next` is the page to open after sign-up. `taken` displays a link to the log-in page.
    """
    return {"form": form, "next": target, "taken": EMAIL_TAKEN in form.errors.get("email", [])}


def _respond_with_errors(
    request: Request,
    form: Form[SignUp],
    target: str,
    remember: bool | None,
    status: int = 422,
    retry_after: int | None = None,
) -> Response:
    # The email was not looked up. Without this note, the field would display "Looks good".
    form.notes["email"] = UNCHECKED_NOTE
    if "email" not in form.errors:
        _suggest_domain(form, form.values.get("email", ""))
    return refused_form(
        request,
        "signup/page.html",
        TITLE,
        form_id="signup-form",
        fragment="signup/form.html",
        status=status,
        retry_after=retry_after,
        panel="blank",
        providers=providers.list_links(app_state(request.scope).store),
        remember=remember,
        **_context(form, target),
    )
