"""Tests the report that tests/attack writes. docs/attack.md describes the attacks."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.attack import outcome, paths, raw_client, report

ROOT = Path(__file__).parent.parent


@pytest.fixture
def attack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Returns the modules of tests/attack, with a report file in a temporary directory."""
    monkeypatch.setattr(report, "PAGE", tmp_path / "attack.md")
    return SimpleNamespace(report=report, outcome=outcome, paths=paths, raw_client=raw_client)


def entry(
    attack: Any, name: str, *findings: tuple[str, str], responses: dict[int, int] | None = None
) -> Any:
    times = attack.outcome.DashboardTimes(requests=100, statuses={"200": 100}, p99=4.0, longest=9.0)
    result = attack.outcome.ToolResult(
        "a summary", [attack.outcome.Finding(*finding) for finding in findings], ["A remark."]
    )
    counts = Counter(responses or {200: 10})
    return attack.report.entry_of(
        attack.outcome.Outcome(
            name, "off", "1.0", result, "it finds a vulnerability", counts, times, times, 12.0
        )
    )


def test_a_repeated_attack_replaces_only_its_own_entry(attack: Any) -> None:
    first = [
        entry(attack, "wapiti", ("Unencrypted Channels", "No HTTPS redirection")),
        entry(attack, "sqlmap"),
    ]
    attack.report.write(first)
    read = attack.report.read()
    assert read == first
    again = entry(attack, "sqlmap", responses={200: 11, 503: 2})
    attack.report.write([read[0], again])
    assert attack.report.read() == [first[0], again]


def test_a_finding_is_open_unless_it_is_a_known_false_positive(attack: Any) -> None:
    known = entry(attack, "wapiti", ("Unencrypted Channels", "No HTTPS redirection"))
    unknown = entry(attack, "wapiti", ("SQL Injection", "GET /login"))
    other_tool = entry(attack, "sqlmap", ("Unencrypted Channels", "No HTTPS redirection"))
    assert known.result == "passed"
    assert unknown.result == "failed"
    assert other_tool.result == "failed"
    assert "False positive: the program accepts `http` on loopback only" in known.section
    assert "*Open.*" in unknown.section


def test_the_path_attack_reports_access_failures_and_redirects(attack: Any) -> None:
    static = attack.paths.Route(("GET",), "/static/{name}", "anyone")

    def count(status: int, path: str = "/devices", body: bytes = b"", **headers: str) -> int:
        response = attack.raw_client.Response(status, headers, body)
        problems = attack.paths.find_problems(response, "GET", path, [static], (b"$argon2",))
        return len(list(problems))

    assert count(200, "/static/app.css") == 0
    assert count(404) == 0
    assert count(405, allow="GET") == 0
    assert count(303, location="/login") == 0
    assert count(503, **{"retry-after": "1"}) == 0
    assert count(200) == 1
    assert count(200, "/static/../devices") == 1
    assert count(500) == 1
    assert count(503) == 1
    assert count(0) == 1
    assert count(405) == 1
    assert count(404, body=b"x$argon2id") == 1
    for location in ("//evil", "/\\evil", "https://evil"):
        assert count(303, location=location) == 1


def test_an_unknown_attack_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.attack", "unknown"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "no such attack: unknown; there are wapiti" in done.stderr
