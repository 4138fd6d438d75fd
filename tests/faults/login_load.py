"""Sends many concurrent log-ins, each of which costs an Argon2 hash."""

import asyncio
import os
import subprocess
import tempfile

from tests.faults.client import (
    Client,
    format_statuses,
    p99,
    repeat,
    run_concurrently,
    sign_up_client,
)
from tests.faults.program import Run, require_program
from tests.faults.result import fault, main, require

REQUIREMENT = "p99 of the dashboard under 100 ms; excess log-ins get 429 or 503 with Retry-After in under 10 ms; limited RSS"
LIMITED_REQUIREMENT = (
    "p99 of the dashboard under 100 ms; excess log-ins get 429 with Retry-After; limited RSS"
)
WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = "email=alice@example.com&password=wrong-password-1"
wrk.headers["Content-Type"] = "application/x-www-script-urlencoded"
"""
HASH_MIB = 19


async def measure_login_load(run: Run, connections: int, rate_limits: str) -> str:
    """Measures the dashboard while wrk and 24 clients log in. Returns the figures."""
    require_program("wrk")
    program = run.program(RATE_LIMITS=rate_limits)
    program.start()
    alice = await sign_up_client(program, "alice")
    idle = await repeat(lambda: alice.request("/dashboard"), 3, 0.02)
    before = program.rss_mib
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK_SCRIPT)
        script.flush()
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            "-d12s",
            "-s",
            script.name,
            f"http://127.0.0.1:{program.port}/login",
        ]
        wrk = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        await asyncio.sleep(1.5)
        dashboards = asyncio.create_task(repeat(lambda: alice.request("/dashboard"), 9, 0.01))
        clients = [Client(program.port) for _ in range(24)]
        log_ins = await run_concurrently(
            *(
                repeat(lambda client=client: client.log_in("alice", "wrong-password-1"), 8, 0.3)
                for client in clients
            )
        )
        loaded = await dashboards
        growth = program.rss_mib - before
        wrk_output = (await wrk.communicate())[0].decode()
    refused = [response for response in log_ins if response.has_retry_after]
    measured = f"dashboard p99 {p99(loaded):.0f} ms (idle {p99(idle):.0f}); log-ins: {format_statuses(log_ins)}"
    if refused:
        median_seconds = sorted(response.seconds for response in refused)[len(refused) // 2]
        measured += (
            f", refused after {1000 * median_seconds:.0f} ms (median), {p99(refused):.0f} ms (p99)"
        )
    attempts = wrk_output.split("requests in")[0].split()[-1]
    measured += f"; {attempts} attempts in total; RSS +{growth:.0f} MiB"
    require(
        all(response.status == 422 or response.has_retry_after for response in log_ins), measured
    )
    max_growth = len(os.sched_getaffinity(0)) * HASH_MIB + 20
    require(p99(loaded) < 100 and growth < max_growth, measured)
    # With enforced limits, the program delays the response to a client beyond its limit.
    require(rate_limits == "enforce" or not refused or median_seconds < 0.010, measured)
    return measured


@fault("R13", "64 connections log in without a pause for 10 s", REQUIREMENT)
async def few_connections(run: Run) -> str:
    return await measure_login_load(run, 64, "off")


@fault(
    "R13",
    "250 connections of one client log in without a pause, also after refusals",
    LIMITED_REQUIREMENT,
)
async def many_connections(run: Run) -> str:
    return await measure_login_load(run, 250, "enforce")


if __name__ == "__main__":
    main(few_connections, many_connections)
