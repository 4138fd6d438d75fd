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
from db.messages import Message
from db.sessions.claims import NewCookie
from web.http.cookies import queue_cookie, read_cookie
from web.rendering.responses import is_htmx
from web.state import app_state

MAX_AGE_SECONDS: Final = 60
NO_MESSAGES: Final[Mapping[str, str]] = MappingProxyType({})
FLASH_MESSAGES: Final[Mapping[str, str]] = {
    "logged-out": Message("You've logged out."),
    "logged-out-everywhere": Message("You've logged out everywhere."),
    "device-ended": Message("Device logged out."),
    "others-ended": Message("Your other devices are logged out."),
    "language-saved": Message("Language saved."),
    "profile-saved": Message("Profile saved."),
    "password-changed": Message("Password changed."),
    "password-changed-others": Message("Password changed. Your other devices are logged out."),
    "email-confirmed": Message("Email confirmed."),
    "codes-left-0": Message("You have used your last recovery code. Make new ones soon."),
    **{
        f"codes-left-{count}": Message.plural(
            "You have {count} recovery code left.",
            "You have {count} recovery codes left.",
            count,
        )
        for count in range(1, 10)
    },
    "email-changed": Message("Email changed. Log in with the new one from now on."),
    "email-change-asked": Message("We sent a link to the new email."),
    "email-change-canceled": Message("Your email stays as it is."),
    "link-sent": Message("We sent a new link."),
    "authenticator-added": Message("Authenticator app set up."),
    "authenticator-added-others": Message(
        "Authenticator app set up. Your other devices are logged out."
    ),
    "authenticator-removed": Message("Authenticator app removed."),
    "authenticator-removed-others": Message(
        "Authenticator app removed. Your other devices are logged out."
    ),
    "codes-renewed": Message("New recovery codes: the old ones no longer work."),
    "codes-renewed-others": Message(
        "New recovery codes: the old ones no longer work. Your other devices are logged out."
    ),
    "role-changed": Message("Role changed."),
    "token-deleted": Message("Access token deleted."),
    "identity-added": Message("Connected."),
    "identity-added-others": Message("Connected. Your other devices are logged out."),
    "identity-removed": Message("Disconnected."),
    "identity-removed-others": Message("Disconnected. Your other devices are logged out."),
    "passkey-added": Message("Passkey added."),
    "passkey-added-others": Message("Passkey added. Your other devices are logged out."),
    "passkey-removed-others": Message("Passkey removed. Your other devices are logged out."),
    "passkey-renamed": Message("Passkey renamed."),
    "passkey-removed": Message("Passkey removed."),
    "role-added": Message("Role added."),
    "role-saved": Message("Role saved."),
    "role-deleted": Message("Role deleted."),
    "organization-added": Message("Organization added. Verify its domain next."),
    "organization-saved": Message("Organization saved."),
    "organization-unverified": Message("Organization saved. Verify its domain again."),
    "organization-verified": Message("Domain verified."),
    "organization-removed": Message("Organization removed."),
    "role-given-up": Message("You're no longer an administrator."),
    "team-changed": Message("Team changed."),
    "account-disabled": Message("Account disabled, and logged out everywhere."),
    "account-enabled": Message("Account enabled."),
    "account-added": Message("Account created. We sent its user a mail."),
    "account-closed": Message("Account disabled. It will be deleted in seven days."),
    "account-kept": Message("The account won't be deleted."),
    "account-leaving": Message(
        "You've been logged out everywhere. Your account will be deleted in seven days. "
        "If you want to keep it, log in before then."
    ),
    "own-account-kept": Message("Your account won't be deleted."),
    "invited": Message("Invitation sent."),
    "invited-by-link": Message("Invited. Copy the link and pass it on."),
    "invited-again": Message("Invitation sent again. It is valid for another seven days."),
    "invitation-withdrawn": Message("Invitation withdrawn."),
    "sessions-ended": Message("Logged out everywhere."),
    "passkey-declined": Message("We won't ask again. You can add a passkey under Security."),
}
# The cookie with this name makes the dashboard offer a passkey, if it is the next page.
PASSKEY_OFFER: Final = "passkey-offer"


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


def offer_passkey(request: Request) -> None:
    """Makes the next page offer a passkey, if it is the dashboard. Another message replaces this.

    Called after a log-in with a password. A sign-up makes no offer, because the first page of a new
    account has enough to read.
    """
    if app_state(request.scope).settings.factors.rp_id:
        set_flash(request, PASSKEY_OFFER)


def is_passkey_offered(request: Request) -> bool:
    """Returns whether the request is the first one after a log-in with a password."""
    return read_cookie(request.scope, "notice") == PASSKEY_OFFER


def _find_message(request: Request, name: str) -> str:
    """Returns the message of this name, or an empty string if the name is unknown."""
    return FLASH_MESSAGES.get(name) or app_state(request.scope).product.messages.get(name, "")
