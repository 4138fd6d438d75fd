"""Counts the rows of the guide, and the requirements of the security list, that have a passing test."""

import re

import pytest

ROWS = {"A": 26, "B": 16, "C": 8, "D": 36}
TRAPS = 15
ALL_ROWS = [f"{part}{number}" for part, count in ROWS.items() for number in range(1, count + 1)]
ALL_TRAPS = [f"T{number}" for number in range(1, TRAPS + 1)]
MARKERS = ("guide", "asvs", "reliability")

_results: dict[str, bool] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A row holds where at least one test names it and every test that names it passes."""
    named = [value for key, value in report.user_properties if key == "row"]
    if report.when == "call" or report.failed or report.skipped:
        for row in named:
            _results[row] = _results.get(row, True) and report.passed


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in (marker for name in MARKERS for marker in item.iter_markers(name)):
        item.user_properties.extend(("row", str(row)) for row in marker.args)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    proven = {row for row, passed in _results.items() if passed}
    rows, traps = [row for row in ALL_ROWS if row in proven], [trap for trap in ALL_TRAPS if trap in proven]
    requirements = [row for row in proven if re.fullmatch(r"[SR]\d+", row)]
    terminalreporter.section("the guide")
    terminalreporter.line(f"rows of the guide with a passing test: {len(rows)} of {len(ALL_ROWS)}")
    terminalreporter.line(f"traps of the guide with a passing test: {len(traps)} of {len(ALL_TRAPS)}")
    terminalreporter.line(f"security and reliability requirements with a passing test: {len(requirements)}")
