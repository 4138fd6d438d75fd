"""The user search: the search key of a user's row, and the comparison with it.

The key is computed in Python, because a database folds letters beyond ASCII by its locale or not at
all.
"""

import unicodedata
from typing import Final

import idna
from sqlalchemy import BindParameter, ColumnElement, func

from db.tables import users

# Rows that the previous version writes, during a rolling update, have no key.
SEARCH_KEY: Final[ColumnElement[str]] = func.coalesce(
    users.c.search_key, func.lower(users.c.name) + "\n" + users.c.email
)


def search_key(name: str, email: str) -> str:
    """Returns the folded name, email, and email with its domain in Unicode, one per line.

    Every statement that writes a user's name or email must also write this key.
    """
    return "\n".join(dict.fromkeys(fold(text) for text in (name, email, _in_unicode(email))))


def fold(text: str) -> str:
    """Returns the text without differences of case and composition (Unicode NFKC and case
    folding).
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def search_pattern(q: str) -> str:
    """Returns a LIKE pattern that finds `q` anywhere in the key. Wildcards in `q` are escaped."""
    escaped = fold(q.strip()).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def matches(pattern: BindParameter[str]) -> ColumnElement[bool]:
    """Returns the condition that a user's name or email contains the search text."""
    return SEARCH_KEY.like(pattern, escape="\\")


def _in_unicode(email: str) -> str:
    """Returns the email with its domain in Unicode; it is stored in ASCII (IDNA)."""
    local, _, domain = email.rpartition("@")
    try:
        return f"{local}@{idna.decode(domain)}"
    except idna.IDNAError:
        return email
