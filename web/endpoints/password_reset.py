"""Contains the endpoints for a forgotten password: the request for a link, and the new password."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import password_reset
from db.errors import BreachedPassword, RateLimited, Refused, Unavailable
from db.messages import Message
from web.forms.form import Form, read_fields
from web.forms.schemas import PasswordReset, PasswordResetRequest
from web.http.client_info import get_client_info
from web.http.link_cookie import OpenedLink, delete_link_cookie, read_sent_link, verify_link
from web.http.session import read_claims
from web.rendering.form_errors import BUSY, apply_error
from web.rendering.responses import page, redirect_across_login, refused_form, url_path
from web.state import app_state

FORGOT_TITLE: Final = Message("Forgot your password?")
SENT_TITLE: Final = Message("Check your inbox")
RESET_TITLE: Final = Message("Choose a new password")
DONE_TITLE: Final = Message("Password changed")
FORGOT_ERRORS: Final = {
    RateLimited: Message("Too many requests from your network. Try again in {wait}."),
    Unavailable: BUSY,
}
RESET_ERRORS: Final = {
    RateLimited: Message("Too many attempts. Nothing was changed. Try again in {wait}."),
    Unavailable: Message("We're busy. Nothing was changed. Try again in a few seconds."),
}


async def show_request(request: Request) -> Response:
    if request.query_params.get("sent") == "1":
        return page(request, "password_reset/sent.html", SENT_TITLE)
    form = Form.blank(PasswordResetRequest)
    return page(request, "password_reset/forgot.html", FORGOT_TITLE, form=form)


async def submit_request(request: Request) -> Response:
    """Asks for a mail with a link.

    The response and the work are the same for every email, because the account is looked up later.
    """
    form = Form.check(PasswordResetRequest, await read_fields(request))
    if form.data is None:
        return _respond_with_request_errors(request, form)
    try:
        await password_reset.request_reset(
            app_state(request.scope).store,
            email=form.data.email,
            client=get_client_info(request),
        )
    except (RateLimited, Unavailable) as error:
        return _respond_with_request_errors(
            request, form, *apply_error(request, form, error, FORGOT_ERRORS)
        )
    return redirect_across_login(request, to=f"{url_path(request, 'forgot')}?sent=1")


async def show(request: Request) -> Response:
    if request.query_params.get("done") == "1":
        return page(request, "password_reset/done.html", DONE_TITLE)
    link = await verify_link(request, "reset")
    form = Form.blank(PasswordReset, app_state(request.scope).password_policy)
    return page(
        request, "password_reset/page.html", RESET_TITLE, panel="blank", **_context(form, link)
    )


async def submit(request: Request) -> Response:
    """Changes the password, ends every session of the account, and starts none."""
    link = await verify_link(request, "reset")
    state = app_state(request.scope)
    form = Form.check(
        PasswordReset, await read_fields(request), state.password_policy, {"email": link.email}
    )
    if form.data is None:
        return _respond_with_errors(request, form, link)
    try:
        user_id = await password_reset.reset_password(
            state.store,
            token=link.token,
            link=await read_sent_link(request),
            password=form.data.password,
            client=get_client_info(request),
        )
    except (RateLimited, BreachedPassword, Refused, Unavailable) as error:
        return _respond_with_errors(
            request, form, link, *apply_error(request, form, error, RESET_ERRORS)
        )
    delete_link_cookie(request.scope)
    claims = read_claims(request.scope)
    is_own_session = claims is not None and claims.user_id == user_id
    return redirect_across_login(
        request, to=f"{url_path(request, 'reset')}?done=1", delete_cookie=is_own_session
    )


def _context(form: Form[PasswordReset], link: OpenedLink) -> dict[str, Any]:
    return {"form": form, "email": link.email, "link": link.id}


def _respond_with_request_errors(
    request: Request,
    form: Form[PasswordResetRequest],
    status: int = 422,
    retry_after: int | None = None,
) -> Response:
    return refused_form(
        request,
        "password_reset/forgot.html",
        FORGOT_TITLE,
        form_id="forgot-form",
        fragment="password_reset/forgot_form.html",
        status=status,
        retry_after=retry_after,
        form=form,
    )


def _respond_with_errors(
    request: Request,
    form: Form[PasswordReset],
    link: OpenedLink,
    status: int = 422,
    retry_after: int | None = None,
) -> Response:
    return refused_form(
        request,
        "password_reset/page.html",
        RESET_TITLE,
        form_id="reset-form",
        fragment="password_reset/form.html",
        status=status,
        retry_after=retry_after,
        panel="blank",
        **_context(form, link),
    )
