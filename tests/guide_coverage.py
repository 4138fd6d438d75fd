"""Counts the rows of the guide, and the requirements of the security list, that have a passing
test.

The table is printed only with `--guide`, because it says nothing about a part of the suite.
"""

import re

import pytest

ROWS = {"A": 26, "B": 16, "C": 8, "D": 36}
MISTAKES = 15
ALL_ROWS = [f"{part}{number}" for part, count in ROWS.items() for number in range(1, count + 1)]
ALL_MISTAKES = [f"T{number}" for number in range(1, MISTAKES + 1)]
# The row about the feedback box of the guide's page, which does not exist here.
NOT_DUE = {"D36"}
MARKERS = ("guide", "asvs", "reliability")

_results: dict[str, bool] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--guide", action="store_true", help="print how many rows of the guide have a passing test"
    )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Records whether every test of a row passes. A row without a test is not recorded."""
    named = [value for key, value in report.user_properties if key == "row"]
    if report.when == "call" or report.failed or report.skipped:
        for row in named:
            _results[row] = _results.get(row, True) and report.passed


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in (marker for name in MARKERS for marker in item.iter_markers(name)):
        item.user_properties.extend(("row", str(row)) for row in marker.args)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if not config.getoption("--guide"):
        return
    proven = {row for row, passed in _results.items() if passed}
    requirements = [row for row in proven if re.fullmatch(r"[SR]\d+", row)]
    terminalreporter.section("the guide")
    for what, every in (("rows", ALL_ROWS), ("mistakes", ALL_MISTAKES)):
        due = [row for row in every if row not in NOT_DUE]
        done = [row for row in due if row in proven]
        missing = (
            f"; missing: {' '.join(row for row in due if row not in proven)}"
            if 0 < len(due) - len(done) < 12
            else ""
        )
        share = 100 * len(done) // len(due)
        terminalreporter.line(
            f"{what} of the guide with a passing test: {len(done)} of {len(due)}, {share} %{missing}"
        )
    terminalreporter.line(
        f"security and reliability requirements with a passing test: {len(requirements)}"
    )
