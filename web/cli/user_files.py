"""Contains the functions that read and write files of accounts, in CSV or JSON lines."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from pydantic import BaseModel

from db.access.user_import import ExportedUser, NewUser
from db.crypto.foreign_hashes import UnusableHash, normalize
from db.crypto.passwords import LOCKED_HASH
from db.crypto.secret import Secret
from web.forms.fields import Email, Name, Phone, Slug, Team
from web.forms.form import Form

FileFormat = Literal["csv", "jsonl"]

COLUMNS: Final = (
    "email",
    "name",
    "role",
    "team",
    "phone",
    "slug",
    "created_at",
    "verified",
    "disabled",
)
HASH_COLUMN: Final = "password_hash"
REQUIRED_COLUMNS: Final = ("email", "name")
FORM_FIELDS: Final = ("email", "name", "slug", "phone", "team")
YES: Final = ("true", "t", "yes", "y", "1")
NO: Final = ("", "false", "f", "no", "n", "0")
# A spreadsheet evaluates a cell that begins like this (CSV injection, ASVS 1.2.10). A phone number
# such as +49 30 1234 is harmless.
FORMULA: Final = re.compile(r"'*(?:[=@\t\r-]|\+(?![0-9 ()./-]*$))")


class UserFile(BaseModel):
    """The columns of a file that have the rules of a form."""

    email: Email
    name: Name
    slug: Slug = ""
    phone: Phone = ""
    team: Team = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that cannot be imported, and why. `line` is 0 for the whole file."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class ReadFile:
    """The accounts of a file that are valid, and its other lines."""

    users: list[NewUser]
    problems: list[Problem]


def read_users(file: TextIO, file_format: FileFormat, now: datetime) -> ReadFile:
    """Returns the accounts of the file. Raises nothing for its content.

    `now` is the time of creation of an account without one, and of a confirmation or a block
    without a time.
    """
    users: list[NewUser] = []
    problems: list[Problem] = []
    lines_by_email: dict[str, int] = {}
    lines_by_slug: dict[str, int] = {}
    try:
        for line, fields in _read_csv(file) if file_format == "csv" else _read_json_lines(file):
            if isinstance(fields, str):
                problems.append(Problem(line, fields))
                continue
            user, found = _check(line, fields, now)
            if user is not None:
                found = _find_repetition(user, lines_by_email, lines_by_slug)
                if not found:
                    users.append(user)
            problems.extend(Problem(line, text) for text in found)
    except UnicodeDecodeError:
        problems.append(Problem(0, "the file is not UTF-8 text"))
    return ReadFile(users, problems)


def _read_csv(file: TextIO) -> Iterator[tuple[int, Mapping[str, str] | str]]:
    """Yields the line and the fields of each row, or the reason why it has none."""
    rows = csv.reader(file, strict=True)
    try:
        columns = [name.strip().removeprefix("\ufeff") for name in next(rows, [])]
        if problem := _find_column_problem(columns):
            yield 1, problem
            return
        for row in rows:
            if len(row) == len(columns):
                yield rows.line_num, dict(zip(columns, map(_unescape_cell, row), strict=True))
            elif row:
                yield rows.line_num, f"it has {len(row)} fields, and the header has {len(columns)}"
    except csv.Error as error:
        # The rows after the error cannot be told apart, so the whole file is refused.
        yield 0, f"the file is not CSV, in line {rows.line_num}: {error}"


def _find_column_problem(columns: list[str]) -> str:
    """Returns what is wrong with the columns; empty if nothing is.

    An unknown column is refused: with a typing error, all accounts would lose their password.
    """
    known = (*COLUMNS, HASH_COLUMN)
    for name in REQUIRED_COLUMNS:
        if name not in columns:
            return f"the column {name} is missing"
    for name in columns:
        if name not in known:
            return f"the column {name[:40]!r} is unknown: the columns are {', '.join(known)}"
        if columns.count(name) > 1:
            return f"the column {name} appears twice"
    return ""


def _read_json_lines(file: TextIO) -> Iterator[tuple[int, Mapping[str, str] | str]]:
    for number, text in enumerate(file, 1):
        text = text.removeprefix("\ufeff") if number == 1 else text
        if text.strip():
            yield number, _json_fields(text)


def _json_fields(text: str) -> Mapping[str, str] | str:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return "it is not a JSON object"
    if not isinstance(values, dict):
        return "it is not a JSON object"
    if problem := _find_column_problem(list(values)):
        return problem
    if any(isinstance(value, dict | list | float) for value in values.values()):
        return "a value is neither text nor true, false or null"
    return {name: _json_text(value) for name, value in values.items()}


def _json_text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(line: int, fields: Mapping[str, str], now: datetime) -> tuple[NewUser | None, list[str]]:
    """Returns the account of a line, or None and its problems."""
    given = {name: fields[name] for name in FORM_FIELDS if fields.get(name)}
    form = Form.check(UserFile, given)
    problems = [f"{name}: {text}" for name, texts in form.errors.items() for text in texts]
    times: dict[str, datetime | None] = {}
    for name in ("created_at", "verified", "disabled"):
        try:
            times[name] = _read_time(name, fields.get(name, ""), now)
        except (ValueError, OverflowError):  # In UTC, the year may be before 1 or after 9999.
            problems.append(f"{name}: {_time_rule(name)}")
    try:
        password_hash = _read_hash(fields.get(HASH_COLUMN, ""))
    except UnusableHash as error:
        problems.append(str(error))
    if problems or form.data is None:
        return None, problems
    return NewUser(
        line,
        form.data.email,
        form.data.name,
        times["created_at"] or now,
        fields.get("role", "").strip() or "user",
        form.data.team,
        form.data.phone,
        form.data.slug,
        times["verified"],
        times["disabled"],
        password_hash,
    ), []


def _read_time(name: str, text: str, now: datetime) -> datetime | None:
    """Returns a time in UTC, or None. Raises ValueError for another text and for the future."""
    text = text.strip()
    if not text:
        return None
    if name != "created_at" and text.lower() in (*YES, *NO):
        return now if text.lower() in YES else None
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if not datetime(1970, 1, 1, tzinfo=UTC) <= moment <= now:
        raise ValueError
    return moment


def _time_rule(name: str) -> str:
    time = "a time of the past such as 2024-05-01T12:00:00Z"
    return f"must be {time}" if name == "created_at" else f"must be true, false or {time}"


def _read_hash(text: str) -> Secret[str]:
    """Returns the hash to store. Raises UnusableHash."""
    return normalize(text.strip()) if text.strip() else Secret(LOCKED_HASH)


def _find_repetition(
    user: NewUser, lines_by_email: dict[str, int], lines_by_slug: dict[str, int]
) -> list[str]:
    """Returns the problems if an earlier line has the email or the slug. Records both."""
    problems = []
    first = lines_by_email.setdefault(user.email, user.line)
    if first != user.line:
        problems.append(f"email: line {first} has the same email")
    first = lines_by_slug.setdefault(user.slug, user.line) if user.slug else user.line
    if first != user.line:
        problems.append(f"slug: line {first} has the same slug")
    return problems


class UserWriter:
    """Writes accounts so that `read_users` reads the same values."""

    def __init__(self, file: TextIO, file_format: FileFormat, *, with_hashes: bool) -> None:
        self._file = file
        self._csv = csv.writer(file, lineterminator="\n") if file_format == "csv" else None
        self._columns = (*COLUMNS, HASH_COLUMN) if with_hashes else COLUMNS
        if self._csv is not None:
            self._csv.writerow(self._columns)

    def write(self, user: ExportedUser) -> None:
        values = _values_of(user)
        if self._csv is not None:
            self._csv.writerow([_escape_cell(values[name]) for name in self._columns])
        else:
            line = {name: values[name] for name in self._columns}
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _escape_cell(text: str) -> str:
    """Returns the text with an apostrophe before it if a spreadsheet would evaluate it."""
    return f"'{text}" if FORMULA.match(text) else text


def _unescape_cell(text: str) -> str:
    """Returns the text that `_escape_cell` was called with."""
    return text[1:] if text.startswith("'") and FORMULA.match(text[1:]) else text


def _values_of(user: ExportedUser) -> dict[str, str]:
    password_hash = user.password_hash.reveal()
    return {
        "email": user.email,
        "name": user.name,
        "role": user.role,
        "team": user.team,
        "phone": user.phone,
        "slug": user.slug,
        "created_at": _time_text(user.created_at),
        "verified": _time_text(user.verified_at),
        "disabled": _time_text(user.disabled_at),
        HASH_COLUMN: "" if password_hash == LOCKED_HASH else password_hash,
    }


def _time_text(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat()
