"""Contains the messages that a page displays after a redirect, such as "Profile saved.".

The redirect's response sets a short-lived cookie with the name of a message. The URL therefore
stays the same, and reloading does not repeat the message. An attacker cannot display other words,
because only the names in FLASH_MESSAGES, or in the messages of a product, have a message.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from starlette.requests import Request

from db.crypto.secret import Secret
from db.sessions.claims import NewCookie
from web.http.cookies import queue_cookie, read_cookie
from web.rendering.responses import is_htmx
from web.state import app_state

MAX_AGE_SECONDS: Final = 60
NO_MESSAGES: Final[Mapping[str, str]] = MappingProxyType({})
FLASH_MESSAGES: Final[Mapping[str, str]] = {
    "logged-out": "You've logged out.",
    "logged-out-everywhere": "You've logged out everywhere.",
    "device-ended": "Device logged out.",
    "others-ended": "Your other devices are logged out.",
    "profile-saved": "Profile saved.",
    "password-changed": "Password changed.",
    "password-changed-others": "Password changed. Your other devices are logged out.",
    "email-confirmed": "Email confirmed.",
    "email-changed": "Email changed. Log in with the new one from now on.",
    "email-change-asked": "We sent a link to the new email.",
    "email-change-canceled": "Your email stays as it is.",
    "link-sent": "We sent a new link.",
    "role-changed": "Role changed.",
    "token-deleted": "Access token deleted.",
    "role-added": "Role added.",
    "role-saved": "Role saved.",
    "role-deleted": "Role deleted.",
    "role-given-up": "You're no longer an administrator.",
    "team-changed": "Team changed.",
    "account-disabled": "Account disabled, and logged out everywhere.",
    "account-enabled": "Account enabled.",
    "account-added": "Account created. We sent its user a mail.",
    "account-closed": "Account disabled. It will be deleted in seven days.",
    "account-kept": "The account won't be deleted.",
    "account-leaving": (
        "You've been logged out everywhere. Your account will be deleted in seven days. "
        "If you want to keep it, log in before then."
    ),
    "own-account-kept": "Your account won't be deleted.",
    "invited": "Invitation sent.",
    "invited-by-link": "Invited. Copy the link and pass it on.",
    "invited-again": "Invitation sent again. It is valid for another seven days.",
    "invitation-withdrawn": "Invitation withdrawn.",
    "sessions-ended": "Logged out everywhere.",
}


def set_flash(request: Request, name: str) -> None:
    """Makes the next page display the message of this name."""
    queue_cookie(request.scope, "notice", NewCookie(Secret(name), MAX_AGE_SECONDS))


def confirm(request: Request, name: str, toast: str = "") -> str:
    """Returns the text of the toast that confirms a change.

    A plain form displays the message of this name on the next page instead. `toast` replaces the
    message for htmx, for example with numbers.
    """
    if not is_htmx(request):
        set_flash(request, name)
    message = toast or _find_message(request, name)
    if not message:
        raise KeyError(name)
    return message


def pop_flash(request: Request, messages: Mapping[str, str] = NO_MESSAGES) -> str:
    """Returns the message that the cookie names, and deletes the cookie.

    `messages` replaces some messages on this page, for example by ones with the name of a user.
    Returns an empty string if there is no cookie or its name is unknown.
    """
    name = read_cookie(request.scope, "notice")
    if name is None:
        return ""
    queue_cookie(request.scope, "notice", None)
    return messages.get(name) or _find_message(request, name)


def _find_message(request: Request, name: str) -> str:
    """Returns the message of this name, or an empty string if the name is unknown."""
    return FLASH_MESSAGES.get(name) or app_state(request.scope).product.messages.get(name, "")
