"""Tests of the delivery of mail: every fault of an SMTP server, restarts, and the graceful stop."""

import asyncio
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from db.access import outbox
from db.access.password_reset import request_reset
from db.mail.outbox import MessageType, post
from db.mail.state import OutboxState
from db.viewer import UNKNOWN_CLIENT, Mailer
from tests.browser_client import PASSWORD as USER_PASSWORD
from tests.conftest import TestApp
from tests.mail_server import PASSWORD, USERNAME, MailServer, mail_server
from tests.processes import serving
from web.delivery.delivery import Delivery, DeliveryTimes
from web.mail.channel import MailChannel
from web.mail.rendering import MailRenderer
from web.mail.smtp import SmtpTransport
from web.settings.paths import ROOT

FAST = DeliveryTimes(poll=0.05, look=0.2, first_backoff=0.01, longest_backoff=0.04, grace=2.0)
CREDENTIALS = "mailer%40example.com:p%40ss%2Fword%20No.9"


@dataclass
class Sending:
    """The delivery of one application, step by step or in the background."""

    app: TestApp
    delivery: Delivery
    transport: SmtpTransport
    outcomes: list[tuple[str, str]]
    monotonic: list[float] = field(default_factory=lambda: [0.0])

    async def post(self, message_type: MessageType = "arrived", to: str = "a@example.com") -> None:
        async with self.app.store.transaction():
            assert await post(self.app.store, message_type, user_id="u", recipient=to)

    async def send_all(self) -> None:
        while await self.delivery.send_next():
            pass

    async def rows(self) -> list[tuple]:
        """Returns whether each message is due, whether it was sent, its attempts and its error."""
        return await self.app.rows(
            "SELECT due_at IS NOT NULL AS due, sent_at IS NOT NULL AS sent, attempts, error"
            " FROM outbox ORDER BY created_at, id"
        )

    async def due_in(self) -> float:
        """Returns the seconds until the only message is due."""
        [(due_at,)] = await self.app.rows("SELECT due_at FROM outbox")
        now = self.app.clock().isoformat(timespec="microseconds")
        return (_instant(due_at) - _instant(now)).total_seconds()


def _instant(text: str):
    from datetime import datetime

    return datetime.fromisoformat(text)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    with mail_server(tmp_path) as server:
        yield server


@pytest.fixture
def make_sending(make_app: Callable) -> Callable:
    """Returns a function that returns the delivery of a new application to this server."""

    async def make(
        server: MailServer, url: str = "", times: DeliveryTimes = FAST, **options
    ) -> Sending:
        app = await make_app(
            SMTP_URL=url or server.url(),
            MAIL_FROM="Latchkey <from@example.com>",
            mail=OutboxState(is_enabled=True),
        )
        return sending_of(app, times, **options)

    return make


def sending_of(app: TestApp, times: DeliveryTimes = FAST, **options) -> Sending:
    outcomes: list[tuple[str, str]] = []
    monotonic = [0.0]
    options = {"command_seconds": 0.5, "attempt_seconds": 2.0} | options
    transport = SmtpTransport(
        app.settings.mail,
        app.settings.mail_from.email,
        "localhost",
        now=lambda: monotonic[0],
        **options,
    )
    delivery = Delivery(
        Mailer(app.store),
        MailChannel(transport, MailRenderer(app.settings)),
        app.store.outbox.wait,
        lambda message_type, outcome, seconds: outcomes.append((message_type, outcome)),
        times,
        resolve=outbox.resolve_next,
    )
    return Sending(app, delivery, transport, outcomes, monotonic)


@asynccontextmanager
async def running(delivery: Delivery) -> AsyncIterator[None]:
    delivery.start()
    try:
        yield
    finally:
        await delivery.stop()


