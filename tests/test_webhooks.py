"""Tests of webhooks: their content and signature, and receivers that fail, over HTTP."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from db.audit.log import OPERATOR, record
from db.crypto.passwords import Passwords
from db.hooks import HookEvent, after
from db.viewer import Mailer
from tests.browser_client import PASSWORD
from tests.conftest import TestApp
from tests.mail import enabled_outbox
from tests.test_hooks import product_with
from tests.webhook_receiver import Receiver, receiving
from web.delivery.delivery import Delivery, DeliveryTimes
from web.delivery.webhooks import WebhookChannel
from web.settings.paths import ROOT

KEY = bytes(range(32))
OLD_KEY = bytes(range(100, 124))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OLD_SECRET = "whsec_" + base64.b64encode(OLD_KEY).decode()
FAST = DeliveryTimes(poll=0.05, look=0.2, first_backoff=0.01, longest_backoff=0.04, grace=2.0)
Make = Callable[..., Awaitable[TestApp]]


@dataclass
class Sending:
    """An application that sends webhooks to the receiver, step by step."""

    app: TestApp
    delivery: Delivery
    outcomes: list[tuple[str, str]]

    async def post(self, detail: dict[str, str | int] | None = None) -> None:
        async with self.app.store.transaction():
            await record(self.app.store, "role.change", OPERATOR, detail, target_id="u")

    async def send_all(self) -> None:
        while await self.delivery.send_next():
            pass

    async def rows(self) -> list[tuple]:
        """Returns whether each message is due, whether it was sent, its attempts and its error."""
        return await self.app.rows(
            "SELECT due_at IS NOT NULL AS due, sent_at IS NOT NULL AS sent, attempts, error"
            " FROM outbox WHERE kind = 'webhook' ORDER BY created_at, id"
        )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
async def make_sending(make_app: Make, receiver: Receiver):
    sendings: list[Sending] = []

    async def make(seconds: float = 10.0, **settings) -> Sending:
        settings = {"WEBHOOK_URL": receiver.url, "WEBHOOK_SECRET": SECRET} | settings
        app = await make_app(**settings)
        sendings.append(sending_of(app, seconds))
        return sendings[-1]

    yield make
    for sending in sendings:
        await sending.delivery.channel.close()


def sending_of(app: TestApp, seconds: float = 10.0) -> Sending:
    outcomes: list[tuple[str, str]] = []
    assert app.settings.webhook is not None
    delivery = Delivery(
        Mailer(app.store),
        WebhookChannel(app.settings.webhook, app.clock, seconds=seconds),
        app.store.outbox.wait,
        lambda message_type, outcome, seconds: outcomes.append((message_type, outcome)),
        FAST,
    )
    return Sending(app, delivery, outcomes)


def verify(headers: dict[str, str], body: bytes, key: bytes) -> bool:
    """Verifies a signature by the specification, without the code of the program."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body.decode()}".encode()
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    versions = [part.split(",") for part in headers["webhook-signature"].split(" ")]
    return ["v1", expected] in versions


async def test_a_webhook_has_the_event_and_a_signature(
    make_sending: Callable, receiver: Receiver
) -> None:
    sending = await make_sending()
    await sending.post({"from": "user", "to": "admin"})
    await sending.send_all()
    [request] = receiver.requests
    assert (request.method, request.path) == ("POST", "/hook?token=canary-of-the-url")
    assert request.headers["content-type"] == "application/json"
    assert int(request.headers["webhook-timestamp"]) == sending.app.clock().timestamp()
    assert verify(request.headers, request.body, KEY)
    assert not verify(request.headers, request.body + b" ", KEY)
    assert not verify(request.headers, request.body, OLD_KEY)
    content = json.loads(request.body)
    assert re.fullmatch(r"[\w-]{43}", content["data"]["id"])
    assert request.headers["webhook-id"] == content["data"]["id"]
    assert content == {
        "type": "role.change",
        "timestamp": "2026-11-24T09:12:00.000000Z",
        "data": {
            "id": content["data"]["id"],
            "actor_type": "operator",
            "actor_id": None,
            "target_id": "u",
            "detail": {"from": "user", "to": "admin"},
        },
    }
    assert await sending.rows() == [(0, 1, 1, "")]
    assert sending.outcomes == [("webhook", "sent")]


