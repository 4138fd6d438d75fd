"""Contains the fault injections with their requirements, and their results.

A result is `passed`, `failed` or `not run`.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 400  # One fault injection may take this time.


class RequirementFailed(Exception):
    """Raised when the program does not meet the requirement. The message has the figures."""


class NotRun(Exception):
    """Raised when the fault cannot be injected here. The message says what it needs."""


@dataclass
class Fault:
    """A fault injection. `id` is the row of the reliability requirement, such as `R01`.

    `inject(run)` causes the fault and returns the measured figures. It raises RequirementFailed and
    NotRun.
    """

    id: str
    name: str
    requirement: str
    is_test: bool
    inject: Callable[[Any], Awaitable[str]]


def require(condition: object, problem: str) -> None:
    """Raises RequirementFailed with `problem` if the condition is false."""
    if not condition:
        raise RequirementFailed(problem)


def fault(id: str, name: str, requirement: str, *, is_test: bool = False) -> Callable:
    """Returns a decorator for a fault. With `is_test`, its short form is one of the tests."""
    return lambda inject: Fault(id, name, requirement, is_test, inject)


def main(*faults: Fault) -> None:
    """Injects the faults one after the other and prints one line for each.

    Exits with 1 if a requirement failed, and with 2 if a fault was not run.
    """
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument(
        "--short", action="store_true", help="only the short forms that the tests run"
    )
    parser.add_argument("--json", action="store_true", help="one JSON list per line, for the table")
    options = parser.parse_args()
    results = []
    for fault in faults:
        if fault.is_test or not options.short:
            results.append(asyncio.run(run_fault(fault, options)))
    sys.exit(1 if "failed" in results else 2 if "not run" in results else 0)


async def run_fault(fault: Fault, options: argparse.Namespace) -> str:
    """Injects the fault, prints its line and returns its result."""
    from tests.faults.program import Run

    try:
        with tempfile.TemporaryDirectory() as folder:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    measured = await fault.inject(Run(Path(folder), stack, options.short))
                    result = "passed"
    except RequirementFailed as failure:
        result, measured = "failed", str(failure)
    except TimeoutError:
        result, measured = "failed", f"not complete after {TIMEOUT_SECONDS} s"
    except (OSError, EOFError) as error:
        result, measured = "failed", f"connection lost: {error!r}"
    except NotRun as reason:
        result, measured = "not run", str(reason)
    except Exception as error:
        result, measured = "not run", f"error in the test: {error!r}"
    if options.json:
        print(json.dumps([fault.id, fault.name, fault.requirement, result, measured]), flush=True)
    else:
        print(f"{fault.id} {fault.name}: {result} — {measured}", flush=True)
    return result
