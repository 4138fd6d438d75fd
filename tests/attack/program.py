"""Contains the target of an attack: `latchkey serve` on loopback with its own users."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

LOOPBACK = "127.0.0.1"  # The tools attack only this IP address.
LATCHKEY = Path(sys.executable).parent / "latchkey"
START_SECONDS = 60  # The program must serve within this time.
STOP_SECONDS = 15  # The program is killed if it has not ended after this time.
REQUEST_SECONDS = 10  # A request without a response within this time has the status 0.
SECRET = "a secret of the attacks alone 9kQ4 xT"
PASSWORD = "engine-No.9 to the sea"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
RESPONSE_COUNT = re.compile(
    r'latchkey_requests_total\{kind="(\w+)",pid="\d+",status="(\d+)"\} ([\d.e+]+)'
)


class SetupFailed(Exception):
    """Raised when the program cannot be prepared for an attack. The message has the reason."""


@dataclass
class Program:
    """A process of `latchkey serve` with its own folder.

    `rate_limits` is the value of RATE_LIMITS. `cookies` and `ids` are by user name.
    """

    folder: Path
    rate_limits: str
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    cookies: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "ENV_FILE": "off",
            "HOST": LOOPBACK,
            "PORT": str(self.port),
            "BASE_URL": self.url,
            "DATABASE_URL": f"sqlite:///{self.folder}/latchkey.db",
            "SESSION_SECRET": SECRET,
            "PRODUCT": "off",
            "RATE_LIMITS": self.rate_limits,
        }

    def start(self) -> None:
        """Migrates the database, starts the program and creates its users. Raises SetupFailed.

        Ada is the administrator, Alice's dashboard is measured, and the attacker has Charlie's
        account.
        """
        self.port = free_port()
        self.run_command("migrate")
        self.create_user("ada", PASSWORD, "--role", "admin")
        self.create_user("bob", PASSWORD)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [LATCHKEY, "serve"], env=self.environ, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while self.request("GET", "/readyz")[0] != 200:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SetupFailed(f"the program does not start: {self.read_log()[-300:]}")
            time.sleep(0.05)
        for name in ("alice", "charlie"):
            fields = {"name": name, "email": email_of(name), "password": PASSWORD}
            self.start_session(name, "/signup", fields)
        self.start_session("ada", "/login", {"email": email_of("ada"), "password": PASSWORD})
        self.ids = self.list_user_ids()

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def run_command(self, *arguments: str, stdin: str = "") -> None:
        """Runs a command of `latchkey`. Raises SetupFailed if it fails."""
        done = subprocess.run(
            [LATCHKEY, *arguments], env=self.environ, input=stdin, capture_output=True, text=True
        )
        if done.returncode:
            raise SetupFailed(f"latchkey {arguments[0]}: {done.stderr.strip()}")

    def create_user(self, name: str, password: str, *options: str) -> None:
        arguments = ["--email", email_of(name), "--name", name, "--password-stdin", *options]
        self.run_command("users", "create", *arguments, stdin=password)

    def start_session(self, name: str, path: str, fields: dict[str, str]) -> None:
        """Submits a form and stores the session cookie under `name`. Raises SetupFailed."""
        status, headers, _ = self.request("POST", path, fields)
        session = re.search(r"^session=[^;]+", headers.get("set-cookie", ""), re.MULTILINE)
        if status != 303 or session is None:
            raise SetupFailed(f"{path} starts no session for {name}: {status}")
        self.cookies[name] = session[0]

    def list_user_ids(self) -> dict[str, str]:
        status, _, body = self.request("GET", "/api/admin/users", cookie=self.cookies["ada"])
        if status != 200:
            raise SetupFailed(f"/api/admin/users: {status}")
        return {user["name"]: user["id"] for user in json.loads(body)["users"]}

    def request(
        self, method: str, path: str, fields: dict[str, str] | None = None, cookie: str = ""
    ) -> tuple[int, dict[str, str], str]:
        """Returns the status, the headers and the body of one response.

        A line feed separates several cookies. The status is 0 if there is no response.
        """
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=REQUEST_SECONDS)
        headers = {"Cookie": cookie} if cookie else {}
        try:
            connection.request(
                method,
                path,
                urlencode(fields) if fields else None,
                headers | (FORM if fields else {}),
            )
            response = connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            received["set-cookie"] = "\n".join(response.headers.get_all("set-cookie", []))
            return response.status, received, response.read().decode()
        except OSError:
            return 0, {}, ""
        finally:
            connection.close()

    def count_responses(self) -> Counter[int]:
        """Returns the program's own count of responses by status, without those of its metrics."""
        counts: Counter[int] = Counter()
        metrics = self.request("GET", "/metrics")[2]
        for access, status, number in RESPONSE_COUNT.findall(metrics):
            if access != "operators":
                counts[int(status)] += int(float(number))
        return counts

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def open_files(self) -> int:
        """Returns the number of open files, including connections."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd")) if self.process else 0

    def read_log(self) -> str:
        return (self.folder / "log").read_text()


def email_of(name: str) -> str:
    return f"{name}@example.com"


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listening:
        return int(listening.getsockname()[1])
