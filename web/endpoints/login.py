"""Contains the endpoints that log users in and out."""

from starlette.requests import Request
from starlette.responses import Response

from db.access import login
from db.errors import RateLimited, Unavailable
from web.forms.form import Form, read_fields
from web.forms.schemas import LogIn
from web.http.client_info import get_client_info
from web.http.redirects import carried_page, safe_page
from web.http.session import end_current_session
from web.rendering.flash_messages import pop_flash, set_flash
from web.rendering.form_errors import apply_error
from web.rendering.responses import page, redirect_across_login, refused_form, url_path
from web.state import app_state

TITLE = "Log in"
# Query parameters of the log-in page. Each selects the text that explains why it is displayed.
REASONS = ("guessed", "ended", "new", "cookies")
NO_MATCH = "Email or password is incorrect."
LOGIN_ERRORS = {
    RateLimited: ("Too many attempts to log in. Log-in is paused. Try again in {wait}."),
    Unavailable: "We're busy. Try again in a few seconds.",
}


async def show(request: Request) -> Response:
    query = request.query_params
    target = carried_page(request, query.get("next"))
    reason = next(
        (reason for reason in REASONS if query.get(reason) == "1"), "next" if target else ""
    )
    form = Form.blank(LogIn, next=target)
    left = pop_flash(request)
    return page(request, "login/page.html", TITLE, form=form, reason=reason, left=left)


async def submit(request: Request) -> Response:
    """Logs the user in.

    The response is the same for an unknown email, a wrong password and a disabled account, after
    the same work.
    """
    form = Form.check(LogIn, await read_fields(request))
    if form.data is None:
        return _refused(request, form)
    try:
        session = await login.log_in(
            app_state(request.scope).store,
            email=form.data.email,
            password=form.data.password,
            client=get_client_info(request),
        )
    except (RateLimited, Unavailable) as error:
        return _refused(request, form, *apply_error(request, form, error, LOGIN_ERRORS))
    if session is None:
        form.message = NO_MATCH
        return _refused(request, form)
    return redirect_across_login(request, to=safe_page(request, form.data.next), session=session)


async def log_out(request: Request) -> Response:
    """Deletes the cookie and ends the session in the database, so no copy of the cookie works."""
    # The form has no fields. This call refuses other content types with status 415.
    await read_fields(request)
    await end_current_session(request)
    set_flash(request, "logged-out")
    return redirect_across_login(request, to=url_path(request, "login"), delete_cookie=True)


def _refused(
    request: Request, form: Form[LogIn], status: int = 422, retry_after: int | None = None
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
        reason="",
        left="",
    )
