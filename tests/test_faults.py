"""Runs the short forms of some fault injections of tests/faults.

docs/faults.md describes all fault injections.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(
            "lock",
            marks=[pytest.mark.alone, pytest.mark.reliability("R05")],
            id="a locked database causes 503, and dashboards work",
        ),
        pytest.param(
            "secret_rotation",
            marks=pytest.mark.reliability("R16"),
            id="a rotated secret logs no user out",
        ),
        pytest.param(
            "mail",
            marks=pytest.mark.reliability("R14"),
            id="a mail server that is down delays no sign-up and loses no mail",
        ),
        pytest.param(
            "unexpected_error",
            marks=pytest.mark.reliability("R21"),
            id="an unexpected error affects one request",
        ),
    ],
)
def test_the_program_survives_the_injected_fault(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.faults.{module}", "--short"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
