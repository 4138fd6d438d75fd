"""Injects every fault and writes docs/faults.md.

`.venv/bin/python -m tests.faults lock disk` injects only the faults of these modules and updates
their rows.
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
from typing import NamedTuple

import asyncpg

from tests.faults.program import SERVER

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "faults.md"
MODULES = (
    "kill",
    "disk",
    "lock",
    "concurrent_signups",
    "postgres",
    "slow_clients",
    "large_requests",
    "login_load",
    "clock",
    "secret_rotation",
    "restart",
    "migration",
    "soak",
    "unexpected_error",
    "cold_start",
    "pruning",
    "mail",
)
RESULTS = ("passed", "failed", "not run")
ROW = re.compile(r"\| (R\d\d) \| (.*) \| (.*) \| \*\*(.*)\*\* \| (.*) \| `(.*)` \| (.*) \|")
HEAD = """# Faults

Faults injected into the real program: `latchkey serve` on loopback with its own database.
`.venv/bin/python -m tests.faults` injects all of them and writes this page, in about 15 minutes;
`.venv/bin/python -m tests.faults lock disk` injects some and updates their rows. A single module
(`.venv/bin/python -m tests.faults.lock`) exits with 1 if a requirement failed and with 2 if a fault was not run.
Faults of the disk and of the network need root and Debian packages; a module names those that are missing. The ids are
those of the tests' markers (`@pytest.mark.reliability`).

*Passed*: the program meets the requirement. *Failed*: it does not; the figures show the difference. *Idle* is the
measurement of the same run without the fault. The limit of a p99 in R09, R10 and R12 is at least twice the idle value.
The load and the program share the cores, which also do other work.

{machine}.

{summary}

| | Fault | Requirement | Result | Measured | Module in `tests.faults` | Date |
|---|---|---|---|---|---|---|
"""


class Row(NamedTuple):
    """A row of the table, in the order of its columns. `result` is one of RESULTS."""

    id: str
    fault: str
    requirement: str
    result: str
    measured: str
    module: str
    date: str


def main() -> None:
    """Exits with 1 if the page has a failed requirement."""
    modules = sys.argv[1:] or MODULES
    if unknown := set(modules) - set(MODULES):
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}")
    kept_modules = set(MODULES) - set(modules)
    rows = [row for row in read_page() if row.module in kept_modules]
    for module in modules:
        rows += run_module(module)
        rows.sort(key=lambda row: (row.id, row.module))
        head = HEAD.format(machine=describe_machine(), summary=summarize(rows))
        PAGE.write_text(head + "".join(map(format_row, rows)))
    sys.exit(1 if any(row.result == "failed" for row in rows) else 0)


def read_page() -> list[Row]:
    """Returns the rows of the existing page."""
    text = PAGE.read_text() if PAGE.exists() else ""
    matches = map(ROW.fullmatch, text.splitlines())
    return [Row(*match.groups()) for match in matches if match]


def run_module(module: str) -> list[Row]:
    """Injects the faults of one module and returns their rows."""
    command = [sys.executable, "-m", f"tests.faults.{module}", "--json"]
    rows = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            row = Row(*json.loads(line), module, time.strftime("%Y-%m-%d"))
            print(f"{row.id} {row.fault}: {row.result} — {row.measured}", flush=True)
            rows.append(row)
    return rows


def format_row(row: Row) -> str:
    row = Row(*(cell.replace("|", "/").replace("\n", " ") for cell in row))
    return (
        f"| {row.id} | {row.fault} | {row.requirement} | **{row.result}** | {row.measured} "
        f"| `{row.module}` | {row.date} |\n"
    )


def summarize(rows: list[Row]) -> str:
    results = [row.result for row in rows]
    return ", ".join(f"{results.count(result)} {result}" for result in RESULTS) + "."


def describe_machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Machine: {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()}; "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{asyncio.run(read_postgresql_version())}"
    )


async def read_postgresql_version() -> str:
    try:
        connection = await asyncpg.connect(SERVER, timeout=5)
    except (OSError, asyncpg.PostgresError):
        return "no PostgreSQL"
    version = await connection.fetchval("SHOW server_version")
    await connection.close()
    return f"PostgreSQL {version.split()[0]}"


if __name__ == "__main__":
    main()
