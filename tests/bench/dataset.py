"""Contains the functions that insert users and sessions into the database of a benchmark."""

import asyncio
import hashlib
import sqlite3
import time
from datetime import UTC, datetime, timedelta

import asyncpg

from db.crypto.key_ring import KeyRing
from db.crypto.secret import Secret
from tests.bench.servers import SECRET

USERS = (
    "INSERT INTO users (id, email, name, slug, password_hash, created_at, verified_at)"
    " VALUES ({}, '2026-11-24T09:12:00.000000+00:00')"
)
SESSIONS = (
    "INSERT INTO sessions (id, user_id, token_hash, created_at, last_seen_at, expires_at,"
    " browser, system, kind, user_agent, address) VALUES ({}, 'Firefox', 'Linux', 'computer', '', '')"
)
NAMES = ("Alice", "Bob", "Charlie", "Ada")


def fill(database_url: str, users: int, sessions: int, with_cookie: int) -> list[str]:
    """Inserts users and sessions. Returns the cookies of the first `with_cookie` sessions.

    Session i belongs to user i modulo `users`. `last_seen_at` is an hour in the future, so that no
    request updates it.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    seen, expires = now + timedelta(hours=1), now + timedelta(days=7)
    user_rows = (
        (f"u{i}", email_of(i), f"{NAMES[i % 4]} {i}", f"u{i}", "-", now) for i in range(users)
    )
    session_rows = (
        (f"s{i}", f"u{i % users}", hashlib.sha256(sid(i).encode()).hexdigest(), now, seen, expires)
        for i in range(sessions)
    )
    insert = insert_in_postgresql if database_url.startswith("postgresql:") else insert_in_sqlite
    insert(database_url, USERS, user_rows)
    insert(database_url, SESSIONS, session_rows)
    keys = KeyRing([Secret(SECRET.encode())], time.time)
    dates = {"iat": int(now.timestamp()), "exp": int(expires.timestamp())}
    return [
        "session="
        + keys.encode({"sid": sid(i), "sub": f"u{i % users}", "role": "user", **dates}).reveal()
        for i in range(with_cookie)
    ]


def email_of(user: int) -> str:
    return f"u{user}@example.com"


def sid(session: int) -> str:
    return f"{session:043d}"


def insert_in_sqlite(database_url: str, statement: str, rows) -> None:
    text_rows = (tuple(as_text(value) for value in row) for row in rows)
    placeholders = ", ".join("?" * 6)
    connection = sqlite3.connect(database_url.removeprefix("sqlite:///"), timeout=60)
    with connection:
        connection.executemany(statement.format(placeholders), text_rows)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def insert_in_postgresql(database_url: str, statement: str, rows) -> None:
    async def insert() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.executemany(
            statement.format(", ".join(f"${n}" for n in range(1, 7))), rows
        )
        await connection.execute("VACUUM ANALYZE")
        await connection.close()

    asyncio.run(insert())


def as_text(value: object) -> object:
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value
