"""Faults with their promises, and the verdicts: held, not held, or not run."""

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

TIMEOUT_SECONDS = 400  # seconds for one fault


class Broken(Exception):
    """Raised when the promise is not kept. The message says how."""


class NotRun(Exception):
    """Raised when the fault cannot be caused here. The message says what it needs."""


@dataclass
class Fault:
    """A fault. `cause(run)` causes it and returns what was seen, or raises Broken or NotRun."""

    id: str
    name: str
    promise: str
    is_test: bool
    cause: Callable[[Any], Awaitable[str]]


def require(held: object, otherwise: str) -> None:
    if not held:
        raise Broken(otherwise)


def fault(id: str, name: str, promise: str, *, is_test: bool = False) -> Callable:
    """Returns a decorator for a fault. With `is_test`, its short form is one of the tests."""
    return lambda cause: Fault(id, name, promise, is_test, cause)


def main(*faults: Fault) -> None:
    """Causes the faults in turn and prints one line for each.

    Exits with 1 if a promise is broken, and with 2 if a fault was not run.
    """
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument(
        "--short", action="store_true", help="only the short forms that the tests run"
    )
    parser.add_argument("--json", action="store_true", help="one JSON list per line, for the table")
    options = parser.parse_args()
    verdicts = [
        asyncio.run(judge(fault, options)) for fault in faults if fault.is_test or not options.short
    ]
    sys.exit(1 if "failed" in verdicts else 2 if "not run" in verdicts else 0)


async def judge(fault: Fault, options: argparse.Namespace) -> str:
    from tests.faults.program import Run

    try:
        with tempfile.TemporaryDirectory() as folder:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    verdict, seen = (
                        "passed",
                        await fault.cause(Run(Path(folder), stack, options.short)),
                    )
    except Broken as broken:
        verdict, seen = "failed", str(broken)
    except TimeoutError:
        verdict, seen = "failed", f"not complete after {TIMEOUT_SECONDS} s"
    except (OSError, EOFError) as error:
        verdict, seen = "failed", f"connection lost: {error!r}"
    except NotRun as reason:
        verdict, seen = "not run", str(reason)
    except Exception as mistake:
        verdict, seen = "not run", f"error in the test: {mistake!r}"
    if options.json:
        print(json.dumps([fault.id, fault.name, fault.promise, verdict, seen]), flush=True)
    else:
        print(f"{fault.id} {fault.name}: {verdict} — {seen}", flush=True)
    return verdict
