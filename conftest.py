"""Contains pytest's hooks, which the tests in tests/ and those of a product share."""

import pytest

pytest_plugins = ["tests.guide_coverage"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "any_database: uses make_app and runs on the database type of TEST_DATABASE"
    )
    config.addinivalue_line("markers", "both: runs on each database type in one run")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "databases" in getattr(item, "fixturenames", ()):
            parameters = getattr(getattr(item, "callspec", None), "params", {})
            item.add_marker("both" if "database_type" in parameters else "any_database")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for program in ("PostgreSQL", "Chromium", "nginx", "Caddy", "Traefik", "Express"):
        if count := sum(program in reason for reason in reasons):
            line = (
                f"NOT TESTED: {count} tests were skipped, because there is no {program}: "
                "see CONTRIBUTING.md"
            )
            terminalreporter.line(line, red=True, bold=True)
