"""Sends five hundred concurrent sign-ups on SQLite and on PostgreSQL."""

import asyncio
import time
from itertools import chain

import asyncpg

from tests.faults.client import Client, Response
from tests.faults.program import Program, Run
from tests.faults.result import fault, main, require

USERS = 500
ATTEMPTS = 60
REQUIREMENT = (
    "no error: success, or 503 with Retry-After and success after a retry; one account per email"
)


async def sign_up_with_retries(program: Program, name: str) -> list[Response]:
    """Signs up, and repeats a refused sign-up after Retry-After. Returns all responses."""
    client, responses = Client(program.port), []
    for _ in range(ATTEMPTS):
        responses.append(await client.sign_up(name))
        if not responses[-1].has_retry_after:
            break
        client.close()
        await asyncio.sleep(int(responses[-1].headers["retry-after"]))
    return responses


async def sign_up_concurrently(program: Program) -> str:
    """Signs up USERS users at once. Requires that each succeeds, and returns the figures."""
    started = time.monotonic()
    attempts = await asyncio.gather(
        *(sign_up_with_retries(program, f"grace{number}") for number in range(USERS))
    )
    failed = [responses[-1].status for responses in attempts if responses[-1].status != 303]
    require(not failed, f"{len(failed)} errors: {sorted(set(failed))}")
    retries = sum(len(responses) - 1 for responses in attempts)
    longest = max(
        int(response.headers.get("retry-after", 0)) for response in chain.from_iterable(attempts)
    )
    measured = f"0 errors; {retries} retries after 503, Retry-After at most {longest} s"
    return f"{measured}; {time.monotonic() - started:.1f} s in total"


@fault("R06", f"{USERS} concurrent sign-ups, SQLite", REQUIREMENT)
async def on_sqlite(run: Run) -> str:
    program = run.program()
    program.start()
    measured = await sign_up_concurrently(program)
    rows = program.execute_sql("SELECT count(*), count(DISTINCT email) FROM users")
    require(rows == [(USERS, USERS)], "not one account per email")
    return measured


@fault("R06", f"{USERS} concurrent sign-ups, PostgreSQL", REQUIREMENT)
async def on_postgresql(run: Run) -> str:
    url = await run.postgresql()
    program = run.program(url)
    program.start()
    measured = await sign_up_concurrently(program)
    connection = await asyncpg.connect(url)
    accounts = await connection.fetchval("SELECT count(DISTINCT email) FROM users")
    await connection.close()
    require(accounts == USERS, f"{accounts} accounts")
    return measured


if __name__ == "__main__":
    main(on_sqlite, on_postgresql)
