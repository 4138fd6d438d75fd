"""Injects faults of the disk, which does not sync, is full, fails or is read-only."""

import asyncio
import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.client import Client, Response, format_statuses, sign_up_client
from tests.faults.program import Program, Run, require_root, strace
from tests.faults.result import fault, main, require

ATTEMPTS = 12


@contextlib.contextmanager
def mount_tmpfs(folder: Path) -> Iterator[Path]:
    """Creates the folder and mounts a file system of 2 MiB on it. Raises NotRun without root."""
    require_root()
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)


def fill(folder: Path) -> None:
    """Writes to the file `filler` until the file system is full."""
    with open(folder / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


async def send_writes(program: Program, prefix: str) -> tuple[list[Response], list[str]]:
    """Sends sign-ups and log-ins alternately. Requires that a refused form keeps its input.

    Returns the responses and the names of the users whose sign-up succeeded.
    """
    responses, signed_up = [], []
    for number in range(ATTEMPTS):
        name = f"{prefix}{number}"
        responses.append(await Client(program.port).sign_up(name))
        if responses[-1].status == 303:
            signed_up.append(name)
        require(
            responses[-1].status == 303 or name.encode() in responses[-1].body,
            "the form does not keep its input",
        )
        responses.append(await Client(program.port).log_in("alice"))
    return responses, signed_up


def require_refusals(responses: list[Response]) -> str:
    """Requires at least one refusal, and Retry-After in every refusal. Returns the statuses."""
    refusals = [response for response in responses if response.status != 303]
    require(refusals, "nothing was refused: the fault had no effect")
    measured = f"writes: {format_statuses(responses)}"
    require(all(response.has_retry_after for response in refusals), measured)
    return measured


def require_complete(program: Program, signed_up: list[str]) -> None:
    """Requires that the sign-ups are stored, and that every user has a session."""
    rows = program.execute_sql(
        "SELECT email FROM users JOIN sessions ON sessions.user_id = users.id"
    )
    emails = {email for (email,) in rows}
    lost = [name for name in signed_up if f"{name}@example.com" not in emails]
    require(not lost, f"confirmed but lost: {lost}")
    without_session = program.execute_sql(
        "SELECT email FROM users WHERE id NOT IN (SELECT user_id FROM sessions)"
    )
    require(not without_session, f"users without a session: {without_session}")
    require(program.execute_sql("PRAGMA integrity_check") == [("ok",)], "the file is damaged")


def count_logged_failures(program: Program) -> int:
    """Returns the number of log lines that say that the database cannot be used."""
    return len(re.findall(r" latchkey(?: \[\w+\])?: .*database", program.read_log()))


async def wait_for_recovery(program: Program, name: str) -> float:
    """Returns the seconds until a sign-up succeeds again."""
    started = time.monotonic()
    while (await Client(program.port).sign_up(name)).status != 303:
        require(time.monotonic() - started < 15, "does not recover by itself within 15 s")
        await asyncio.sleep(0.1)
    return time.monotonic() - started


@fault("R02", "syncs fail with EIO", "every confirmed change is durable")
async def failing_sync(run: Run) -> str:
    program = run.program()
    program.start()
    await sign_up_client(program, "alice")
    with strace(program, "trace=fdatasync,fsync", "inject=fdatasync,fsync:error=EIO"):
        responses, signed_up = await send_writes(program, "grace")
    measured = require_refusals(responses)
    require(not signed_up, f"confirmed without a sync: {signed_up}")
    recovery = await wait_for_recovery(program, "heidi")
    program.kill()
    program.start()
    require_complete(program, ["alice", "heidi"])
    return (
        f"{measured}; recovers in {recovery:.1f} s; after a kill no account is lost or incomplete"
    )


@fault(
    "R03",
    "disk full",
    "dashboards work; writes get 503 with Retry-After, and the form keeps its input; nothing incomplete is stored; recovers",
)
async def full_disk(run: Run) -> str:
    with mount_tmpfs(run.folder / "disk") as disk:
        program = run.program(folder=disk)
        program.start()
        alice = await sign_up_client(program, "alice")
        fill(disk)
        responses, signed_up = await send_writes(program, "grace")
        dashboards = [await alice.request("/dashboard") for _ in range(50)]
        measured = require_refusals(responses)
        require(
            {page.status for page in dashboards} == {200},
            f"dashboards: {format_statuses(dashboards)}",
        )
        (disk / "filler").unlink()
        recovery = await wait_for_recovery(program, "heidi")
        require_complete(program, ["alice", "heidi", *signed_up])
        program.stop()
    return f"{measured}; dashboards: {format_statuses(dashboards)}; recovers in {recovery:.1f} s"


@fault("R03", "each write from the 30th on fails with ENOSPC", "as above")
async def failing_writes(run: Run) -> str:
    program = run.program()
    program.start()
    alice = await sign_up_client(program, "alice")
    with strace(program, "trace=pwrite64", "inject=pwrite64:error=ENOSPC:when=30+"):
        responses, signed_up = await send_writes(program, "grace")
        dashboards = [await alice.request("/dashboard") for _ in range(50)]
    measured = require_refusals(responses)
    require(
        {page.status for page in dashboards} == {200}, f"dashboards: {format_statuses(dashboards)}"
    )
    recovery = await wait_for_recovery(program, "heidi")
    require_complete(program, ["alice", "heidi", *signed_up])
    return f"{measured}; dashboards: {format_statuses(dashboards)}; recovers in {recovery:.1f} s"


async def inject_errors(program: Program, error: str) -> str:
    """Makes all writes and syncs fail with the error. Returns the figures.

    Requires refusals, readiness 503, one or two log messages, and a recovery without data loss.
    """
    await sign_up_client(program, "alice")
    with strace(
        program, "trace=pwrite64,fdatasync,fsync", f"inject=pwrite64,fdatasync,fsync:error={error}"
    ):
        responses, signed_up = await send_writes(program, "grace")
        readiness = program.request_status("/readyz")
    measured = f"{require_refusals(responses)}, /readyz {readiness}"
    recovery = await wait_for_recovery(program, "heidi")
    require_complete(program, ["alice", "heidi", *signed_up])
    lines = count_logged_failures(program)
    measured += f"; log messages: {lines}; recovers in {recovery:.1f} s"
    require(readiness == 503 and 0 < lines < 3, measured)
    return measured


UNUSABLE = "503; one log message a minute; /readyz is 503; recovers by itself"


@fault("R04", "writes fail with EIO", UNUSABLE)
async def broken_disk(run: Run) -> str:
    program = run.program()
    program.start()
    return await inject_errors(program, "EIO")


@fault("R04", "the file system becomes read-only (EROFS)", UNUSABLE)
async def read_only(run: Run) -> str:
    program = run.program()
    program.start()
    return await inject_errors(program, "EROFS")


@fault("R04", "start on a read-only file system", UNUSABLE)
async def read_only_start(run: Run) -> str:
    with mount_tmpfs(run.folder / "disk") as disk:
        program = run.program(folder=disk / "program")
        remount(disk, "ro")
        program.folder = run.folder  # The log needs a folder that can be written.
        program.start("/healthz")
        readiness = program.request_status("/readyz")
        response = await Client(program.port).sign_up("grace")
        lines = count_logged_failures(program)
        remount(disk, "rw")
        recovery = await wait_for_recovery(program, "heidi")
        program.stop()
    measured = (
        f"sign-up {response.status}, /readyz {readiness}, log messages: {lines}; "
        f"recovers in {recovery:.1f} s"
    )
    require(response.has_retry_after and readiness == 503 and lines, measured)
    return measured


if __name__ == "__main__":
    main(failing_sync, full_disk, failing_writes, broken_disk, read_only, read_only_start)
