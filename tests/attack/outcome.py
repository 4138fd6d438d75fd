"""What an attack is, and what came of one."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.attack.house import House


class NotRun(Exception):
    """The attack cannot be made here; the message says what it would take."""


@dataclass(frozen=True)
class Finding:
    """What a tool complains of: `title` its kind, `seen` where and how."""

    title: str
    seen: str


@dataclass
class Seen:
    """`did`: what the tool was set to do, with its figures.

    `remarks`: what a reader has to know besides.
    """

    did: str
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Attack:
    """`prove`, where there is one, shows that the tool bites where there is something to bite, or
    raises NotRun.
    """

    name: str
    limits: str
    version: Callable[[], str]
    strike: Callable[[House], Seen]
    prove: Callable[[Path], str] | None = None


@dataclass
class Watched:
    """What somebody who is logged in saw of their dashboard meanwhile; the times in ms."""

    pages: int
    statuses: dict[str, int]
    p99: float
    longest: float


@dataclass
class Outcome:
    attack: str
    limits: str
    version: str
    seen: Seen
    proof: str
    answers: Counter[int]
    quiet: Watched
    watched: Watched
    seconds: float

    @property
    def failures(self) -> dict[int, int]:
        return {
            status: number
            for status, number in sorted(self.answers.items())
            if status >= 500 and number
        }
