"""Somebody who is logged in looks at the dashboard all the while, by one connection, from a process
of their own.
"""

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

from tests.attack.house import LOOPBACK, House
from tests.attack.outcome import Watched

ROOT = Path(__file__).resolve().parent.parent.parent
PAUSE = 0.02  # seconds between two looks
SLOWEST = 20  # seconds, then it counts as no answer


class Probe:
    """The process, from the entry of the block to its end; `watched` afterwards."""

    watched: Watched

    def __init__(self, house: House) -> None:
        self.command = [
            sys.executable,
            "-m",
            "tests.attack.probe",
            str(house.port),
            house.cookies["alice"],
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
    """Until standard input ends."""
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
    except http.client.RemoteDisconnected:  # closed while nobody used it: browsers try again too
        connection.close()
        connection.request("GET", "/dashboard", headers={"Cookie": cookie})
        answer = connection.getresponse()
    answer.read()
    return answer.status


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2])
