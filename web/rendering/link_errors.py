"""Contains the error pages of the links in mails, and of viewers with an unconfirmed email."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from db.messages import Message
from web.rendering.error_pages import ErrorText, error_response
from web.rendering.problem_details import is_api, problem
from web.rendering.responses import page
from web.state import request_state

DEAD_LINK: Final = Message(
    "This link was used already, has expired, or was replaced by a newer mail."
)
HEADING: Final = Message("This link no longer works")


def _dead_link(heading: str, *text: str, action: str, route: str, posts: bool = False) -> ErrorText:
    return ErrorText(heading, (DEAD_LINK, *text), "holes", action, route, posts, True)


# The keys are the names of the routes that the links lead to.
DEAD_LINK_TEXTS: Final[Mapping[str, ErrorText]] = {
    "reset": _dead_link(HEADING, action=Message("Ask for a new link"), route="forgot"),
    "verify": _dead_link(
        HEADING, action=Message("Send a new link"), route="account-verify", posts=True
    ),
    "change-email": _dead_link(
        HEADING,
        Message("To change your email, ask for a new link on your account page."),
        action=Message("Go to your account"),
        route="account",
    ),
    "not-me": _dead_link(
        HEADING,
        Message(
            "If someone else may have access to your account, choose a new password. "
            "That logs out every device."
        ),
        action=Message("Choose a new password"),
        route="forgot",
    ),
    "keep": _dead_link(
        HEADING,
        Message(
            "To keep your account, log in. If that's not possible anymore, the account was deleted "
            "or disabled."
        ),
        action=Message("Log in"),
        route="login",
    ),
    "join": _dead_link(
        HEADING,
        Message(
            "If you have an account, log in. Otherwise ask the administrator who invited you for a "
            "new invitation."
        ),
        action=Message("Log in"),
        route="login",
    ),
}
CONFIRMED_TEXT: Final = _dead_link(
    Message("Your email is already confirmed"),
    Message("You don't need a new link."),
    action=Message("Go to your dashboard"),
    route="dashboard",
)
OTHER_USER_TEXT: Final = ErrorText(
    Message("You're logged in to another account"),
    (Message("This link belongs to another account. Log out, then open the link again."),),
    "lid",
    Message("Log out"),
    "logout",
    posts=True,
    replaces_page=True,
)
REQUIRED_TITLE: Final = Message("Confirm your email first")
MISMATCH_TEXT: Final = ErrorText(
    Message("Nothing was changed"),
    (Message("Another link was opened in this browser. Open the link in your mail again."),),
    "lid",
    replaces_page=True,
)


def dead_link_response(request: Request) -> Response:
    """Returns status 410 with the way to a new link of the same purpose."""
    route = request.scope["route"].name
    viewer = request_state(request.scope).get("viewer")
    if route == "verify" and viewer is not None and viewer.verified:
        return error_response(request, 410, CONFIRMED_TEXT)
    return error_response(request, 410, DEAD_LINK_TEXTS.get(route, DEAD_LINK_TEXTS["reset"]))


def not_verified_response(request: Request) -> Response:
    """Returns status 403 with the banner that sends the link again."""
    if is_api(request):
        return problem(403, "Confirm your email first.")
    viewer = request_state(request.scope).get("viewer")
    return page(
        request,
        "verification/required.html",
        REQUIRED_TITLE,
        me=viewer.me if viewer else None,
        layout="app",
        http_status=403,
        verification=None,
        message="",
    )
