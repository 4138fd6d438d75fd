"""Runs concurrent migrations, killed migrations, and migrations and backups under load."""

import asyncio
import contextlib
import re
import sqlite3
import subprocess

from tests.faults.client import (
    Client,
    Response,
    format_statuses,
    p99,
    repeat,
    run_concurrently,
    sign_up_client,
)
from tests.faults.program import DATABASE, LATCHKEY, Program, Run, require_program
from tests.faults.result import NotRun, fault, main, require

TABLES = "SELECT count(*) FROM sqlite_master WHERE name IN ('users', 'sessions', 'alembic_version') AND type = 'table'"


def remove_database(program: Program) -> None:
    for file in program.folder.glob(f"{DATABASE}*"):
        file.unlink()


async def run_command(program: Program, *arguments: str) -> int:
    return (await asyncio.to_thread(program.run_command, *arguments)).returncode


@fault(
    "R18",
    "four `latchkey migrate` at once, without a database",
    "one migrates, the others wait; all succeed",
)
async def concurrent_migrations(run: Run) -> str:
    program = run.program()
    remove_database(program)
    exit_codes = await asyncio.gather(*(run_command(program, "migrate") for _ in range(4)))
    require(exit_codes == [0] * 4, f"exit codes {exit_codes}")
    require(program.execute_sql(TABLES) == [(3,)], "a table is missing")
    program.start()
    await sign_up_client(program, "alice")
    return f"exit codes {exit_codes}; the program starts, and a sign-up works"


@fault(
    "R18",
    "`latchkey migrate` killed at each sync",
    "migrates completely or not at all; the next one succeeds",
)
async def killed_migration(run: Run) -> str:
    require_program("strace")
    program = run.program()
    kills = 0
    for call in ("fdatasync", "fsync", "unlink"):
        for number in range(1, 20):
            remove_database(program)
            # With -D, strace is not the parent, so the exit code is that of `latchkey`.
            options = ["-D", "-f", "-o", "/dev/null"]
            rules = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
            done = await asyncio.to_thread(
                subprocess.run,
                ["strace", *options, *rules, LATCHKEY, "migrate"],
                env=program.environ,
                capture_output=True,
            )
            if done.returncode == 0:
                break
            kills += 1
            require(
                (await run_command(program, "migrate")) == 0,
                f"after a kill at {call} {number} the next one fails",
            )
            require(program.execute_sql(TABLES) == [(3,)], "a table is missing")
    require(kills, "nothing was killed")
    return f"{kills} kills; each time the next one succeeded"


@fault(
    "R18",
    "`latchkey migrate` five times while the program serves",
    "no request fails (the schema is current, so nothing changes)",
)
async def migration_under_load(run: Run) -> str:
    program = run.program()
    program.start()
    alice, client = await sign_up_client(program, "alice"), Client(program.port)
    await sign_up_client(program, "bob")
    load = asyncio.create_task(
        run_concurrently(
            repeat(lambda: alice.request("/dashboard"), 8, 0.01),
            repeat(lambda: client.log_in("bob"), 8, 0.01),
        )
    )
    exit_codes = [await run_command(program, "migrate") for _ in range(5)]
    responses = await load
    measured = f"exit codes {exit_codes}; {format_statuses(responses)}; p99 {p99(responses):.0f} ms"
    require(
        exit_codes == [0] * 5 and {response.status for response in responses} == {200, 303},
        measured,
    )
    return measured


@fault(
    "R19",
    "`latchkey backup` during writes, then a restore",
    "works online; complete; contains every account confirmed before",
)
async def backup(run: Run) -> str:
    program = run.program()
    if not re.search(r"^\s+backup\b", program.run_command("--help").stdout, re.MULTILINE):
        raise NotRun("the command does not exist")
    program.start()
    copies = run.folder / "copies"
    copies.mkdir()
    confirmed: list[str] = []

    async def sign_up(number: int) -> Response:
        name = f"grace{number}x{len(confirmed)}"
        response = await Client(program.port).sign_up(name)
        if response.status == 303:
            confirmed.append(name)
        return response

    load = asyncio.create_task(
        run_concurrently(*(repeat(lambda n=n: sign_up(n), 6) for n in range(4)))
    )
    await asyncio.sleep(1)
    users = []
    for number in range(3):
        confirmed_before = list(confirmed)
        file = copies / f"{number}.db"
        done = await asyncio.to_thread(program.run_command, "backup", str(file))
        require(done.returncode == 0, f"exit code {done.returncode}: {done.stderr.strip()}")
        users.append(await asyncio.to_thread(count_users, file, confirmed_before))
    responses = await load
    restored = run.program(f"sqlite:///{copies / '2.db'}")
    restored.start()
    log_in = await Client(restored.port).log_in(confirmed_before[-1])
    counts = ", ".join(map(str, users))
    measured = f"{len(users)} backups of {counts} users during {format_statuses(responses)}"
    require(all(response.status in (303, 503) for response in responses), measured)
    require(log_in.status == 303, f"log-in after the restore: {log_in.status}")
    return f"{measured}; all complete; a log-in after the restore works"


def count_users(file: object, confirmed: list[str]) -> int:
    """Requires that the backup contains every confirmed sign-up. Returns the number of users."""
    with contextlib.closing(sqlite3.connect(file)) as copy:
        require(
            copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)], "the backup is damaged"
        )
        emails = {email for (email,) in copy.execute("SELECT email FROM users")}
        without_session = copy.execute(
            "SELECT count(*) FROM users WHERE id NOT IN (SELECT user_id FROM sessions)"
        ).fetchone()[0]
    lost = [name for name in confirmed if f"{name}@example.com" not in emails]
    require(
        not lost and not without_session,
        f"{len(lost)} of {len(confirmed)} are not in the backup, {without_session} incomplete",
    )
    return len(emails)


if __name__ == "__main__":
    main(concurrent_migrations, killed_migration, migration_under_load, backup)
