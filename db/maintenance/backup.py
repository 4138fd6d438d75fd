"""Backup of the SQLite file while the service runs, and restore while it is stopped.

Every copy is checked before it is used.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from db.crypto.secret import Secret
from db.maintenance.atomic_files import (
    BackupError,
    copy_to_temporary,
    rename_without_replacing,
    replace_file,
    sync,
    temporary_file_beside,
)
from db.maintenance.database_files import OWN_TABLES, REPLACED, SUFFIXES, make_private, path_of
from db.maintenance.revisions import OWN_BRANCH, is_known
from db.tables import SCHEMA

# The bytes at which SQLite's readers lock a file: https://www.sqlite.org/src/file/src/os.h
SHARED_FIRST: Final = 0x40000002
SHARED_SIZE: Final = 510
CHECKPOINT_TIMEOUT_SECONDS: Final = 30  # A checkpoint may be in progress.


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a checked database; `version` is its schema revision."""

    version: str
    users: int
    sessions: int


def back_up(database: Secret[str], target: Path) -> Content:
    """Writes a complete copy of mode 0600 to `target`, without deleted data.

    Writers are not blocked. Raises BackupError.
    """
    source = _require_path(database, "pg_dump")
    _require(source.is_file(), f"there is no database at {source}")
    _require(not target.exists(), f"{target} already exists, and was not overwritten")
    with temporary_file_beside(target) as copy:
        before = _count_users(source)
        _vacuum_into(source, copy)
        content = check(copy)
        known = sorted((before, _count_users(source)))
        _require(
            known[0] <= content.users <= known[1],
            f"the copy has {content.users} users instead of {known[1]}",
        )
        rename_without_replacing(copy, target)
    return content


def restore(database: Secret[str], source: Path, now: datetime) -> tuple[Content, Path | None]:
    """Replaces the database by a backup.

    Returns the content, and the path of the replaced database. The source is copied first and the
    copy is checked, so that it cannot change between the check and its use. Raises BackupError.
    """
    target = _require_path(database, "pg_restore")
    _require(source.is_file(), f"there is no file {source}")
    _require(
        not _has_journal(source),
        f"{source} is a database in use, not a backup: make one with `latchkey backup`",
    )
    with temporary_file_beside(target, replaces=True) as copy, _exclusive_access(target):
        copy_to_temporary(copy, source)
        content = check(copy)
        sync(copy)
        kept = _rename_replaced(target, now)
        replace_file(copy, target)
    make_private(target)  # The replaced database keeps the mode that it had.
    return content, kept


def check(path: Path) -> Content:
    """Returns what a database contains.

    Raises BackupError if it is damaged, belongs to another program or is newer than this program.
    """
    try:
        with closing(_open(path)) as connection:
            tables = {
                name
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_schema WHERE type = 'table'"
                )
            }
            _require(tables >= OWN_TABLES, "it is not a database of Latchkey")
            damage = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            _require(damage == "ok", f"it is damaged: {damage.splitlines()[-1]}")
            _require(
                not connection.execute("PRAGMA foreign_key_check").fetchall(),
                "it has sessions without a user",
            )
            content = Content(
                *connection.execute("SELECT max(version_num) FROM alembic_version").fetchone(),
                *connection.execute("SELECT count(*) FROM users").fetchone(),
                *connection.execute("SELECT count(*) FROM sessions").fetchone(),
            )
            # This mode leaves no journal files beside the database.
            connection.execute("PRAGMA journal_mode=DELETE").fetchall()
    except sqlite3.DatabaseError as error:
        raise BackupError(f"it is damaged, or not a database: {error}") from error
    _require(content.version is not None, "it is not a database of Latchkey")
    _require(
        content.version == SCHEMA or is_known(OWN_BRANCH, content.version),
        f"it is newer than this program, which does not know its revision {content.version} "
        f"(needed: {SCHEMA})",
    )
    return content


def _require_path(database: Secret[str], alternative: str) -> Path:
    path = path_of(database)
    if path is None:
        raise BackupError(f"this command is for SQLite; for PostgreSQL use {alternative}")
    return path


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise BackupError(problem)


@contextmanager
def _exclusive_access(path: Path) -> Iterator[None]:
    """Holds the lock that every open connection in WAL mode shares.

    Raises BackupError if the database is in use.
    """
    if not path.exists():
        yield
        return
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, SHARED_SIZE, SHARED_FIRST)
        except OSError:
            raise BackupError(f"{path} is in use: stop the program first") from None
        yield


def _rename_replaced(path: Path, now: datetime) -> Path | None:
    """Renames the database and its journal files, because SQLite would apply the log of one
    database to another.

    Returns the new path, or None if no file exists.
    """
    found = [suffix for suffix in SUFFIXES if os.path.lexists(f"{path}{suffix}")]
    kept = path.with_name(f"{path.name}{REPLACED}{now:%Y%m%dT%H%M%SZ}")
    _require(not kept.exists(), f"{kept} already exists")
    for suffix in found:
        os.rename(f"{path}{suffix}", f"{kept}{suffix}")
    return kept if found else None


def _has_journal(path: Path) -> bool:
    return any(Path(f"{path}{suffix}").exists() for suffix in ("-wal", "-journal"))


def _vacuum_into(source: Path, copy: Path) -> None:
    """Copies the database in one read transaction, which does not block writers in WAL mode."""
    try:
        with closing(_open(source)) as connection:
            connection.execute("VACUUM INTO ?", (str(copy),))
    except sqlite3.DatabaseError as error:
        raise BackupError(f"{source} cannot be copied: {error}") from error


def _count_users(path: Path) -> int:
    try:
        with closing(_open(path)) as connection:
            return int(connection.execute("SELECT count(*) FROM users").fetchone()[0])
    except sqlite3.DatabaseError as error:
        raise BackupError(f"{path} is not a database of Latchkey: {error}") from error


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=CHECKPOINT_TIMEOUT_SECONDS,
        isolation_level=None,
    )
