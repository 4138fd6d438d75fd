"""Tests of the report that tests/attack writes; docs/attack.md describes the attacks."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.attack import outcome, paths, report, wire

ROOT = Path(__file__).parent.parent


@pytest.fixture
def attack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Returns the modules of tests/attack, with a report file in a temporary directory."""
    monkeypatch.setattr(report, "PAGE", tmp_path / "attack.md")
    return SimpleNamespace(report=report, outcome=outcome, paths=paths, wire=wire)


def entry(
    attack: Any, name: str, *findings: tuple[str, str], answers: dict[int, int] | None = None
) -> Any:
    watched = attack.outcome.Watched(pages=100, statuses={"200": 100}, p99=4.0, longest=9.0)
    seen = attack.outcome.Seen(
        "what it did", [attack.outcome.Finding(*finding) for finding in findings], ["A remark."]
    )
    counted = Counter(answers or {200: 10})
    return attack.report.entry_of(
        attack.outcome.Outcome(
            name, "off", "1.0", seen, "there is a hole", counted, watched, watched, 12.0
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
    again = entry(attack, "sqlmap", answers={200: 11, 503: 2})
    attack.report.write([read[0], again])
    assert attack.report.read() == [first[0], again]


def test_a_finding_is_open_until_it_is_judged_false(attack: Any) -> None:
    judged = entry(attack, "wapiti", ("Unencrypted Channels", "No HTTPS redirection"))
    unjudged = entry(attack, "wapiti", ("SQL Injection", "GET /login"))
    elsewhere = entry(attack, "sqlmap", ("Unencrypted Channels", "No HTTPS redirection"))
    assert [found.verdict for found in (judged, unjudged, elsewhere)] == [
        "passed",
        "failed",
        "failed",
    ]
    assert "False positive: the program accepts `http` on loopback only" in judged.section
    assert "*Open.*" in unjudged.section


def test_the_path_attack_reports_access_failures_and_redirects(attack: Any) -> None:
    home = attack.paths.Row(("GET",), "/static/{name}", "anyone")

    def complaints(status: int, path: str = "/devices", body: bytes = b"", **headers: str) -> int:
        answer = attack.wire.Answer(status, headers, body)
        return len(list(attack.paths.complaints(answer, "GET", path, [home], (b"$argon2",))))

    assert [complaints(200, "/static/app.css"), complaints(404), complaints(405, allow="GET")] == [
        0,
        0,
        0,
    ]
    assert [complaints(303, location="/login"), complaints(503, **{"retry-after": "1"})] == [0, 0]
    assert [
        complaints(200),
        complaints(200, "/static/../devices"),
        complaints(500),
        complaints(503),
    ] == [1, 1, 1, 1]
    assert [complaints(0), complaints(405), complaints(404, body=b"x$argon2id")] == [1, 1, 1]
    assert [complaints(303, location=there) for there in ("//evil", "/\\evil", "https://evil")] == [
        1,
        1,
        1,
    ]


def test_an_unknown_attack_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.attack", "flattery"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "no such attack: flattery; there are wapiti" in done.stderr
