"""Causes five hundred concurrent sign-ups on SQLite and on PostgreSQL."""

import asyncio
import time

import asyncpg

from tests.faults.client import Answer, Client
from tests.faults.program import Program, Run
from tests.faults.verdict import fault, main, require

USERS = 500
ATTEMPTS = 60
PROMISE = (
    "no error: success, or 503 with Retry-After and success after a retry; one account per email"
)


async def insist(program: Program, name: str) -> list[Answer]:
    """Signs up and retries as Retry-After says. Returns all answers."""
    client, answers = Client(program.port), []
    for _ in range(ATTEMPTS):
        answers.append(await client.sign_up(name))
        if not answers[-1].sends_back:
            break
        client.close()
        await asyncio.sleep(int(answers[-1].headers["retry-after"]))
    return answers


async def stampede(program: Program) -> str:
    began = time.monotonic()
    tries = await asyncio.gather(*(insist(program, f"grace{number}") for number in range(USERS)))
    failed = [answers[-1].status for answers in tries if answers[-1].status != 303]
    require(not failed, f"{len(failed)} errors: {sorted(set(failed))}")
    again = sum(len(answers) - 1 for answers in tries)
    longest = max(
        int(answer.headers.get("retry-after", 0)) for answers in tries for answer in answers
    )
    told = f"0 errors; {again} retries after 503, Retry-After at most {longest} s"
    return f"{told}; {time.monotonic() - began:.1f} s in total"


@fault("R06", f"{USERS} concurrent sign-ups, SQLite", PROMISE)
async def on_sqlite(run: Run) -> str:
    program = run.program()
    program.start()
    told = await stampede(program)
    require(
        program.sql("SELECT count(*), count(DISTINCT email) FROM users") == [(USERS, USERS)],
        "not one account per email",
    )
    return told


@fault("R06", f"{USERS} concurrent sign-ups, PostgreSQL", PROMISE)
async def on_postgresql(run: Run) -> str:
    url = await run.postgresql()
    program = run.program(url)
    program.start()
    told = await stampede(program)
    connection = await asyncpg.connect(url)
    found = await connection.fetchval("SELECT count(DISTINCT email) FROM users")
    await connection.close()
    require(found == USERS, f"{found} accounts")
    return told


if __name__ == "__main__":
    main(on_sqlite, on_postgresql)
