"""Holds SQLite's lock from another process while users log in, as a backup does."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator

from tests.faults.client import (
    Client,
    Response,
    format_statuses,
    p99,
    repeat,
    run_concurrently,
    sign_up_client,
)
from tests.faults.program import Program, Run
from tests.faults.result import fault, main, require

CONNECTIONS = 8
MAX_WAIT_SECONDS = 4.0  # The lock takes three seconds, and the hash before it one second.
SHORT_FAULT = "another process holds the lock for 1 s"
LONG_FAULT = "another process holds the lock for 10 s"


@contextlib.contextmanager
def hold_lock(program: Program) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(program.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


async def send_log_ins(program: Program, number: int) -> list[Response]:
    """Sends `number` log-ins over a few connections."""

    async def send() -> list[Response]:
        client = Client(program.port)
        return [await client.log_in("alice") for _ in range(number // CONNECTIONS)]

    return await run_concurrently(*(send() for _ in range(CONNECTIONS)))


@fault("R05", SHORT_FAULT, "log-ins wait, and none fails")
async def short_lock(run: Run) -> str:
    program = run.program()
    program.start()
    await sign_up_client(program, "alice")
    with hold_lock(program):
        load = asyncio.create_task(send_log_ins(program, 104))
        await asyncio.sleep(1)
    responses = await load
    require(
        all(response.status == 303 for response in responses),
        f"log-ins: {format_statuses(responses)}",
    )
    return (
        f"log-ins: {format_statuses(responses)}; longest {max(a.seconds for a in responses):.2f} s"
    )


@fault(
    "R05", LONG_FAULT, "503 with Retry-After within 4 s; dashboards work; recovers", is_test=True
)
async def long_lock(run: Run) -> str:
    program = run.program()
    program.start()
    alice = await sign_up_client(program, "alice")
    seconds = 3.3 if run.short else 10
    with hold_lock(program):
        started = time.monotonic()
        load = asyncio.create_task(repeat(lambda: alice.request("/dashboard"), seconds, 0.01))
        clients = [Client(program.port) for _ in range(1 if run.short else CONNECTIONS)]
        responses = await run_concurrently(
            *(
                repeat(lambda client=client: client.log_in("alice"), 0.1 if run.short else 6)
                for client in clients
            )
        )
        dashboards = await load
        await asyncio.sleep(max(0, started + seconds - time.monotonic()))
    later = await Client(program.port).log_in("alice")
    longest = max(response.seconds for response in responses)
    measured = f"log-ins: {format_statuses(responses)}, longest {longest:.1f} s"
    require(all(response.has_retry_after for response in responses), measured)
    require(
        all(b"alice@example.com" in response.body for response in responses),
        "the form does not keep the email",
    )
    require(
        all(response.status == 200 for response in dashboards),
        f"dashboards: {format_statuses(dashboards)}",
    )
    require(later.status == 303, f"after the lock a log-in returns {later.status}")
    require(longest < MAX_WAIT_SECONDS, f"{measured}, limit {MAX_WAIT_SECONDS:.0f} s")
    return f"{measured}; {len(dashboards)} dashboards: all 200, p99 {p99(dashboards):.0f} ms; log-in after the lock 303"


if __name__ == "__main__":
    main(short_lock, long_lock)
