"""Contains the attack by slowhttptest with a thousand connections that send or read slowly."""

import re
import threading
import time
from dataclasses import dataclass

from tests.attack import tools
from tests.attack.outcome import Attack, Finding, NotRun, ToolResult
from tests.attack.program import Program

CONNECTIONS = 1_000
TIMEOUT_SECONDS = 60  # One test may take this time.
CONNECT_SECONDS = 3  # Opening all connections takes two or three seconds.
COMMON_OPTIONS = ["-c", str(CONNECTIONS), "-r", "500", "-p", "5", "-l", "45"]


@dataclass(frozen=True)
class SlowTest:
    """One test of slowhttptest. `path` is None for a test that reads the largest static file.

    `limit_seconds` is the program's timeout for such a connection with a margin of 5 seconds.
    """

    name: str
    limit_seconds: int
    options: tuple[str, ...]
    path: str | None


TESTS = {
    "-H": SlowTest("slow headers", 15, ("-H", "-i", "5", "-x", "24", "-t", "GET"), "/login"),
    "-B": SlowTest(
        "slow body", 15, ("-B", "-i", "5", "-x", "24", "-s", "8192", "-t", "POST"), "/login"
    ),
    "-X": SlowTest(
        "slow read", 35, ("-X", "-n", "5", "-z", "32", "-w", "512", "-y", "1024", "-k", "3"), None
    ),
}


def read_version() -> str:
    return tools.debian_version("slowhttptest")


def attack(program: Program) -> ToolResult:
    summaries, findings = [], []
    for option, test in TESTS.items():
        before = program.open_files
        counter = OpenFilesCounter(program)
        url = program.url + (test.path or find_largest_file(program))
        command = ["slowhttptest", *COMMON_OPTIONS, *test.options, "-u", url]
        output = tools.run(command, TIMEOUT_SECONDS, program.folder)
        open_seconds, most_open = counter.stop()
        available = re.findall(r"service available:\s+(\w+)", output.text)
        if not available:
            raise NotRun(f"slowhttptest {option} prints no result: {output.text[-200:]}")
        summaries.append(
            f"`{option}` ({test.name}): at most {most_open - before:,} open, "
            f"all closed after {open_seconds:.0f} s"
        )
        if open_seconds > test.limit_seconds + CONNECT_SECONDS:
            details = f"{open_seconds:.0f} s, limit {test.limit_seconds} s"
            findings.append(Finding(f"{test.name}: connections stay open too long", details))
        if "NO" in available:
            details = f"{available.count('NO')} times"
            findings.append(Finding(f"{test.name}: other clients got no response", details))
    return ToolResult(f"{CONNECTIONS:,} connections each: {'; '.join(summaries)}", findings)


def find_largest_file(program: Program) -> str:
    """Returns the path of htmx in the login page."""
    login_page = program.request("GET", "/login")[2]
    return str(re.findall(r'/static/htmx[^"]*', login_page)[0])


class OpenFilesCounter:
    """Counts the program's open files in a thread, because the tool does not report the closing."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.most_open = 0
        self.few = program.open_files + 20  # Other connections may be open.
        self.started = self.last_many = time.monotonic()
        self.is_stopped = threading.Event()
        self.thread = threading.Thread(target=self.count)
        self.thread.start()

    def count(self) -> None:
        while not self.is_stopped.wait(0.1):
            open_files = self.program.open_files
            self.most_open = max(self.most_open, open_files)
            if open_files > self.few:
                self.last_many = time.monotonic()

    def stop(self) -> tuple[float, int]:
        """Waits until few files are open.

        Returns the seconds with many open files, and the largest number of open files.
        """
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.program.open_files > self.few and time.monotonic() < deadline:
            time.sleep(0.1)
        self.is_stopped.set()
        self.thread.join()
        return self.last_many - self.started, self.most_open


ATTACK = Attack("slowhttptest", "enforce", read_version, attack)
