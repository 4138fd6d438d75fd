"""Tests of the log: one event per line in both formats, and no user data in either."""

import ast
import json
import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from pydantic import TypeAdapter, ValidationError

from db.crypto.secret import Secret
from db.maintenance.schema import migrate
from tests.browser_client import PASSWORD, Browser
from tests.conftest import SECRET, TestApp
from tests.processes import serving
from web.observability.logs import JsonFormatter, TextFormatter, describe_error
from web.settings.paths import ROOT

FORMATS = {"text": TextFormatter(), "json": JsonFormatter()}
LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR|CRITICAL) \S+( \[[^\]]+\])?: .+"
)
FORGERIES = {
    "a line feed": "x\n2026-11-24T09:12:00.000Z ERROR latchkey: forged",
    "a carriage return": "x\rforged",
    "both": 'x\r\n{"level": "ERROR", "message": "forged"}',
    "a vertical tab": "x\vforged",
    "a form feed": "x\fforged",
    "a next line": "x\x85forged",
    "a line separator": "x\u2028forged",
    "a paragraph separator": "x\u2029forged",
    "colors": "x\x1b[31mforged\x1b[0m",
    "a cleared screen": "x\x1b[2J\x9b2Jforged",
    "a title of the terminal": "x\x1b]0;forged\a",
    "backspaces": "x\b\b\bforged",
    "a direction override": "x\u202edegrof\u2066\u200f",
    "invisible characters": "x\u200b\ufeffforged",
    "a NUL": "x\0forged",
    "half a character": "x\ud800forged",
}
TYPED = "typed-canary-No.9"
EMAIL = "canary.of.alice@example.com"


def record(
    message: str, *args: object, error: BaseException | None = None, name: str = "latchkey"
) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord(name, logging.ERROR, __file__, 1, message, args, info)


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except type(error) as caught:
        return caught


@pytest.mark.asvs("S90")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("forgery", FORGERIES)
def test_text_in_a_message_cannot_forge_a_log_line(forgery: str, form: str) -> None:
    text = FORGERIES[forgery]
    for event in (
        record(text),
        record("%s", text),
        record("it failed", error=raised(RuntimeError(text))),
        record("it failed", error=raised(ValueError("x"), raised(OSError(text)))),
        record("it failed", error=raised(ExceptionGroup(text, [RuntimeError(text)]))),
    ):
        first, *more = FORMATS[form].format(event).split("\n")
        assert all(line.startswith("    ") for line in more)
        assert not [line for line in (first, *more) if not line.isprintable()]
        if form == "text":
            assert LINE.fullmatch(first)
        else:
            entry = json.loads(first)
            assert more == []
            assert entry["message"].isprintable()
            assert all(line.isprintable() for line in entry.get("exception", "").split("\n"))


@pytest.mark.asvs("S90")
def test_the_text_format_has_the_time_level_logger_and_message() -> None:
    event = record("%s is full", "the disk")
    event.created = 1_795_511_520.25
    assert (
        TextFormatter().format(event) == "2026-11-24T09:12:00.250Z ERROR latchkey: the disk is full"
    )


@pytest.mark.asvs("S90")
def test_the_json_format_is_one_object_with_the_traceback_in_a_field() -> None:
    event = record("it failed", error=raised(RuntimeError("no way"), raised(KeyError(EMAIL))))
    event.created, event.user = 1_795_511_520.25, "an id"
    entry = json.loads(JsonFormatter().format(event))
    trace = entry.pop("exception")
    assert entry == {
        "time": "2026-11-24T09:12:00.250Z",
        "level": "ERROR",
        "logger": "latchkey",
        "message": "it failed",
        "user": "an id",
    }
    assert trace.split("\n")[0] == "Traceback (most recent call last):"
    assert f'File "{__file__}"' in trace
    assert re.search(r"^KeyError\nand then:\n(.|\n)*^RuntimeError: no way$", trace, re.M)


def test_a_message_whose_arguments_cannot_be_formatted_is_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for event in (record("%s", Secret("hush")), record("%d of %d", 1), record("%s" * 2, "hush")):
        line = TextFormatter().format(event)
        assert LINE.fullmatch(line)
        assert "hush" not in line
    assert capsys.readouterr() == ("", "")


def driver_error(
    error_type: type[asyncpg.PostgresError], message: str, **attributes: str
) -> asyncpg.PostgresError:
    error = error_type(message)
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def not_valid() -> ValidationError:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(int).validate_python(EMAIL)
    return refused.value


