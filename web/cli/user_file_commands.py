"""Contains the commands `latchkey users import` and `latchkey users export`."""

import argparse
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from db.access import user_import
from db.access.user_import import Clashes, NewUser
from db.crypto.passwords import LOCKED_HASH
from db.viewer import Operator
from web.cli.commands import Argument, CommandError, OperatorCommand, OperatorTask
from web.cli.user_files import FileFormat, Problem, ReadFile, UserWriter, read_users
from web.observability.logs import printable
from web.rendering.formatting import plural
from web.settings.settings import Settings

MAX_PRINTED_PROBLEMS: Final = 20
SUFFIXES: Final[dict[str, FileFormat]] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
STANDARD_STREAM: Final = Path("-")


def prepare_import(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    """Reads and checks the whole file, before the database is opened."""
    file_format = options.format or _format_of(options.file)
    with _open_to_read(options) as file:
        content = read_users(file, file_format, datetime.now(UTC))

    async def run(caller: Operator) -> None:
        clashes = await user_import.find_clashes(caller, content.users)
        problems = [*content.problems, *_problems_of(content, clashes)]
        existing = [user for user in content.users if user.line in clashes.existing]
        if not options.skip_existing:
            problems += [Problem(user.line, "an account has this email") for user in existing]
        _report_problems(problems, skips=options.skip_invalid)
        refused = {problem.line for problem in problems} | clashes.existing
        new = [user for user in content.users if user.line not in refused]
        if options.dry_run:
            print(f"{_accounts(len(new))} would be imported{_describe(new, existing, options)}")
            return
        count = await user_import.import_users(caller, new)
        print(f"{_accounts(count)} imported{_describe(new, existing, options)}")

    return run


def _format_of(path: Path) -> FileFormat:
    file_format = SUFFIXES.get(path.suffix.lower())
    if file_format is None:
        raise CommandError("the name does not end in .csv or .jsonl: add --format csv or jsonl")
    return file_format


@contextmanager
def _open_to_read(options: argparse.Namespace) -> Iterator[TextIO]:
    if options.file == STANDARD_STREAM:
        yield options.stdin
        return
    with options.file.open(encoding="utf-8-sig", newline="") as file:
        yield file


def _problems_of(content: ReadFile, clashes: Clashes) -> Iterator[Problem]:
    for user in content.users:
        if user.line in clashes.unknown_roles:
            yield Problem(user.line, f"role: there is no role {user.role[:40]!r}")
        if user.line in clashes.taken_slugs:
            yield Problem(user.line, "slug: an account has this slug")


def _report_problems(problems: list[Problem], *, skips: bool) -> None:
    """Prints the first problems. Raises CommandError unless the command skips such lines.

    A problem of the whole file cannot be skipped.
    """
    problems = sorted(problems, key=lambda problem: problem.line)
    for problem in problems[:MAX_PRINTED_PROBLEMS]:
        place = f"line {problem.line}: " if problem.line else ""
        print(printable(f"{place}{problem.text}"), file=sys.stderr)
    if len(problems) > MAX_PRINTED_PROBLEMS:
        print(f"… and {len(problems) - MAX_PRINTED_PROBLEMS} more problems", file=sys.stderr)
    lines = {problem.line for problem in problems}
    if not lines:
        return
    if 0 in lines:
        raise CommandError("nothing was imported")
    if not skips:
        count = f"{len(lines)} {plural(len(lines), 'line is', 'lines are')}"
        raise CommandError(
            f"nothing was imported, because {count} not valid: correct them, or add "
            "--skip-invalid (and --skip-existing for accounts that exist)"
        )


def _accounts(count: int) -> str:
    return f"{count} {plural(count, 'account', 'accounts')}"


def _describe(new: list[NewUser], existing: list[NewUser], options: argparse.Namespace) -> str:
    """Returns what an operator should notice about the imported accounts."""
    admins = sum(user.role == "admin" for user in new)
    locked = sum(user.password_hash.reveal() == LOCKED_HASH for user in new)
    unverified = sum(user.verified_at is None for user in new)
    notes = [
        f"{admins} {plural(admins, 'administrator', 'administrators')}" if admins else "",
        f"{locked} without a password" if locked else "",
        f"{unverified} with an email that is not confirmed" if unverified else "",
        f"{len(existing)} skipped, which exist" if existing and options.skip_existing else "",
    ]
    notes = [note for note in notes if note]
    return f" ({', '.join(notes)})" if notes else ""


def prepare_export(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    file_format = options.format or (_format_of(options.output) if options.output else "csv")

    async def run(caller: Operator) -> None:
        count = 0
        with _open_to_write(options.output) as file:
            writer = UserWriter(file, file_format, with_hashes=options.with_hashes)
            async for user in user_import.export_users(caller):
                writer.write(user)
                count += 1
        if options.output:
            print(f"{_accounts(count)} exported to {options.output}")

    return run


@contextmanager
def _open_to_write(path: Path | None) -> Iterator[TextIO]:
    """Yields standard output, or a new file that only this user can read. Overwrites no file."""
    if path is not None:
        with open(path, "x", encoding="utf-8", newline="", opener=_private) as file:
            yield file
    else:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="strict", newline="")
        yield sys.stdout


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


_FORMATS: Final = ("csv", "jsonl")
COMMANDS: Final = (
    OperatorCommand(
        "import",
        "create accounts from a file (docs/migrating.md)",
        prepare_import,
        (
            Argument("file", type=Path, help="a file, or - for standard input"),
            Argument("--format", choices=_FORMATS, help="by default the suffix of the file"),
            Argument("--dry-run", action="store_true", help="check the file, change nothing"),
            Argument(
                "--skip-invalid", action="store_true", help="leave out lines that are not valid"
            ),
            Argument("--skip-existing", action="store_true", help="leave out accounts that exist"),
        ),
    ),
    OperatorCommand(
        "export",
        "print all accounts",
        prepare_export,
        (
            Argument("--format", choices=_FORMATS, help="by default the suffix, or csv"),
            Argument("--output", type=Path, metavar="FILE", help="write a new, private file"),
            Argument("--with-hashes", action="store_true", help="add the password hashes"),
        ),
        writes=False,
    ),
)
