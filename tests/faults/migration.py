"""Causes concurrent migrations, killed migrations, and migrations and backups under load."""

import asyncio
import contextlib
import re
import sqlite3
import subprocess

from tests.faults.client import Answer, Client, at_once, logged_in_client, p99, repeat, statuses
from tests.faults.program import DATABASE, LATCHKEY, Program, Run, needs
from tests.faults.verdict import NotRun, fault, main, require

TABLES = "SELECT count(*) FROM sqlite_master WHERE name IN ('users', 'sessions', 'alembic_version') AND type = 'table'"


def remove_database(program: Program) -> None:
    for file in program.folder.glob(f"{DATABASE}*"):
        file.unlink()


async def command(program: Program, *words: str) -> int:
    return (await asyncio.to_thread(program.command, *words)).returncode


@fault(
    "R18",
    "four `latchkey migrate` at once, without a database",
    "one migrates, the others wait; all succeed",
)
async def at_the_same_time(run: Run) -> str:
    program = run.program()
    remove_database(program)
    codes = await asyncio.gather(*(command(program, "migrate") for _ in range(4)))
    require(codes == [0] * 4, f"exit codes {codes}")
    require(program.sql(TABLES) == [(3,)], "a table is missing")
    program.start()
    await logged_in_client(program, "alice")
    return f"exit codes {codes}; the program starts, and a sign-up works"


@fault(
    "R18",
    "`latchkey migrate` killed at each sync",
    "migrates completely or not at all; the next one succeeds",
)
async def killed(run: Run) -> str:
    needs("strace")
    program = run.program()
    kills = 0
    for call in ("fdatasync", "fsync", "unlink"):
        for number in range(1, 20):
            remove_database(program)
            rules = [
                "-o",
                "/dev/null",
                "-e",
                f"trace={call}",
                "-e",
                f"inject={call}:signal=KILL:when={number}",
            ]
            began = ["strace", "-D", "-f", *rules, LATCHKEY, "migrate"]
            ended = await asyncio.to_thread(
                subprocess.run, began, env=program.environ, capture_output=True
            )
            if ended.returncode == 0:
                break
            kills += 1
            require(
                (await command(program, "migrate")) == 0,
                f"after a kill at {call} {number} the next one fails",
            )
            require(program.sql(TABLES) == [(3,)], "a table is missing")
    require(kills, "nothing was killed")
    return f"{kills} kills; each time the next one succeeded"


@fault(
    "R18",
    "`latchkey migrate` five times while the program serves",
    "no request fails (the schema is current, so nothing changes)",
)
async def under_load(run: Run) -> str:
    program = run.program()
    program.start()
    alice, guest = await logged_in_client(program, "alice"), Client(program.port)
    await logged_in_client(program, "bob")
    load = asyncio.create_task(
        at_once(
            repeat(lambda: alice.ask("/dashboard"), 8, 0.01),
            repeat(lambda: guest.log_in("bob"), 8, 0.01),
        )
    )
    codes = [await command(program, "migrate") for _ in range(5)]
    answers = await load
    told = f"exit codes {codes}; {statuses(answers)}; p99 {p99(answers):.0f} ms"
    require(codes == [0] * 5 and {answer.status for answer in answers} == {200, 303}, told)
    return told


@fault(
    "R19",
    "`latchkey backup` during writes, then a restore",
    "works online; complete; contains every account confirmed before",
)
async def backup(run: Run) -> str:
    program = run.program()
    if not re.search(r"^\s+backup\b", program.command("--help").stdout, re.MULTILINE):
        raise NotRun("the command does not exist")
    program.start()
    copies = run.folder / "copies"
    copies.mkdir()
    answered: list[str] = []

    async def sign_up(number: int) -> Answer:
        name = f"grace{number}x{len(answered)}"
        answer = await Client(program.port).sign_up(name)
        if answer.status == 303:
            answered.append(name)
        return answer

    load = asyncio.create_task(at_once(*(repeat(lambda n=n: sign_up(n), 6) for n in range(4))))
    await asyncio.sleep(1)
    found = []
    for number in range(3):
        before, file = list(answered), copies / f"{number}.db"
        ended = await asyncio.to_thread(program.command, "backup", str(file))
        require(ended.returncode == 0, f"exit code {ended.returncode}: {ended.stderr.strip()}")
        found.append(await asyncio.to_thread(look_into, file, before))
    answers = await load
    restored = run.program(f"sqlite:///{copies / '2.db'}")
    restored.start()
    entered = await Client(restored.port).log_in(before[-1])
    told = f"{len(found)} backups of {', '.join(map(str, found))} users during {statuses(answers)}"
    require(all(answer.status in (303, 503) for answer in answers), told)
    require(entered.status == 303, f"log-in after the restore: {entered.status}")
    return f"{told}; all complete; a log-in after the restore works"


def look_into(file: object, answered: list[str]) -> int:
    with contextlib.closing(sqlite3.connect(file)) as copy:
        require(
            copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)], "the backup is damaged"
        )
        people = {email for (email,) in copy.execute("SELECT email FROM users")}
        alone = copy.execute(
            "SELECT count(*) FROM users WHERE id NOT IN (SELECT user_id FROM sessions)"
        ).fetchone()[0]
    lost = [name for name in answered if f"{name}@example.com" not in people]
    require(
        not lost and not alone,
        f"{len(lost)} of {len(answered)} are not in the backup, {alone} incomplete",
    )
    return len(people)


if __name__ == "__main__":
    main(at_the_same_time, killed, under_load, backup)
