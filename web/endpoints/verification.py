"""Contains the endpoints that confirm the email of an account and send the link again."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from db.access import email_verification
from db.access.email_verification import VerificationState
from db.errors import RateLimited
from db.messages import Message
from db.viewer import Viewer
from web.forms.form import read_fields
from web.http.link_cookie import delete_link_cookie, read_link_cookie, read_sent_link, verify_link
from web.http.redirects import default_page, wanted_page
from web.http.session import verify_session
from web.rendering.flash_messages import confirm, set_flash
from web.rendering.formatting import wait
from web.rendering.responses import (
    changed_fragment,
    is_htmx,
    page,
    redirect_across_login,
    refused_form,
    url_path,
)

TITLE: Final = Message("Confirm your email")
SENT_A_MOMENT_AGO: Final = Message("We sent one a moment ago. Try again in {wait}.")


async def show(request: Request) -> Response:
    viewer = await verify_session(request)
    link = await verify_link(request, "verify", viewer)
    return page(
        request,
        "verification/page.html",
        TITLE,
        layout="app",
        me=viewer.me,
        email=link.email,
        link=link.id,
    )


async def submit(request: Request) -> Response:
    """Confirms the email. Needs the link and a session of its account."""
    viewer = await verify_session(request)
    await email_verification.verify_email(
        viewer, token=read_link_cookie(request.scope), link=await read_sent_link(request)
    )
    delete_link_cookie(request.scope)
    set_flash(request, "email-confirmed")
    return redirect_across_login(request, to=url_path(request, "dashboard"))


async def send_again(request: Request) -> Response:
    """Sends a new link, and returns the banner with the result.

    A plain form is redirected to the page with the banner, and from a link that no longer works to
    the dashboard.
    """
    viewer = await verify_session(request)
    await read_fields(request)  # The form may have no fields, but must be a form.
    try:
        await email_verification.send_again(viewer)
    except RateLimited as error:
        message = SENT_A_MOMENT_AGO.format(wait=wait(error.retry_after))
        return await _respond_with_errors(request, viewer, message, error.retry_after)
    flash = confirm(request, "link-sent")
    if not is_htmx(request):
        target = wanted_page(request)
        return RedirectResponse(
            default_page(request) if target == url_path(request, "verify") else target, 303
        )
    return changed_fragment(
        request,
        TITLE,
        to="account",
        fragment="verification/banner.html",
        toast=flash,
        **_context(viewer, await email_verification.get_state(viewer)),
    )


async def _respond_with_errors(
    request: Request, viewer: Viewer, message: str, retry_after: int
) -> Response:
    context = _context(viewer, await email_verification.get_state(viewer))
    return refused_form(
        request,
        "verification/required.html",
        TITLE,
        form_id="verify-banner",
        fragment="verification/banner.html",
        status=429,
        retry_after=retry_after,
        layout="app",
        **context | {"message": message},
    )


def _context(viewer: Viewer, state: VerificationState) -> dict[str, Any]:
    return {"me": viewer.me, "verification": state, "message": ""}
