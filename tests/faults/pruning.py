"""Prunes expired sessions while users log in, and measures the growth by failed log-ins."""

import asyncio
import contextlib
import random
import sqlite3
import time

from tests.faults.client import Answer, Client, at_once, logged_in_client, p99, statuses
from tests.faults.program import Program, Run
from tests.faults.verdict import fault, main, require

GUESSES = 1_000
# This is the size in bytes of an audit entry and a dozen buckets of 200 bytes. docs/operations.md
# has the bounds of both tables.
MAX_EACH = 3_000
EXPIRED = 100_000
LONG_AGO = "2026-01-01T00:00:00.000000+00:00"
SESSIONS = f"""
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {EXPIRED})
    INSERT INTO sessions (id, user_id, token_hash, created_at, last_seen_at, expires_at,
                          browser, system, kind, user_agent, address)
    SELECT 's' || i, (SELECT id FROM users WHERE name = 'alice'), hex(randomblob(32)),
           '{LONG_AGO}', '{LONG_AGO}', '{LONG_AGO}', 'Firefox', 'Linux', 'computer', '', '192.0.2.1' FROM n
"""


async def guess(program: Program, number: int) -> list[Answer]:
    """Sends wrong passwords for unknown emails, each from another /48 through a proxy."""
    client, answers = Client(program.port), []
    for _ in range(number):
        client.headers["X-Forwarded-For"] = (
            f"2001:{random.getrandbits(16):x}:{random.getrandbits(16):x}::1"
        )
        answers.append(await client.log_in(f"nobody{random.getrandbits(40)}", "wrong-password-1"))
    return answers


def size(program: Program) -> int:
    """Returns the size of all pages in bytes.

    The write-ahead log is not counted, because it is reused and has at most four megabytes.
    """
    return program.sql("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")[0][
        0
    ]


@fault(
    "R23",
    f"{GUESSES:,} failed log-ins from random IP addresses",
    "the database grows at most by the documented limits",
)
async def guesses(run: Run) -> str:
    program = run.program(TRUSTED_PROXIES="127.0.0.1", RATE_LIMITS="enforce")
    program.start()
    await logged_in_client(program, "alice")
    before = size(program)
    answers = await at_once(*(guess(program, GUESSES // 4) for _ in range(4)))
    grown = size(program) - before
    told = f"{statuses(answers)}; the database grew by {grown:,} bytes"
    require(all(answer.status == 422 or answer.sends_back for answer in answers), told)
    require(any(answer.status == 422 for answer in answers), f"nothing was guessed: {told}")
    require(grown < GUESSES * MAX_EACH, told)
    return told


async def longest_hold(program: Program, seconds: float) -> float:
    """Returns the longest time in milliseconds during which no other connection could write.

    The measurement repeats `BEGIN IMMEDIATE` without waiting for the lock.
    """
    longest, since = 0.0, None
    with contextlib.closing(
        sqlite3.connect(program.database, timeout=0, isolation_level=None)
    ) as other:
        until = time.monotonic() + seconds
        while (
            time.monotonic() < until
            and other.execute("SELECT count(*) > 100 FROM sessions").fetchone()[0]
        ):
            for _ in range(200):
                try:
                    other.execute("BEGIN IMMEDIATE")
                    other.execute("ROLLBACK")
                    longest = max(longest, time.monotonic() - since if since else 0)
                    since = None
                except sqlite3.OperationalError:
                    since = since or time.monotonic()
                await asyncio.sleep(0.001)
    return 1000 * longest


@fault(
    "R23",
    f"{EXPIRED:,} expired sessions are pruned during log-ins",
    "in transactions of at most 50 ms",
)
async def sweep(run: Run) -> str:
    program = run.program()
    program.start()
    alice = await logged_in_client(program, "alice")
    await logged_in_client(program, "bob")
    program.end()
    program.sql(SESSIONS)
    program.start()
    guest, began = Client(program.port), time.monotonic()
    watch = asyncio.create_task(longest_hold(program, 120))
    answers, pages = [], []
    while not watch.done():
        answers.append(await guest.log_in("bob"))
        pages.append(await alice.ask("/dashboard"))
        await asyncio.sleep(0.05)
    left = program.sql("SELECT count(*) FROM sessions WHERE expires_at = ?", LONG_AGO)[0][0]
    told = f"{EXPIRED - left:,} deleted within {time.monotonic() - began:.0f} s of the start; another process could not"
    told += f" write for at most {watch.result():.0f} ms; log-ins p99 {p99(answers):.0f} ms, dashboards {p99(pages):.0f} ms"
    require(not left, f"{left:,} remain after 120 s; {told}")
    require({answer.status for answer in answers} == {303}, f"log-ins: {statuses(answers)}; {told}")
    require(watch.result() <= 50, told)
    return told


if __name__ == "__main__":
    main(guesses, sweep)
