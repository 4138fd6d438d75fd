"""Attacks and their results."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.attack.house import House


class NotRun(Exception):
    """The attack cannot run here. The message names what is missing."""


@dataclass(frozen=True)
class Finding:
    """A finding of a tool: `title` names its type, `seen` where and how it appeared."""

    title: str
    seen: str


@dataclass
class Seen:
    """The result of a tool: `did` describes the run with its figures, `remarks` adds notes."""

    did: str
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Attack:
    """An attack. `prove`, if given, shows that the tool finds a planted vulnerability.

    It raises NotRun if the tool finds nothing.
    """

    name: str
    limits: str
    version: Callable[[], str]
    strike: Callable[[House], Seen]
    prove: Callable[[Path], str] | None = None


@dataclass
class Watched:
    """The requests of the dashboard during an attack. Times are in ms."""

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
