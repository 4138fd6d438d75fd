"""Kills the program at each write and sync of a sign-up, and at random times under load."""

import asyncio
import contextlib
import random
import shutil
import statistics
from itertools import count

from tests.faults.client import Client
from tests.faults.program import DATABASE, Program, Run, needs, strace
from tests.faults.verdict import fault, main, require

CALLS = ("pwrite64", "fdatasync", "fsync")
PROMISE = "a sign-up is stored completely or not at all; confirmed ones are kept; restart in under 2 s without a manual step; a retry logs in"
KILLS = 50
SIGN_UPS = """
    SELECT users.email, count(sessions.id)
    FROM users LEFT JOIN sessions ON sessions.user_id = users.id GROUP BY users.id
"""


def require_whole(program: Program, answered: list[str]) -> int:
    """Requires that every answered sign-up is stored and none is incomplete.

    Returns the number of users.
    """
    found = dict(program.sql(SIGN_UPS))
    require(program.sql("PRAGMA integrity_check") == [("ok",)], "the file is damaged")
    lost = [name for name in answered if f"{name}@example.com" not in found]
    require(not lost, f"confirmed but lost: {lost}")
    require(
        set(found.values()) <= {1},
        f"incomplete: {[email for email, number in found.items() if number != 1]}",
    )
    return len(found)


async def sign_up_again(program: Program, name: str) -> None:
    """Requires that a repeated sign-up logs in and leaves one account."""
    answer = await Client(program.port).sign_up(name)
    require(answer.status == 303 and answer.cookie, f"retry: {answer.status}")
    require((await Client(program.port).log_in(name)).status == 303, "log-in fails after the retry")
    require(
        program.sql("SELECT count(*) FROM users WHERE email = ?", f"{name}@example.com") == [(1,)],
        "not exactly one account",
    )


async def killed_at(program: Program, call: str, number: int) -> bool:
    """Returns whether the program was killed at this system call before it answered the sign-up."""
    shutil.copy(program.folder / "empty.db", program.database)
    for rest in ("-wal", "-shm"):
        (program.folder / f"{DATABASE}{rest}").unlink(missing_ok=True)
    program.start()
    with strace(program, f"trace={call}", f"inject={call}:signal=KILL:when={number}"):
        try:
            answer = await Client(program.port).sign_up("alice")
            require(answer.status == 303, f"a sign-up returns {answer.status}")
            return False
        except (OSError, EOFError):
            return True
        finally:
            program.kill()


@fault("R01", "killed at each write and sync of a sign-up", PROMISE)
async def at_each_call(run: Run) -> str:
    needs("strace")
    program = run.program()
    shutil.copy(program.database, program.folder / "empty.db")
    restarts, kills = [], dict.fromkeys(CALLS, 0)
    for call in CALLS:
        for number in count(1):
            killed = await killed_at(program, call, number)
            restarts.append(program.start())
            require_whole(program, [] if killed else ["alice"])
            await sign_up_again(program, "alice")
            program.kill()
            kills[call] += killed
            if not killed:
                break
    return f"{', '.join(f'{n} kills at {call}' for call, n in kills.items())}; {judge(restarts)}"


@fault("R01", f"killed {KILLS} times at random during sign-ups", PROMISE)
async def at_random(run: Run) -> str:
    program = run.program()
    program.start()
    answered, sent, restarts = [], count(), []

    async def keep_signing_up() -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                name = f"grace{next(sent)}"
                if (await Client(program.port).sign_up(name)).status == 303:
                    answered.append(name)

    for _ in range(KILLS):
        load = [asyncio.create_task(keep_signing_up()) for _ in range(8)]
        await asyncio.sleep(random.uniform(0.05, 0.5))
        program.kill()
        await asyncio.gather(*load)
        restarts.append(program.start())
        stored = require_whole(program, answered)
    await sign_up_again(program, f"grace{next(sent) - 1}")
    return f"{len(answered)} confirmed, {stored} stored, none incomplete; {judge(restarts)}"


def judge(restarts: list[float]) -> str:
    usual = statistics.median(restarts)
    told = f"{len(restarts)} restarts, median {usual:.2f} s, longest {max(restarts):.2f} s"
    require(usual < 2, told)
    return told


if __name__ == "__main__":
    main(at_each_call, at_random)
