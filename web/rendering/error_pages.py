"""Contains the texts of error responses, and renders them as a page, a fragment or JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from db.messages import Message
from web.http.methods import SAFE_METHODS
from web.http.session import read_claims
from web.observability.logs import request_reference
from web.rendering.formatting import size
from web.rendering.problem_details import is_api, problem
from web.rendering.responses import page, replaced_page, url_path, visible_path
from web.state import app_state, request_state


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
    action: str = "Go to the front page"
    route: str = ""
    posts: bool = False
    replaces_page: bool = False


ERROR_TEXTS: Final[Mapping[int, ErrorText]] = {
    403: ErrorText(
        "You don't have access to this page",
        ("This page is for administrators. If you need access, ask one of them.",),
        "barred",
    ),
    404: ErrorText(
        "Page not found",
        (
            "The URL may be mistyped, or the page may have been removed.",
            "Or you may not have access to it.",
        ),
        "holes",
    ),
    405: ErrorText(
        "This page can't be used that way",
        ("Go back, and use the links and buttons on the page.",),
        "holes",
    ),
    409: ErrorText(
        "Nothing was changed", ("Reload the page that you came from, and try again.",), "lid"
    ),
    413: ErrorText(
        "That's too long",
        ("That's more than we accept ({max_body}). Shorten it and try again.",),
        "lid",
    ),
    415: ErrorText(
        "We couldn't read that form", ("Open the page again, and send the form on it.",), "lid"
    ),
    429: ErrorText(
        "Too many attempts",
        ("Wait a little and try again.",),
        "lid",
        "Try again",
    ),
    431: ErrorText(
        "That's more than we accept",
        (
            "Your browser sent too many cookies or headers. Clear this site's cookies "
            "and try again.",
        ),
        "lid",
    ),
    500: ErrorText(
        "Something went wrong on our side",
        (
            "Nothing was left half done. Try again. If it keeps happening, send us the "
            "reference below.",
        ),
        "loose",
        "Try again",
    ),
    503: ErrorText(
        "We can't answer right now",
        (
            "We're too busy or can't reach our database. You weren't logged out. "
            "Try again in a few seconds.",
        ),
        "loose",
        "Try again",
    ),
}
FOREIGN_ORIGIN_TEXT: Final = ErrorText(
    "This came from another site",
    ("We only accept forms from our own pages. Nothing was changed. Open the page and try again.",),
    "barred",
)
WRONG_ROLE_TEXT: Final = ErrorText(
    "You don't have access to this page",
    ("Your role doesn't include this. If you need access, ask an administrator.",),
    "barred",
)
UNKNOWN_ROLE_TEXT: Final = ErrorText(
    "That didn't go through",
    ("That role doesn't exist. Reload the page and try again.",),
    "lid",
)
ROLE_IN_USE_TEXT: Final = ErrorText(
    "This role is in use",
    ("A user or an invitation has this role. Give them another role first.",),
    "lid",
)
STATE_CHANGED_TEXT: Final = ErrorText(
    Message("The account has changed since"),
    (Message("Nothing was changed. Reload the page to see the account as it is now."),),
    "lid",
)
LAST_ADMIN_TEXT: Final = ErrorText(
    "This is the last administrator",
    (
        "The last administrator can't be demoted, disabled or deleted. "
        "Make someone else an administrator first.",
    ),
    "lid",
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
        or ErrorText(HTTPStatus(status).phrase, ("That didn't work. Go back and try again.",))
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
    url, label = url_path(request, "home"), "Go to the front page"
    if error_text.route:
        url, label = url_path(request, error_text.route), error_text.action
    elif error_text.action == "Try again" and request.method in SAFE_METHODS:
        url, label = visible_path(request, request.scope["path"]), error_text.action
    elif is_logged_in:
        url, label = url_path(request, "dashboard"), "Go to your dashboard"
    return {"url": url, "label": label, "posts": error_text.posts}


def refused_text(sentence: str) -> ErrorText:
    return ErrorText("That didn't go through", (sentence,), "lid")


def viewer_mismatch_text(name: str) -> ErrorText:
    return ErrorText(
        "Another account is logged in now",
        (
            f"You are logged in as {name}, but this page was opened from another account. "
            "Nothing was changed. Reload the page.",
        ),
        "lid",
    )
