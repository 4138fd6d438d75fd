"""Tests of the operator's actions on mails and on the confirmation of emails."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from db.access import operator_mail
from db.errors import NotFound
from db.mail.outbox import post
from db.mail.state import OutboxState
from db.viewer import Operator
from tests.conftest import TestApp


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app(mail=OutboxState(is_enabled=True))


@pytest.fixture
async def operator(app: TestApp) -> Operator:
    for name in ("new", "later", "dead", "sent"):
        async with app.store.transaction():
            await post(app.store, "arrived", user_id=name, recipient=f"{name}@example.com")
        app.clock.move(seconds=1)
    await app.change(
        "UPDATE outbox SET due_at = expires_at, error = '450 Busy', attempts = 2"
        " WHERE recipient LIKE 'later%'",
        "UPDATE outbox SET due_at = NULL, error = '550 No', attempts = 10"
        " WHERE recipient LIKE 'dead%'",
        "UPDATE outbox SET due_at = NULL, sent_at = created_at, recipient = '', facts = ''"
        " WHERE recipient LIKE 'sent%'",
    )
    return Operator(app.store)


async def ids(operator: Operator) -> dict[str, str]:
    messages = await operator_mail.list_messages(operator)
    return {message.recipient.partition("@")[0] or "sent": message.id for message in messages}


async def test_the_messages_are_listed_by_state_and_recipient(operator: Operator) -> None:
    messages = await operator_mail.list_messages(operator)
    assert [message.recipient.partition("@")[0] for message in messages] == [
        "new",
        "later",
        "dead",
        "",
    ]
    [dead] = await operator_mail.list_messages(operator, dead=True)
    assert (dead.recipient, dead.error, dead.attempts) == ("dead@example.com", "550 No", 10)
    [later] = await operator_mail.list_messages(operator, email="later@example.com")
    assert (later.error, later.attempts, later.sent_at) == ("450 Busy", 2, None)
    assert await operator_mail.list_messages(operator, dead=True, email="new@example.com") == []


async def test_failed_messages_become_due(app: TestApp, operator: Operator) -> None:
    known = await ids(operator)
    assert not await operator_mail.retry_message(operator, known["new"])
    assert not await operator_mail.retry_message(operator, known["sent"])
    assert not await operator_mail.retry_message(operator, "x" * 43)
    assert await operator_mail.retry_message(operator, known["dead"])
    assert await operator_mail.retry_all_messages(operator) == 2
    messages = {m.recipient: m for m in await operator_mail.list_messages(operator)}
    for email, attempts in (("dead@example.com", 0), ("later@example.com", 2)):
        assert (messages[email].due_at, messages[email].attempts) == (app.clock(), attempts)


async def test_an_expired_message_does_not_become_due(app: TestApp, operator: Operator) -> None:
    known = await ids(operator)
    app.clock.moment += timedelta(days=3, seconds=10)
    assert not await operator_mail.retry_message(operator, known["dead"])
    assert await operator_mail.retry_all_messages(operator) == 0


async def test_only_an_unsent_message_is_deleted(operator: Operator) -> None:
    known = await ids(operator)
    assert not await operator_mail.drop_message(operator, known["sent"])
    assert await operator_mail.drop_message(operator, known["new"])
    assert not await operator_mail.drop_message(operator, known["new"])
    assert (await ids(operator)).keys() == {"later", "dead", "sent"}


async def test_an_email_is_confirmed_once(app: TestApp, operator: Operator) -> None:
    alice = await app.sign_up_user("Alice")
    assert await app.count("tokens") == 1
    assert await operator_mail.verify_email(operator, alice.email)
    assert not await operator_mail.verify_email(operator, alice.email)
    assert await app.count("tokens") == 0
    assert await app.count("outbox WHERE kind = 'verify'") == 0
    assert await app.count("audit WHERE event = 'email.verify'") == 1
    with pytest.raises(NotFound):
        await operator_mail.verify_email(operator, "nobody@example.com")


async def test_all_emails_are_confirmed_in_batches(app: TestApp, operator: Operator) -> None:
    for number in range(3):
        await app.sign_up_user(f"User{number}")
    await app.create("Ada")  # The operator's accounts are confirmed.
    assert await operator_mail.verify_all_emails(operator) == 3
    assert await operator_mail.verify_all_emails(operator) == 0
    assert await app.count("users WHERE verified_at IS NULL") == 0
