"""Attack by slowhttptest with a thousand connections that send or read slowly."""

import re
import threading
import time

from tests.attack import tools
from tests.attack.outcome import Attack, Finding, NotRun, Seen
from tests.attack.program import Program

CONNECTIONS = 1_000
TIMEOUT_SECONDS = 60  # seconds for one attack
BOTH = ["-c", str(CONNECTIONS), "-r", "500", "-p", "5", "-l", "45"]
KINDS = {
    "-H": ("slow headers", 15, ["-H", "-i", "5", "-x", "24", "-t", "GET"], "/login"),
    "-B": ("slow body", 15, ["-B", "-i", "5", "-x", "24", "-s", "8192", "-t", "POST"], "/login"),
    "-X": (
        "slow read",
        35,
        ["-X", "-n", "5", "-z", "32", "-w", "512", "-y", "1024", "-k", "3"],
        None,
    ),
}


def version() -> str:
    return tools.debian_version("slowhttptest")


def strike(program: Program) -> Seen:
    told, findings = [], []
    for option, (name, limit, options, path) in KINDS.items():
        before = program.files
        watch = Watch(program)
        done = tools.run(
            ["slowhttptest", *BOTH, *options, "-u", program.url + (path or largest_file(program))],
            TIMEOUT_SECONDS,
            program.folder,
        )
        held, most = watch.end(before + 20)
        available = re.findall(r"service available:\s+(\w+)", done.said)
        if not available:
            raise NotRun(f"slowhttptest {option} prints no result: {done.said[-200:]}")
        told.append(
            f"`{option}` ({name}): at most {most - before:,} open, all closed after {held:.0f} s"
        )
        if held > limit + 3:  # Opening all connections takes two or three seconds.
            findings.append(
                Finding(f"{name}: connections stay open too long", f"{held:.0f} s, limit {limit} s")
            )
        if "NO" in available:
            findings.append(
                Finding(f"{name}: other clients got no response", f"{available.count('NO')} times")
            )
    return Seen(f"{CONNECTIONS:,} connections each: {'; '.join(told)}", findings)


def largest_file(program: Program) -> str:
    """Returns the path of htmx in the login page."""
    return str(re.findall(r'/static/htmx[^"]*', program.ask("GET", "/login")[2])[0])


class Watch:
    """Counts the program's open files until they are few again, whatever the tool reports."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.most = 0
        self.last_many = self.began = time.monotonic()
        self.is_over = threading.Event()
        self.few = self.program.files + 20
        self.thread = threading.Thread(target=self.count)
        self.thread.start()

    def count(self) -> None:
        while not self.is_over.wait(0.1):
            files = self.program.files
            self.most = max(self.most, files)
            if files > self.few:
                self.last_many = time.monotonic()

    def end(self, few: int) -> tuple[float, int]:
        """Returns the seconds with many open files, and the largest number of open files."""
        until = time.monotonic() + TIMEOUT_SECONDS
        while self.program.files > few and time.monotonic() < until:
            time.sleep(0.1)
        self.is_over.set()
        self.thread.join()
        return self.last_many - self.began, self.most


ATTACK = Attack("slowhttptest", "enforce", version, strike)