async def test_a_webhook_contains_no_personal_data(
    make_sending: Callable, receiver: Receiver
) -> None:
    sending = await make_sending(mail=enabled_outbox())
    alice = await sending.app.sign_up_user("Alice")
    await alice.post("/account/email", {"email": "new@example.com", "current_password": PASSWORD})
    facts = await sending.app.rows("SELECT facts FROM outbox WHERE kind = 'webhook'")
    await sending.send_all()
    sent = b"".join(request.body for request in receiver.requests)
    types = sorted(json.loads(request.body)["type"] for request in receiver.requests)
    assert types == ["email.ask", "signup"]
    for text in ("alice", "new@", "192.0.2.14", "Firefox", PASSWORD, alice.cookie or "-"):
        assert text.encode() not in sent
        assert text not in str(facts)


async def test_no_log_level_shows_the_url_of_the_receiver(
    make_sending: Callable, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    sending = await make_sending()
    await sending.post()
    with caplog.at_level(logging.DEBUG):
        await sending.send_all()
    assert len(receiver.requests) == 1
    assert "canary-of-the-url" not in caplog.text


async def test_a_delivered_webhook_keeps_no_content(make_sending: Callable) -> None:
    sending = await make_sending()
    await sending.post()
    await sending.send_all()
    assert await sending.app.rows("SELECT recipient, facts FROM outbox") == [("role.change", "")]


async def test_each_secret_makes_a_signature(make_sending: Callable, receiver: Receiver) -> None:
    sending = await make_sending(WEBHOOK_SECRET=f"{SECRET}, {OLD_SECRET}")
    await sending.post()
    await sending.send_all()
    [request] = receiver.requests
    assert len(request.headers["webhook-signature"].split(" ")) == 2
    assert verify(request.headers, request.body, KEY)
    assert verify(request.headers, request.body, OLD_KEY)


async def test_the_receiver_in_the_documentation_verifies_webhooks(
    make_sending: Callable, receiver: Receiver
) -> None:
    text = (ROOT / "docs" / "hooks.md").read_text()
    [source] = [
        block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "hmac" in block
    ]
    namespace: dict = {}
    exec(source, namespace)
    read_webhook = namespace["read_webhook"]
    sending = await make_sending(WEBHOOK_SECRET=f"{OLD_SECRET},{SECRET}")
    sending.app.clock.moment = sending.app.clock.moment.fromtimestamp(
        time.time(), sending.app.clock.moment.tzinfo
    )
    await sending.post()
    await sending.send_all()
    [request] = receiver.requests
    assert read_webhook(request.headers, request.body, SECRET)["type"] == "role.change"
    for headers, body, secret in (
        (request.headers, request.body + b" ", SECRET),
        (request.headers, request.body, "whsec_" + base64.b64encode(bytes(32)).decode()),
        (request.headers | {"webhook-id": "x"}, request.body, SECRET),
        (
            request.headers | {"webhook-timestamp": str(int(time.time()) - 301)},
            request.body,
            SECRET,
        ),
    ):
        with pytest.raises(ValueError):
            read_webhook(headers, body, secret)


async def test_only_the_named_events_are_sent(make_sending: Callable, receiver: Receiver) -> None:
    sending = await make_sending(WEBHOOK_EVENTS="logout, role.change")
    alice = await sending.app.sign_up_user("Alice")
    assert await sending.rows() == []
    await alice.post("/logout")
    await sending.send_all()
    assert [json.loads(request.body)["type"] for request in receiver.requests] == ["logout"]


async def test_a_refused_change_sends_no_webhook(make_sending: Callable) -> None:
    sending = await make_sending()
    await sending.app.sign_up_user("Alice")
    before = await sending.rows()
    assert (await (await sending.app.browser("Alice")).log_in("wrong-No.7")).status_code == 422
    assert await sending.rows() == before


@pytest.mark.parametrize("status", [500, 404, 301, 302, 307, 308, 429, 503])
async def test_another_status_than_2xx_is_tried_again(
    make_sending: Callable, receiver: Receiver, status: int
) -> None:
    sending = await make_sending()
    receiver.answers.append((status, {"Location": f"{receiver.url}&moved=1"}, b"canary"))
    await sending.post()
    await sending.send_all()
    assert len(receiver.requests) == 1
    assert await sending.rows() == [(1, 0, 1, f"status {status}")]
    sending.app.clock.move(seconds=67)
    await sending.send_all()
    assert await sending.rows() == [(0, 1, 2, "")]
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 67
    assert verify(second.headers, second.body, KEY)
    assert sending.outcomes == [("webhook", "later"), ("webhook", "sent")]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_each_2xx_status_is_a_success(
    make_sending: Callable, receiver: Receiver, status: int
) -> None:
    sending = await make_sending()
    receiver.answers.append((status, {}, b""))
    await sending.post()
    await sending.send_all()
    assert await sending.rows() == [(0, 1, 1, "")]


async def test_410_ends_only_its_message(make_sending: Callable, receiver: Receiver) -> None:
    sending = await make_sending()
    receiver.answers.append((410, {}, b""))
    await sending.post()
    await sending.send_all()
    assert await sending.rows() == [(0, 0, 1, "status 410")]
    sending.app.clock.move(days=1)
    await sending.send_all()
    assert len(receiver.requests) == 1
    await sending.post()
    await sending.send_all()
    assert len(receiver.requests) == 2


@pytest.mark.parametrize(("value", "seconds"), [("3600", 3600), ("999999999", 86_400), ("x", 54)])
async def test_the_next_attempt_respects_retry_after(
    make_sending: Callable, receiver: Receiver, value: str, seconds: int
) -> None:
    sending = await make_sending()
    receiver.answers.append((503, {"Retry-After": value}, b""))
    await sending.post()
    await sending.send_all()
    sending.app.clock.move(seconds=seconds - 1)
    await sending.send_all()
    assert len(receiver.requests) == 1
    sending.app.clock.move(seconds=14)
    await sending.send_all()
    assert len(receiver.requests) == 2


async def test_a_slow_receiver_is_tried_again(make_sending: Callable, receiver: Receiver) -> None:
    sending = await make_sending(seconds=0.2)
    receiver.answers.append("hang")
    await sending.post()
    await sending.send_all()
    assert await sending.rows() == [(1, 0, 1, "no answer within 0.2 seconds")]
    sending.app.clock.move(seconds=67)
    await sending.send_all()
    assert await sending.rows() == [(0, 1, 2, "")]


async def test_a_long_response_is_not_read(make_sending: Callable, receiver: Receiver) -> None:
    sending = await make_sending()
    receiver.answers.append((200, {}, bytes(50_000_000)))
    await sending.post()
    await sending.post()
    await sending.send_all()
    assert await sending.rows() == [(0, 1, 1, ""), (0, 1, 1, "")]
    assert receiver.connections == 2


async def test_webhooks_share_one_connection(make_sending: Callable, receiver: Receiver) -> None:
    sending = await make_sending()
    for _ in range(3):
        receiver.answers.append((200, {}, b"ok"))
        await sending.post()
    await sending.send_all()
    assert (len(receiver.requests), receiver.connections) == (3, 1)


async def test_a_receiver_that_is_down_costs_no_attempt(
    make_sending: Callable, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving() as other:
        url = other.url
    sending = await make_sending(WEBHOOK_URL=url)
    await sending.post()
    for _ in range(20):
        await sending.send_all()
        sending.app.clock.move(seconds=1)
    [(due, sent, attempts, _)] = await sending.rows()
    assert (due, sent, attempts) == (1, 0, 0)
    assert sending.outcomes == []
    assert sum("webhooks cannot be sent" in line for line in caplog.messages) == 1
    assert "canary" not in caplog.text


async def test_a_webhook_is_given_up_after_three_days(
    make_sending: Callable, receiver: Receiver
) -> None:
    sending = await make_sending()
    receiver.answers.extend([(500, {}, b"")] * 20)
    await sending.post()
    start = sending.app.clock()
    for _ in range(100):
        await sending.send_all()
        sending.app.clock.move(hours=1)
    assert await sending.rows() == [(0, 0, 13, "status 500")]
    assert len(receiver.requests) == 13
    sent_at = int(receiver.requests[-1].headers["webhook-timestamp"])
    assert 2.5 < (sent_at - start.timestamp()) / 86_400 < 4


async def test_a_webhook_is_sent_again_if_the_process_ends_in_between(
    make_sending: Callable, receiver: Receiver
) -> None:
    sending = await make_sending()
    receiver.answers.append("hang")
    await sending.post()
    task = asyncio.create_task(sending.delivery.send_next())
    await arrived(receiver)
    task.cancel()  # The receiver has the webhook, but the outbox does not know it.
    with pytest.raises(asyncio.CancelledError):
        await task
    other = sending_of(sending.app)
    assert not await other.delivery.send_next()
    sending.app.clock.move(minutes=5, seconds=1)
    assert await other.delivery.send_next()
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    await other.delivery.channel.close()


async def test_several_processes_send_no_webhook_twice(
    make_sending: Callable, receiver: Receiver
) -> None:
    sending = await make_sending()
    for _ in range(12):
        await sending.post()
    others = [sending, *(sending_of(sending.app) for _ in range(2))]
    await asyncio.gather(*(each.send_all() for each in others))
    ids = [request.headers["webhook-id"] for request in receiver.requests]
    assert len(ids) == len(set(ids)) == 12
    for other in others[1:]:
        await other.delivery.channel.close()


@asynccontextmanager
async def running(make_app: Make, receiver: Receiver, **options) -> AsyncIterator[TestApp]:
    """Runs an application with its background tasks, whose end closes its hasher."""
    settings = {"WEBHOOK_URL": receiver.url, "WEBHOOK_SECRET": SECRET}
    hashing = Passwords(memory_kib=8, passes=1, max_wait=60)
    app = await make_app(hashing=hashing, **settings | options)
    async with app.asgi_app.router.lifespan_context(app.asgi_app):
        yield app


async def test_a_slow_receiver_delays_neither_mails_nor_hooks(
    make_app: Make, receiver: Receiver
) -> None:
    @after("signup")
    async def call(store, event: HookEvent) -> None: ...

    receiver.answers.append("hang")
    unsent = "SELECT kind FROM outbox WHERE sent_at IS NULL"
    async with running(
        make_app, receiver, mail=enabled_outbox(), product=product_with(call)
    ) as app:
        await app.sign_up_user("Alice")
        deadline = time.monotonic() + 10
        while await app.rows(unsent) != [("webhook",)]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        receiver.ended.set()


async def test_hooks_and_webhooks_work_without_mail(make_app: Make, receiver: Receiver) -> None:
    called = asyncio.Event()

    @after("signup")
    async def call(store, event: HookEvent) -> None:
        called.set()

    options = {"BASE_URL": "https://latchkey.example", "product": product_with(call)}
    async with running(make_app, receiver, **options) as app:
        assert app.asgi_app.state.mailer is None
        await app.sign_up_user("Alice")
        await arrived(receiver)
        async with asyncio.timeout(10):
            await called.wait()
    assert json.loads(receiver.requests[0].body)["type"] == "signup"


async def arrived(receiver: Receiver) -> None:
    deadline = time.monotonic() + 10
    while not receiver.requests:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
