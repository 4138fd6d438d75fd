"""Contains the endpoints with which users delete their account, and keep it within seven days."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import account, account_deletion
from db.errors import RateLimited, Refused, Unavailable
from db.messages import Message
from db.viewer import Viewer
from web.forms.form import Form, read_fields
from web.forms.schemas import OwnDeletion
from web.http.client_info import get_client_info
from web.http.link_cookie import delete_link_cookie, read_sent_link, verify_link
from web.http.session import verify_session
from web.http.sudo import verify_sudo
from web.rendering.flash_messages import confirm, set_flash
from web.rendering.form_errors import BUSY, apply_error
from web.rendering.responses import (
    changed_fragment,
    now,
    page,
    redirect_across_login,
    refused_form,
    url_path,
)
from web.state import app_state

TITLE: Final = Message("Delete your account")
KEEP_TITLE: Final = Message("Keep your account?")
KEPT_TITLE: Final = Message("Your account is kept")
DELETION_ERRORS: Final = {
    RateLimited: Message("Too many attempts. Your account was not deleted. Try again in {wait}."),
    Unavailable: BUSY,
}


async def show(request: Request) -> Response:
    sudo = await verify_sudo(request)
    context = await _context(request, sudo.viewer, Form.blank(OwnDeletion))
    return page(request, "account_deletion/page.html", TITLE, layout="app", **context)


async def submit(request: Request) -> Response:
    """Schedules the deletion of the account in seven days, and logs out everywhere."""
    sudo = await verify_sudo(request)
    form = Form.check(OwnDeletion, await read_fields(request))
    if form.data is None:
        return await _respond_with_errors(request, sudo.viewer, form)
    try:
        await account_deletion.request_deletion(sudo)
    except (RateLimited, Refused, Unavailable) as error:
        answer = apply_error(request, form, error, DELETION_ERRORS)
        return await _respond_with_errors(request, sudo.viewer, form, *answer)
    set_flash(request, "account-leaving")
    return redirect_across_login(request, to=url_path(request, "login"), delete_cookie=True)


async def keep(request: Request) -> Response:
    """Keeps the account of a logged-in user."""
    viewer = await verify_session(request)
    await read_fields(request)
    await account_deletion.keep_account(viewer)
    return changed_fragment(
        request,
        Message("Account"),
        to="account",
        fragment="account_deletion/kept.html",
        me=viewer.me,
        toast=confirm(request, "own-account-kept"),
    )


async def show_link(request: Request) -> Response:
    if request.query_params.get("done") == "1":
        return page(request, "account_deletion/done.html", KEPT_TITLE)
    link = await verify_link(request, "keep")
    return page(
        request,
        "account_deletion/link.html",
        KEEP_TITLE,
        panel="lid",
        email=link.email,
        link=link.id,
    )


async def submit_link(request: Request) -> Response:
    """Keeps the account by the link of the mail, without a session."""
    link = await verify_link(request, "keep")
    await account_deletion.keep_account_by_link(
        app_state(request.scope).store,
        token=link.token,
        link=await read_sent_link(request),
        client=get_client_info(request),
    )
    delete_link_cookie(request.scope)
    return redirect_across_login(request, to=f"{url_path(request, 'keep')}?done=1")


async def _context(request: Request, viewer: Viewer, form: Form[OwnDeletion]) -> dict[str, Any]:
    saved = await account.get_account(viewer)
    return {
        "me": viewer.me,
        "form": form,
        "email": saved.email,
        "verified": viewer.verified,
        "delete_at": saved.delete_at,
        "now": now(request),
    }


async def _respond_with_errors(
    request: Request,
    viewer: Viewer,
    form: Form[OwnDeletion],
    status: int = 422,
    retry_after: int | None = None,
) -> Response:
    return refused_form(
        request,
        "account_deletion/page.html",
        TITLE,
        form_id="deletion-form",
        fragment="account_deletion/form.html",
        status=status,
        retry_after=retry_after,
        layout="app",
        **await _context(request, viewer, form),
    )
