"""Reads and writes docs/attack.md, which has one table line and one section for each attack."""

import os
import platform
import re
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from tests.attack.judgements import judge
from tests.attack.outcome import Outcome
from tests.attack.siege import NICENESS, tell

PAGE = Path(__file__).parent.parent.parent / "docs" / "attack.md"
ROW = re.compile(r"\| (\w+) \| .* \| \*\*(.*)\*\* \| [-\d]+ \|")
HEAD = """# Attacks

Public attack tools, and two of this project (`paths` and `hypothesis`), against the real program: `latchkey serve` on
127.0.0.1 with its own database and users. `.venv/bin/python -m tests.attack` runs every attack and writes this page, in
about 20 minutes; `.venv/bin/python -m tests.attack hydra paths` runs some and updates their rows. It exits with 1 if a
finding is open and with 2 if an attack was not run. The tools are installed from PyPI into `.attack/` or, as root, from
Debian.

During each attack a logged-in user requests the dashboard, at most 50 times a second. Its p99 must stay under 100 ms, or
under twice the p99 before the attack ("idle") if that is higher. Responses are counted by the program (`/metrics`),
without those of the dashboard and without requests that the HTTP parser refuses. A 5xx response other than 503 is a
finding. `RATE_LIMITS` is `off` if the limits would only protect the attacked code from the tool, and `enforce` if the
limits are attacked. The tools run at nice {niceness}, because real attackers use their own machines.

*Passed*: no finding, or every finding is a false positive for the reason given below. *Failed*: a finding is open.

{machine}.

{summary}

| Attack | Version | `RATE_LIMITS` | Run | Responses | Findings | 5xx | Dashboard p99 | Verdict | Date |
|---|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Entry:
    """The table line and the section of one attack as Markdown."""

    name: str
    verdict: str
    row: str
    section: str


def read() -> list[Entry]:
    text = PAGE.read_text() if PAGE.exists() else ""
    table, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    told = {
        name: body.strip() for name, _, body in (section.partition("\n") for section in sections)
    }
    rows = filter(None, map(ROW.fullmatch, table.splitlines()))
    return [Entry(row[1], row[2], row[0], told.get(row[1], "")) for row in rows]


def write(entries: list[Entry]) -> None:
    verdicts = [entry.verdict for entry in entries]
    summary = (
        ", ".join(
            f"{verdicts.count(verdict)} {verdict}" for verdict in ("passed", "failed", "not run")
        )
        + "."
    )
    head = HEAD.format(niceness=NICENESS, machine=machine(), summary=summary)
    rows = "".join(f"{entry.row}\n" for entry in entries)
    PAGE.write_text(
        head + rows + "".join(f"\n## {entry.name}\n\n{entry.section}\n" for entry in entries)
    )


def entry_of(outcome: Outcome) -> Entry:
    findings = [(finding, judge(outcome.attack, finding)) for finding in outcome.seen.findings]
    still_open = sum(why is None for _, why in findings)
    verdict = "failed" if still_open else "passed"
    kinds = f"{len(findings)}, {still_open} open" if findings else "none"
    section = [f"Check of the tool: {outcome.proof}."] * bool(outcome.proof) + outcome.seen.remarks
    section = [" ".join(section)] * bool(section) + [f"All responses: {tell(outcome.answers)}."]
    told = [
        f"- **{finding.title}**: {finding.seen}. {f'False positive: {why}' if why else '*Open.*'}"
        for finding, why in findings
    ]
    text = "\n\n".join([*section, "\n".join(map(cell, told)) or "No findings."])
    watched, quiet = outcome.watched, outcome.quiet
    cells = [
        *(
            outcome.attack,
            outcome.version,
            f"`{outcome.limits}`",
            f"{outcome.seen.did}; {outcome.seconds:.0f} s",
        ),
        *(f"{sum(outcome.answers.values()):,}", kinds, tell(outcome.failures)),
        f"{watched.p99:.0f} ms (idle {quiet.p99:.0f}; {watched.pages:,} requests, longest {watched.longest:.0f})",
    ]
    return Entry(outcome.attack, verdict, row(*cells, verdict=verdict), text)


def not_run(name: str, limits: str, reason: str) -> Entry:
    cells = [name, "–", f"`{limits}`", *["–"] * 5]
    return Entry(name, "not run", row(*cells, verdict="not run"), f"Not run: {cell(reason)}")


def row(*cells: str, verdict: str) -> str:
    return f"| {' | '.join(map(cell, cells))} | **{verdict}** | {time.strftime('%Y-%m-%d')} |"


def cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Machine: {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()}; "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )
