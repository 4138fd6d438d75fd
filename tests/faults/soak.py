"""Sends a hundred thousand mixed requests and compares memory and open files before and after."""

import asyncio
import subprocess
import time

from tests.faults.client import logged_in_client
from tests.faults.program import Program, Run, needs
from tests.faults.verdict import fault, main, require

REQUESTS = 100_000
TIMEOUT_SECONDS = 180  # seconds
CONNECTIONS = 16
MIX = """
local form = {{ ["Content-Type"] = "application/x-www-form-urlencoded" }}
local mine = {{ ["Cookie"] = "{cookie}" }}
local turn = 0
function request()
    turn = turn + 1
    local which = turn % 20
    if turn % 400 == 0 then
        return wrk.format("POST", "/login", form, "email=alice@example.com&password=wrong-password-1")
    elseif which < 8 then return wrk.format("GET", "/dashboard", mine)
    elseif which < 11 then return wrk.format("GET", "/devices", mine)
    elseif which < 13 then return wrk.format("GET", "/signup")
    elseif which < 15 then
        return wrk.format("POST", "/signup/check/email", form, "email=nobody" .. turn .. "@example.com")
    elseif which == 15 then return wrk.format("GET", "/nothing/" .. turn)
    elseif which == 16 then return wrk.format("GET", "/login?next=/devices")
    elseif which == 17 then return wrk.format("POST", "/login", form, "email=no&password=" .. turn)
    elseif which == 18 then return wrk.format("GET", "/api/session", mine)
    else return wrk.format("GET", "/dashboard") end
end
"""


async def load(program: Program, seconds: float) -> int:
    """Runs wrk and returns the number of answered requests."""
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
    told = (await wrk.communicate())[0].decode()
    return int(told.split("requests in")[0].split()[-1])


@fault(
    "R20",
    f"{REQUESTS:,} mixed requests",
    "RSS grows by less than 10 MiB; the number of open files does not grow",
)
async def soak(run: Run) -> str:
    needs("wrk")
    program = run.program()
    program.start()
    alice = await logged_in_client(program, "alice")
    (program.folder / "mix.lua").write_text(MIX.format(cookie=alice.cookie))
    warm = await load(program, 10)
    await asyncio.sleep(1)
    rss, files, began, done = program.rss, program.files, time.monotonic(), 0
    while done < REQUESTS and time.monotonic() - began < TIMEOUT_SECONDS:
        done += await load(program, 10)
    await asyncio.sleep(1)
    told = f"{done:,} requests in {time.monotonic() - began:.0f} s, after {warm:,} for warm-up"
    told += f": RSS {rss:.1f} to {program.rss:.1f} MiB, open files {files} to {program.files}"
    require(program.rss - rss < 10 and program.files <= files, told)
    return told


if __name__ == "__main__":
    main(soak)
