"""Log in and log out."""

from starlette.requests import Request
from starlette.responses import Response

from db.access import login
from db.errors import Busy, TooMany
from web.forms.form import Form, read_fields
from web.forms.schemas import LogIn
from web.http.client_info import describe_device
from web.http.redirects import carried_page, safe_page
from web.http.session import end_session
from web.rendering.flash_messages import keep_notice, take_notice
from web.rendering.form_errors import say
from web.rendering.responses import leave, page, path_of, refused

TITLE = "Log in"
# parameters of the page, each of which says why it is shown
REASONS = ("guessed", "ended", "new", "cookies")
NO_MATCH = "Email or password is incorrect."
CLOSED = {
    TooMany: ("Too many attempts to log in. Log-in is paused. Try again in {wait}."),
    Busy: "We're busy. Try again in a few seconds.",
}


async def show(request: Request) -> Response:
    query = request.query_params
    target = carried_page(request, query.get("next"))
    reason = next(
        (reason for reason in REASONS if query.get(reason) == "1"), "next" if target else ""
    )
    form, left = Form.blank(LogIn, next=target), take_notice(request)
    return page(request, "login/page.html", TITLE, form=form, reason=reason, left=left)


async def submit(request: Request) -> Response:
    """One message for an unknown address, a wrong password and a disabled account, after the same
    work.
    """
    form = Form.check(LogIn, await read_fields(request))
    if form.data is None:
        return _refused(request, form)
    try:
        session = await login.log_in(
            request.app.state.store,
            email=form.data.email,
            password=form.data.password,
            device=describe_device(request),
        )
    except (TooMany, Busy) as refusal:
        return _refused(request, form, *say(request, form, refusal, CLOSED))
    if session is None:
        form.message = NO_MATCH
        return _refused(request, form)
    return leave(request, to=safe_page(request, form.data.next), session=session)


async def log_out(request: Request) -> Response:
    """Ends this session here and in the database: no copy of the cookie works again (trap T6)."""
    # it has no field of ours, but another content type is refused here too
    await read_fields(request)
    await end_session(request)
    keep_notice(request, "logged-out")
    return leave(request, to=path_of(request, "login"), delete_cookie=True)


def _refused(
    request: Request, form: Form[LogIn], status: int = 422, retry_after: int | None = None
) -> Response:
    form.values = {**form.values, "next": carried_page(request, form.values.get("next"))}
    return refused(
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
