"""Tests of the shutdown of the real program by signals while requests are in progress."""

import http.client
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest

from db.crypto.secret import Secret
from db.maintenance.backup import BackupError, restore
from db.maintenance.schema import migrate
from tests.browser_client import PASSWORD
from tests.environment import environ_of
from tests.processes import free_port

LATCHKEY = Path(sys.executable).parent / "latchkey"
NOW = datetime(2026, 11, 24, 9, 12, tzinfo=UTC)
ALICE = urlencode({"name": "Alice", "email": "alice@example.com", "password": PASSWORD}).encode()
pytestmark = pytest.mark.reliability("R17")


@dataclass
class Program:
    """A process of `latchkey serve`."""

    process: subprocess.Popen
    port: int
    started_in: float = field(default=0.0)

    def get(
        self, path: str, connection: http.client.HTTPConnection | None = None
    ) -> http.client.HTTPResponse:
        connection = connection or self.connect()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def is_listening(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def wait_for_exit(self) -> tuple[int, str]:
        """Waits for the process to end and returns its exit code and its standard error output."""
        _, error_output = self.process.communicate(timeout=30)
        return self.process.returncode, error_output


class SlowSignUp:
    """A sign-up request of which only the first part has been sent."""

    def __init__(self, program: Program) -> None:
        self.socket = socket.create_connection(("127.0.0.1", program.port), 20)
        head = f"POST /signup HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(ALICE)}\r\n"
        self.socket.sendall(
            f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode() + ALICE[:20]
        )
        time.sleep(0.2)

    def finish(self) -> bytes:
        self.socket.sendall(ALICE[20:])
        with self.socket, self.socket.makefile("rb") as answer:
            return answer.read()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "latchkey.db"
    migrate(Secret(f"sqlite:///{path}"))
    return path


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def start(database: Path, port: int) -> Iterator[Callable]:
    """Returns a function that starts the program and waits until it reports that it is ready."""
    programs = []

    def start(*, ready: bool = True, **environ: str) -> Program:
        settings = environ_of(database, PORT=str(port))
        before = time.monotonic()
        process = subprocess.Popen(
            [LATCHKEY, "serve"],
            env=settings | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        programs.append(process)
        if ready:
            assert "is ready at" in process.stdout.readline(), process.communicate()
        return Program(process, port, time.monotonic() - before)

    yield start
    for process in programs:
        process.kill()
        process.communicate()


def names_in(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM users")]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_requests_in_progress_finish_and_no_new_connection_is_accepted(
    start: Callable, database: Path, workers: str
) -> None:
    program = start(WEB_CONCURRENCY=workers)
    sign_up = SlowSignUp(program)
    program.process.send_signal(signal.SIGTERM)
    time.sleep(1.5)
    assert not program.is_listening()
    answer = sign_up.finish()
    assert answer.startswith(b"HTTP/1.1 303 ")
    assert b"set-cookie: session=" in answer.lower()
    assert program.wait_for_exit() == (0, "")
    assert names_in(database) == ["Alice"]
    # SQLite deletes its other files when the database is closed.
    assert [path.name for path in database.parent.iterdir()] == [database.name]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_readiness_fails_at_once_while_other_requests_are_answered(
    start: Callable, workers: str
) -> None:
    program = start(WEB_CONCURRENCY=workers, DRAIN_SECONDS="3")
    connections = [program.connect() for _ in range(8)]
    assert [program.get("/readyz", connection).status for connection in connections] == [200] * 8
    program.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    for connection in (*connections, *[program.connect() for _ in range(8)]):
        answer = program.get("/readyz", connection)
        assert (answer.status, answer.headers["connection"]) == (503, "close")
    assert [program.get(path).status for path in ("/healthz", "/login", "/signup")] == [200] * 3
    assert program.wait_for_exit() == (0, "")


def test_a_sign_up_that_starts_during_the_drain_succeeds(start: Callable, database: Path) -> None:
    program = start(DRAIN_SECONDS="2")
    program.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert SlowSignUp(program).finish().startswith(b"HTTP/1.1 303 ")
    assert program.wait_for_exit() == (0, "")
    assert names_in(database) == ["Alice"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_repeated_signals_do_not_interrupt_the_shutdown(start: Callable, workers: str) -> None:
    program = start(WEB_CONCURRENCY=workers)
    sign_up = SlowSignUp(program)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        program.process.send_signal(number)
        time.sleep(0.3)
    assert sign_up.finish().startswith(b"HTTP/1.1 303 ")
    assert program.wait_for_exit() == (0, "")


def test_a_second_ctrl_c_ends_the_drain(start: Callable) -> None:
    program = start(DRAIN_SECONDS="60")
    program.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    # A supervisor sends SIGTERM after Ctrl-C, and that does not end the drain.
    program.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert program.get("/readyz").status == 503
    program.process.send_signal(signal.SIGINT)
    assert program.wait_for_exit() == (0, "")


def test_sessions_survive_an_immediate_restart(start: Callable) -> None:
    program = start()
    cookie = SlowSignUp(program).finish().split(b"session=")[1].split(b";")[0].decode()
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        program.process.send_signal(signal_number)
        program.process.wait(20)
        program = start()
        connection = program.connect()
        connection.request("GET", "/api/session", headers={"Cookie": f"session={cookie}"})
        assert connection.getresponse().status == 200
    # A start takes one or two seconds, so this shows that nothing waits for a timeout.
    assert program.started_in < 10


def test_workers_of_a_killed_supervisor_release_the_port(start: Callable) -> None:
    program = start(WEB_CONCURRENCY="2")
    program.process.kill()
    program.process.wait(20)
    deadline = time.monotonic() + 10
    while program.is_listening() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert start(WEB_CONCURRENCY="2").get("/healthz").status == 200


@pytest.mark.reliability("R19")
def test_restore_is_refused_while_the_program_serves(
    start: Callable, database: Path, tmp_path: Path
) -> None:
    program, url = start(), Secret(f"sqlite:///{database}")
    assert (
        subprocess.run([LATCHKEY, "backup", tmp_path / "b"], env=environ_of(database)).returncode
        == 0
    )
    with pytest.raises(BackupError, match="stop the program first"):
        restore(url, tmp_path / "b", NOW)
    assert program.get("/readyz").status == 200
    program.process.terminate()
    assert program.wait_for_exit() == (0, "")
    assert restore(url, tmp_path / "b", NOW)[0].users == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_reported_in_one_line_with_exit_code_1(
    start: Callable, port: int, workers: str
) -> None:
    with socket.create_server(("127.0.0.1", port)):
        code, output = start(ready=False, WEB_CONCURRENCY=workers).wait_for_exit()
    assert (code, "address already in use" in output.lower(), "Traceback" in output) == (
        1,
        True,
        False,
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_missing_schema_is_reported_in_one_line_with_exit_code_1(
    start: Callable, tmp_path: Path, workers: str
) -> None:
    code, output = start(
        ready=False, WEB_CONCURRENCY=workers, DATABASE_URL=f"sqlite:///{tmp_path}/new.db"
    ).wait_for_exit()
    problem = f"the database has no tables yet: run `latchkey migrate` first; there is no file {tmp_path}/new.db"
    assert (code, output) == (1, f"latchkey: {problem}\n")


@pytest.mark.reliability("R12")
def test_a_low_file_limit_is_logged_and_sigterm_ends_the_start(database: Path, port: int) -> None:
    command = f"ulimit -n 256; exec {LATCHKEY} serve"
    environ = environ_of(database) | {"PORT": str(port)}
    with subprocess.Popen(
        ["/bin/sh", "-c", command], env=environ, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "only 256 open files are allowed" in process.stderr.readline()
        process.terminate()
        try:
            # The exit code depends on the stage of the start.
            assert process.wait(20) in (0, 1, 128 + signal.SIGTERM)
        finally:
            process.kill()


@pytest.mark.reliability("R12")
def test_the_open_file_limit_is_raised_to_the_hard_limit(start: Callable) -> None:
    limits = Path(f"/proc/{start().process.pid}/limits")
    soft, hard = next(
        line.split()[3:5]
        for line in limits.read_text().splitlines()
        if line.startswith("Max open files")
    )
    assert soft == hard


def has_handler(pid: int, number: signal.Signals) -> bool:
    """Returns whether the process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


def test_sigterm_ends_a_start_before_the_program_is_imported(start: Callable) -> None:
    """Process 1 of a container ignores a SIGTERM for which it has no handler."""
    program = start(ready=False)
    while program.process.poll() is None and not has_handler(program.process.pid, signal.SIGTERM):
        time.sleep(0.002)
    program.process.send_signal(signal.SIGTERM)
    assert program.wait_for_exit() == (128 + signal.SIGTERM, "")


def test_requests_in_progress_finish_after_sighup(start: Callable, database: Path) -> None:
    program = start()
    sign_up = SlowSignUp(program)
    program.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert sign_up.finish().startswith(b"HTTP/1.1 303 ")
    assert program.wait_for_exit() == (0, "")
    assert names_in(database) == ["Alice"]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("url", ["http://localhost:{port}", "http://[::1]:{port}"])
def test_ipv6_and_ipv4_are_both_served_by_any_number_of_processes(
    start: Callable, port: int, workers: str, url: str
) -> None:
    start(WEB_CONCURRENCY=workers, HOST="::", BASE_URL=url.format(port=port))
    for host in ("127.0.0.1", "::1"):
        connection = http.client.HTTPConnection(host, port, timeout=5)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


def test_the_announced_url_can_be_reached(start: Callable, port: int) -> None:
    start(BASE_URL=f"http://[::1]:{port}")
    connection = http.client.HTTPConnection("::1", port, timeout=5)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
