"""Causes many log-ins at once, each of which costs an Argon2 hash."""

import asyncio
import os
import subprocess
import tempfile

from tests.faults.client import Client, at_once, logged_in_client, p99, repeat, statuses
from tests.faults.program import Run, needs
from tests.faults.verdict import fault, main, require

PROMISE = "p99 of the dashboard under 100 ms; excess log-ins get 429 or 503 with Retry-After in under 10 ms; limited RSS"
AT_THE_LIMIT = (
    "p99 of the dashboard under 100 ms; excess log-ins get 429 with Retry-After; limited RSS"
)
FORM = """
wrk.method = "POST"
wrk.body = "email=alice@example.com&password=wrong-password-1"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
"""
MEMORY_EACH = 19  # MiB per hash


async def flood(run: Run, connections: int, limits: str) -> str:
    needs("wrk")
    program = run.program(RATE_LIMITS=limits)
    program.start()
    alice, cores = await logged_in_client(program, "alice"), len(os.sched_getaffinity(0))
    quiet, before = await repeat(lambda: alice.ask("/dashboard"), 3, 0.02), program.rss
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as form:
        form.write(FORM)
        form.flush()
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            "-d12s",
            "-s",
            form.name,
            f"http://127.0.0.1:{program.port}/login",
        ]
        wrk = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        await asyncio.sleep(1.5)
        pages = asyncio.create_task(repeat(lambda: alice.ask("/dashboard"), 9, 0.01))
        guests = [Client(program.port) for _ in range(24)]
        tries = await at_once(
            *(
                repeat(lambda guest=guest: guest.log_in("alice", "wrong-password-1"), 8, 0.3)
                for guest in guests
            )
        )
        seen, grown = await pages, program.rss - before
        told_by_wrk = (await wrk.communicate())[0].decode()
    refused = [answer for answer in tries if answer.sends_back]
    told = f"dashboard p99 {p99(seen):.0f} ms (idle {p99(quiet):.0f}); log-ins: {statuses(tries)}"
    if refused:
        usual = sorted(answer.seconds for answer in refused)[len(refused) // 2]
        told += f", refused after {1000 * usual:.0f} ms (median), {p99(refused):.0f} ms (p99)"
    told += f"; {told_by_wrk.split('requests in')[0].split()[-1]} attempts in total; RSS +{grown:.0f} MiB"
    require(all(answer.status == 422 or answer.sends_back for answer in tries), told)
    require(p99(seen) < 100 and grown < cores * MEMORY_EACH + 20, told)
    # With enforced limits, a client beyond its limit waits for its answer.
    require(limits == "enforce" or not refused or usual < 0.010, told)
    return told


@fault("R13", "64 connections log in without a pause for 10 s", PROMISE)
async def few(run: Run) -> str:
    return await flood(run, 64, "off")


@fault(
    "R13",
    "250 connections of one client log in without a pause, also after refusals",
    AT_THE_LIMIT,
)
async def many(run: Run) -> str:
    return await flood(run, 250, "enforce")


if __name__ == "__main__":
    main(few, many)
