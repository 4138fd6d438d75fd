"""Contains the functions that choose the language of a response, and store the choice."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from starlette.types import Scope

from db.crypto.secret import Secret
from db.sessions.claims import NewCookie
from web.http.cookies import queue_cookie, read_cookie
from web.languages import ENGLISH, Language
from web.state import app_state, request_state

COOKIE: Final = "language"
MAX_AGE_SECONDS: Final = 365 * 24 * 60 * 60
# Browsers send less than 100 characters.
MAX_HEADER_CHARS: Final = 300
# A language range with its quality value (RFC 9110, sections 12.4.2 and 12.5.4).
RANGE: Final = re.compile(
    r"(\*|[a-z]{1,8}(?:-[a-z0-9]{1,8})*)(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?",
    re.IGNORECASE,
)


def read_language(scope: Scope) -> Language:
    """Returns the language of the response: that of the cookie, else that of the browser."""
    state = request_state(scope)
    if "language" not in state:
        languages = app_state(scope).languages
        state["language"] = (
            languages.get(read_cookie(scope, COOKIE) or "")
            or languages[read_browser_language(scope)]
        )
    return state["language"]


def read_browser_language(scope: Scope) -> str:
    """Returns the code of the language that the browser prefers, or else English."""
    values = [value for name, value in scope["headers"] if name == b"accept-language"]
    if not values:
        return ENGLISH.code
    header = b",".join(values)[:MAX_HEADER_CHARS].decode("latin-1")
    return _choose(header, tuple(app_state(scope).languages))


def keep_language(scope: Scope, code: str) -> None:
    """Stores the choice in a cookie. An empty code deletes it, so that the browser decides."""
    is_known = code in app_state(scope).languages
    queue_cookie(scope, COOKIE, NewCookie(Secret(code), MAX_AGE_SECONDS) if is_known else None)


@lru_cache(256)
def _choose(header: str, codes: tuple[str, ...]) -> str:
    """Returns the first language with the highest quality value above 0."""
    qualities: dict[str, float] = {}
    for code, quality in _parse(header):
        qualities.setdefault(code, quality)
    best = max(qualities, key=lambda code: (code in codes) * qualities[code], default="")
    return best if best in codes and qualities[best] > 0 else ENGLISH.code


def _parse(header: str) -> Iterator[tuple[str, float]]:
    """Yields the primary language and the quality value of each valid range.

    `*` stands for every other language, and so for English.
    """
    for item in header.split(","):
        parsed = RANGE.fullmatch(item.strip(" \t"))
        if parsed is not None:
            code = parsed[1].lower().partition("-")[0]
            yield (ENGLISH.code if code == "*" else code), float(parsed[2] or 1)
