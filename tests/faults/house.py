"""The real program, on a database of its own, and what is done to it."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import asyncpg

from tests.faults.verdict import NotRun, require

LATCHKEY = Path(sys.executable).parent / "latchkey"
SECRET = "a secret of the fault tests alone 5hW2"
DATABASE = "latchkey.db"
SERVER = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


def needs(program: str, package: str = "") -> None:
    if shutil.which(program) is None:
        raise NotRun(f"needs the Debian package {package or program}")


def needs_root() -> None:
    if os.geteuid() != 0:
        raise NotRun("needs root")


@dataclass
class House:
    """`latchkey serve` on loopback, with its database, or another's, in a folder of its own."""

    folder: Path
    environ: dict[str, str]
    port: int
    process: subprocess.Popen | None = None

    @property
    def database(self) -> Path:
        return self.folder / DATABASE

    def start(self, *prefix: str, until: str = "/readyz", patience: float = 20) -> float:
        """Seconds from the command to the first 200 of `until`; nothing is waited for where it is
        empty.
        """
        began = time.monotonic()
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*prefix, LATCHKEY, "serve"],
                env=self.environ,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        while until and self.status(until) != 200:
            gone = self.process.poll() is not None
            require(
                not gone and time.monotonic() - began < patience,
                f"no start: {self.logged()[-300:]}",
            )
            time.sleep(0.01)
        return time.monotonic() - began

    def end(self, number: signal.Signals = signal.SIGTERM, patience: float = 20) -> int | None:
        """Its exit code; None where it did not end in time, and was killed."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def command(self, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run([LATCHKEY, *words], env=self.environ, capture_output=True, text=True)

    def status(self, path: str) -> int:
        """0 where nobody answers."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status
        except OSError as error:
            return getattr(error, "code", 0)

    def sql(self, statement: str, *values: object) -> list[tuple]:
        """What another process does to the SQLite file."""
        with contextlib.closing(
            sqlite3.connect(self.database, timeout=30, isolation_level=None)
        ) as connection:
            return connection.execute(statement, values).fetchall()

    def logged(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def rss(self) -> float:
        """In MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @property
    def cpu(self) -> float:
        """Seconds of a core's time so far."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@dataclass
class Run:
    """One run of one fault: its folder, and what has to be ended after it.

    `short`: as a test, within seconds.
    """

    folder: Path
    stack: AsyncExitStack
    short: bool = False
    houses: list[House] = field(default_factory=list)

    def house(self, url: str = "", folder: Path | None = None, **environ: str) -> House:
        """On an empty database with every table, not yet started."""
        folder = folder or self.folder / str(len(self.houses))
        folder.mkdir(exist_ok=True)
        port = free_port()
        fixed = {
            "PATH": os.environ["PATH"],
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "RATE_LIMITS": "off",
        }
        url = url or f"sqlite:///{folder / DATABASE}"
        house = House(
            folder, {**fixed, "DATABASE_URL": url, "SESSION_SECRET": SECRET, **environ}, port
        )
        self.houses.append(house)
        self.stack.callback(house.kill)
        migrated = house.command("migrate")
        require(migrated.returncode == 0, f"migrate: {migrated.stderr}")
        return house

    async def postgresql(self) -> str:
        """The URL of an empty database on the server of TEST_POSTGRES_URL, which is dropped in the
        end.
        """
        name = f"latchkey_faults_{os.getpid()}_{len(self.houses)}"
        try:
            server = await asyncpg.connect(SERVER, timeout=5)
        except (OSError, asyncpg.PostgresError) as error:
            raise NotRun(f"needs a PostgreSQL server (TEST_POSTGRES_URL): {error}") from error
        self.stack.push_async_callback(server.close)
        await server.execute(f"CREATE DATABASE {name}")
        self.stack.push_async_callback(server.execute, f"DROP DATABASE {name} WITH (FORCE)")
        return f"{SERVER.rpartition('/')[0]}/{name}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def strace(house: House, *rules: str) -> Iterator[None]:
    """Meanwhile the system calls of the running program go as the rules say (`strace -e`)."""
    needs("strace")
    command = ["strace", "-f", "-o", "/dev/null", "-p", str(house.process.pid)]
    for rule in rules:
        command += ["-e", rule]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        if "attached" not in (line := tracer.stderr.readline()):
            raise NotRun(f"strace may not attach: {line.strip()}")
        try:
            yield
        finally:
            tracer.terminate()
            tracer.stderr.read()
