"""Contains the response for a file that is sent in pieces, and the functions that write dataclasses
to it: CSV and JSON lines.
"""

import asyncio
import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

# A client that reads a file more slowly gets an incomplete one, which browsers report.
MAX_SECONDS: Final = 60
# A spreadsheet evaluates a cell that begins like this (CSV injection, ASVS 1.2.10).
FORMULA: Final = re.compile(r"[=+\-@\t\r]")


class StreamedFile(StreamingResponse):
    """A response that is sent while its content is read from the database, in a limited time.

    The deadline of RequestLimits ends when a response starts. Raises TimeoutError after
    `max_seconds`, which ends the connection.
    """

    max_seconds: float = MAX_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.timeout(self.max_seconds):
            await super().__call__(scope, receive, send)


def csv_header(columns: type) -> bytes:
    """Returns the names of the fields."""
    return _csv([[field.name for field in fields(columns)]])


def csv_rows(items: Iterable[Any]) -> bytes:
    """Returns one row per item (RFC 4180, UTF-8).

    A value that a spreadsheet would evaluate has an apostrophe before it.
    """
    return _csv([[_cell(value) for value in _values(item).values()] for item in items])


def json_lines(items: Iterable[Any]) -> bytes:
    """Returns one JSON object per line and item."""
    lines = [f"{json.dumps(_values(item), ensure_ascii=False)}\n" for item in items]
    return "".join(lines).encode()


def _csv(rows: Iterable[Iterable[str]]) -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerows(rows)
    return file.getvalue().encode()


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if FORMULA.match(text) else text


def _values(item: Any) -> dict[str, Any]:
    """Returns the fields. Times are text, exact to the microsecond, as the database has them."""
    values = {field.name: getattr(item, field.name) for field in fields(item)}
    for name, value in values.items():
        if isinstance(value, datetime):
            values[name] = value.astimezone(UTC).isoformat(timespec="microseconds")
    return values
