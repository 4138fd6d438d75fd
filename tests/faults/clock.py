"""Injects jumps of the clock while users are logged in, with libfaketime in the program."""

import asyncio
from pathlib import Path

from tests.faults.client import Client, sign_up_client
from tests.faults.program import Program, Run
from tests.faults.result import NotRun, fault, main, require

LIBRARIES = tuple(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class Clock:
    """The adjustable clock of one program. Raises NotRun without libfaketime."""

    def __init__(self, folder: Path) -> None:
        if not LIBRARIES:
            raise NotRun("needs the Debian package faketime")
        self.file = folder / "clock"
        self.file.write_text("+0\n")
        self.environ = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    async def jump(self, offset: str) -> None:
        self.file.write_text(f"{offset}\n")
        await asyncio.sleep(0.1)


async def start_program_with_clock(run: Run) -> tuple[Program, Clock]:
    clock = Clock(run.folder)
    program = run.program()
    program.environ |= clock.environ
    program.start()
    return program, clock


async def dashboard_status(client: Client) -> int:
    return (await client.request("/dashboard")).status


@fault(
    "R15",
    "the clock jumps by +31 s, −1 h and back",
    "no crash, no user logged out, no ended session valid again",
)
async def small_jumps(run: Run) -> str:
    program, clock = await start_program_with_clock(run)
    clients = [await sign_up_client(program, f"alice{number}") for number in range(10)]
    logged_out = await sign_up_client(program, "bob")
    require((await logged_out.request("/logout", {})).status == 303, "no log-out")
    for offset in ("+31", "-3600", "+0", "-3600"):
        await clock.jump(offset)
        statuses = [await dashboard_status(client) for client in clients]
        require(set(statuses) == {200}, f"at {offset} s dashboards return {sorted(set(statuses))}")
        require(
            await dashboard_status(logged_out) == 303,
            f"at {offset} s an ended session is valid again",
        )
        new_client = await sign_up_client(
            program, f"carol{abs(int(offset))}{len(program.execute_sql('SELECT 1 FROM users'))}"
        )
        require(
            await dashboard_status(new_client) == 200, f"at {offset} s a new user is not logged in"
        )
    return f"10 dashboards 200 and an ended session refused at +31 s, −1 h, 0, −1 h; exit code {program.stop()}"


@fault("R15", "the clock jumps by +400 d", "no crash; every session has expired; new sessions work")
async def far_jump(run: Run) -> str:
    program, clock = await start_program_with_clock(run)
    alice = await sign_up_client(program, "alice")
    await clock.jump("+400d")
    require((await alice.request("/dashboard")).status == 303, "a session is valid for 400 days")
    response = await Client(program.port).log_in("alice")
    require(response.status == 303, f"log-in: {response.status}")
    require(
        await dashboard_status(Client(program.port, response.cookie)) == 200,
        "no session after the log-in",
    )
    return f"the earlier session is refused; a new log-in and its session work; exit code {program.stop()}"


@fault(
    "R15", "a session expires, then the clock goes back by 1 h", "no expired session is valid again"
)
async def expired_session(run: Run) -> str:
    program, clock = await start_program_with_clock(run)
    alice = await sign_up_client(program, "alice")
    await clock.jump(f"+{7 * 86400 + 600}")
    require(await dashboard_status(alice) == 303, "not expired after seven days and ten minutes")
    await clock.jump(f"+{7 * 86400 - 3000}")
    require(
        await dashboard_status(alice) == 303,
        "the cookie is valid again until the expired row is pruned",
    )
    return "the cookie stays invalid"


if __name__ == "__main__":
    main(small_jumps, far_jump, expired_session)
