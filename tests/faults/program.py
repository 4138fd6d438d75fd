"""Contains the program under test, with its own database, and operations on it."""

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

from tests.faults.result import NotRun, require

LATCHKEY = Path(sys.executable).parent / "latchkey"
SECRET = "a secret of the fault tests alone 5hW2"
DATABASE = "latchkey.db"
SERVER = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
TIMEOUT_SECONDS = 20  # The program must start and stop within this time.


def require_program(name: str) -> None:
    """Raises NotRun if the program is not installed. Its Debian package has the same name."""
    if shutil.which(name) is None:
        raise NotRun(f"needs the Debian package {name}")


def require_root() -> None:
    """Raises NotRun unless this process runs as root."""
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

    def start(self, path: str = "/readyz") -> float:
        """Starts the program and returns the seconds until a GET of `path` returns 200."""
        started = time.monotonic()
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [LATCHKEY, "serve"],
                env=self.environ,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        while self.request_status(path) != 200:
            is_running = self.process.poll() is None
            require(
                is_running and time.monotonic() - started < TIMEOUT_SECONDS,
                f"the program does not start: {self.read_log()[-300:]}",
            )
            time.sleep(0.01)
        return time.monotonic() - started

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Sends a signal to the program and returns its exit code.

        Kills the program and returns None if it has not ended within TIMEOUT_SECONDS.
        """
        if self.process is None:
            return 0
        self.process.send_signal(number)
        try:
            return self.process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [LATCHKEY, *arguments], env=self.environ, capture_output=True, text=True
        )

    def request_status(self, path: str) -> int:
        """Returns the status of the response, or 0 if there is none."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
                return response.status
        except OSError as error:
            return getattr(error, "code", 0)

    def execute_sql(self, statement: str, *values: object) -> list[tuple]:
        """Executes a statement on the SQLite file from this process. Returns the rows."""
        with contextlib.closing(
            sqlite3.connect(self.database, timeout=30, isolation_level=None)
        ) as connection:
            return connection.execute(statement, values).fetchall()

    def read_log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def rss_mib(self) -> float:
        """Returns the resident memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @property
    def cpu_seconds(self) -> float:
        """Returns the CPU time of the process in user and in kernel mode."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def open_files(self) -> int:
        """Returns the number of open files, including connections."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@dataclass
class Run:
    """One run of one fault, with its folder and its cleanup.

    With `short`, the run takes only seconds, as one of the tests.
    """

    folder: Path
    stack: AsyncExitStack
    short: bool = False
    programs: list[Program] = field(default_factory=list)

    def program(self, url: str = "", folder: Path | None = None, **environ: str) -> Program:
        """Returns a program with a migrated empty database, which is not started yet."""
        folder = folder or self.folder / str(len(self.programs))
        folder.mkdir(exist_ok=True)
        port = free_port()
        settings = {
            "PATH": os.environ["PATH"],
            "ENV_FILE": "off",
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "RATE_LIMITS": "off",
            "DATABASE_URL": url or f"sqlite:///{folder / DATABASE}",
            "SESSION_SECRET": SECRET,
            "PRODUCT": "off",
        }
        program = Program(folder, settings | environ, port)
        self.programs.append(program)
        self.stack.callback(program.kill)
        migrated = program.run_command("migrate")
        require(migrated.returncode == 0, f"migrate: {migrated.stderr}")
        return program

    async def postgresql(self) -> str:
        """Returns the URL of an empty database on the server of TEST_POSTGRES_URL.

        The run drops the database at its end. Raises NotRun if there is no server.
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
    require_program("strace")
    command = ["strace", "-f", "-o", "/dev/null", "-p", str(program.process.pid)]
    for rule in rules:
        command += ["-e", rule]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        line = tracer.stderr.readline()
        if "attached" not in line:
            raise NotRun(f"strace cannot attach: {line.strip()}")
        try:
            yield
        finally:
            tracer.terminate()
            tracer.stderr.read()
