"""Contains the endpoint behind "Not you?" in mails: it locks the account until its user returns."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import account_lock
from db.messages import Message
from web.forms.form import Form, read_fields
from web.forms.schemas import AccountLock
from web.http.client_info import get_client_info
from web.http.link_cookie import OpenedLink, delete_link_cookie, read_sent_link, verify_link
from web.http.session import read_claims
from web.rendering.responses import page, redirect_across_login, refused_form, url_path
from web.state import app_state

TITLE: Final = Message("Lock this account?")
DONE_TITLE: Final = Message("Account locked")


async def show(request: Request) -> Response:
    if request.query_params.get("done") == "1":
        return page(request, "account_lock/done.html", DONE_TITLE)
    link = await verify_link(request, "not-me")
    context = _context(Form.blank(AccountLock), link)
    return page(request, "account_lock/page.html", TITLE, panel="lid", **context)


async def submit(request: Request) -> Response:
    """Locks the account if the box is ticked."""
    link = await verify_link(request, "not-me")
    form = Form.check(AccountLock, await read_fields(request))
    if form.data is None:
        return refused_form(
            request,
            "account_lock/page.html",
            TITLE,
            form_id="not-me-form",
            fragment="account_lock/form.html",
            panel="lid",
            **_context(form, link),
        )
    await account_lock.lock_account(
        app_state(request.scope).store,
        token=link.token,
        link=await read_sent_link(request),
        client=get_client_info(request),
    )
    delete_link_cookie(request.scope)
    claims = read_claims(request.scope)
    is_own_session = claims is not None and claims.user_id == link.user_id
    return redirect_across_login(
        request, to=f"{url_path(request, 'not-me')}?done=1", delete_cookie=is_own_session
    )


def _context(form: Form[AccountLock], link: OpenedLink) -> dict[str, Any]:
    return {"form": form, "email": link.email, "event": link.event, "link": link.id}
