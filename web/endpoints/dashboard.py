"""Contains the dashboards of users and administrators. The role in the database selects one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from db.access import dashboard, email_verification
from db.access.email_verification import VerificationState
from db.viewer import Viewer, require_admin
from web.http.session import verify_session
from web.rendering.flash_messages import pop_flash
from web.rendering.responses import now, page
from web.state import app_state

if TYPE_CHECKING:
    from web.product import DashboardCard


async def show(request: Request) -> Response:
    viewer = await verify_session(request, preload=dashboard.PRELOAD)
    if viewer.role == "admin":
        return await _for_admins(request, viewer)
    profile = await dashboard.get_own_profile(viewer)
    cards = app_state(request.scope).product.user_cards
    lifetimes = app_state(request.scope).settings.session_lifetimes
    return page(
        request,
        "dashboard/user.html",
        "Dashboard",
        layout="app",
        me=viewer.me,
        profile=profile,
        device_count=profile.device_count,
        expires_at=viewer.expires_at,
        lifetime=lifetimes.of(is_remembered=viewer.is_remembered).idle,
        delete_at=profile.delete_at,
        renewal_start=dashboard.renewal_start(viewer),
        now=now(request),
        flash=pop_flash(request),
        verification=None
        if viewer.verified
        else VerificationState(profile.email, False, "", profile.is_mail_refused),
        message="",
        cards=await _load_cards(viewer, cards),
    )


async def _for_admins(request: Request, viewer: Viewer) -> Response:
    admin = require_admin(viewer)
    cards = app_state(request.scope).product.admin_cards
    return page(
        request,
        "dashboard/admin.html",
        "Dashboard",
        layout="app",
        me=admin.me,
        figures=await dashboard.get_figures(admin),
        days=await dashboard.count_sign_ups_by_day(admin),
        delete_at=(await dashboard.get_own_profile(viewer)).delete_at,
        newest=await dashboard.list_recent_sign_ups(admin),
        now=now(request),
        flash=pop_flash(request),
        verification=None if admin.verified else await email_verification.get_state(admin),
        message="",
        cards=await _load_cards(admin, cards),
    )


async def _load_cards(viewer: Viewer, cards: "Sequence[DashboardCard]") -> list[tuple[str, object]]:
    """Returns the partial and the data of each card of the product."""
    return [(card.partial, await card.load(viewer)) for card in cards]
