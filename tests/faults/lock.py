"""Holds SQLite's lock in another process, such as a backup, while users log in."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator

from tests.faults.client import Answer, Client, at_once, logged_in_client, p99, repeat, statuses
from tests.faults.program import Program, Run
from tests.faults.verdict import fault, main, require

CONNECTIONS = 8
MAX_WAIT_SECONDS = 4.0  # seconds: three for the lock, and one for the hash before it
QUIET = "another process holds the lock for 1 s"
LONG = "another process holds the lock for 10 s"


@contextlib.contextmanager
def locked(program: Program) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(program.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


async def log_ins(program: Program, number: int) -> list[Answer]:
    """Sends `number` log-ins over a few connections."""

    async def some() -> list[Answer]:
        client = Client(program.port)
        return [await client.log_in("alice") for _ in range(number // CONNECTIONS)]

    return await at_once(*(some() for _ in range(CONNECTIONS)))


@fault("R05", QUIET, "log-ins wait, and none fails")
async def short_lock(run: Run) -> str:
    program = run.program()
    program.start()
    await logged_in_client(program, "alice")
    with locked(program):
        going = asyncio.create_task(log_ins(program, 104))
        await asyncio.sleep(1)
    answers = await going
    require(all(answer.status == 303 for answer in answers), f"log-ins: {statuses(answers)}")
    return f"log-ins: {statuses(answers)}; longest {max(a.seconds for a in answers):.2f} s"


@fault("R05", LONG, "503 with Retry-After within 4 s; dashboards work; recovers", is_test=True)
async def long_lock(run: Run) -> str:
    program = run.program()
    program.start()
    alice = await logged_in_client(program, "alice")
    seconds = 3.3 if run.short else 10
    with locked(program):
        began = time.monotonic()
        pages = asyncio.create_task(repeat(lambda: alice.ask("/dashboard"), seconds, 0.01))
        guests = [Client(program.port) for _ in range(1 if run.short else CONNECTIONS)]
        answers = await at_once(
            *(
                repeat(lambda guest=guest: guest.log_in("alice"), 0.1 if run.short else 6)
                for guest in guests
            )
        )
        seen = await pages
        await asyncio.sleep(max(0, began + seconds - time.monotonic()))
    healed = await Client(program.port).log_in("alice")
    longest = max(answer.seconds for answer in answers)
    told = f"log-ins: {statuses(answers)}, longest {longest:.1f} s"
    require(all(answer.sends_back for answer in answers), told)
    require(
        all(b"alice@example.com" in answer.body for answer in answers),
        "the form does not keep the email",
    )
    require(all(answer.status == 200 for answer in seen), f"dashboards: {statuses(seen)}")
    require(healed.status == 303, f"after the lock a log-in returns {healed.status}")
    require(longest < MAX_WAIT_SECONDS, f"{told}, limit {MAX_WAIT_SECONDS:.0f} s")
    return f"{told}; {len(seen)} dashboards: all 200, p99 {p99(seen):.0f} ms; log-in after the lock 303"


if __name__ == "__main__":
    main(short_lock, long_lock)
