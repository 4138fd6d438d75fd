"""Tests of `latchkey hooks`, `latchkey audit list`, `latchkey secret` and `latchkey --version`."""

import json
import re
import sqlite3
import tomllib
from collections.abc import Callable

import pytest

from tests.commands import CommandResult
from web.settings.paths import ROOT

Run = Callable[..., CommandResult]
PASSWORD = "a-good-No.7-password"


@pytest.fixture
def create(run: Run, database: sqlite3.Connection) -> Callable:
    """Returns a function that creates an account by the command."""

    def create(name: str, **environ: str) -> None:
        arguments = ("--email", f"{name.lower()}@example.com", "--name", name, "--password-stdin")
        assert run("users", "create", *arguments, stdin=PASSWORD, **environ).returncode == 0

    return create


WEBHOOK = {
    "WEBHOOK_URL": "https://example.com/canary",
    "WEBHOOK_SECRET": "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
}


def test_a_command_posts_webhooks_for_the_service(
    create: Callable, database: sqlite3.Connection, run: Run
) -> None:
    create("Alice", **WEBHOOK)
    [(message_type, recipient, facts)] = database.execute(
        "SELECT kind, recipient, facts FROM outbox"
    ).fetchall()
    assert (message_type, recipient) == ("webhook", "account.create")
    assert json.loads(facts)["detail"] == {"role": "user"}
    listed = run("hooks", "list")
    assert listed.returncode == 0
    assert re.fullmatch(
        r"\S+ \S+  [\w-]{43}  waiting  webhook     account\.create  0 attempts\n", listed.stdout
    )
    assert run("mail", "list").stdout == ""


def test_webhooks_are_repeated_and_deleted_apart_from_mails(
    create: Callable, database: sqlite3.Connection, run: Run
) -> None:
    for name in ("Alice", "Bob"):
        create(name, **WEBHOOK)
    with database:
        database.execute("UPDATE outbox SET due_at = NULL, error = 'status 500', attempts = 13")
    [first, second] = [row[0] for row in database.execute("SELECT id FROM outbox")]
    due = "SELECT count(*) FROM outbox WHERE due_at IS NOT NULL AND attempts = 0"
    assert run("mail", "retry", "--all").stdout.startswith("0 mails")
    assert run("mail", "drop", first).returncode == 1
    assert database.execute(due).fetchone() == (0,)
    assert run("hooks", "list", "--dead").stdout.count("status 500") == 2
    assert run("hooks", "retry", first).stdout == "the message is sent again within seconds\n"
    assert database.execute(due).fetchone() == (1,)
    assert run("hooks", "retry", "--all").stdout.startswith("2 messages are sent again")
    assert database.execute(due).fetchone() == (2,)
    assert run("hooks", "drop", second).stdout == "the message was deleted\n"
    assert database.execute("SELECT id FROM outbox").fetchall() == [(first,)]
    assert run("hooks", "drop", second).stderr == "latchkey: no unsent message has this id\n"
    wrong = run("hooks", "retry", "x")
    assert wrong.stderr == (
        "latchkey: the id has 43 characters, as `latchkey hooks list` prints it\n"
    )


def test_entries_are_listed_with_the_newest_last(create: Callable, run: Run) -> None:
    create("Alice")
    create("Bob")
    assert run("users", "role", "bob@example.com", "admin").returncode == 0
    lines = run("audit", "list").stdout.splitlines()
    assert [re.sub(r"\d{4}-\S+ \S+", "AT", line) for line in lines] == [
        '1  AT  account.create done  operator -> alice@example.com  {"role": "user"}',
        '2  AT  account.create done  operator -> bob@example.com  {"role": "user"}',
        '3  AT  role.change done  operator -> bob@example.com  {"from": "user", "to": "admin"}',
    ]
    assert run("audit", "list", "--limit", "1").stdout.splitlines() == lines[2:]
    assert run("audit", "list", "--user", "Bob@example.com").stdout.splitlines() == lines[1:]
    assert run("audit", "list", "--event", "account.create").stdout.splitlines() == lines[:2]
    both = run("audit", "list", "--user", "bob@example.com", "--event", "role.change")
    assert both.stdout.splitlines() == lines[2:]


def test_entries_are_printed_as_json(
    create: Callable, run: Run, database: sqlite3.Connection
) -> None:
    create("Alice")
    [(user_id,)] = database.execute("SELECT id FROM users")
    [line] = run("audit", "list", "--json").stdout.splitlines()
    entry = json.loads(line)
    assert entry.pop("at").endswith("+00:00")
    assert entry == {
        "number": 1,
        "event": "account.create",
        "outcome": "done",
        "actor_type": "operator",
        "actor_id": None,
        "actor_email": None,
        "target_id": user_id,
        "target_email": "alice@example.com",
        "session_id": "",
        "ip_address": "",
        "browser": "",
        "detail": {"role": "user"},
    }


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--user", "nobody@example.com"), "no user with this email"),
        (("--user", "nobody"), "no user with this email"),
        (("--event", "sigup"), "there is no event sigup"),
        (("--limit", "0"), "--limit must be a whole number from 1 to 999999"),
        (("--limit", "x"), "--limit must be a whole number from 1 to 999999"),
    ],
)
def test_a_wrong_selection_of_entries_prints_one_line(
    create: Callable, run: Run, arguments: tuple[str, ...], problem: str
) -> None:
    create("Alice")
    result = run("audit", "list", *arguments)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"latchkey: {problem}\n"


def test_a_generated_webhook_secret_is_accepted(run: Run) -> None:
    secret = run("secret", "--webhook").stdout.strip()
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret)
    assert secret != run("secret", "--webhook").stdout.strip()
    settings = WEBHOOK | {"WEBHOOK_SECRET": secret}
    assert run("migrate", **settings).returncode == 0


@pytest.mark.parametrize("arguments", [("users", "list"), ("serve",)])
def test_an_unknown_event_of_webhooks_stops_the_start(
    run: Run, database: sqlite3.Connection, arguments: tuple[str, ...]
) -> None:
    result = run(*arguments, **WEBHOOK, WEBHOOK_EVENTS="sigup")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "latchkey: WEBHOOK_EVENTS: there is no event 'sigup'\n"


def test_the_version_is_printed(run: Run) -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    result = run("--version")
    assert (result.returncode, result.stdout) == (0, f"latchkey {version}\n")
