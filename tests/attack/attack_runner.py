"""Contains the run of one attack: start of the program, measurement, attack and outcome."""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.attack.dashboard_probe import DashboardProbe
from tests.attack.outcome import Attack, Finding, Outcome
from tests.attack.program import Program

NICENESS = 10  # The tools have low priority, because real attackers use their own machines.
IDLE_SECONDS = 3  # The dashboard is measured for this time before the attack.
# The p99 of the dashboard must be below this limit. On a slow machine, the limit is twice the p99
# before the attack.
MAX_P99_MILLISECONDS = 100


def run_attack(attack: Attack) -> Outcome:
    """Runs the attack against a new program.

    Raises NotRun if the tool is missing, and SetupFailed if the program does not start.
    """
    version = attack.version()
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        tool_check = attack.check_tool(Path(folder)) if attack.check_tool else ""
        program = Program(Path(folder), attack.rate_limits)
        try:
            program.start()
            return measure_attack(attack, program, version, tool_check)
        finally:
            program.stop()


def measure_attack(attack: Attack, program: Program, version: str, tool_check: str) -> Outcome:
    """Runs the attack and measures the dashboard before and during it."""
    with DashboardProbe(program) as idle:
        time.sleep(IDLE_SECONDS)
    before = program.count_responses()
    started = time.monotonic()
    with (
        DashboardProbe(program) as loaded,
        ThreadPoolExecutor(1, initializer=os.nice, initargs=(NICENESS,)) as executor,
    ):
        result = executor.submit(attack.run, program).result()
    seconds = time.monotonic() - started
    responses = program.count_responses() - before
    responses[200] -= loaded.times.statuses.get("200", 0)
    outcome = Outcome(
        attack.name,
        attack.rate_limits,
        version,
        result,
        tool_check,
        responses,
        idle.times,
        loaded.times,
        seconds,
    )
    result.findings += find_failures(outcome, program)
    return outcome


def find_failures(outcome: Outcome, program: Program) -> Iterator[Finding]:
    """Yields the findings that do not depend on the report of the tool."""
    if not program.is_running:
        yield Finding("the program has ended", program.read_log()[-300:])
    errors = {status: number for status, number in outcome.server_errors.items() if status != 503}
    if errors:
        lines = [line for line in program.read_log().splitlines() if "reference" in line]
        yield Finding("the program failed", f"{format_counts(errors)}; {' '.join(lines[:3])}")
    others = {
        status: number for status, number in outcome.loaded.statuses.items() if status != "200"
    }
    if others:
        yield Finding("the dashboard was unavailable", format_counts(others))
    limit = max(MAX_P99_MILLISECONDS, 2 * outcome.idle.p99)
    if outcome.loaded.p99 >= limit:
        yield Finding(
            "the dashboard was slow", f"p99 {outcome.loaded.p99:.0f} ms, limit {limit:.0f} ms"
        )


def format_counts(statuses: Mapping[int, int] | Mapping[str, int]) -> str:
    """Returns the numbers by status, such as `12 × 200, 3 × 404`."""
    counts = [f"{number:,} × {status}" for status, number in sorted(statuses.items()) if number]
    return ", ".join(counts) or "0"
