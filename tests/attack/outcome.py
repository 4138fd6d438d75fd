"""Types for an attack and its outcome."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.attack.program import Program


class NotRun(Exception):
    """Raised when the attack cannot run here. The message says what it needs."""


@dataclass(frozen=True)
class Finding:
    """A problem that a tool reports. `title` is its type, and `seen` says where it occurs."""

    title: str
    seen: str


@dataclass
class Seen:
    """The result of a tool: what it did, with figures, its findings, and remarks for the report."""

    did: str
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Attack:
    """An attack with one tool.

    `prove` is optional. It checks that the tool finds a planted vulnerability, and raises NotRun if
    it does not.
    """

    name: str
    limits: str
    version: Callable[[], str]
    strike: Callable[[Program], Seen]
    prove: Callable[[Path], str] | None = None


@dataclass
class Watched:
    """Measurements of a logged-in user's dashboard during an attack. Times are in milliseconds."""

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
