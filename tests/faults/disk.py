"""Causes faults of the disk: it does not sync, is full, fails or is read-only."""

import asyncio
import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.client import Answer, Client, logged_in_client, statuses
from tests.faults.program import Program, Run, needs_root, strace
from tests.faults.verdict import fault, main, require

ATTEMPTS = 12


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    needs_root()
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)


def fill(folder: Path) -> None:
    with open(folder / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


async def try_to_write(program: Program, prefix: str) -> tuple[list[Answer], list[str]]:
    """Sends sign-ups and log-ins in turn.

    Returns the answers and the names of the users whose sign-up succeeded.
    """
    answers, opened = [], []
    for number in range(ATTEMPTS):
        name = f"{prefix}{number}"
        answers.append(await Client(program.port).sign_up(name))
        if answers[-1].status == 303:
            opened.append(name)
        require(
            answers[-1].status == 303 or name.encode() in answers[-1].body,
            "the form does not keep its input",
        )
        answers.append(await Client(program.port).log_in("alice"))
    return answers, opened


def require_refusals(answers: list[Answer]) -> str:
    """Requires that at least one answer is a refusal and that every refusal has Retry-After."""
    refused = [answer for answer in answers if answer.status != 303]
    require(refused, "nothing was refused: the fault had no effect")
    require(all(answer.sends_back for answer in refused), f"writes: {statuses(answers)}")
    return f"writes: {statuses(answers)}"


def require_whole(program: Program, opened: list[str]) -> None:
    people = {
        email
        for (email,) in program.sql(
            "SELECT email FROM users JOIN sessions ON sessions.user_id = users.id"
        )
    }
    lost = [name for name in opened if f"{name}@example.com" not in people]
    require(not lost, f"confirmed but lost: {lost}")
    alone = program.sql("SELECT email FROM users WHERE id NOT IN (SELECT user_id FROM sessions)")
    require(not alone, f"users without a session: {alone}")
    require(program.sql("PRAGMA integrity_check") == [("ok",)], "the file is damaged")


def count_logged_failures(program: Program) -> int:
    """Returns the number of log lines that say that the database cannot be used."""
    return len(re.findall(r" latchkey(?: \[\w+\])?: .*database", program.logged()))


async def heal(program: Program, name: str) -> float:
    """Returns the seconds until a sign-up succeeds again."""
    began = time.monotonic()
    while (await Client(program.port).sign_up(name)).status != 303:
        require(time.monotonic() - began < 15, "does not recover by itself within 15 s")
        await asyncio.sleep(0.1)
    return time.monotonic() - began


@fault("R02", "syncs fail with EIO", "every confirmed change is durable")
async def no_sync(run: Run) -> str:
    program = run.program()
    program.start()
    await logged_in_client(program, "alice")
    with strace(program, "trace=fdatasync,fsync", "inject=fdatasync,fsync:error=EIO"):
        answers, opened = await try_to_write(program, "grace")
    told = require_refusals(answers)
    require(not opened, f"confirmed without a sync: {opened}")
    healed = await heal(program, "heidi")
    program.kill()
    program.start()
    require_whole(program, ["alice", "heidi"])
    return f"{told}; recovers in {healed:.1f} s; after a kill no account is lost or incomplete"


@fault(
    "R03",
    "disk full",
    "dashboards work; writes get 503 with Retry-After, and the form keeps its input; nothing incomplete is stored; recovers",
)
async def full_disk(run: Run) -> str:
    with small_disk(run.folder / "disk") as disk:
        program = run.program(folder=disk)
        program.start()
        alice = await logged_in_client(program, "alice")
        fill(disk)
        answers, opened = await try_to_write(program, "grace")
        pages = [await alice.ask("/dashboard") for _ in range(50)]
        told = require_refusals(answers)
        require(all(page.status == 200 for page in pages), f"dashboards: {statuses(pages)}")
        (disk / "filler").unlink()
        healed = await heal(program, "heidi")
        require_whole(program, ["alice", "heidi", *opened])
        program.end()
    return f"{told}; dashboards: {statuses(pages)}; recovers in {healed:.1f} s"


@fault("R03", "each write from the 30th on fails with ENOSPC", "as above")
async def no_space(run: Run) -> str:
    program = run.program()
    program.start()
    alice = await logged_in_client(program, "alice")
    with strace(program, "trace=pwrite64", "inject=pwrite64:error=ENOSPC:when=30+"):
        answers, opened = await try_to_write(program, "grace")
        pages = [await alice.ask("/dashboard") for _ in range(50)]
    told = require_refusals(answers)
    require(all(page.status == 200 for page in pages), f"dashboards: {statuses(pages)}")
    healed = await heal(program, "heidi")
    require_whole(program, ["alice", "heidi", *opened])
    return f"{told}; dashboards: {statuses(pages)}; recovers in {healed:.1f} s"


async def fail(program: Program, error: str) -> str:
    """Makes all disk operations fail, and checks the answers, the log and the recovery."""
    await logged_in_client(program, "alice")
    with strace(
        program, "trace=pwrite64,fdatasync,fsync", f"inject=pwrite64,fdatasync,fsync:error={error}"
    ):
        answers, opened = await try_to_write(program, "grace")
        ready = program.status("/readyz")
    told = f"{require_refusals(answers)}, /readyz {ready}"
    healed = await heal(program, "heidi")
    require_whole(program, ["alice", "heidi", *opened])
    lines = count_logged_failures(program)
    require(
        ready == 503,
        f"{told}: /readyz is not 503; log messages: {lines}; recovers in {healed:.1f} s",
    )
    require(0 < lines < 3, f"{told}: log messages: {lines}; recovers in {healed:.1f} s")
    return f"{told}; log messages: {lines}; recovers in {healed:.1f} s"


UNUSABLE = "503; one log message a minute; /readyz is 503; recovers by itself"


@fault("R04", "writes fail with EIO", UNUSABLE)
async def broken_disk(run: Run) -> str:
    program = run.program()
    program.start()
    return await fail(program, "EIO")


@fault("R04", "the file system becomes read-only (EROFS)", UNUSABLE)
async def read_only(run: Run) -> str:
    program = run.program()
    program.start()
    return await fail(program, "EROFS")


@fault("R04", "start on a read-only file system", UNUSABLE)
async def read_only_start(run: Run) -> str:
    with small_disk(run.folder / "disk") as disk:
        program = run.program(folder=disk / "program")
        remount(disk, "ro")
        program.folder = run.folder  # The log needs a folder that can be written.
        program.start(until="/healthz")
        ready, answer = program.status("/readyz"), await Client(program.port).sign_up("grace")
        lines = count_logged_failures(program)
        remount(disk, "rw")
        healed = await heal(program, "heidi")
        program.end()
    told = f"sign-up {answer.status}, /readyz {ready}, log messages: {lines}; recovers in {healed:.1f} s"
    require(answer.sends_back and ready == 503 and lines, told)
    return told


if __name__ == "__main__":
    main(no_sync, full_disk, no_space, broken_disk, read_only, read_only_start)