DRIVER_ERRORS = {
    "a duplicate email": driver_error(
        asyncpg.UniqueViolationError,
        f'duplicate key value "{EMAIL}" violates unique constraint "users_email_key"',
        detail=f"Key (email)=({EMAIL}) already exists.",
        table_name="users",
        constraint_name="users_email_key",
    ),
    "a value that is not a number": driver_error(
        asyncpg.InvalidTextRepresentationError,
        f'invalid input syntax for type integer: "{EMAIL}"',
    ),
    "a value of the wrong type": asyncpg.DataError(
        f"invalid input for query argument $1: '{EMAIL}'"
    ),
    "a value that is not valid": not_valid(),
    "a value": ValueError(f"invalid literal for int() with base 10: '{EMAIL}'"),
    "a key": KeyError(EMAIL),
    "a value in a note": ValueError("x"),
    "an assertion": AssertionError(EMAIL),
}
DRIVER_ERRORS["a value in a note"].add_note(EMAIL)


@pytest.mark.asvs("S90")
@pytest.mark.parametrize("error", DRIVER_ERRORS)
@pytest.mark.parametrize("form", FORMATS)
def test_user_data_in_an_error_of_a_driver_is_not_logged(error: str, form: str) -> None:
    found = DRIVER_ERRORS[error]
    line = FORMATS[form].format(
        record("it failed", error=raised(RuntimeError("so"), raised(found)))
    )
    assert EMAIL not in line
    assert type(found).__qualname__ in line


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DRIVER_ERRORS["a duplicate email"], "UniqueViolationError: 23505 users users_email_key"),
        (
            driver_error(asyncpg.TooManyConnectionsError, "too many clients"),
            "Error: 53300 too many clients",
        ),
        (
            sqlite3.OperationalError("no such table: users"),
            "sqlite3.OperationalError: no such table: users",
        ),
        (
            ConnectionRefusedError(111, "Connection refused"),
            "ConnectionRefusedError: [Errno 111] Connection refused",
        ),
        (AttributeError("no attribute 'x'"), "AttributeError: no attribute 'x'"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_program_details_of_an_error_are_logged(error: BaseException, expected: str) -> None:
    assert describe_error(error).endswith(expected)


def test_text_that_asyncio_appends_to_its_message_is_not_logged() -> None:
    event = record(
        f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{EMAIL}')>",
        name="asyncio",
    )
    assert TextFormatter().format(event).endswith("asyncio: Task exception was never retrieved")


@contextmanager
def serving_with_log(database: Path, **settings: str) -> Iterator[tuple[httpx.Client, list[str]]]:
    """Runs the real program on its own database.

    Yields an HTTP client and a list that receives the lines of the log once the program has ended.
    """
    migrate(Secret(f"sqlite:///{database}"))
    lines: list[str] = []
    with serving(f"sqlite:///{database}", **settings) as program:
        with httpx.Client(base_url=f"http://127.0.0.1:{program.port}") as client:
            yield client, lines
        lines += program.end()[1].splitlines()
    assert "is ready" in lines.pop(0)
    if lines and lines[0].endswith("/dev/mailbox"):
        del lines[0]


def execute_sql(database: Path, sql: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(sql)


def cause_failures(client: httpx.Client, database: Path) -> str:
    """Signs Alice up and causes every failure that could log user data.

    Returns her session cookie.
    """
    alice = {"name": "Alice", "email": EMAIL, "password": PASSWORD}
    assert client.post("/signup", data=alice).status_code == 303
    cookie = client.cookies["session"]
    client.post("/account/password", data={"current_password": TYPED, "password": TYPED})
    client.post("/account", data={"phone": f"{TYPED}\0", "slug": "canary-slug"})
    client.cookies.clear()
    for path in ("/signup", "/login", "/signup/check/email", "/signup/check/password"):
        client.post(path, data={**alice, "password": TYPED})
        client.post(path, data={**alice, "email": "", "password": TYPED})
        client.post(
            path,
            content=f"password={TYPED}&email=%FF".encode(),
            headers={"Content-Type": "text/plain"},
        )
    for bad in (TYPED, f"{cookie}{TYPED}", f"{TYPED}.{TYPED}.{TYPED}", cookie[:-3]):
        client.get("/dashboard", headers={"Cookie": f"session={bad}"})
    client.get(f"/nowhere/{EMAIL}?password={TYPED}", headers={"Authorization": f"Bearer {TYPED}"})
    execute_sql(database, "ALTER TABLE sessions RENAME TO renamed_sessions")
    headers = {"Cookie": f"session={cookie}"}
    assert client.get(f"/users/canary-slug?password={TYPED}", headers=headers).status_code == 500
    assert (
        client.post("/account", data={"name": TYPED, "phone": EMAIL}, headers=headers).status_code
        == 500
    )
    assert client.post("/login", data={**alice}).status_code == 500
    execute_sql(database, "ALTER TABLE users RENAME TO renamed_users")
    assert client.post("/signup", data={**alice, "password": f"{TYPED}x"}).status_code == 500
    return cookie


@pytest.mark.asvs("S48", "S90", "S89")
@pytest.mark.parametrize("form", FORMATS)
def test_the_program_logs_no_password_email_or_cookie(tmp_path: Path, form: str) -> None:
    database = tmp_path / "latchkey.db"
    with serving_with_log(database, LOG_FORMAT=form) as (client, lines):
        cookie = cause_failures(client, database)
    log = "\n".join(lines)
    assert log.count("failed, reference") == 4
    for canary in (
        TYPED,
        EMAIL,
        "Alice",
        "canary-slug",
        PASSWORD,
        SECRET,
        cookie,
        cookie.split(".")[2],
    ):
        assert canary not in log


@pytest.mark.asvs("S90", "S89")
def test_json_logs_one_event_per_line_and_the_page_shows_its_reference(
    tmp_path: Path,
) -> None:
    database = tmp_path / "latchkey.db"
    with serving_with_log(database, LOG_FORMAT="json", SESSION_SECRET="x" * 40) as (client, lines):
        client.post(
            "/signup", data={"name": "Alice", "email": "alice@example.com", "password": PASSWORD}
        )
        user = client.get("/api/session").json()["user"]["id"]
        execute_sql(
            database, "ALTER TABLE users RENAME TO renamed_users"
        )  # Pruning, which can start at any moment, does not use this table. Delivery of mail does.
        page = client.get("/dashboard")
    notice, *failures = [json.loads(line) for line in lines]
    [failure] = [entry for entry in failures if entry["message"].startswith("GET ")]
    assert (notice["level"], notice["message"][:27]) == (
        "WARNING",
        "SESSION_SECRET is too weak:",
    )
    assert failure["message"].startswith("GET /dashboard failed, reference ")
    assert failure["request_id"] in page.text
    assert (failure["user"], failure["logger"]) == (user, "latchkey")
    assert failure["exception"].endswith("sqlite3.OperationalError: no such table: users")


def test_invalid_requests_are_not_logged(tmp_path: Path) -> None:
    with serving_with_log(tmp_path / "latchkey.db") as (client, lines):
        for _ in range(20):
            assert (
                client.get(
                    "/healthz", headers={"Connection": "upgrade", "Upgrade": "websocket"}
                ).text
                == "ok\n"
            )
            assert client.get("/nowhere", headers={"X": "\x7f"}).status_code == 400
    assert lines == []


def test_the_program_logs_json_by_default_outside_localhost(tmp_path: Path) -> None:
    database = tmp_path / "latchkey.db"
    with serving_with_log(database, BASE_URL="https://latchkey.example", HOST="127.0.0.1") as (
        client,
        lines,
    ):
        execute_sql(database, "ALTER TABLE users RENAME TO renamed_users")
        alice = {"name": "Alice", "email": "alice@example.com", "password": PASSWORD}
        assert client.post("/signup", data=alice).status_code == 500
    assert "failed" in json.loads(lines[-1])["message"]


async def test_a_failure_is_logged_with_its_route_and_not_with_its_path(
    app: TestApp, alice: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    await app.change("ALTER TABLE users RENAME TO renamed_users")
    assert (await alice.get("/users/alice")).status_code == 500
    assert "GET /users/{slug} failed, reference " in caplog.text
    assert "/users/alice" not in caplog.text


def logged_messages() -> Iterator[str]:
    """Yields the messages of the program's logger calls, with "…" for each placeholder."""
    for path in (*(ROOT / "web").rglob("*.py"), *(ROOT / "db").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and re.match(
                r"logger\.(info|warn|err|exc|crit)", ast.unparse(node.func)
            ):
                yield re.sub(r"%[sd]", "…", node.args[0].value)


@pytest.mark.asvs("S113")
def test_the_documentation_lists_every_log_message() -> None:
    documentation = (ROOT / "docs" / "operations.md").read_text().partition("## Log messages")[2]
    lines = [*logged_messages()]
    assert len(lines) > 6
    assert [line for line in lines if f"`{line}" not in documentation] == []


async def test_repeated_failures_are_logged_at_a_bounded_rate(
    app: TestApp, alice: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    await app.change("ALTER TABLE users RENAME TO renamed_users")
    for _ in range(30):
        assert (await alice.get("/users/alice")).status_code == 500
    assert sum("failed, reference" in line for line in caplog.messages) == 20


async def test_an_undeclared_proxy_is_logged_once(
    anonymous: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    anonymous.headers["X-Forwarded-For"] = "203.0.113.7"
    for _ in range(3):
        await anonymous.log_in()
    assert [line for line in caplog.messages if "TRUSTED_PROXIES" in line] == [
        "X-Forwarded-For is ignored, because TRUSTED_PROXIES does not name the IP address "
        "that sent it"
    ]
