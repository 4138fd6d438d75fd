"""Contains the findings of `latchkey doctor` and their output."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from web.observability.logs import printable

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. The text of a warning or an error says what to do."""

    level: Level
    subject: str
    text: str


def ok(subject: str, text: str) -> Finding:
    return Finding("ok", subject, text)


def warning(subject: str, text: str) -> Finding:
    return Finding("warning", subject, text)


def error(subject: str, text: str) -> Finding:
    return Finding("error", subject, text)


def print_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    for finding in findings:
        print(printable(f"{finding.level:<7}  {finding.subject}: {finding.text}"))


def exit_code(findings: Sequence[Finding]) -> int:
    """Returns 1 if there is an error, otherwise 0."""
    return int(any(finding.level == "error" for finding in findings))
