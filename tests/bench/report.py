"""Renders docs/benchmarks.md from the figures of a run."""

import platform
import sqlite3
from importlib.metadata import version

from tests.bench.load import CONNECTIONS, median, ratio
from tests.bench.parts import USERS, Bench, Load
from tests.bench.servers import CORES


def render(bench: Bench) -> str:
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("starlette", "uvicorn", "databases", "sqlalchemy")
    )
    figures = "\n".join(
        f"| {figure.name} | {figure.measured} | {figure.must}{' (not reached)' if figure.reached is False else ''} |"
        for figure in bench.figures
    )
    loads = "\n".join(load_row(load) for load in bench.loads)
    layers = "\n".join(f"| {name} | {cpu:.0f} |" for name, cpu in bench.layers)
    return f"""# Benchmarks

`tests/bench` makes this page. The server has one core and the load another, with {CONNECTIONS} connections unless
a row says otherwise. The dashboard is requested by {USERS:,} sessions of {USERS:,} users in turn. The floor is uvicorn
with a bare Starlette route that answers a constant of the same size. `minimal_endpoint.py` is a hand-written endpoint
that renders the same dashboard with inline SQLite and a token cache, without middleware; it is the practical limit.
Each ratio is the median of ratios of rounds that ran one after the other, so that the machine's noise is in both. CPU
time is the scheduler's, of all threads of the server.

Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions};
{platform.system()} on {platform.machine()}, {len(CORES)} cores.

| what | measured | must be |
|---|---|---|
{figures}

## Loads

| what | CPU µs per request | requests per second | p99 ms | rate, of the floor |
|---|---|---|---|---|
{loads}

## What each layer of the dashboard costs

| layer | CPU µs per request |
|---|---|
{layers}
"""


def load_row(load: Load) -> str:
    of_floor = f"{ratio(load.rounds, load.floor, 'rate'):.2f}" if load.floor else ""
    cpu, rate, p99 = (median(load.rounds, name) for name in ("cpu", "rate", "p99"))
    return f"| {load.name} | {cpu:.0f} | {rate:,.0f} | {p99:.1f} | {of_floor} |"