async def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("tls", ["none", "starttls", "tls"])
async def test_a_mail_is_sent_by_each_way_to_connect(
    tmp_path: Path, make_sending: Callable, tls: str
) -> None:
    with mail_server(tmp_path, tls=tls, requires_login=tls != "none") as server:
        url = server.url(credentials="" if tls == "none" else CREDENTIALS)
        # On a busy machine, the handshake of TLS can take longer than the other tests wait.
        sending = await make_sending(server, url, command_seconds=30.0, attempt_seconds=30.0)
        await sending.post()
        await sending.send_all()
        [mail] = server.mails
        assert (mail.sender, mail.recipients) == ("from@example.com", ["a@example.com"])
        assert mail.is_encrypted == (tls != "none")
        assert mail.username == ("" if tls == "none" else USERNAME)
        assert mail.hostname == "localhost"
        assert await sending.rows() == [(0, 1, 1, "")]
        assert sending.outcomes == [("arrived", "sent")]
        await sending.transport.close()


async def test_a_sent_message_keeps_no_content(server: MailServer, make_sending: Callable) -> None:
    sending = await make_sending(server)
    await sending.post(to="canary@example.com")
    await sending.send_all()
    assert len(server.mails) == 1
    assert await sending.app.rows("SELECT recipient, facts FROM outbox") == [("", "")]


async def test_mails_share_one_connection(server: MailServer, make_sending: Callable) -> None:
    sending = await make_sending(server)
    for number in range(5):
        await sending.post(to=f"{number}@example.com")
    await sending.send_all()
    assert (len(server.mails), server.connections) == (5, 1)


async def test_an_idle_connection_is_closed(server: MailServer, make_sending: Callable) -> None:
    sending = await make_sending(server)
    await sending.post()
    await sending.send_all()
    sending.monotonic[0] += 29
    await sending.send_all()
    await sending.post()
    await sending.send_all()
    assert (server.connections, server.commands.count("NOOP")) == (1, 1)
    sending.monotonic[0] += 30
    await sending.send_all()
    await sending.post()
    await sending.send_all()
    assert (server.connections, len(server.mails)) == (2, 3)


@pytest.mark.parametrize("fault", ["drop", "hang", "421 Goodbye"])
async def test_a_connection_that_the_server_has_ended_is_replaced(
    server: MailServer, make_sending: Callable, fault: str
) -> None:
    sending = await make_sending(server)
    await sending.post()
    await sending.send_all()
    sending.monotonic[0] += 2
    server.faults["NOOP"] = fault
    await sending.post()
    await sending.send_all()
    assert (server.connections, len(server.mails)) == (2, 2)
    assert sending.outcomes == [("arrived", "sent")] * 2


async def test_a_limit_of_mails_on_one_connection_costs_no_time(
    server: MailServer, make_sending: Callable
) -> None:
    server.limit = 2
    sending = await make_sending(server)
    for _ in range(5):
        await sending.post()
    await sending.send_all()
    assert (len(server.mails), server.connections) == (5, 3)
    assert [attempts for _, _, attempts, _ in await sending.rows()] == [1] * 5


@pytest.mark.parametrize("phase", ["RCPT", "DATA", "DOT"])
async def test_a_permanently_refused_mail_is_dead(
    server: MailServer, make_sending: Callable, phase: str
) -> None:
    sending = await make_sending(server)
    server.faults[phase] = ["550 No such user here"]
    await sending.post()
    await sending.send_all()
    assert await sending.rows() == [(0, 0, 1, "550 No such user here")]
    assert sending.outcomes == [("arrived", "dead")]
    await sending.post(to="b@example.com")
    await sending.send_all()
    assert [mail.recipients for mail in server.mails] == [["b@example.com"]]
    assert server.connections == 1


