"""Contains the function that renders docs/benchmarks.md from the figures of a run."""

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
        f"| {figure.name} | {figure.measured} | {figure.target}{' (missed)' if figure.is_reached is False else ''} |"
        for figure in bench.figures
    )
    loads = "\n".join(load_row(load) for load in bench.loads)
    layers = "\n".join(f"| {name} | {cpu:.0f} |" for name, cpu in bench.layers)
    return f"""# Benchmarks

`.venv/bin/python -m tests.bench` writes this page. The server runs on one core and the load on another, with
{CONNECTIONS} connections unless a row says otherwise. The load on the dashboard uses {USERS:,} sessions of {USERS:,} users
in turn.

The *baseline* (`baseline.py`) is uvicorn with a bare Starlette route that returns a constant of the same size. The *minimal
endpoint* (`minimal_endpoint.py`) is a hand-written endpoint that renders the same dashboard with inline SQLite queries and
a token cache, without middleware; it shows what is possible in practice.

A ratio is the median over rounds that ran one after the other, so noise of the machine affects both sides. CPU time is the
scheduler's, for all threads of the server.

Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions};
{platform.system()} on {platform.machine()}, {len(CORES)} cores.

| figure | measured | target |
|---|---|---|
{figures}

## Loads

| load | CPU µs per request | requests per second | p99 ms | rate / baseline |
|---|---|---|---|---|
{loads}

## Cost of each layer of the dashboard

| layer | CPU µs per request |
|---|---|
{layers}
"""


def load_row(load: Load) -> str:
    relative_rate = f"{ratio(load.rounds, load.baseline, 'rate'):.2f}" if load.baseline else ""
    cpu, rate, p99 = (median(load.rounds, name) for name in ("cpu", "rate", "p99"))
    return f"| {load.name} | {cpu:.0f} | {rate:,.0f} | {p99:.1f} | {relative_rate} |"
