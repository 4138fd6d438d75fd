"""Contains the functions that read and write docs/attack.md.

The page has one row of the table and one section for each attack.
"""

import os
import platform
import re
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from tests.attack.attack_runner import NICENESS, format_counts
from tests.attack.false_positives import find_false_positive
from tests.attack.outcome import DashboardTimes, Finding, Outcome

PAGE = Path(__file__).parent.parent.parent / "docs" / "attack.md"
ROW = re.compile(r"\| (\w+) \| .* \| \*\*(.*)\*\* \| [-\d]+ \|")
RESULTS = ("passed", "failed", "not run")
HEAD = """# Attacks

Public attack tools, and two of this project (`paths` and `hypothesis`), against the real program: `latchkey serve` on
127.0.0.1 with its own database and users. `.venv/bin/python -m tests.attack` runs every attack and writes this page, in
about 20 minutes; `.venv/bin/python -m tests.attack hydra paths` runs some and updates their rows. It exits with 1 if a
finding is open and with 2 if an attack was not run. The tools are installed from PyPI into `.attack/` or, as root, from
Debian.

During each attack a logged-in user requests the dashboard, at most 50 times a second. Its p99 must stay under 100 ms, or
under twice the p99 before the attack ("idle") if that is higher. The program counts the responses (`/metrics`). The
counts are without those of the dashboard and without requests that the HTTP parser refuses. A 5xx response other than
503 is a finding. `RATE_LIMITS` is `off` if the limits would only protect the attacked code from the tool, and `enforce`
if the limits are attacked. The tools run at nice {niceness}, because real attackers use their own machines.

*Passed*: there is no finding, or every finding is a false positive for the reason given below. *Failed*: a finding is
open.

{machine}.

{summary}

| Attack | Version | `RATE_LIMITS` | Run | Responses | Findings | 5xx | Dashboard p99 | Result | Date |
|---|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Entry:
    """The row and the section of one attack in Markdown. `result` is one of RESULTS."""

    name: str
    result: str
    row: str
    section: str


def read() -> list[Entry]:
    """Returns the entries of the existing page."""
    text = PAGE.read_text() if PAGE.exists() else ""
    table, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    bodies = {}
    for section in sections:
        name, _, body = section.partition("\n")
        bodies[name] = body.strip()
    rows = filter(None, map(ROW.fullmatch, table.splitlines()))
    return [Entry(row[1], row[2], row[0], bodies.get(row[1], "")) for row in rows]


def write(entries: list[Entry]) -> None:
    results = [entry.result for entry in entries]
    summary = ", ".join(f"{results.count(result)} {result}" for result in RESULTS) + "."
    head = HEAD.format(niceness=NICENESS, machine=describe_machine(), summary=summary)
    rows = "".join(f"{entry.row}\n" for entry in entries)
    sections = "".join(f"\n## {entry.name}\n\n{entry.section}\n" for entry in entries)
    PAGE.write_text(head + rows + sections)


def entry_of(outcome: Outcome) -> Entry:
    findings = [
        (finding, find_false_positive(outcome.attack, finding))
        for finding in outcome.result.findings
    ]
    open_findings = sum(reason is None for _, reason in findings)
    result = "failed" if open_findings else "passed"
    cells = [
        outcome.attack,
        outcome.version,
        f"`{outcome.rate_limits}`",
        f"{outcome.result.summary}; {outcome.seconds:.0f} s",
        f"{sum(outcome.responses.values()):,}",
        f"{len(findings)}, {open_findings} open" if findings else "none",
        format_counts(outcome.server_errors),
        format_times(outcome.loaded, outcome.idle),
    ]
    remarks = list(outcome.result.remarks)
    if outcome.tool_check:
        remarks.insert(0, f"Check of the tool: {outcome.tool_check}.")
    paragraphs = [" ".join(remarks)] if remarks else []
    paragraphs.append(f"All responses: {format_counts(outcome.responses)}.")
    items = [format_finding(finding, reason) for finding, reason in findings]
    paragraphs.append("\n".join(items) or "No findings.")
    return Entry(outcome.attack, result, format_row(cells, result), "\n\n".join(paragraphs))


def not_run_entry(name: str, rate_limits: str, reason: str) -> Entry:
    cells = [name, "–", f"`{rate_limits}`", *["–"] * 5]
    return Entry(name, "not run", format_row(cells, "not run"), f"Not run: {escape_cell(reason)}")


def format_finding(finding: Finding, reason: str | None) -> str:
    """Returns a list item. `reason` says why the finding is a false positive, or is None."""
    status = "*Open.*" if reason is None else f"False positive: {reason}"
    return escape_cell(f"- **{finding.title}**: {finding.details}. {status}")


def format_times(loaded: DashboardTimes, idle: DashboardTimes) -> str:
    details = f"idle {idle.p99:.0f}; {loaded.requests:,} requests, longest {loaded.longest:.0f}"
    return f"{loaded.p99:.0f} ms ({details})"


def format_row(cells: list[str], result: str) -> str:
    date = time.strftime("%Y-%m-%d")
    return f"| {' | '.join(map(escape_cell, cells))} | **{result}** | {date} |"


def escape_cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def describe_machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Machine: {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()}; "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )
