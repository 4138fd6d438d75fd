"""The real program on loopback with its own database and users, as the target of an attack."""

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

LOOPBACK = "127.0.0.1"  # Only this IP address is ever attacked.
LATCHKEY = Path(sys.executable).parent / "latchkey"
TIMEOUT_SECONDS = 60  # seconds until the program serves
SECRET = "a secret of the attacks alone 9kQ4 xT"
PASSWORD = "engine-No.9 to the sea"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
COUNTED = re.compile(r'latchkey_requests_total\{kind="(\w+)",pid="\d+",status="(\d+)"\} ([\d.e+]+)')


class Broken(Exception):
    """Raised when the program cannot be prepared for an attack. The message says why."""


@dataclass
class Program:
    """A process of `latchkey serve` with its own folder. `limits` is the value of RATE_LIMITS."""

    folder: Path
    limits: str
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
            "HOST": LOOPBACK,
            "PORT": str(self.port),
            "BASE_URL": self.url,
            "DATABASE_URL": f"sqlite:///{self.folder}/latchkey.db",
            "SESSION_SECRET": SECRET,
            "RATE_LIMITS": self.limits,
        }

    def open(self) -> None:
        """Migrates the database, starts the program and creates its users.

        Ada is the administrator, Alice's dashboard is measured, and Charlie is the attacker's
        account.
        """
        self.port = free_port()
        self.command("migrate")
        self.create("ada", PASSWORD, "--role", "admin")
        self.create("bob", PASSWORD)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [LATCHKEY, "serve"], env=self.environ, stdout=log, stderr=log
            )
        until = time.monotonic() + TIMEOUT_SECONDS
        while self.ask("GET", "/readyz")[0] != 200:
            if time.monotonic() > until or self.process.poll() is not None:
                raise Broken(f"no start: {self.logged()[-300:]}")
            time.sleep(0.05)
        for name in ("alice", "charlie"):
            self.come_in(
                name, "/signup", {"name": name, "email": email_of(name), "password": PASSWORD}
            )
        self.come_in("ada", "/login", {"email": email_of("ada"), "password": PASSWORD})
        self.ids = self.list_ids()

    def close(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def command(self, *words: str, stdin: str = "") -> None:
        done = subprocess.run(
            [LATCHKEY, *words], env=self.environ, input=stdin, capture_output=True, text=True
        )
        if done.returncode:
            raise Broken(f"latchkey {words[0]}: {done.stderr.strip()}")

    def create(self, name: str, password: str, *options: str) -> None:
        self.command(
            *(
                "users",
                "create",
                "--email",
                email_of(name),
                "--name",
                name,
                "--password-stdin",
                *options,
            ),
            stdin=password,
        )

    def come_in(self, name: str, path: str, fields: dict[str, str]) -> None:
        status, headers, _ = self.ask("POST", path, fields)
        session = re.search(r"^session=[^;]+", headers.get("set-cookie", ""), re.MULTILINE)
        if status != 303 or session is None:
            raise Broken(f"{name} is not let in at {path}: {status}")
        self.cookies[name] = session[0]

    def list_ids(self) -> dict[str, str]:
        status, _, told = self.ask("GET", "/api/admin/users", cookie=self.cookies["ada"])
        if status != 200:
            raise Broken(f"/api/admin/users: {status}")
        return {user["name"]: user["id"] for user in json.loads(told)["users"]}

    def ask(
        self, method: str, path: str, fields: dict[str, str] | None = None, cookie: str = ""
    ) -> tuple[int, dict[str, str], str]:
        """Returns the status, the headers and the body of one answer.

        A line feed separates several cookies. The status is 0 if there is no answer.
        """
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        headers = {"Cookie": cookie} if cookie else {}
        try:
            connection.request(
                method,
                path,
                urlencode(fields) if fields else None,
                headers | (FORM if fields else {}),
            )
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            named["set-cookie"] = "\n".join(answer.headers.get_all("set-cookie", []))
            return answer.status, named, answer.read().decode()
        except OSError:
            return 0, {}, ""
        finally:
            connection.close()

    def counted(self) -> Counter[int]:
        """Returns the program's own count of answers by status, without those of its metrics."""
        found = COUNTED.findall(self.ask("GET", "/metrics")[2])
        answers: Counter[int] = Counter()
        for kind, status, number in found:
            answers[int(status)] += int(float(number)) if kind != "operators" else 0
        return answers

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def files(self) -> int:
        """Returns the number of open files, including connections."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd")) if self.process else 0

    def logged(self) -> str:
        return (self.folder / "log").read_text()


def email_of(name: str) -> str:
    return f"{name}@example.com"


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listening:
        return int(listening.getsockname()[1])
