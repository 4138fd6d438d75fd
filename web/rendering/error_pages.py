"""Error pages: the texts for each status, as a page, as a fragment and as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from web.http.session import peek
from web.observability.logs import reference
from web.rendering.problem_details import is_api, problem
from web.rendering.responses import page, path_of


@dataclass(frozen=True, slots=True)
class Words:
    """What a person is told.

    `panel` is the drawing beside it, `action` the label of the one button.
    """

    heading: str
    text: tuple[str, ...]
    panel: str = "loose"
    action: str = "Go to the front page"


WORDS: Final[Mapping[int, Words]] = {
    403: Words(
        "This door is not yours to open",
        ("This page is for administrators. If you need access, ask one of them.",),
        "barred",
    ),
    404: Words(
        "There is no door here",
        (
            "The address may be mistyped, or the page may be gone.",
            "Or it belongs to somebody else; we wouldn’t tell.",
        ),
        "holes",
    ),
    405: Words(
        "This door does not open that way",
        ("The address is right, but it cannot be used like this.",),
        "holes",
    ),
    409: Words(
        "Nothing was changed", ("Reload the page that you came from, and try again.",), "lid"
    ),
    413: Words(
        "That is too much at once",
        ("What was sent is larger than 64 KiB. Send less, and try again.",),
        "lid",
    ),
    415: Words("That is not a form of ours", ("Please use the forms on this site.",), "lid"),
    429: Words(
        "Too many tries",
        ("To keep guessers out, this door stays shut for a little while.",),
        "lid",
        "Try again",
    ),
    431: Words(
        "That is too much at once",
        (
            "Your browser sent too many cookies or headers. Clear this site’s cookies "
            "and try again.",
        ),
        "lid",
    ),
    500: Words(
        "Something broke on our side",
        (
            "It’s not your fault, and nothing was left half done. Try again; if it keeps "
            "happening, send us the "
            "reference below.",
        ),
        "loose",
        "Try again",
    ),
    503: Words(
        "We will be right back",
        (
            "Latchkey is too busy, or cannot reach its database. Nothing is lost, and "
            "nobody was logged out.",
        ),
        "loose",
        "Try again",
    ),
}
FOREIGN: Final = Words(
    "This came from another site",
    (
        "To keep you safe, we only accept forms from our own pages. Nothing was done: "
        "open the page and try again.",
    ),
    "barred",
)
LAST_ADMIN: Final = Words(
    "Somebody has to keep the keys",
    (
        "This is the last administrator, so the account can’t be demoted or disabled. "
        "Nothing was changed.",
    ),
    "lid",
)


def error_response(
    request: Request,
    status: int,
    words: Words | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    retry_after: int | None = None,
) -> Response:
    words = words or WORDS.get(status) or Words(HTTPStatus(status).phrase, ("That didn’t work.",))
    response = (
        problem(status, words.text[0]) if is_api(request) else _error_page(request, status, words)
    )
    response.headers.update(dict(headers or {}))
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _error_page(request: Request, status: int, words: Words) -> Response:
    member = peek(request.scope) is not None
    # the bar is that of the row, where it was asked for
    viewer = getattr(request.state, "viewer", None)
    return page(
        request,
        "ui/error.html",
        words.heading,
        me=viewer and viewer.me,
        layout="house" if member else "door",
        panel=words.panel,
        plate=words.panel,
        http_status=status,
        status=status,
        heading=words.heading,
        words=list(words.text),
        action=_action(request, words, member),
        request_id=reference(request) if status >= 500 else "",
    )


def _action(request: Request, words: Words, member: bool) -> dict[str, str]:
    if words.action == "Try again" and request.method in ("GET", "HEAD"):
        return {"url": str(request.scope["path"]), "label": words.action}
    if member:
        return {"url": path_of(request, "dashboard"), "label": "Go to your dashboard"}
    return {"url": path_of(request, "home"), "label": "Go to the front page"}


def other_viewer(name: str) -> Words:
    return Words(
        "Somebody else is logged in now",
        (
            f"You are logged in as {name}, but this page was opened from another account. "
            "Nothing was changed.",
        ),
        "lid",
    )
