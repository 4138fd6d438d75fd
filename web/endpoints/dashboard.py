"""Contains the dashboards of users and administrators. The role in the database selects one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from db.access import dashboard, passkey_offer, security
from db.access.email_verification import VerificationState
from db.access.security import SecurityState
from db.messages import Message
from db.viewer import Viewer, needs_factor, require_admin
from web.http.session import verify_session
from web.rendering.flash_messages import is_passkey_offered, pop_flash
from web.rendering.responses import now, page
from web.state import app_state

if TYPE_CHECKING:
    from web.product import DashboardCard

TITLE = Message("Dashboard")


async def show(request: Request) -> Response:
    viewer = await verify_session(request, preload=security.PRELOAD)
    # An administrator without a needed second step gets the dashboard of users, with the request to
    # add one.
    if viewer.role == "admin" and not needs_factor(viewer):
        return await _for_admins(request, viewer)
    security_state = await security.get_state(viewer)
    cards = app_state(request.scope).product.user_cards
    return page(
        request,
        "dashboard/user.html",
        TITLE,
        layout="app",
        activity=await dashboard.get_activity(viewer, security_state),
        cards=await _load_cards(viewer, cards),
        **_own_context(request, viewer, security_state),
    )


async def _for_admins(request: Request, viewer: Viewer) -> Response:
    admin, state = require_admin(viewer), app_state(request.scope)
    security_state = await security.get_state(admin)
    figures = await dashboard.get_figures(admin)
    days = await dashboard.count_sign_ups_by_day(admin)
    busiest = max(day.count for day in days)
    return page(
        request,
        "dashboard/admin.html",
        TITLE,
        layout="app",
        figures=figures,
        days=days,
        scale=dashboard.make_scale(busiest) if busiest else (),
        latest=await dashboard.list_latest_events(admin),
        last=dashboard.get_previous_login(admin, security_state, figures),
        sends_mail=state.settings.sends_mail,
        cards=await _load_cards(admin, state.product.admin_cards),
        **_own_context(request, admin, security_state),
    )


def _own_context(request: Request, viewer: Viewer, security_state: SecurityState) -> dict[str, Any]:
    """Returns what both dashboards show about the viewer.

    The offer of a passkey does not appear together with the request to confirm the email.
    """
    is_offer_due = passkey_offer.is_offer_due(viewer, security_state)
    is_confirmed = viewer.verified or not app_state(request.scope).settings.sends_mail
    return {
        "me": viewer.me,
        "state": security_state,
        "delete_at": security_state.delete_at,
        "is_factor_required": needs_factor(viewer),
        "rp_id": app_state(request.scope).settings.factors.rp_id,
        "is_passkey_offered": is_passkey_offered(request) and is_offer_due and is_confirmed,
        "verification": None
        if viewer.verified
        else VerificationState(security_state.email, False, "", security_state.is_mail_refused),
        "message": "",
        "now": now(request),
        "flash": pop_flash(request),
    }


async def _load_cards(viewer: Viewer, cards: "Sequence[DashboardCard]") -> list[tuple[str, object]]:
    """Returns the partial and the data of each card of the product."""
    return [(card.partial, await card.load(viewer)) for card in cards]
