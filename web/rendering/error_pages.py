"""Contains the texts of error responses, and renders them as a page, a fragment or JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from db.messages import Message, UserText
from web.http.methods import SAFE_METHODS
from web.http.session import read_claims
from web.observability.logs import request_reference
from web.rendering.formatting import size
from web.rendering.problem_details import is_api, problem
from web.rendering.responses import page, replaced_page, url_path, visible_path
from web.state import app_state, request_state

FRONT_PAGE: Final = Message("Go to the front page")
TRY_AGAIN: Final = Message("Try again")
TO_SECURITY_PAGE: Final = Message("Go to the security page")


@dataclass(frozen=True, slots=True)
class ErrorText:
    """The text of an error page.

    `panel` is the drawing beside the text, and `action` is the label of the button. `route` names
    the page that the button opens; by default it is the dashboard or the front page. With `posts`,
    the button sends a form to it instead. With `replaces_page`, htmx displays the error in place of
    the page, and not in a summary above the form.
    """

    heading: str
    text: tuple[str, ...]
    panel: str = "loose"
    action: str = FRONT_PAGE
    route: str = ""
    posts: bool = False
    replaces_page: bool = False


ERROR_TEXTS: Final[Mapping[int, ErrorText]] = {
    403: ErrorText(
        Message("You don't have access to this page"),
        (Message("This page is for administrators. If you need access, ask one of them."),),
        "barred",
    ),
    404: ErrorText(
        Message("Page not found"),
        (
            Message("The URL may be mistyped, or the page may have been removed."),
            Message("Or you may not have access to it."),
        ),
        "holes",
    ),
    405: ErrorText(
        Message("This page can't be used that way"),
        (Message("Go back, and use the links and buttons on the page."),),
        "holes",
    ),
    409: ErrorText(
        Message("Nothing was changed"),
        (Message("Reload the page that you came from, and try again."),),
        "lid",
    ),
    413: ErrorText(
        Message("That's too long"),
        (Message("That's more than we accept ({max_body}). Shorten it and try again."),),
        "lid",
    ),
    415: ErrorText(
        Message("We couldn't read that form"),
        (Message("Open the page again, and send the form on it."),),
        "lid",
    ),
    429: ErrorText(
        Message("Too many attempts"),
        (Message("Wait a little and try again."),),
        "lid",
        TRY_AGAIN,
    ),
    431: ErrorText(
        Message("That's more than we accept"),
        (
            Message(
                "Your browser sent too many cookies or headers. Clear this site's cookies "
                "and try again."
            ),
        ),
        "lid",
    ),
    500: ErrorText(
        Message("Something went wrong on our side"),
        (
            Message(
                "Nothing was left half done. Try again. If it keeps happening, send us the "
                "reference below."
            ),
        ),
        "loose",
        TRY_AGAIN,
    ),
    503: ErrorText(
        Message("We can't answer right now"),
        (
            Message(
                "We're too busy or can't reach our database. You weren't logged out. "
                "Try again in a few seconds."
            ),
        ),
        "loose",
        TRY_AGAIN,
    ),
}
FOREIGN_ORIGIN_TEXT: Final = ErrorText(
    Message("This came from another site"),
    (
        Message(
            "We only accept forms from our own pages. Nothing was changed. "
            "Open the page and try again."
        ),
    ),
    "barred",
)
WRONG_ROLE_TEXT: Final = ErrorText(
    Message("You don't have access to this page"),
    (Message("Your role doesn't include this. If you need access, ask an administrator."),),
    "barred",
)
UNKNOWN_ROLE_TEXT: Final = ErrorText(
    Message("That didn't go through"),
    (Message("That role doesn't exist. Reload the page and try again."),),
    "lid",
)
ROLE_IN_USE_TEXT: Final = ErrorText(
    Message("This role is in use"),
    (Message("A user or an invitation has this role. Give them another role first."),),
    "lid",
)
STATE_CHANGED_TEXT: Final = ErrorText(
    Message("The account has changed since"),
    (Message("Nothing was changed. Reload the page to see the account as it is now."),),
    "lid",
)
LAST_ADMIN_TEXT: Final = ErrorText(
    Message("This is the last administrator"),
    (
        Message(
            "The last administrator can't be demoted, disabled or deleted. "
            "Make someone else an administrator first."
        ),
    ),
    "lid",
)
LAST_WAY_IN_TEXT: Final = ErrorText(
    Message("This is the last way into your account"),
    (Message("Set a password or add a passkey first."),),
    "lid",
    TO_SECURITY_PAGE,
    "account-security",
)
LAST_FACTOR_TEXT: Final = ErrorText(
    Message("Administrators need a second step"),
    (Message("Add another before you remove this one."),),
    "lid",
    TO_SECURITY_PAGE,
    "account-security",
)


def error_response(
    request: Request,
    status: int,
    error_text: ErrorText | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    retry_after: int | None = None,
) -> Response:
    error_text = (
        error_text
        or ERROR_TEXTS.get(status)
        or ErrorText(
            HTTPStatus(status).phrase, (Message("That didn't work. Go back and try again."),)
        )
    )
    if status == 413:
        max_body = size(app_state(request.scope).settings.max_body)
        sentences = [sentence.format(max_body=max_body) for sentence in error_text.text]
        error_text = replace(error_text, text=tuple(sentences))
    response = (
        problem(status, error_text.text[0])
        if is_api(request)
        else _error_page(request, status, error_text)
    )
    response.headers.update(dict(headers or {}))
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _error_page(request: Request, status: int, error_text: ErrorText) -> Response:
    is_logged_in = read_claims(request.scope) is not None
    # The navigation bar uses the row of the viewer if the request has already read it.
    viewer = request_state(request.scope).get("viewer")
    # The page of a link in a mail has no form left to correct, so the error replaces it.
    show = replaced_page if error_text.replaces_page else page
    return show(
        request,
        "ui/error.html",
        error_text.heading,
        me=viewer.me if viewer else None,
        layout="app" if is_logged_in else "centered",
        panel=error_text.panel,
        plate=error_text.panel,
        http_status=status,
        status=status,
        heading=error_text.heading,
        sentences=list(error_text.text),
        action=_action(request, error_text, is_logged_in),
        request_id=request_reference(request) if status >= 500 else "",
    )


def _action(request: Request, error_text: ErrorText, is_logged_in: bool) -> dict[str, str | bool]:
    label: str = FRONT_PAGE
    url = url_path(request, "home")
    if error_text.route:
        url, label = url_path(request, error_text.route), error_text.action
    elif error_text.action == TRY_AGAIN and request.method in SAFE_METHODS:
        url, label = visible_path(request, request.scope["path"]), error_text.action
    elif is_logged_in:
        url, label = url_path(request, "dashboard"), Message("Go to your dashboard")
    return {"url": url, "label": label, "posts": error_text.posts}


def refused_text(sentence: str) -> ErrorText:
    return ErrorText(Message("That didn't go through"), (sentence,), "lid")


def viewer_mismatch_text(name: str) -> ErrorText:
    return ErrorText(
        Message("Another account is logged in now"),
        (
            Message(
                "You are logged in as {name}, but this page was opened from another account. "
                "Nothing was changed. Reload the page."
            ).format(name=UserText(name)),
        ),
        "lid",
    )
