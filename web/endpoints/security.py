"""Contains the security page of the account: the state of the ways to log in, second steps, email,
devices and access tokens.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from db.access import identities, providers, security
from db.access.email_verification import VerificationState
from db.messages import Message
from db.viewer import needs_factor
from web.http.provider_cookies import find_identity
from web.http.session import verify_session
from web.rendering.flash_messages import pop_flash
from web.rendering.provider_texts import provider_label, trouble_text
from web.rendering.responses import now, page
from web.state import app_state

TITLE = Message("Security")


async def show(request: Request) -> Response:
    viewer = await verify_session(request, preload=security.PRELOAD)
    state = await security.get_state(viewer)
    factors = app_state(request.scope).settings.factors
    return page(
        request,
        "security/page.html",
        TITLE,
        layout="app",
        me=viewer.me,
        state=state,
        passkeys=await security.list_passkeys(viewer, state),
        rp_id=factors.rp_id,
        is_factor_required=needs_factor(viewer),
        remembered_for=factors.remembered_for,
        expires_at=viewer.expires_at,
        renewal_start=security.renewal_start(viewer),
        lifetime=security.idle_lifetime(viewer),
        verification=None
        if viewer.verified
        else VerificationState(state.email, False, "", state.is_mail_refused),
        message="",
        trouble=await trouble_text(request),
        identities=await identities.list_identities(viewer),
        providers=await providers.list_links_for(app_state(request.scope).store, state.email),
        **await _waiting_identity(request),
        now=now(request),
        flash=pop_flash(request),
    )


async def _waiting_identity(request: Request) -> dict[str, Any]:
    """Returns the identity that the user may connect to the account."""
    asserted = await find_identity(request) if request.query_params.get("connect") == "1" else None
    return {
        "waiting": providers.ProviderLink(
            asserted.provider, await provider_label(request, asserted.provider)
        )
        if asserted
        else None,
        "shown": (asserted.email or asserted.name or asserted.provider) if asserted else "",
    }
