"""Injects every fault and writes docs/faults.md.

`.venv/bin/python -m tests.faults lock disk` causes only these faults and updates their lines.
"""

import asyncio
import json
import os
import platform
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import asyncpg

from tests.faults.program import SERVER

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "faults.md"
PROGRAMS = (
    *("kill", "disk", "lock", "burst", "postgres", "slow", "large", "flood"),
    *("clock", "rotation", "restart", "migration", "soak", "failure", "coldstart", "pruning"),
)
ROW = re.compile(r"\| (R\d\d) \| (.*) \| (.*) \| \*\*(.*)\*\* \| (.*) \| `(.*)` \| (.*) \|")
HEAD = """# Faults

Faults injected into the real program: `latchkey serve` on loopback with its own database.
`.venv/bin/python -m tests.faults` injects all of them and writes this page, in about 15 minutes;
`.venv/bin/python -m tests.faults lock disk` injects some and updates their rows. A program alone
(`.venv/bin/python -m tests.faults.lock`) exits with 1 if a requirement failed and with 2 if a fault was not run.
Faults of the disk and of the network need root and Debian packages; a program names those that are missing. The ids are
those of the tests' markers (`@pytest.mark.reliability`). R14 is about email, which does not exist yet.

*Passed*: the program meets the requirement. *Failed*: it does not; the figures show the difference. *Idle* is the
measurement of the same run without the fault; a time limit is at least twice that. The load and the program share the
cores, which also do other work.

{machine}.

{summary}

| | Fault | Requirement | Verdict | Result | Module in `tests.faults` | Date |
|---|---|---|---|---|---|---|
"""


def main() -> None:
    wanted = sys.argv[1:] or PROGRAMS
    if unknown := set(wanted) - set(PROGRAMS):
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(PROGRAMS)}")
    rows = [row for row in read_page() if row[5] in set(PROGRAMS) - set(wanted)]
    for program in wanted:
        rows += cause(program)
        rows.sort(key=lambda row: (row[0], row[5]))
        PAGE.write_text(
            HEAD.format(machine=machine(), summary=summary(rows)) + "".join(map(write_row, rows))
        )
    sys.exit(1 if any(row[3] == "failed" for row in rows) else 0)


def read_page() -> list[list[str]]:
    text = PAGE.read_text() if PAGE.exists() else ""
    return [list(found.groups()) for found in map(ROW.fullmatch, text.splitlines()) if found]


def cause(program: str) -> list[list[str]]:
    """Runs one program and returns its lines of the table."""
    command = [sys.executable, "-m", f"tests.faults.{program}", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        rows = []
        for line in running.stdout:
            fault = json.loads(line)
            print("{} {}: {} — {}".format(*fault[:2], *fault[3:]), flush=True)
            rows.append([*fault, program, time.strftime("%Y-%m-%d")])
    return rows


def write_row(row: list[str]) -> str:
    id, name, promise, verdict, seen, program, date = (
        cell.replace("|", "/").replace("\n", " ") for cell in row
    )
    return f"| {id} | {name} | {promise} | **{verdict}** | {seen} | `{program}` | {date} |\n"


def summary(rows: list[list[str]]) -> str:
    verdicts = [row[3] for row in rows]
    return f"{verdicts.count('passed')} passed, {verdicts.count('failed')} failed, {verdicts.count('not run')} not run."


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Machine: {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()}; "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {asyncio.run(postgresql())}"
    )


async def postgresql() -> str:
    try:
        connection = await asyncpg.connect(SERVER, timeout=5)
    except (OSError, asyncpg.PostgresError):
        return "no PostgreSQL"
    version = await connection.fetchval("SHOW server_version")
    await connection.close()
    return f"PostgreSQL {version.split()[0]}"


if __name__ == "__main__":
    main()
