"""Contains the endpoint of an invitation, whose user chooses a name and a password."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import invitations
from db.errors import (
    AccountNotCreated,
    BreachedPassword,
    LinkOfOtherUser,
    RateLimited,
    Refused,
    Unavailable,
)
from db.messages import Message
from web.forms.form import Form, read_fields
from web.forms.schemas import Join
from web.http.client_info import get_client_info
from web.http.link_cookie import OpenedLink, delete_link_cookie, read_sent_link, verify_link
from web.http.session import is_session_live, read_claims
from web.rendering.form_errors import BUSY, apply_error
from web.rendering.responses import page, redirect_across_login, refused_form, url_path
from web.state import app_state

TITLE: Final = Message("Accept your invitation")
JOIN_ERRORS: Final = {
    RateLimited: Message("Too many attempts from your network. Try again in {wait}."),
    Unavailable: BUSY,
    AccountNotCreated: Message("An error occurred while creating your account."),
}
JOIN_FAILURES = (RateLimited, BreachedPassword, Refused, Unavailable, AccountNotCreated)


async def show(request: Request) -> Response:
    await _require_logged_out(request)
    link = await verify_link(request, "invite")
    form = Form.blank(Join, app_state(request.scope).password_policy)
    return page(request, "join/page.html", TITLE, panel="blank", **_context(form, link))


async def submit(request: Request) -> Response:
    """Creates the account and logs in, or asks to confirm the email first."""
    await _require_logged_out(request)
    link = await verify_link(request, "invite")
    state = app_state(request.scope)
    form = Form.check(
        Join, await read_fields(request), state.password_policy, {"email": link.email}
    )
    if form.data is None:
        return _respond_with_errors(request, form, link)
    try:
        session = await invitations.join(
            state.store,
            token=link.token,
            link=await read_sent_link(request),
            name=form.data.name,
            password=form.data.password,
            client=get_client_info(request),
        )
    except JOIN_FAILURES as error:
        return _respond_with_errors(
            request, form, link, *apply_error(request, form, error, JOIN_ERRORS)
        )
    delete_link_cookie(request.scope)
    if session is None:
        return redirect_across_login(request, to=f"{url_path(request, 'login')}?new=1")
    return redirect_across_login(request, to=url_path(request, "dashboard"), session=session)


async def _require_logged_out(request: Request) -> None:
    """Raises LinkOfOtherUser for a logged-in user, since an invitation creates a new account."""
    if read_claims(request.scope) is not None and await is_session_live(request):
        raise LinkOfOtherUser


def _context(form: Form[Join], link: OpenedLink) -> dict[str, Any]:
    return {"form": form, "email": link.email, "link": link.id}


def _respond_with_errors(
    request: Request,
    form: Form[Join],
    link: OpenedLink,
    status: int = 422,
    retry_after: int | None = None,
) -> Response:
    return refused_form(
        request,
        "join/page.html",
        TITLE,
        form_id="join-form",
        fragment="join/form.html",
        status=status,
        retry_after=retry_after,
        panel="blank",
        **_context(form, link),
    )
