"""Contains the load: wrk repeats a list of requests on its own core for one round."""

import re
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.servers import LOAD_CORE, Server

CONNECTIONS = 16
SCRIPT = """
local requests, next = {}, 0
function init(args)
    for line in io.lines("%s") do
        local method, path, cookie, body = line:match("^(%%S+) (%%S+)\\t(.*)\\t(.*)$")
        local headers = { ["Host"] = wrk.headers["Host"] }
        if cookie ~= "" then headers["Cookie"] = cookie end
        if body ~= "" then headers["Content-Type"] = "application/x-www-form-urlencoded" end
        requests[#requests + 1] = wrk.format(method, path, headers, body ~= "" and body or nil)
    end
end
function request()
    next = next %% #requests + 1
    return requests[next]
end
"""


@dataclass(frozen=True)
class Request:
    """A POST if there is a body, and a GET otherwise."""

    path: str
    cookie: str = ""
    body: str = ""

    def line(self) -> str:
        """Returns the line that the script of wrk reads."""
        return f"{'POST' if self.body else 'GET'} {self.path}\t{self.cookie}\t{self.body}\n"


@dataclass(frozen=True)
class Round:
    """Requests per second, the 99th percentile in ms, and CPU microseconds per request."""

    rate: float
    p99: float
    cpu: float


def run_wrk(
    server: Server,
    requests: Sequence[Request],
    seconds: int,
    connections: int = CONNECTIONS,
    *,
    may_refuse: bool = False,
) -> Round:
    """Runs wrk for one round.

    Raises AssertionError for a response of 4xx or 5xx, unless `may_refuse` is true.
    """
    with tempfile.TemporaryDirectory() as folder:
        lines, script = Path(folder) / "requests", Path(folder) / "script.lua"
        lines.write_text("".join(request.line() for request in requests))
        script.write_text(SCRIPT % lines)
        command = [
            "taskset",
            "-c",
            str(LOAD_CORE),
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--latency",
        ]
        before = server.cpu_seconds()
        output = subprocess.run(
            [*command, "-s", script, server.url], capture_output=True, text=True, check=True
        ).stdout
        used = server.cpu_seconds() - before
    if errors := re.search(r"Non-2xx or 3xx responses: (\d+)", output):
        assert may_refuse, f"{errors[1]} error responses from {server.url}"
    responses = int(re.search(r"(\d+) requests in", output)[1])
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", output).groups()
    p99 = float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
    return Round(rate, p99, used / responses * 1e6)


def run_interleaved(rounds: int, *measurements: Callable[[], Round]) -> list[list[Round]]:
    """Returns the rounds of each measurement.

    Runs the measurements alternately, so that noise of the machine affects all of them.
    """
    results = [[measure() for measure in measurements] for _ in range(rounds)]
    return [list(column) for column in zip(*results, strict=True)]


def median(rounds: Sequence[Round], field: str) -> float:
    return statistics.median(getattr(one, field) for one in rounds)


def ratio(numerators: Sequence[Round], denominators: Sequence[Round], field: str) -> float:
    """Returns the median of the paired ratios of a field."""
    pairs = zip(numerators, denominators, strict=True)
    return statistics.median(getattr(one, field) / getattr(other, field) for one, other in pairs)