@pytest.mark.parametrize("phase", ["RCPT", "DATA", "DOT"])
async def test_a_temporarily_refused_mail_is_tried_again(
    server: MailServer, make_sending: Callable, phase: str
) -> None:
    sending = await make_sending(server)
    server.faults[phase] = ["450 Mailbox busy"]
    await sending.post()
    await sending.send_all()
    assert await sending.rows() == [(1, 0, 1, "450 Mailbox busy")]
    assert 54 <= await sending.due_in() <= 66
    sending.app.clock.move(seconds=67)
    await sending.send_all()
    assert await sending.rows() == [(0, 1, 2, "")]
    assert sending.outcomes == [("arrived", "later"), ("arrived", "sent")]


@pytest.mark.parametrize(
    ("phase", "fault"),
    [("DATA", "drop"), ("DATA", "hang"), ("DOT", "drop"), ("DOT", "hang"), ("RCPT", "drop")],
)
async def test_a_mail_whose_fate_is_unknown_is_sent_again_with_its_id(
    server: MailServer, make_sending: Callable, phase: str, fault: str
) -> None:
    sending = await make_sending(server)
    server.faults[phase] = [fault]
    await sending.post()
    await sending.send_all()
    [(due, sent, attempts, error)] = await sending.rows()
    assert (due, sent, attempts) == (1, 0, 1)
    assert error
    sending.app.clock.move(seconds=67)
    await sending.send_all()
    assert await sending.rows() == [(0, 1, 2, "")]
    accepted_both = phase == "DOT"
    assert len(server.mails) == 2 if accepted_both else 1
    assert len({mail.message["Message-ID"] for mail in server.mails}) == 1
    assert server.connections == 2


async def test_a_mail_is_dead_after_the_last_attempt(
    server: MailServer, make_sending: Callable
) -> None:
    sending = await make_sending(server)
    server.faults["RCPT"] = "450 Mailbox busy"
    await sending.post()
    await sending.app.change("UPDATE outbox SET expires_at = '2027-01-01T00:00:00.000000+00:00'")
    waits = []
    for _ in range(9):
        await sending.send_all()
        waits.append(await sending.due_in())
        sending.app.clock.move(seconds=waits[-1])
    for minutes, seconds in zip((1, 2, 5, 15, 30, 60, 120, 240, 360), waits, strict=True):
        assert 0.9 * 60 * minutes <= seconds <= 1.1 * 60 * minutes
    await sending.send_all()
    assert await sending.rows() == [(0, 0, 10, "450 Mailbox busy")]


FAULTS_OF_THE_SERVER = {
    "greeting 421": ("CONNECT", "421 Come back later"),
    "no greeting": ("CONNECT", "hang"),
    "closed at once": ("CONNECT", "drop"),
    "sender refused": ("MAIL", "550 Not allowed from here"),
    "sender refused for now": ("MAIL", "421 Too busy"),
}


@pytest.mark.parametrize("name", FAULTS_OF_THE_SERVER)
async def test_a_server_that_is_down_costs_a_mail_no_attempt(
    server: MailServer, make_sending: Callable, name: str
) -> None:
    sending = await make_sending(server)
    phase, fault = FAULTS_OF_THE_SERVER[name]
    server.faults[phase] = [fault]
    await sending.post()
    assert await sending.delivery.send_next()
    assert await sending.rows() == [(1, 0, 0, "")]
    assert sending.outcomes == []
    sending.app.clock.move(seconds=1)
    await sending.send_all()
    assert await sending.rows() == [(0, 1, 1, "")]


