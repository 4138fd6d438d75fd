"""Runs one attack: starts the program, measures it, attacks it and collects the outcome."""

import os
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.attack.outcome import Attack, Finding, Outcome
from tests.attack.probe import Probe
from tests.attack.program import Program

NICENESS = 10  # The attackers have low priority, because real attackers have their own machine.
# The p99 of the dashboard must be below this limit in milliseconds. On a slow machine, the limit is
# twice the p99 before the attack.
SLOWEST_PAGE = 100


def lay(attack: Attack) -> Outcome:
    """Runs the attack. Raises NotRun without its tool, and Broken if the program does not start."""
    version = attack.version()
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        proof = attack.prove(Path(folder)) if attack.prove else ""
        program = Program(Path(folder), attack.limits)
        try:
            program.open()
            return strike(attack, program, version, proof)
        finally:
            program.close()


def strike(attack: Attack, program: Program, version: str, proof: str) -> Outcome:
    with Probe(program) as quiet:
        time.sleep(3)
    before, began = program.counted(), time.monotonic()
    with (
        Probe(program) as probe,
        ThreadPoolExecutor(1, initializer=os.nice, initargs=(NICENESS,)) as attacker,
    ):
        seen = attacker.submit(attack.strike, program).result()
    seconds, answers = time.monotonic() - began, program.counted() - before
    answers[200] -= probe.watched.statuses.get("200", 0)
    outcome = Outcome(
        attack.name,
        attack.limits,
        version,
        seen,
        proof,
        answers,
        quiet.watched,
        probe.watched,
        seconds,
    )
    seen.findings += complaints(outcome, program)
    return outcome


def complaints(outcome: Outcome, program: Program) -> list[Finding]:
    """Returns findings that do not depend on the report of the tool."""
    found = [] if program.is_alive else [Finding("the program has ended", program.logged()[-300:])]
    if failed := {status: number for status, number in outcome.failures.items() if status != 503}:
        lines = [line for line in program.logged().splitlines() if "reference" in line]
        found.append(Finding("the program failed", f"{tell(failed)}; {' '.join(lines[:3])}"))
    others = {
        status: number for status, number in outcome.watched.statuses.items() if status != "200"
    }
    if others:
        found.append(Finding("the dashboard was unavailable", tell(others)))
    limit = max(SLOWEST_PAGE, 2 * outcome.quiet.p99)
    if outcome.watched.p99 >= limit:
        found.append(
            Finding(
                "the dashboard was slow", f"p99 {outcome.watched.p99:.0f} ms, limit {limit:.0f} ms"
            )
        )
    return found


def tell(statuses: Mapping[int, int] | Mapping[str, int]) -> str:
    return (
        ", ".join(f"{number:,} × {status}" for status, number in sorted(statuses.items()) if number)
        or "0"
    )
