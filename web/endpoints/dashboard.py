"""The dashboard: the user's or the administrator's, by the role that the database has now."""

from starlette.requests import Request
from starlette.responses import Response

from db.access import dashboard
from db.viewer import Viewer, require_admin
from web.http.session import verify_session
from web.rendering.flash_messages import take_notice
from web.rendering.responses import now, page


async def show(request: Request) -> Response:
    viewer = await verify_session(request, preload=dashboard.PRELOAD)
    if viewer.role == "admin":
        return await _for_admins(request, viewer)
    profile = await dashboard.get_profile(viewer)
    return page(
        request,
        "dashboard/user.html",
        "Dashboard",
        layout="house",
        me=viewer.me,
        profile=profile,
        device_count=profile.device_count,
        expires_at=viewer.expires_at,
        renewal_start=dashboard.renewal_start(viewer),
        now=now(request),
        notice=take_notice(request),
    )


async def _for_admins(request: Request, viewer: Viewer) -> Response:
    admin = require_admin(viewer)
    return page(
        request,
        "dashboard/admin.html",
        "Dashboard",
        layout="house",
        me=admin.me,
        figures=await dashboard.get_figures(admin),
        days=await dashboard.list_sign_ups(admin),
        newest=await dashboard.list_newcomers(admin),
        now=now(request),
        notice=take_notice(request),
    )
