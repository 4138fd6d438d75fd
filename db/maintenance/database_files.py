"""The files of an SQLite database: their path, owner and mode, and why they cannot be used."""

import os
import pwd
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from db.crypto.secret import Secret
from db.errors import Unavailable

SQLITE: Final = "sqlite:///"
NOT_USABLE: Final = "the database cannot be used"
# SQLite creates files with these suffixes beside the database.
SUFFIXES: Final = ("", "-wal", "-shm", "-journal")
# Every version has these tables.
OWN_TABLES: Final = frozenset(("users", "sessions", "alembic_version"))
# `latchkey restore` renames the replaced database to this suffix and a time.
REPLACED: Final = ".replaced-"


def path_of(database: Secret[str]) -> Path | None:
    """Returns the path of an SQLite file, or None for PostgreSQL."""
    url = database.reveal()
    return Path(unquote(url.removeprefix(SQLITE))) if url.startswith(SQLITE) else None


def make_private(path: Path) -> list[str]:
    """Restricts the database, and the copies that `restore` kept, to their owner if other users
    have access.

    A mode that gives access to the owner and the group is kept as deliberate. A file that is not
    a Latchkey database keeps its mode, because root could have mistyped the path as /etc/passwd.
    Returns a warning for each file that could not be changed.
    """
    if not _is_own_database(path):
        return []
    return [warning for file in _files_of(path) if (warning := make_file_private(file))]


def make_file_private(path: Path) -> str:
    """Restricts one file or directory like `make_private`.

    Returns a warning, or an empty string. Does not follow a symbolic link, through which the owner
    of the directory could make root change another file.
    """
    try:
        if not path.stat().st_mode & stat.S_IRWXO:
            return ""
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.fchmod(handle, _private_mode(os.fstat(handle).st_mode))
        finally:
            os.close(handle)
    except FileNotFoundError:
        return ""
    except OSError:
        return f"warning: other users have access to {path}: run chmod go= {path}"
    return ""


def create_private(path: Path) -> None:
    """Creates an empty file of mode 0600; root gives it to the owner of the directory.

    Raises FileExistsError.
    """
    with open(path, "xb", opener=_owner_only) as file:
        give_to_owner_of(path.parent, file.fileno())


def give_to_owner_of(path: Path, handle: int) -> None:
    """Gives an open file to the owner of `path` if the process runs as root, because the service
    runs as that user.
    """
    if os.geteuid() == 0:
        owner = path.stat()
        os.fchown(handle, owner.st_uid, owner.st_gid)


def keep_owner_and_mode(replaced: Path, handle: int) -> None:
    """Gives an open file the owner, group and mode of `replaced`. Raises PermissionError."""
    wanted, found = replaced.stat(), os.fstat(handle)
    if (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid):
        os.fchown(handle, wanted.st_uid, wanted.st_gid)
    os.fchmod(handle, _private_mode(wanted.st_mode))


def find_file_problem(path: Path) -> str:
    """Returns why the database file cannot be used; an empty string if no problem is known.

    SQLite silently opens a file without write permission as read-only, and must create files beside
    it.
    """
    for checked, mode in ((path.parent, os.W_OK | os.X_OK), (path, os.R_OK | os.W_OK)):
        if os.path.exists(checked) and not os.access(checked, mode):
            user = _name(os.geteuid())
            return (
                f"{checked}: permission denied "
                f"({owner_and_mode(checked)}; this program runs as {user})"
            )
    return f"{path} is a directory" if os.path.isdir(path) else ""


def require_usable_file(path: Path) -> None:
    """Raises Unavailable with the reason if the file or its directory cannot be read and
    written.
    """
    if problem := find_file_problem(path):
        raise Unavailable(reason=f"{NOT_USABLE}: {problem}")


def _is_own_database(path: Path) -> bool:
    """Returns whether the file is an SQLite database with the tables of this program."""
    if not path.is_file():
        return False
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        ) as file:
            tables = file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    except sqlite3.Error:
        return False
    return {name for (name,) in tables} >= OWN_TABLES


def _files_of(path: Path) -> Iterator[Path]:
    yield from (path.with_name(path.name + suffix) for suffix in SUFFIXES)
    try:
        yield from sorted(
            file for file in path.parent.iterdir() if file.name.startswith(path.name + REPLACED)
        )
    except OSError:
        return


def _private_mode(mode: int) -> int:
    """Returns the mode without access for other users.

    If they had access, the group loses it too, since both then come from a umask and were not
    deliberate.
    """
    return mode & (stat.S_IRWXU if mode & stat.S_IRWXO else stat.S_IRWXU | stat.S_IRWXG)


def owner_and_mode(path: Path) -> str:
    found = path.stat()
    return f"owner {_name(found.st_uid)}, mode {stat.S_IMODE(found.st_mode):04o}"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
