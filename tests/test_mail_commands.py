"""Tests of the commands `latchkey mail …` and `latchkey users verify`."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from db.mail.outbox import post
from tests.browser_client import PASSWORD
from tests.commands import CommandResult
from tests.conftest import SECRET
from tests.mail_server import MailServer, mail_server
from tests.processes import free_port
from web.app import open_store
from web.settings.settings import read_settings

Run = Callable[..., CommandResult]
ID = "x" * 43


def post_messages(tmp_path: Path, *recipients: str) -> None:
    settings = read_settings(
        {"DATABASE_URL": f"sqlite:///{tmp_path}/latchkey.db", "SESSION_SECRET": SECRET}
    )

    async def post_all() -> None:
        store = open_store(settings)
        await store.database.connect()
        for recipient in recipients:
            async with store.transaction():
                await post(store, "arrived", user_id=recipient, recipient=recipient)
        await store.database.disconnect()

    asyncio.run(post_all())


def change(database: sqlite3.Connection, sql: str) -> None:
    with database:
        database.execute(sql)


def rows(database: sqlite3.Connection, sql: str) -> list[tuple]:
    return database.execute(sql).fetchall()


def test_the_list_displays_the_state_of_each_mail(
    run: Run, database: sqlite3.Connection, tmp_path: Path
) -> None:
    post_messages(tmp_path, "a@example.com", "b@example.com", "c@example.com")
    change(
        database,
        "UPDATE outbox SET due_at = NULL, attempts = 3, error = '550 No\x1b[31m' WHERE recipient LIKE 'b%'",
    )
    change(
        database,
        "UPDATE outbox SET due_at = NULL, sent_at = created_at, recipient = '', facts = '' WHERE recipient LIKE 'c%'",
    )
    listed = run("mail", "list")
    states = [line.split("  ", 2)[2].split() for line in listed.stdout.splitlines()]
    assert (listed.returncode, listed.stderr) == (0, "")
    assert states == [
        ["waiting", "arrived", "a@example.com", "0", "attempts"],
        ["dead", "arrived", "b@example.com", "3", "attempts", "550", "No\\x1b[31m"],
        ["sent", "arrived", "(recipient", "deleted)", "0", "attempts"],
    ]
    assert run("mail", "list", "--dead").stdout.count("\n") == 1
    assert "b@example.com" in run("mail", "list", "--dead").stdout
    only = run("mail", "list", "--to", "A@Example.com").stdout
    assert ("a@example.com" in only, only.count("\n")) == (True, 1)


def test_requests_for_a_reset_are_not_listed(
    run: Run, database: sqlite3.Connection, tmp_path: Path
) -> None:
    """They contain every email that was typed, with or without an account."""
    post_messages(tmp_path, "a@example.com")
    change(database, "UPDATE outbox SET kind = 'forgot'")
    assert run("mail", "list").stdout == ""
    [(message_id,)] = rows(database, "SELECT id FROM outbox")
    assert run("mail", "drop", message_id).returncode == 1


def test_a_dead_mail_is_sent_again(run: Run, database: sqlite3.Connection, tmp_path: Path) -> None:
    post_messages(tmp_path, "a@example.com", "b@example.com")
    change(database, "UPDATE outbox SET due_at = NULL, attempts = 10, error = '550 No'")
    [(message_id,)] = rows(database, "SELECT id FROM outbox WHERE recipient LIKE 'a%'")
    again = run("mail", "retry", message_id)
    assert (again.returncode, again.stdout) == (0, "the mail is sent again within seconds\n")
    due = "SELECT recipient, attempts FROM outbox WHERE due_at IS NOT NULL"
    assert rows(database, due) == [("a@example.com", 0)]


def test_all_failed_mails_are_sent_again(
    run: Run, database: sqlite3.Connection, tmp_path: Path
) -> None:
    emails = ("dead@x.example", "later@x.example", "new@x.example", "old@x.example")
    post_messages(tmp_path, *emails)
    later = "2999-01-01T00:00:00.000000+00:00"
    change(database, "UPDATE outbox SET due_at = NULL, error = 'no' WHERE recipient LIKE 'dead%'")
    change(
        database,
        f"UPDATE outbox SET due_at = '{later}', error = 'no', attempts = 2 WHERE recipient LIKE 'later%'",
    )
    change(
        database,
        "UPDATE outbox SET due_at = NULL, error = 'expired', expires_at = created_at WHERE recipient LIKE 'old%'",
    )
    again = run("mail", "retry", "--all")
    assert (again.returncode, again.stdout) == (0, "2 mails are sent again within seconds\n")
    assert rows(
        database,
        f"SELECT recipient, attempts FROM outbox WHERE due_at < '{later}' ORDER BY recipient",
    ) == [("dead@x.example", 0), ("later@x.example", 2), ("new@x.example", 0)]


@pytest.mark.parametrize("state", ["sent", "expired", "new"])
def test_only_a_failed_mail_can_be_sent_again(
    run: Run, database: sqlite3.Connection, tmp_path: Path, state: str
) -> None:
    post_messages(tmp_path, "a@example.com")
    if state == "sent":
        change(database, "UPDATE outbox SET due_at = NULL, sent_at = created_at")
    if state == "expired":
        change(
            database, "UPDATE outbox SET due_at = NULL, error = 'expired', expires_at = created_at"
        )
    [(message_id, due_at)] = rows(database, "SELECT id, due_at FROM outbox")
    refused = run("mail", "retry", message_id)
    assert (refused.returncode, refused.stderr) == (
        1,
        "latchkey: no failed mail has this id, or it has expired\n",
    )
    assert rows(database, "SELECT due_at FROM outbox") == [(due_at,)]


def test_an_unsent_mail_is_deleted(run: Run, database: sqlite3.Connection, tmp_path: Path) -> None:
    post_messages(tmp_path, "a@example.com", "b@example.com")
    change(database, "UPDATE outbox SET sent_at = created_at WHERE recipient LIKE 'b%'")
    ids = dict(rows(database, "SELECT recipient, id FROM outbox"))
    assert run("mail", "drop", ids["a@example.com"]).returncode == 0
    refused = run("mail", "drop", ids["b@example.com"])
    assert (refused.returncode, refused.stderr) == (1, "latchkey: no unsent mail has this id\n")
    assert rows(database, "SELECT recipient FROM outbox") == [("b@example.com",)]


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_an_id_may_begin_with_a_hyphen(
    run: Run, database: sqlite3.Connection, tmp_path: Path, command: str
) -> None:
    post_messages(tmp_path, "a@example.com")
    message_id = "-" + "x" * 42
    change(database, f"UPDATE outbox SET id = '{message_id}', due_at = NULL, error = 'no'")
    assert run("mail", command, message_id).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("retry", "short"),
        ("drop", "short"),
        ("retry",),
        ("retry", ID, "--all"),
        ("drop",),
        ("test",),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(
    run: Run, database: sqlite3.Connection, arguments: tuple[str, ...]
) -> None:
    refused = run("mail", *arguments)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    (tmp_path / "server").mkdir()
    with mail_server(tmp_path / "server", tls="starttls", requires_login=True) as server:
        yield server


RIGHT = "mailer%40example.com:p%40ss%2Fword%20No.9"


def test_the_test_mail_is_sent_without_a_database(run: Run, server: MailServer) -> None:
    told = run(
        "mail", "test", "Me@Example.com",
        SMTP_URL=server.url(credentials=RIGHT), MAIL_FROM="Latchkey <mail@latchkey.example>",
    )  # fmt: skip
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout == (
        "localhost accepted a mail from mail@latchkey.example to me@example.com; "
        "look in the inbox, and in spam\n"
    )
    [mail] = server.mails
    assert (mail.is_encrypted, mail.recipients) == (True, ["me@example.com"])
    assert mail.message["Subject"] == "Test mail"


def test_the_test_mail_tells_the_causes_of_a_failure_apart(run: Run, server: MailServer) -> None:
    closed = free_port()
    wrong = "mailer%40example.com:wrong"
    urls = {
        server.url(credentials=wrong): "the user name or password was refused by localhost, port "
        f"{server.port}: 535 5.7.8 Authentication credentials invalid",
        f"smtp://{RIGHT}@localhost:{closed}?tls=starttls": f"no connection to localhost, port {closed}: ",
        f"smtp://{RIGHT}@localhost:{server.port}?tls=starttls": "the certificate of localhost, "
        f"port {server.port} is not valid: self-signed certificate; for a private CA, add ?ca=",
        f"smtps://{RIGHT}@localhost:{server.port}": f"TLS failed at localhost, port {server.port}: ",
        "smtp://me:x@no-such-host.invalid": "no connection to no-such-host.invalid, port 587: ",
    }
    for url, words in urls.items():
        told = run("mail", "test", "me@example.com", SMTP_URL=url, MAIL_FROM="a@latchkey.example")
        assert (told.returncode, told.stdout, told.stderr.count("\n")) == (1, "", 1), told.stderr
        assert told.stderr.startswith(f"latchkey: the mail was not sent: {words}"), told.stderr
        assert "wrong" not in told.stderr
    assert server.mails == []


@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA"])
def test_the_test_mail_prints_the_words_of_the_server(
    run: Run, server: MailServer, phase: str
) -> None:
    server.faults[phase] = "554 Relay access denied\x1b[31m"
    told = run("mail", "test", "me@example.com", SMTP_URL=server.url(credentials=RIGHT))
    assert told.returncode == 1
    assert told.stderr == "latchkey: the mail was not sent: 554 Relay access denied?[31m\n"


def test_the_test_mail_needs_a_server_and_an_email(run: Run) -> None:
    told = run("mail", "test", "me@example.com")
    assert (told.returncode, told.stderr) == (
        1,
        "latchkey: SMTP_URL is not set, so there is no server to test\n",
    )
    told = run("mail", "test", "me\n", SMTP_URL="smtp://localhost")
    assert (told.returncode, told.stderr) == (1, "latchkey: not an email: me\\n\n")


def create_unverified(run: Run, database: sqlite3.Connection, *names: str) -> None:
    for name in names:
        email = f"{name.lower()}@example.com"
        assert run(
            "users", "create", "--email", email, "--name", name, "--password-stdin",
            stdin=f"{PASSWORD}\n",
        ).returncode == 0  # fmt: skip
    change(database, "UPDATE users SET verified_at = NULL")


def test_the_operator_confirms_one_email(run: Run, database: sqlite3.Connection) -> None:
    create_unverified(run, database, "Alice", "Bob")
    told = run("users", "verify", "Alice@example.com")
    assert (told.returncode, told.stdout) == (0, "Alice@example.com was confirmed\n")
    assert rows(database, "SELECT email FROM users WHERE verified_at IS NOT NULL") == [
        ("alice@example.com",)
    ]
    again = run("users", "verify", "alice@example.com")
    assert again.stdout == "alice@example.com was confirmed before; nothing was changed\n"
    entries = rows(
        database,
        "SELECT actor, outcome, target_id = (SELECT id FROM users WHERE name = 'Alice')"
        " FROM audit WHERE event = 'email.verify'",
    )
    assert entries == [("operator", "done", 1)]
    assert run("audit", "verify").returncode == 0


def test_the_operator_confirms_all_emails(run: Run, database: sqlite3.Connection) -> None:
    create_unverified(run, database, "Alice", "Bob", "Grace")
    change(database, "UPDATE users SET verified_at = created_at WHERE name = 'Bob'")
    told = run("users", "verify", "--all")
    assert (told.returncode, told.stdout) == (0, "2 emails were confirmed\n")
    assert rows(database, "SELECT count(*) FROM users WHERE verified_at IS NULL") == [(0,)]
    assert rows(database, "SELECT count(*) FROM audit WHERE event = 'email.verify'") == [(2,)]


def test_a_confirmed_email_ends_the_link_that_was_sent(
    run: Run, database: sqlite3.Connection, tmp_path: Path
) -> None:
    create_unverified(run, database, "Alice")
    [(user_id,)] = rows(database, "SELECT id FROM users")
    settings = read_settings(
        {"DATABASE_URL": f"sqlite:///{tmp_path}/latchkey.db", "SESSION_SECRET": SECRET}
    )

    async def post_link() -> None:
        store = open_store(settings)
        await store.database.connect()
        async with store.transaction():
            await post(store, "verify", user_id=user_id, recipient="alice@example.com")
        await store.database.disconnect()

    asyncio.run(post_link())
    assert rows(database, "SELECT count(*) FROM tokens") == [(1,)]
    assert run("users", "verify", "alice@example.com").returncode == 0
    assert rows(
        database, "SELECT (SELECT count(*) FROM tokens), (SELECT count(*) FROM outbox)"
    ) == [(0, 0)]


def test_an_unknown_email_is_not_confirmed(run: Run, database: sqlite3.Connection) -> None:
    told = run("users", "verify", "nobody@example.com")
    assert (told.returncode, told.stderr) == (1, "latchkey: no user with this email\n")


def test_the_store_of_a_command_writes_messages_for_the_service(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/x.db", "SESSION_SECRET": SECRET}
    assert open_store(read_settings(environ)).outbox.is_enabled
    public = {**environ, "BASE_URL": "https://latchkey.example"}
    assert not open_store(read_settings(public)).outbox.is_enabled
