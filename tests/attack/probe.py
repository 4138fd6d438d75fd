"""A process that requests the dashboard of a logged-in user during an attack and measures it."""

import http.client
import json
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.attack.outcome import Watched
from tests.attack.program import LOOPBACK, Program

ROOT = Path(__file__).resolve().parent.parent.parent
PAUSE = 0.02  # seconds between two requests
SLOWEST = 20  # seconds after which a request counts as unanswered


class Probe:
    """Runs the process during a `with` block and sets `watched` at its end."""

    watched: Watched

    def __init__(self, program: Program) -> None:
        self.command = [
            sys.executable,
            "-m",
            "tests.attack.probe",
            str(program.port),
            program.cookies["alice"],
        ]

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        told, _ = self.process.communicate("", timeout=2 * SLOWEST)
        self.watched = Watched(**json.loads(told))


def watch(port: int, cookie: str) -> None:
    """Requests the dashboard until standard input ends, and prints the measurements as JSON."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=SLOWEST)
    times: list[float] = []
    statuses: Counter[int] = Counter()
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        began = time.perf_counter()
        try:
            statuses[look(connection, cookie)] += 1
        except (OSError, http.client.HTTPException):
            statuses[0] += 1
            connection.close()
        times.append(1000 * (time.perf_counter() - began))
    times.sort()
    p99 = times[int(len(times) * 0.99)]
    print(json.dumps({"pages": len(times), "statuses": statuses, "p99": p99, "longest": times[-1]}))


def look(connection: http.client.HTTPConnection, cookie: str) -> int:
    try:
        connection.request("GET", "/dashboard", headers={"Cookie": cookie})
        answer = connection.getresponse()
    # The server closed the idle connection, and browsers retry then too.
    except http.client.RemoteDisconnected:
        connection.close()
        connection.request("GET", "/dashboard", headers={"Cookie": cookie})
        answer = connection.getresponse()
    answer.read()
    return answer.status


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2])
