"""Kills the program at each write and sync of a sign-up, and at random times under load."""

import asyncio
import contextlib
import random
import shutil
import statistics
from itertools import count

from tests.faults.client import Client
from tests.faults.program import DATABASE, Program, Run, require_program, strace
from tests.faults.result import fault, main, require

CALLS = ("pwrite64", "fdatasync", "fsync")
REQUIREMENT = "a sign-up is stored completely or not at all; confirmed ones are kept; restart in under 2 s without a manual step; a retry logs in"
KILLS = 50
SIGN_UPS = """
    SELECT users.email, count(sessions.id)
    FROM users LEFT JOIN sessions ON sessions.user_id = users.id GROUP BY users.id
"""


def require_complete(program: Program, confirmed: list[str]) -> int:
    """Requires that every confirmed sign-up is stored and none is incomplete.

    Returns the number of users.
    """
    sessions_by_email = dict(program.execute_sql(SIGN_UPS))
    require(program.execute_sql("PRAGMA integrity_check") == [("ok",)], "the file is damaged")
    lost = [name for name in confirmed if f"{name}@example.com" not in sessions_by_email]
    require(not lost, f"confirmed but lost: {lost}")
    incomplete = [email for email, sessions in sessions_by_email.items() if sessions != 1]
    require(not incomplete, f"incomplete: {incomplete}")
    return len(sessions_by_email)


async def sign_up_again(program: Program, name: str) -> None:
    """Requires that a repeated sign-up logs in and leaves one account."""
    response = await Client(program.port).sign_up(name)
    require(response.status == 303 and response.cookie, f"retry: {response.status}")
    require((await Client(program.port).log_in(name)).status == 303, "log-in fails after the retry")
    require(
        program.execute_sql("SELECT count(*) FROM users WHERE email = ?", f"{name}@example.com")
        == [(1,)],
        "not exactly one account",
    )


async def kill_at(program: Program, call: str, number: int) -> bool:
    """Kills the program at the system call with this number during a sign-up.

    Returns whether it was killed before it confirmed the sign-up.
    """
    shutil.copy(program.folder / "empty.db", program.database)
    for rest in ("-wal", "-shm"):
        (program.folder / f"{DATABASE}{rest}").unlink(missing_ok=True)
    program.start()
    with strace(program, f"trace={call}", f"inject={call}:signal=KILL:when={number}"):
        try:
            response = await Client(program.port).sign_up("alice")
            require(response.status == 303, f"a sign-up returns {response.status}")
            return False
        except (OSError, EOFError):
            return True
        finally:
            program.kill()


@fault("R01", "killed at each write and sync of a sign-up", REQUIREMENT)
async def at_each_call(run: Run) -> str:
    require_program("strace")
    program = run.program()
    shutil.copy(program.database, program.folder / "empty.db")
    restarts, kills = [], dict.fromkeys(CALLS, 0)
    for call in CALLS:
        for number in count(1):
            killed = await kill_at(program, call, number)
            restarts.append(program.start())
            require_complete(program, [] if killed else ["alice"])
            await sign_up_again(program, "alice")
            program.kill()
            kills[call] += killed
            if not killed:
                break
    kill_counts = ", ".join(f"{number} kills at {call}" for call, number in kills.items())
    return f"{kill_counts}; {check_restarts(restarts)}"


@fault("R01", f"killed {KILLS} times at random during sign-ups", REQUIREMENT)
async def at_random(run: Run) -> str:
    program = run.program()
    program.start()
    confirmed, numbers, restarts = [], count(), []

    async def sign_up_until_killed() -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                name = f"grace{next(numbers)}"
                if (await Client(program.port).sign_up(name)).status == 303:
                    confirmed.append(name)

    for _ in range(KILLS):
        load = [asyncio.create_task(sign_up_until_killed()) for _ in range(8)]
        await asyncio.sleep(random.uniform(0.05, 0.5))
        program.kill()
        await asyncio.gather(*load)
        restarts.append(program.start())
        stored = require_complete(program, confirmed)
    await sign_up_again(program, f"grace{next(numbers) - 1}")
    return (
        f"{len(confirmed)} confirmed, {stored} stored, none incomplete; {check_restarts(restarts)}"
    )


def check_restarts(restarts: list[float]) -> str:
    """Requires a median below 2 seconds. Returns the figures."""
    median_seconds = statistics.median(restarts)
    measured = (
        f"{len(restarts)} restarts, median {median_seconds:.2f} s, longest {max(restarts):.2f} s"
    )
    require(median_seconds < 2, measured)
    return measured


if __name__ == "__main__":
    main(at_each_call, at_random)