async def test_a_server_that_does_not_listen_costs_no_attempt(
    tmp_path: Path, make_sending: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    with mail_server(tmp_path) as server:
        port = server.port
    sending = await make_sending(server)
    await sending.post()
    for _ in range(5):
        assert await sending.delivery.send_next()
        sending.app.clock.move(seconds=1)
    assert await sending.rows() == [(1, 0, 0, "")]
    lines = [record for record in caplog.records if "mail cannot be sent" in record.message]
    assert [line.levelname for line in lines] == ["ERROR"]
    assert f"port {port}" in lines[0].message
    with mail_server(tmp_path, port=port) as server:
        await sending.send_all()
        assert len(server.mails) == 1
    assert caplog.messages[-1] == "mail can be sent again"


async def test_the_backoff_doubles_and_the_log_repeats_every_ten_minutes(
    server: MailServer, make_sending: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    sending = await make_sending(
        server, times=replace(FAST, first_backoff=5.0, longest_backoff=60.0)
    )
    server.faults["MAIL"] = "451 Not now"
    moment = [0.0]
    sending.delivery.now = lambda: moment[0]
    rests = []

    async def wait(seconds: float) -> None:
        rests.append(seconds)
        moment[0] += seconds
        sending.app.clock.move(seconds=seconds)

    sending.delivery.sleep = wait
    await sending.post()
    for _ in range(14):
        assert await sending.delivery.send_next()
    assert rests == [5, 10, 20, 40, *[60] * 10]
    assert sum("mail cannot be sent" in line for line in caplog.messages) == 2


@pytest.mark.asvs("S96")
@pytest.mark.parametrize(
    ("tls", "credentials", "options", "words"),
    [
        ("starttls", "mailer%40example.com:wrong", "", "the user name or password was refused"),
        ("starttls", "", "?tls=starttls", "the certificate of localhost"),
        ("tls", "", "?", "the certificate of localhost"),
        ("none", "", "?tls=starttls", "STARTTLS extension not supported"),
    ],
)
async def test_a_wrong_setting_is_logged_without_the_password(
    tmp_path: Path,
    make_sending: Callable,
    caplog: pytest.LogCaptureFixture,
    tls: str,
    credentials: str,
    options: str,
    words: str,
) -> None:
    with mail_server(tmp_path, tls=tls, requires_login=bool(credentials)) as server:
        sending = await make_sending(server, server.url("", credentials, options).rstrip("?"))
        await sending.post(to="canary@example.com")
        assert await sending.delivery.send_next()
        assert await sending.rows() == [(1, 0, 0, "")]
        assert words in caplog.text
        assert "wrong" not in caplog.text
        assert "canary" not in caplog.text
        assert server.mails == []


async def test_a_password_is_never_sent_without_tls(tmp_path: Path, make_sending: Callable) -> None:
    """aiosmtplib's default would log in without STARTTLS if the server does not offer it."""
    with mail_server(tmp_path, tls="none", requires_login=True) as server:
        sending = await make_sending(server, server.url("", CREDENTIALS, "?tls=starttls"))
        await sending.post()
        assert await sending.delivery.send_next()
        assert (server.log_ins, server.mails) == ([], [])


async def test_an_attempt_has_a_time_limit(server: MailServer, make_sending: Callable) -> None:
    sending = await make_sending(server, command_seconds=60.0, attempt_seconds=0.3)
    server.faults["DOT"] = ["hang"]
    await sending.post()
    started = time.monotonic()
    await sending.send_all()
    assert time.monotonic() - started < 3
    assert await sending.rows() == [(1, 0, 1, "no answer within 0.3 seconds")]
    await sending.post(to="b@example.com")
    await sending.send_all()
    assert server.mails[-1].recipients == ["b@example.com"]


async def test_an_expired_message_is_never_sent(server: MailServer, make_sending: Callable) -> None:
    sending = await make_sending(server)
    await sending.post("guesses")
    sending.app.clock.move(days=4)
    await sending.send_all()
    assert (server.mails, sending.outcomes) == ([], [("guesses", "expired")])
    assert await sending.rows() == [(0, 0, 1, "expired")]


@pytest.mark.parametrize("change", ["recipient = 'a@example.com, b@example.com'", "kid = 'gone'"])
async def test_a_mail_that_cannot_be_built_is_dead(
    server: MailServer, make_sending: Callable, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    sending = await make_sending(server)
    alice = await sending.app.sign_up_user("Alice")
    await sending.app.change(f"UPDATE outbox SET {change}")
    await sending.send_all()
    [(due, sent, _, error)] = await sending.rows()
    assert (due, sent, error.startswith("cannot be built: ")) == (0, 0, True)
    assert server.mails == []
    assert "a mail of the type verify cannot be built: " in caplog.text
    assert "a@example.com" not in caplog.text
    assert alice.email not in caplog.text


async def test_a_posted_message_is_sent_as_soon_as_it_is_committed(
    server: MailServer, make_sending: Callable
) -> None:
    """The signal precedes the commit. On PostgreSQL the first look therefore finds nothing."""
    sending = await make_sending(server, times=replace(FAST, poll=60.0, look=2.0))
    async with running(sending.delivery):
        await asyncio.sleep(0.05)
        async with sending.app.store.transaction():
            await post(sending.app.store, "arrived", user_id="u", recipient="a@example.com")
            await asyncio.sleep(0.3)
        await eventually(lambda: server.mails)
    assert server.mails[0].recipients == ["a@example.com"]


async def test_a_message_of_another_process_is_found(
    server: MailServer, make_sending: Callable
) -> None:
    sending = await make_sending(server)
    async with running(sending.delivery):
        await asyncio.sleep(0.1)
        await sending.post()
        sending.app.store.outbox._posted.clear()
        await eventually(lambda: server.mails)


async def test_a_request_for_a_reset_becomes_a_mail(
    server: MailServer, make_sending: Callable
) -> None:
    sending = await make_sending(server)
    alice = await sending.app.sign_up_user("Alice")
    await sending.send_all()
    async with running(sending.delivery):
        for email in ("nobody@example.com", alice.email):
            await request_reset(sending.app.store, email=email, client=UNKNOWN_CLIENT)
        await eventually(lambda: len(server.mails) == 2)
        await asyncio.sleep(0.1)
    assert [mail.message["Subject"] for mail in server.mails[1:]] == ["Choose a new password"]
    assert await sending.app.count("outbox WHERE sent_at IS NULL") == 0


async def test_the_stop_finishes_the_mail_under_way(
    server: MailServer, make_sending: Callable
) -> None:
    sending = await make_sending(server)
    for _ in range(3):
        await sending.post()
    server.faults["RCPT"] = ["hang"]  # until the command times out after half a second
    sending.delivery.start()
    await eventually(lambda: "MAIL" in server.commands)
    started = time.monotonic()
    await sending.delivery.stop()
    assert time.monotonic() - started < 2
    assert server.commands.count("MAIL") == 1
    assert sorted(attempts for _, _, attempts, _ in await sending.rows()) == [0, 0, 1]


async def test_the_stop_cancels_a_mail_that_takes_too_long(
    server: MailServer, make_sending: Callable
) -> None:
    sending = await make_sending(
        server, times=replace(FAST, grace=0.1), command_seconds=60.0, attempt_seconds=60.0
    )
    await sending.post()
    server.faults["DOT"] = ["hang"]
    sending.delivery.start()
    await eventually(lambda: server.mails)
    started = time.monotonic()
    await sending.delivery.stop()
    assert time.monotonic() - started < 2
    assert await sending.rows() == [(1, 0, 1, "")]
    sending.app.clock.move(minutes=5)
    again = sending_of(sending.app)
    await again.send_all()
    first, second = server.mails
    assert first.message["Message-ID"] == second.message["Message-ID"]


async def test_an_idle_delivery_stops_at_once(server: MailServer, make_sending: Callable) -> None:
    sending = await make_sending(server, times=replace(FAST, poll=60.0))
    sending.delivery.start()
    await asyncio.sleep(0.05)
    started = time.monotonic()
    await sending.delivery.stop()
    assert time.monotonic() - started < 1


async def test_three_processes_send_no_mail_twice(
    server: MailServer, make_sending: Callable, make_app: Callable
) -> None:
    sending = await make_sending(server)
    for number in range(60):
        await sending.post(to=f"{number}@example.com")
    others = [
        sending_of(await make_app(sending.app.path, SMTP_URL=server.url(), mail=OutboxState(True)))
        for _ in range(2)
    ]
    await asyncio.gather(*(each.send_all() for each in (sending, *others)))
    recipients = sorted(mail.recipients[0] for mail in server.mails)
    assert recipients == sorted(f"{number}@example.com" for number in range(60))


async def test_a_late_process_marks_nothing(server: MailServer, make_sending: Callable) -> None:
    sending = await make_sending(server)
    mailer = sending.delivery.mailer
    await sending.post()
    first = await outbox.claim(mailer)
    sending.app.clock.move(minutes=5)
    second = await outbox.claim(mailer)
    assert (first.id, first.attempts, second.attempts) == (second.id, 1, 2)
    assert not await outbox.mark_dead(mailer, first, "550 No")
    assert await outbox.mark_sent(mailer, second)


async def test_the_delivery_continues_after_a_database_outage(
    server: MailServer, make_sending: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    sending = await make_sending(server)
    await sending.post()
    await sending.app.store.database.disconnect()
    async with running(sending.delivery):
        await eventually(lambda: "the delivery of mail is postponed" in caplog.text)
        assert server.mails == []
        await sending.app.store.database.connect()
        await eventually(lambda: server.mails)
    assert caplog.text.count("the delivery of mail is postponed") == 1


async def test_a_day_without_a_server_ends_with_the_mails_that_still_help(
    server: MailServer, make_sending: Callable
) -> None:
    sending = await make_sending(server)
    alice = await sending.app.sign_up_user("Alice")
    await request_reset(sending.app.store, email=alice.email, client=UNKNOWN_CLIENT)
    await outbox.resolve_next(sending.delivery.mailer)
    await sending.post("guesses")
    server.faults["CONNECT"] = "421 Away"
    for _ in range(24):
        await sending.delivery.send_next()
        sending.app.clock.move(hours=1)
    del server.faults["CONNECT"]
    await sending.send_all()
    assert [mail.message["Subject"] for mail in server.mails] == [
        "Someone keeps guessing your password"
    ]
    assert sorted(sending.outcomes) == [
        ("guesses", "sent"),
        ("reset", "expired"),
        ("verify", "expired"),
    ]


def test_the_start_of_the_program_does_not_import_the_smtp_client() -> None:
    code = "import sys, web.app, web.cli.main; sys.exit('aiosmtplib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_program_sends_the_mail_of_a_sign_up(migrated: Path, tmp_path: Path) -> None:
    """This test runs the real program, and stops it while it is connected."""
    shutil.copy(migrated, tmp_path / "latchkey.db")
    with mail_server(tmp_path) as server:
        settings = {"SMTP_URL": server.url(), "MAIL_FROM": "Latchkey <mail@latchkey.example>"}
        with serving(f"sqlite:///{tmp_path}/latchkey.db", **settings) as program:
            with httpx.Client(base_url=f"http://localhost:{program.port}") as client:
                fields = {"name": "Alice", "email": "alice@example.com", "password": USER_PASSWORD}
                assert client.post("/signup", data=fields).status_code == 303
            deadline = time.monotonic() + 10
            while not server.mails and time.monotonic() < deadline:
                time.sleep(0.02)
            code, output = program.end()
    assert [mail.recipients for mail in server.mails] == [["alice@example.com"]]
    assert (code, "ERROR" in output) == (0, False)
    assert f"mail is sent by localhost, port {server.port}, from mail@latchkey.example" in output
    body = server.mails[0].message.get_body(("plain",))
    link = re.search(r"http://localhost:\d+/verify/(\S{43})", body.get_content())
    assert link[1] not in output


def test_the_settings_of_the_test_server_are_right() -> None:
    from urllib.parse import unquote

    assert unquote(CREDENTIALS) == f"{USERNAME}:{PASSWORD}"
