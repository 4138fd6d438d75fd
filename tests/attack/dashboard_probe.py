"""Contains a process that measures the dashboard of a logged-in user during an attack."""

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

from tests.attack.outcome import DashboardTimes
from tests.attack.program import LOOPBACK, Program

ROOT = Path(__file__).resolve().parent.parent.parent
PAUSE_SECONDS = 0.02  # The process sends at most 50 requests a second.
TIMEOUT_SECONDS = 20  # A request without a response within this time counts as status 0.


class DashboardProbe:
    """Runs the process during a `with` block and sets `times` at its end."""

    times: DashboardTimes

    def __init__(self, program: Program) -> None:
        self.command = [
            sys.executable,
            "-m",
            "tests.attack.dashboard_probe",
            str(program.port),
            program.cookies["alice"],
        ]

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        return self

    def __exit__(
        self, error_type: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        output, _ = self.process.communicate("", timeout=2 * TIMEOUT_SECONDS)
        self.times = DashboardTimes(**json.loads(output))


def measure(port: int, cookie: str) -> None:
    """Requests the dashboard until standard input ends, and prints the measurements as JSON."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_SECONDS)
    times: list[float] = []
    statuses: Counter[int] = Counter()
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        started = time.perf_counter()
        try:
            statuses[request_dashboard(connection, cookie)] += 1
        except (OSError, http.client.HTTPException):
            statuses[0] += 1
            connection.close()
        times.append(1000 * (time.perf_counter() - started))
    times.sort()
    p99 = times[int(len(times) * 0.99)]
    measured = {"requests": len(times), "statuses": statuses, "p99": p99, "longest": times[-1]}
    print(json.dumps(measured))


def request_dashboard(connection: http.client.HTTPConnection, cookie: str) -> int:
    """Returns the status of the response."""
    try:
        connection.request("GET", "/dashboard", headers={"Cookie": cookie})
        response = connection.getresponse()
    # The server closed the idle connection. Browsers retry in this case too.
    except http.client.RemoteDisconnected:
        connection.close()
        connection.request("GET", "/dashboard", headers={"Cookie": cookie})
        response = connection.getresponse()
    response.read()
    return response.status


if __name__ == "__main__":
    measure(int(sys.argv[1]), sys.argv[2])
