"""Measures pruning during log-ins, and the growth of the database by failed log-ins."""

import asyncio
import contextlib
import random
import sqlite3
import time

from tests.faults.client import (
    Client,
    Response,
    format_statuses,
    p99,
    run_concurrently,
    sign_up_client,
)
from tests.faults.program import Program, Run
from tests.faults.result import fault, main, require

GUESSES = 1_000
# One failed log-in stores an audit entry and a dozen buckets of 200 bytes. docs/operations.md has
# the limits of both tables.
MAX_BYTES_PER_GUESS = 3_000
EXPIRED_SESSIONS = 100_000
EXPIRED_AT = "2026-01-01T00:00:00.000000+00:00"
INSERT_SESSIONS = f"""
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {EXPIRED_SESSIONS})
    INSERT INTO sessions (id, user_id, token_hash, created_at, last_seen_at, expires_at,
                          browser, system, kind, user_agent, address)
    SELECT 's' || i, (SELECT id FROM users WHERE name = 'alice'), hex(randomblob(32)),
           '{EXPIRED_AT}', '{EXPIRED_AT}', '{EXPIRED_AT}', 'Firefox', 'Linux', 'computer', '', '192.0.2.1' FROM n
"""


async def send_guesses(program: Program, number: int) -> list[Response]:
    """Sends wrong passwords for unknown emails, with X-Forwarded-For of random /48 networks."""
    client, responses = Client(program.port), []
    for _ in range(number):
        client.headers["X-Forwarded-For"] = (
            f"2001:{random.getrandbits(16):x}:{random.getrandbits(16):x}::1"
        )
        responses.append(
            await client.log_in(f"unknown{random.getrandbits(40)}", "wrong-password-1")
        )
    return responses


def database_bytes(program: Program) -> int:
    """Returns the size of all pages in bytes.

    The write-ahead log is not counted, because it is reused and has at most four megabytes.
    """
    rows = program.execute_sql(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    )
    return rows[0][0]


@fault(
    "R23",
    f"{GUESSES:,} failed log-ins from random IP addresses",
    "the database grows at most by the documented limits",
)
async def guesses(run: Run) -> str:
    program = run.program(TRUSTED_PROXIES="127.0.0.1", RATE_LIMITS="enforce")
    program.start()
    await sign_up_client(program, "alice")
    before = database_bytes(program)
    responses = await run_concurrently(*(send_guesses(program, GUESSES // 4) for _ in range(4)))
    growth = database_bytes(program) - before
    measured = f"{format_statuses(responses)}; the database grew by {growth:,} bytes"
    require(
        all(response.status == 422 or response.has_retry_after for response in responses), measured
    )
    require(
        any(response.status == 422 for response in responses), f"nothing was guessed: {measured}"
    )
    require(growth < GUESSES * MAX_BYTES_PER_GUESS, measured)
    return measured


async def measure_longest_lock(program: Program, seconds: float) -> float:
    """Returns the longest time in milliseconds during which another connection could not write.

    Repeats `BEGIN IMMEDIATE` without a busy timeout until 100 sessions remain, for at most
    `seconds`.
    """
    longest, locked_since = 0.0, None
    with contextlib.closing(
        sqlite3.connect(program.database, timeout=0, isolation_level=None)
    ) as connection:
        deadline = time.monotonic() + seconds
        while (
            time.monotonic() < deadline
            and connection.execute("SELECT count(*) > 100 FROM sessions").fetchone()[0]
        ):
            for _ in range(200):
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.execute("ROLLBACK")
                    longest = max(longest, time.monotonic() - locked_since if locked_since else 0)
                    locked_since = None
                except sqlite3.OperationalError:
                    locked_since = locked_since or time.monotonic()
                await asyncio.sleep(0.001)
    return 1000 * longest


@fault(
    "R23",
    f"{EXPIRED_SESSIONS:,} expired sessions are pruned during log-ins",
    "in transactions of at most 50 ms",
)
async def pruning(run: Run) -> str:
    program = run.program()
    program.start()
    alice = await sign_up_client(program, "alice")
    await sign_up_client(program, "bob")
    program.stop()
    program.execute_sql(INSERT_SESSIONS)
    program.start()
    client, started = Client(program.port), time.monotonic()
    lock_measurement = asyncio.create_task(measure_longest_lock(program, 120))
    responses, dashboards = [], []
    while not lock_measurement.done():
        responses.append(await client.log_in("bob"))
        dashboards.append(await alice.request("/dashboard"))
        await asyncio.sleep(0.05)
    seconds = time.monotonic() - started
    rows = program.execute_sql("SELECT count(*) FROM sessions WHERE expires_at = ?", EXPIRED_AT)
    remaining = rows[0][0]
    longest_lock = lock_measurement.result()
    measured = (
        f"{EXPIRED_SESSIONS - remaining:,} deleted within {seconds:.0f} s of the start; "
        f"another process could not write for at most {longest_lock:.0f} ms; "
        f"log-ins p99 {p99(responses):.0f} ms, dashboards {p99(dashboards):.0f} ms"
    )
    require(not remaining, f"{remaining:,} remain after 120 s; {measured}")
    statuses = {response.status for response in responses}
    require(statuses == {303}, f"log-ins: {format_statuses(responses)}; {measured}")
    require(longest_lock <= 50, measured)
    return measured


if __name__ == "__main__":
    main(guesses, pruning)
