"""Contains the types of the tables of commands, of which `web/cli/parser.py` makes a parser."""

import argparse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from db.viewer import Operator
from web.settings.settings import Settings

OperatorTask = Callable[[Operator], Awaitable[None]]


class CommandError(Exception):
    """Raised when a command cannot be run or a verification fails. The message has the reason."""


class Argument:
    """An argument of a command: its name or flag, and the options of argparse."""

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.options = options


@dataclass(frozen=True, slots=True)
class OneOrAll:
    """A positional argument and `--all`, of which exactly one must be given."""

    name: str


Arguments = tuple[Argument | OneOrAll, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A command without an Operator. `run` returns the exit code; None is 0."""

    name: str
    help: str
    run: Callable[[argparse.Namespace], int | None]
    arguments: Arguments = ()


@dataclass(frozen=True, slots=True)
class OperatorCommand:
    """A command that needs an Operator.

    `prepare` validates the arguments like a form, before the database is opened, and returns the
    task. It raises CommandError, PasswordInputError and NotFound. A command that `writes` audit
    entries needs the secret of the service.
    """

    name: str
    help: str
    prepare: Callable[[argparse.Namespace, Settings], OperatorTask]
    arguments: Arguments = ()
    writes: bool = True


@dataclass(frozen=True, slots=True)
class CommandGroup:
    """The commands that begin with the same word, such as `latchkey users …`."""

    name: str
    help: str
    commands: tuple[Command | OperatorCommand, ...]
