"""What the page after a redirect says about the change before it, such as "Profile saved.".

The redirect's response carries the name of a sentence in a short-lived cookie: the URL stays the
same, reloading does not repeat the sentence, and nobody can put other words on a page, because only
names in FLASH_MESSAGES have a sentence.
"""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request

from db.crypto.secret import Secret
from db.sessions.claims import NewCookie
from web.http.cookies import queue_cookie, read_cookie
from web.rendering.responses import is_htmx

MAX_AGE_SECONDS: Final = 60
FLASH_MESSAGES: Final[Mapping[str, str]] = {
    "logged-out": "You've logged out.",
    "logged-out-everywhere": "You've logged out everywhere.",
    "device-ended": "Device logged out.",
    "others-ended": "Your other devices are logged out.",
    "profile-saved": "Profile saved.",
    "password-changed": "Password changed.",
    "password-changed-others": "Password changed. Your other devices are logged out.",
    "role-changed": "Role changed.",
    "role-given-up": "You're no longer an administrator.",
    "team-changed": "Team changed.",
    "account-disabled": "Account disabled, and logged out everywhere.",
    "account-enabled": "Account enabled.",
    "sessions-ended": "Logged out everywhere.",
}


def set_flash(request: Request, name: str) -> None:
    """Makes the next page show the sentence of this name."""
    queue_cookie(request.scope, "notice", NewCookie(Secret(name), MAX_AGE_SECONDS))


def confirm(request: Request, name: str, toast: str = "") -> str:
    """Returns the toast that confirms a change to htmx; a plain form gets the sentence of this name
    on the next page.

    `toast` is a longer sentence for htmx, such as one with figures.
    """
    if not is_htmx(request):
        set_flash(request, name)
    return toast or FLASH_MESSAGES[name]


def pop_flash(request: Request) -> str:
    """Returns the sentence to show, once; empty where there is none, or no sentence has the
    cookie's name.
    """
    name = read_cookie(request.scope, "notice")
    if name is None:
        return ""
    queue_cookie(request.scope, "notice", None)
    return FLASH_MESSAGES.get(name, "")
