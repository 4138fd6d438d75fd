"""Runs some of the fault injections of `tests/faults` for a few seconds each.

docs/faults.md describes all of them.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(
            "lock",
            marks=[pytest.mark.alone, pytest.mark.reliability("R05")],
            id="a locked database: 503, and members' pages go on",
        ),
        pytest.param(
            "rotation", marks=pytest.mark.reliability("R16"), id="a rotated secret logs nobody out"
        ),
        pytest.param(
            "failure",
            marks=pytest.mark.reliability("R21"),
            id="an unforeseen error costs one request",
        ),
    ],
)
def test_the_program_survives_the_injected_fault(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.faults.{program}", "--short"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
