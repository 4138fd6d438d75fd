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

Other people's attack tools, and two of our own, turned on the real program: `latchkey serve` on 127.0.0.1, with a
database of its own and people in it. `.venv/bin/python -m tests.attack` makes every attack and writes this page, in
about twenty minutes; with names after it, it makes those alone and writes their rows anew. It exits with 1 where a
finding is open, and 2 where something was not run. The tools come from PyPI into `.attack/` or, for root, from Debian.

All the while somebody who is logged in looks at their dashboard, fifty times a second at most: their p99 is to stay
under 100 ms or, on a machine that is slow by itself, under twice that of the quiet just before. The answers are those
that the program counted itself (`/metrics`), the watcher's left out, and those with which the parser refuses what is no
HTTP; one of 5xx other than a 503 is a finding.
`RATE_LIMITS` is `off` where the limiter would only shield the code behind it from the tool, and `enforce` where it is
what is attacked. The attackers run at nice {niceness}, for elsewhere they would have a machine of their own.

*Held*: no finding, or each one is false, for the reason given below. *Not held*: a finding is open.

{machine}.

{summary}

| Attack | Version | `RATE_LIMITS` | What it did | Answers | Findings | 5xx | Dashboard p99 | Verdict | Date |
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
            f"{verdicts.count(verdict)} {verdict}" for verdict in ("held", "not held", "not run")
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
    verdict = "not held" if still_open else "held"
    kinds = f"{len(findings)}, {still_open} open" if findings else "none"
    section = [f"It bites: {outcome.proof}."] * bool(outcome.proof) + outcome.seen.remarks
    section = [" ".join(section)] * bool(section) + [f"All answers: {tell(outcome.answers)}."]
    told = [
        f"- **{finding.title}**: {finding.seen}. {f'False: {why}' if why else '*Open.*'}"
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
        f"{watched.p99:.0f} ms (quiet {quiet.p99:.0f}; {watched.pages:,} pages, the longest {watched.longest:.0f})",
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
        f"The machine: {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()}; "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )
