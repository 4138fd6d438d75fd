"""The search for users: the key that each user's row carries, and how a search is compared with it.

The key is computed in Python. What a database knows of letters beyond ASCII depends on its locale,
or is nothing.
"""

import unicodedata
from typing import Final

import idna
from sqlalchemy import BindParameter, ColumnElement, func

from db.tables import users

# rows of the version before, which may still serve, have no key
KEY: Final[ColumnElement[str]] = func.coalesce(
    users.c.search_key, func.lower(users.c.name) + "\n" + users.c.email
)


def search_key(name: str, email: str) -> str:
    """Returns what a search is compared with, folded, one a line: name, email, and email with its
    domain in Unicode.

    Whatever writes a user's name or email writes this key too.
    """
    return "\n".join(dict.fromkeys(fold(text) for text in (name, email, _in_unicode(email))))


def fold(text: str) -> str:
    """Returns the text without differences of case and composition (Unicode, NFKC and case
    folding).
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def search_pattern(q: str) -> str:
    """Returns the pattern for LIKE that finds `q` anywhere in the key.

    Its wildcards are taken as they are written.
    """
    escaped = fold(q.strip()).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def matches(pattern: BindParameter[str]) -> ColumnElement[bool]:
    """Whether name or email of a user holds what was typed."""
    return KEY.like(pattern, escape="\\")


def _in_unicode(email: str) -> str:
    """Returns the email as its owner writes it: the domain is stored in ASCII (IDNA)."""
    local, _, domain = email.rpartition("@")
    try:
        return f"{local}@{idna.decode(domain)}"
    except idna.IDNAError:
        return email
