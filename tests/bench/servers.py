"""Contains the servers under load, which run on one core, and reads their CPU time and memory."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent.parent
LATCHKEY = Path(sys.executable).parent / "latchkey"
SECRET = "a secret of the benchmark alone 3kQ9"
ENVIRON = {"ENV_FILE": "off", "PRODUCT": "off", "SESSION_SECRET": SECRET}
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]


@dataclass(frozen=True)
class Server:
    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """Returns the CPU time of all threads in seconds.

        Reads the scheduler's nanoseconds, because /proc/PID/stat counts in hundredths of a second.
        """
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def memory_mb(self) -> float:
        """Returns the resident memory in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


@contextmanager
def serve_latchkey(database_url: str, port: int, **settings: str) -> Iterator[Server]:
    environ = {
        **ENVIRON,
        "DATABASE_URL": database_url,
        "PORT": str(port),
        "RATE_LIMITS": "off",
    }
    with serve([LATCHKEY, "serve"], port, environ | settings) as server:
        yield server


@contextmanager
def serve_script(name: str, port: int, **environ: str) -> Iterator[Server]:
    """Serves a module of this package, with the environment variables `environ`."""
    settings = {**ENVIRON, "PORT": str(port), "PYTHONPATH": str(ROOT)}
    with serve([sys.executable, "-m", f"tests.bench.{name}"], port, settings | environ) as server:
        yield server


@contextmanager
def serve(command: list[str | Path], port: int, environ: dict[str, str]) -> Iterator[Server]:
    running = subprocess.Popen(
        ["taskset", "-c", str(SERVER_CORE), *map(str, command)],
        env={"PATH": os.environ["PATH"], **environ},
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port)
        yield Server(f"http://localhost:{port}", running.pid)
    finally:
        running.terminate()
        running.wait(15)


def migrate(database_url: str) -> None:
    environ = {**ENVIRON, "PATH": os.environ["PATH"], "DATABASE_URL": database_url}
    subprocess.run([LATCHKEY, "migrate"], env=environ, check=True)


def cpu_to_first_response(folder: Path, port: int) -> float:
    """Returns the CPU seconds of `scripts/run` until its first 200.

    The checkout must be installed. The database is migrated before the start.
    """
    environ = {**ENVIRON, "PATH": os.environ["PATH"], "PORT": str(port)}
    environ["DATABASE_URL"] = f"sqlite:///{folder / 'start.db'}"
    migrate(environ["DATABASE_URL"])
    command = ["taskset", "-c", str(SERVER_CORE), ROOT / "scripts" / "run"]
    running = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        assert httpx.get(f"http://localhost:{port}/healthz").status_code == 200
        fields = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()
        # The fields 14 to 17 are user and system time of the process and of its children.
        return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    finally:
        running.terminate()
        running.wait(15)


def wait_for_port(port: int) -> None:
    for _ in range(3000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    sys.exit(f"nothing listens on port {port}")


def new_postgresql_url() -> str:
    """Returns the URL of an empty database on the local PostgreSQL, or "" if there is no server."""
    commands = [
        "DROP DATABASE IF EXISTS latchkey_bench WITH (FORCE)",
        "CREATE DATABASE latchkey_bench",
    ]
    options = [argument for command in commands for argument in ("-c", command)]
    created = subprocess.run(
        ["psql", "-h", "127.0.0.1", "-d", "postgres", "-q", *options], capture_output=True
    )
    return "postgresql://127.0.0.1/latchkey_bench" if created.returncode == 0 else ""
