"""Sends a hundred thousand mixed requests and compares memory and open files before and after."""

import asyncio
import subprocess
import time

from tests.faults.client import sign_up_client
from tests.faults.program import Program, Run, require_program
from tests.faults.result import fault, main, require

REQUESTS = 100_000
TIMEOUT_SECONDS = 180
CONNECTIONS = 16
MIX = """
local form = {{ ["Content-Type"] = "application/x-www-form-urlencoded" }}
local session = {{ ["Cookie"] = "{cookie}" }}
local number = 0
function request()
    number = number + 1
    local which = number % 20
    if number % 400 == 0 then
        return wrk.format("POST", "/login", form, "email=alice@example.com&password=wrong-password-1")
    elseif which < 8 then return wrk.format("GET", "/dashboard", session)
    elseif which < 11 then return wrk.format("GET", "/devices", session)
    elseif which < 13 then return wrk.format("GET", "/signup")
    elseif which < 15 then
        return wrk.format("POST", "/signup/check/email", form, "email=nobody" .. turn .. "@example.com")
    elseif which == 15 then return wrk.format("GET", "/nothing/" .. turn)
    elseif which == 16 then return wrk.format("GET", "/login?next=/devices")
    elseif which == 17 then return wrk.format("POST", "/login", form, "email=no&password=" .. turn)
    elseif which == 18 then return wrk.format("GET", "/api/session", session)
    else return wrk.format("GET", "/dashboard") end
end
"""


async def run_load(program: Program, seconds: float) -> int:
    """Runs wrk and returns the number of completed requests."""
    command = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds:.0f}s",
        "-s",
        program.folder / "mix.lua",
    ]
    wrk = await asyncio.create_subprocess_exec(
        *command,
        f"http://127.0.0.1:{program.port}",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    output, _ = await wrk.communicate()
    return int(output.decode().split("requests in")[0].split()[-1])


@fault(
    "R20",
    f"{REQUESTS:,} mixed requests",
    "RSS grows by less than 10 MiB; the number of open files does not grow",
)
async def soak(run: Run) -> str:
    require_program("wrk")
    program = run.program()
    program.start()
    alice = await sign_up_client(program, "alice")
    (program.folder / "mix.lua").write_text(MIX.format(cookie=alice.cookie))
    warm_up = await run_load(program, 10)
    await asyncio.sleep(1)
    rss = program.rss_mib
    files = program.open_files
    started = time.monotonic()
    completed = 0
    while completed < REQUESTS and time.monotonic() - started < TIMEOUT_SECONDS:
        completed += await run_load(program, 10)
    await asyncio.sleep(1)
    seconds = time.monotonic() - started
    measured = (
        f"{completed:,} requests in {seconds:.0f} s, after {warm_up:,} for warm-up: "
        f"RSS {rss:.1f} to {program.rss_mib:.1f} MiB, "
        f"open files {files} to {program.open_files}"
    )
    require(program.rss_mib - rss < 10 and program.open_files <= files, measured)
    return measured


if __name__ == "__main__":
    main(soak)
