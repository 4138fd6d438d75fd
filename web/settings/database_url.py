"""Contains the function that reads DATABASE_URL, for an SQLite file or a PostgreSQL server."""

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from db.crypto.secret import Secret
from web.settings.environment import Environment, InvalidSetting
from web.settings.paths import DATA, ROOT

SQLITE: Final = "sqlite:///"
# The connection pool reads these options of the URL as numbers.
POOL_SIZES: Final = ("min_size", "max_size")


def read_database_url(env: Environment) -> Secret[str]:
    """Returns the URL, with an absolute path for SQLite. Raises InvalidSetting."""
    value = env.secret("DATABASE_URL") or Secret("sqlite:///data/latchkey.db")
    url = _split(value.reveal())
    if url.scheme in ("postgresql", "postgres"):
        _check_server(url)
        return value
    if url.scheme != "sqlite" or url.netloc or len(url.path) < 2:
        raise InvalidSetting(
            "DATABASE_URL", "must be sqlite:///path or postgresql://user:password@host/database"
        )
    return Secret(_sqlite_url(value.reveal()))


def mask_password(database: Secret[str]) -> str:
    """Returns the URL without password and options, for messages."""
    url = urlsplit(database.reveal())
    user, at, host = url.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}{':***' if ':' in user else ''}{at}{host}"
    return f"{url.scheme}://{netloc}{url.path}"


def _split(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        _ = url.port  # Raises ValueError if the port is not a number.
    except ValueError:
        problem = "is not a URL: in a password write @ : / ? # % as %40 %3A %2F %3F %23 %25"
        raise InvalidSetting("DATABASE_URL", problem) from None
    return url


def _check_server(url: SplitResult) -> None:
    if not url.path.strip("/"):
        raise InvalidSetting("DATABASE_URL", "does not name a database")
    if url.netloc.count("@") > 1:
        raise InvalidSetting(
            "DATABASE_URL", "has more than one @: in a user name or password write it as %40"
        )
    for name, value in parse_qsl(url.query):
        if name in POOL_SIZES and not re.fullmatch(r"[0-9]{1,4}", value):
            raise InvalidSetting(
                "DATABASE_URL", f"{name} must be a whole number, not {value[:40]!r}"
            )


def _sqlite_url(text: str) -> str:
    """Returns the URL with an absolute path. Raises InvalidSetting.

    A relative path is relative to the checkout, and never to the working directory.
    """
    if "?" in text or "#" in text:
        raise InvalidSetting(
            "DATABASE_URL",
            "the path of an SQLite file must not contain ? or #, and takes no options",
        )
    path = text.removeprefix(SQLITE)
    url = f"{SQLITE}{path if path.startswith('/') else f'{quote(str(ROOT))}/{path}'}"
    folder = Path(unquote(url.removeprefix(SQLITE))).parent
    # Path.is_dir raises PermissionError, and os.path.isdir returns False.
    if folder != DATA and not os.path.isdir(folder):
        raise InvalidSetting(
            "DATABASE_URL",
            f"the directory {folder} does not exist, or this user has no access to it",
        )
    return url
