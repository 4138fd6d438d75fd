"""Compares the answers to known and unknown emails: status, headers, bytes and time.

`.venv/bin/python -m tests.attack.timing` sends 300 pairs of requests in random order to a program
on loopback, for a password reset and for a private sign-up. It exits with 1 if an answer differs,
or if Welch's t of the times is 3 or more.
"""

import http.client
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from math import sqrt
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlencode

from db.crypto.secret import Secret
from db.maintenance.schema import migrate
from tests.browser_client import PASSWORD
from tests.processes import serving

PAIRS: Final = 300
MAX_T: Final = 3.0
# The program looks an email up in the background, and must be idle before the next request.
PAUSE_SECONDS: Final = 0.05
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
WARM_UP: Final = 20  # The first answers are slower.
CREATED_AT: Final = "2026-11-24T09:12:00.000000+00:00"
VARYING_HEADERS: Final = ("date",)


class Answer(NamedTuple):
    """An answer without what differs between any two answers, and its time in milliseconds."""

    content: tuple[object, ...]
    milliseconds: float


def main() -> None:
    """Runs both comparisons."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path, settings, fields in (
            ("password reset", "/forgot", {}, reset_fields),
            ("private sign-up", "/signup", {"SIGNUP_PRIVACY": "private"}, sign_up_fields),
        ):
            database = Path(folder) / f"{path.strip('/')}.db"
            migrate(Secret(f"sqlite:///{database}"))
            with serving(f"sqlite:///{database}", **settings) as program:
                emails = new_emails()
                known = [next(emails) for _ in range(PAIRS)]
                unknown = [next(emails) for _ in range(WARM_UP + PAIRS)]
                create_users(database, known)
                found.append(compare(name, program.port, path, fields, known, unknown))
    sys.exit(0 if all(found) else 1)


def create_users(database: Path, emails: list[str]) -> None:
    """Inserts users whose emails are confirmed. None of them has logged in."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executemany(
            "INSERT INTO users (id, email, name, slug, password_hash, created_at, verified_at)"
            " VALUES (?, ?, 'Alice', ?, '!', ?, ?)",
            [(email, email, email, CREATED_AT, CREATED_AT) for email in emails],
        )


def reset_fields(email: str) -> dict[str, str]:
    return {"email": email}


def sign_up_fields(email: str) -> dict[str, str]:
    return {"name": "Charlie", "email": email, "password": PASSWORD}


def new_emails() -> Iterator[str]:
    """Yields different emails of the same length.

    Each is sent only once, because the program caches the validation of a repeated email.
    """
    letters, seen = "bcdfghjklmnpqrstvwxyz", set()
    while True:
        name = "".join(random.choices(letters, k=6))
        if name not in seen:
            seen.add(name)
            yield f"{name}@example.com"


def compare(
    name: str,
    port: int,
    path: str,
    fields: Callable[[str], dict[str, str]],
    known: list[str],
    unknown: list[str],
) -> bool:
    """Prints the comparison and returns whether the answers cannot be distinguished."""
    times: dict[bool, list[float]] = {True: [], False: []}
    contents: dict[bool, set[tuple[object, ...]]] = {True: set(), False: set()}
    for email in unknown[:WARM_UP]:
        send(port, path, fields(email))
    order = [(email, True) for email in known] + [(email, False) for email in unknown[WARM_UP:]]
    random.shuffle(order)
    for email, is_known in order:
        answer = send(port, path, fields(email))
        times[is_known].append(answer.milliseconds)
        contents[is_known].add(answer.content)
        time.sleep(PAUSE_SECONDS)
    t = welch_t(times[True], times[False])
    same = contents[True] == contents[False] and len(contents[True]) == 1
    medians = [statistics.median(times[is_known]) for is_known in (True, False)]
    print(
        f"{name}: {'equal' if same else 'DIFFERENT'} status, headers and bytes; "
        f"median {medians[0]:.2f} ms known, {medians[1]:.2f} ms unknown; t = {t:.2f}",
        flush=True,
    )
    return same and abs(t) < MAX_T


def welch_t(first: list[float], second: list[float]) -> float:
    """Returns Welch's t of two samples, without the slowest tenth of each."""
    kept = [sorted(sample)[: len(sample) * 9 // 10] for sample in (first, second)]
    means = [statistics.fmean(sample) for sample in kept]
    errors = [statistics.variance(sample) / len(sample) for sample in kept]
    return (means[0] - means[1]) / sqrt(sum(errors))


def send(port: int, path: str, fields: dict[str, str]) -> Answer:
    body = urlencode(fields)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.connect()
        started = time.perf_counter()
        connection.request("POST", path, body, FORM | {"Host": f"localhost:{port}"})
        response = connection.getresponse()
        content = response.read()
        milliseconds = (time.perf_counter() - started) * 1000
    headers = sorted(
        (name.lower(), value)
        for name, value in response.getheaders()
        if name.lower() not in VARYING_HEADERS
    )
    return Answer((response.status, tuple(headers), content), milliseconds)


if __name__ == "__main__":
    main()
