"""Contains the security page of the account: the state of its password, email, devices and
access tokens.
"""

from starlette.requests import Request
from starlette.responses import Response

from db.access import security
from db.access.email_verification import VerificationState
from db.messages import Message
from web.http.session import verify_session
from web.rendering.flash_messages import pop_flash
from web.rendering.responses import now, page

TITLE = Message("Security")


async def show(request: Request) -> Response:
    viewer = await verify_session(request, preload=security.PRELOAD)
    state = await security.get_state(viewer)
    return page(
        request,
        "security/page.html",
        TITLE,
        layout="app",
        me=viewer.me,
        state=state,
        expires_at=viewer.expires_at,
        renewal_start=security.renewal_start(viewer),
        lifetime=security.idle_lifetime(viewer),
        verification=None
        if viewer.verified
        else VerificationState(state.email, False, "", state.is_mail_refused),
        message="",
        now=now(request),
        flash=pop_flash(request),
    )
