"""Contains what the responses to every change of a second step have in common."""

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from db.factors.changes import FactorChange
from db.messages import Message
from web.rendering.display_email import display_email
from web.rendering.flash_messages import set_flash
from web.rendering.responses import redirect_across_login, url_path
from web.state import app_state

NOT_SAVED: Final = Message(
    "Save the codes, then tick this box. You need them if you lose your second step."
)
CODES_TITLE: Final = Message("Recovery codes for {email} at {url}, {date}. Each works once.")
TOO_MANY: Final = Message("Too many changes. Nothing was changed. Try again in {wait}.")


def codes_context(
    request: Request, email: str, codes: Sequence[str]
) -> dict[str, str | Sequence[str]]:
    """Returns what `partials/recovery_codes/list.html` displays, and the text of its file."""
    return {
        "codes": codes,
        "codes_title": CODES_TITLE,
        "codes_email": display_email(email),
        "site_url": app_state(request.scope).settings.public_url,
    }


def redirect_after_change(request: Request, name: str, done: FactorChange) -> Response:
    """Redirects to the security page, which shows the flash message of this name.

    The change has replaced the session of the request. Another message, whose name ends in
    `-others`, says that other devices were logged out.
    """
    set_flash(request, f"{name}-others" if done.ended else name)
    return redirect_across_login(
        request, to=url_path(request, "account-security"), session=done.session
    )
