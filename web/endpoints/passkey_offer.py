"""Contains the endpoint that declines the offer of a passkey. The dashboard shows the offer."""

from starlette.requests import Request
from starlette.responses import Response

from db.access import passkey_offer
from db.messages import Message
from web.forms.form import read_fields
from web.http.session import verify_session
from web.rendering.flash_messages import confirm
from web.rendering.responses import changed_fragment


async def decline(request: Request) -> Response:
    viewer = await verify_session(request)
    await read_fields(request)  # The form has no fields of its own, but must be a form.
    await passkey_offer.decline(viewer)
    return changed_fragment(
        request,
        Message("Dashboard"),
        to="dashboard",
        fragment="passkey_offer/declined.html",
        me=viewer.me,
        toast=confirm(request, "passkey-declined"),
    )
