"""The real program on its own database, and the operations of the faults on it."""

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
class Program:
    """A process of `latchkey serve` on loopback with its own folder."""

    folder: Path
    environ: dict[str, str]
    port: int
    process: subprocess.Popen | None = None

    @property
    def database(self) -> Path:
        return self.folder / DATABASE

    def start(self, *prefix: str, until: str = "/readyz", patience: float = 20) -> float:
        """Starts the program and returns the seconds until `until` is answered with 200.

        It does not wait if `until` is empty.
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
        """Ends the program and returns its exit code.

        Returns None if the program did not end within `patience` seconds and was killed.
        """
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
        """Returns the status of the answer, or 0 if there is none."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status
        except OSError as error:
            return getattr(error, "code", 0)

    def sql(self, statement: str, *values: object) -> list[tuple]:
        """Executes a statement on the SQLite file from this process."""
        with contextlib.closing(
            sqlite3.connect(self.database, timeout=30, isolation_level=None)
        ) as connection:
            return connection.execute(statement, values).fetchall()

    def logged(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def rss(self) -> float:
        """Returns the resident memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @property
    def cpu(self) -> float:
        """Returns the CPU time in seconds."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@dataclass
class Run:
    """One run of one fault, with its folder and its cleanup.

    `short` is the form that runs as a test within seconds.
    """

    folder: Path
    stack: AsyncExitStack
    short: bool = False
    programs: list[Program] = field(default_factory=list)

    def program(self, url: str = "", folder: Path | None = None, **environ: str) -> Program:
        """Returns a program with a migrated empty database. It is not started yet."""
        folder = folder or self.folder / str(len(self.programs))
        folder.mkdir(exist_ok=True)
        port = free_port()
        fixed = {
            "PATH": os.environ["PATH"],
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "RATE_LIMITS": "off",
        }
        url = url or f"sqlite:///{folder / DATABASE}"
        program = Program(
            folder, {**fixed, "DATABASE_URL": url, "SESSION_SECRET": SECRET, **environ}, port
        )
        self.programs.append(program)
        self.stack.callback(program.kill)
        migrated = program.command("migrate")
        require(migrated.returncode == 0, f"migrate: {migrated.stderr}")
        return program

    async def postgresql(self) -> str:
        """Returns the URL of an empty database on the server of TEST_POSTGRES_URL.

        The database is dropped after the run. Raises NotRun if there is no server.
        """
        name = f"latchkey_faults_{os.getpid()}_{len(self.programs)}"
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
def strace(program: Program, *rules: str) -> Iterator[None]:
    """Changes system calls of the running program by rules of `strace -e`. Raises NotRun."""
    needs("strace")
    command = ["strace", "-f", "-o", "/dev/null", "-p", str(program.process.pid)]
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
