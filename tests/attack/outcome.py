"""Contains the types of an attack and its outcome."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.attack.program import Program


class NotRun(Exception):
    """Raised when the attack cannot run on this machine. The message says what it needs."""


@dataclass(frozen=True)
class Finding:
    """A problem that a tool reports. `title` is its type, and `details` says where it occurs."""

    title: str
    details: str


@dataclass
class ToolResult:
    """What a tool did, with figures, its findings, and remarks for the report."""

    summary: str
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Attack:
    """An attack with one tool. `rate_limits` is the value of RATE_LIMITS.

    `check_tool` is optional. It checks that the tool finds a planted vulnerability, returns a
    sentence about it, and raises NotRun if the tool does not find it.
    """

    name: str
    rate_limits: str
    version: Callable[[], str]
    run: Callable[[Program], ToolResult]
    check_tool: Callable[[Path], str] | None = None


@dataclass
class DashboardTimes:
    """The response times of a logged-in user's dashboard in milliseconds.

    The keys of `statuses` are strings, because the measurements come from JSON.
    """

    requests: int
    statuses: dict[str, int]
    p99: float
    longest: float


@dataclass
class Outcome:
    """The result of one attack. `responses` counts the program's responses by status.

    `idle` was measured before the attack, and `loaded` during the attack.
    """

    attack: str
    rate_limits: str
    version: str
    result: ToolResult
    tool_check: str
    responses: Counter[int]
    idle: DashboardTimes
    loaded: DashboardTimes
    seconds: float

    @property
    def server_errors(self) -> dict[int, int]:
        """Returns the number of 5xx responses by status."""
        return {
            status: number
            for status, number in sorted(self.responses.items())
            if status >= 500 and number
        }
