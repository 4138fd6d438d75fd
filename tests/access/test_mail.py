"""Tests of the outbox, and of the links in mails, as the data access layer provides them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from db.access import (
    account,
    account_lock,
    email_change,
    email_verification,
    links,
    login,
    operator,
    outbox,
    password_reset,
    signup,
)
from db.access.outbox import Message
from db.crypto.secret import Secret
from db.errors import AccountNotCreated, LinkInvalid, LinkMismatch, LinkOfOtherUser, RateLimited
from db.mail.notices import post_verification
from db.mail.state import OutboxState
from db.mail.tokens import derive_token, link_id
from db.maintenance.pruning import prune
from db.maintenance.startup import warn_of_unconfirmed_users
from db.viewer import ClientInfo, Mailer, Operator, Viewer
from tests.browser_client import PASSWORD, Browser
from tests.confirmations import confirmed
from tests.conftest import Clock, TestApp
from tests.databases import DATABASE_TYPES

BOTH = pytest.mark.parametrize("database_type", DATABASE_TYPES, indirect=True)
NEW = Secret("another engine No.8")
MAIL_EVENTS = {
    "password.ask",
    "password.reset",
    "email.verify",
    "email.ask",
    "email.change",
    "account.lock",
    "account.expire",
}
LAPTOP = ClientInfo("Firefox", "Windows", "computer", "", "192.0.2.9")


@pytest.fixture
def database_type(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app(mail=OutboxState(is_enabled=True))


@pytest.fixture
def mailer(app: TestApp) -> Mailer:
    return Mailer(app.store)


async def deliver(mailer: Mailer) -> dict[str, Message]:
    """Sends everything that is due, and returns the messages by type."""
    while await outbox.resolve_next(mailer):
        pass
    sent = {}
    while message := await outbox.claim(mailer):
        assert await outbox.mark_sent(mailer, message)
        sent[message.message_type] = message
    return sent


def link_of(message: Message) -> dict:
    assert message.token is not None
    return {"token": message.token, "link": link_id(message.token)}


async def verified(app: TestApp, mailer: Mailer, user: Browser) -> Viewer:
    """Returns the viewer of a user who has confirmed the email."""
    (message,) = [
        message
        async for message in delivered(mailer)
        if (message.message_type, message.recipient) == ("verify", user.email)
    ]
    await email_verification.verify_email(await app.viewer_of(user), **link_of(message))
    return await app.viewer_of(user)


async def changed_to(app: TestApp, mailer: Mailer, viewer: Viewer, email: str) -> dict:
    """Changes the email of the viewer and returns the messages about it."""
    await email_change.request_change(confirmed(viewer), email=email)
    await email_change.confirm_change(viewer, **link_of((await deliver(mailer))["change"]))
    return await deliver(mailer)


@BOTH
async def test_a_new_user_confirms_the_email_once(
    app: TestApp, mailer: Mailer, alice: Browser
) -> None:
    viewer = await app.viewer_of(alice)
    assert not viewer.verified
    message = (await deliver(mailer))["verify"]
    assert (message.recipient, message.facts["until"]) == (
        alice.email,
        "25 November 2026, 09:12 UTC",
    )
    await email_verification.verify_email(viewer, **link_of(message))
    assert (await app.viewer_of(alice)).verified
    with pytest.raises(LinkInvalid):
        await email_verification.verify_email(viewer, **link_of(message))
    assert await app.count("sessions") == 1


@BOTH
async def test_the_link_of_another_account_confirms_nothing(
    app: TestApp, mailer: Mailer, alice: Browser, bob: Browser
) -> None:
    """An attacker who signed up with Alice's email and has no access to her mailbox."""
    messages = []
    while message := await outbox.claim(mailer):
        messages.append(message)
    (for_alice,) = [message for message in messages if message.recipient == alice.email]
    with pytest.raises(LinkOfOtherUser):
        await email_verification.verify_email(await app.viewer_of(bob), **link_of(for_alice))
    assert not (await app.viewer_of(bob)).verified
    assert not (await app.viewer_of(alice)).verified


@BOTH
@pytest.mark.asvs("S12")
@pytest.mark.parametrize("purpose", ["reset", "verify"])
async def test_one_of_fifty_concurrent_uses_of_a_link_succeeds(
    app: TestApp, mailer: Mailer, alice: Browser, purpose: str
) -> None:
    viewer = await app.viewer_of(alice)
    if purpose == "reset":
        await password_reset.request_reset(app.store, email=alice.email, client=LAPTOP)
    link = link_of((await deliver(mailer))[purpose])

    async def use() -> str:
        try:
            if purpose == "verify":
                await email_verification.verify_email(viewer, **link)
            else:
                await password_reset.reset_password(app.store, **link, password=NEW, client=LAPTOP)
        except LinkInvalid:
            return "invalid"
        return "done"

    assert Counter(await asyncio.gather(*(use() for _ in range(50)))) == {"done": 1, "invalid": 49}


@BOTH
@pytest.mark.asvs("S13", "S16")
async def test_a_reset_sets_the_password_and_ends_every_session(
    app: TestApp, mailer: Mailer, alice: Browser, alices_phone: Browser
) -> None:
    await password_reset.request_reset(app.store, email=alice.email, client=LAPTOP)
    messages = await deliver(mailer)
    user_id = await password_reset.reset_password(
        app.store, **link_of(messages["reset"]), password=NEW, client=LAPTOP
    )
    assert user_id == messages["reset"].user_id
    assert await app.count("sessions") == 0
    assert await app.rows("SELECT purpose FROM tokens") == [("not-me",)]
    assert (await alice.log_in()).status_code == 422
    assert (await replace(alice, password=NEW.reveal()).log_in()).status_code == 303
    assert (await deliver(mailer))["password"].facts["by"] == "a link in a mail"


@BOTH
@pytest.mark.guide("T11")
@pytest.mark.asvs("S24")
async def test_a_reset_removes_what_an_attacker_prepared_with_the_email(
    app: TestApp, mailer: Mailer, alice: Browser
) -> None:
    await alice.post("/account", {"phone": "+44 20 7946 0000"})
    await password_reset.request_reset(app.store, email=alice.email, client=LAPTOP)
    message = (await deliver(mailer))["reset"]
    await password_reset.reset_password(app.store, **link_of(message), password=NEW, client=LAPTOP)
    assert await app.rows("SELECT phone, verified_at IS NULL FROM users") in (
        [("", 0)],
        [("", False)],
    )


@BOTH
@pytest.mark.asvs("S13")
@pytest.mark.parametrize("event", ["newer request", "password change", "an hour", "email change"])
async def test_a_reset_link_ends(
    app: TestApp, mailer: Mailer, alice: Browser, clock: Clock, event: str
) -> None:
    viewer = await verified(app, mailer, alice)
    await password_reset.request_reset(app.store, email=alice.email, client=LAPTOP)
    message = (await deliver(mailer))["reset"]
    if event == "newer request":
        await password_reset.request_reset(app.store, email=alice.email, client=LAPTOP)
        await deliver(mailer)
    elif event == "password change":
        await account.change_password(viewer, current=Secret(PASSWORD), new=Secret("No.9 engine!"))
    elif event == "an hour":
        clock.move(hours=1)
    else:
        await changed_to(app, mailer, viewer, "alice.new@example.com")
    before = await app.rows("SELECT password_hash FROM users")
    with pytest.raises(LinkInvalid):
        await password_reset.reset_password(
            app.store, **link_of(message), password=NEW, client=LAPTOP
        )
    assert await app.rows("SELECT password_hash FROM users") == before


@BOTH
async def test_a_link_in_another_tab_is_not_used(
    app: TestApp, mailer: Mailer, alice: Browser, bob: Browser
) -> None:
    for user in (alice, bob):
        await password_reset.request_reset(app.store, email=user.email, client=LAPTOP)
    first, second = [
        message
        for message in [
            await outbox.claim(mailer) for _ in range(2) if await outbox.resolve_next(mailer)
        ]
        if message
    ]
    with pytest.raises(LinkMismatch):
        await password_reset.reset_password(
            app.store,
            token=first.token,
            link=link_of(second)["link"],
            password=NEW,
            client=LAPTOP,
        )


@BOTH
async def test_a_request_for_an_unknown_email_sends_nothing(app: TestApp, mailer: Mailer) -> None:
    await password_reset.request_reset(app.store, email="nobody@example.com", client=LAPTOP)
    assert await deliver(mailer) == {}
    assert await app.count("outbox") == 0


@BOTH
@pytest.mark.asvs("S17")
async def test_a_new_email_counts_after_its_link_and_the_old_one_can_undo_it(
    app: TestApp, mailer: Mailer, alice: Browser
) -> None:
    viewer = await verified(app, mailer, alice)
    await email_change.request_change(confirmed(viewer), email="alice.new@example.com")
    assert await app.rows("SELECT email FROM users") == [(alice.email,)]
    state = await email_verification.get_state(viewer)
    assert state.pending_email == "alice.new@example.com"
    await email_change.confirm_change(viewer, **link_of((await deliver(mailer))["change"]))
    messages = await deliver(mailer)
    assert messages["moved"].recipient == alice.email
    assert messages["arrived"].recipient == "alice.new@example.com"
    assert await app.count("sessions") == 1
    await account_lock.lock_account(app.store, **link_of(messages["moved"]), client=LAPTOP)
    assert await app.rows("SELECT email, password_hash FROM users") == [(alice.email, "!")]
    assert await app.count("sessions") == 0
    locked = (await deliver(mailer))["locked"]
    assert locked.recipient == alice.email
    await password_reset.reset_password(app.store, **link_of(locked), password=NEW, client=LAPTOP)
    assert (await replace(alice, password=NEW.reveal()).log_in()).status_code == 303


@BOTH
@pytest.mark.parametrize("first_used", ["older", "newer"])
async def test_the_oldest_undo_link_outranks_newer_ones(
    app: TestApp, mailer: Mailer, alice: Browser, clock: Clock, first_used: str
) -> None:
    """An attacker changes the email twice and tries to lock the user out with the second link."""
    viewer = await verified(app, mailer, alice)
    older = (await changed_to(app, mailer, viewer, "attacker1@example.com"))["moved"]
    clock.move(minutes=10)
    viewer = await app.viewer_of(alice)
    newer = (await changed_to(app, mailer, viewer, "attacker2@example.com"))["moved"]
    if first_used == "newer":
        await account_lock.lock_account(app.store, **link_of(newer), client=LAPTOP)
        assert await app.rows("SELECT email FROM users") == [("attacker1@example.com",)]
    await account_lock.lock_account(app.store, **link_of(older), client=LAPTOP)
    assert await app.rows("SELECT email, password_hash FROM users") == [(alice.email, "!")]
    if first_used == "older":
        with pytest.raises(LinkInvalid):
            await account_lock.lock_account(app.store, **link_of(newer), client=LAPTOP)


@BOTH
async def test_a_lock_keeps_an_older_notice_that_was_not_sent_yet(
    app: TestApp, mailer: Mailer, alice: Browser, clock: Clock
) -> None:
    """The server of the user's email asks to try later, and the attacker is faster."""
    viewer = await verified(app, mailer, alice)
    attacker = "attacker@example.com"
    await email_change.request_change(confirmed(viewer), email=attacker)
    await email_change.confirm_change(viewer, **link_of((await deliver(mailer))["change"]))
    while message := await outbox.claim(mailer):
        if message.message_type == "moved":
            assert await outbox.retry_later(mailer, message, "450 try later")
        else:
            assert await outbox.mark_sent(mailer, message)
    clock.move(seconds=10)
    elsewhere = await app.browser("Alice", email=attacker)
    assert (await elsewhere.log_in()).status_code == 303
    newer = (await deliver(mailer))["new-device"]
    await account_lock.lock_account(app.store, **link_of(newer), client=LAPTOP)
    clock.move(minutes=2)
    older = (await deliver(mailer))["moved"]
    await account_lock.lock_account(app.store, **link_of(older), client=LAPTOP)
    assert await app.rows("SELECT email, password_hash FROM users") == [(alice.email, "!")]


@BOTH
async def test_the_former_email_cannot_be_taken_while_it_can_be_given_back(
    app: TestApp, mailer: Mailer, alice: Browser, clock: Clock
) -> None:
    await changed_to(app, mailer, await verified(app, mailer, alice), "alice.new@example.com")
    charlie = await app.browser("Charlie", email=alice.email)
    assert (await charlie.sign_up()).status_code == 422
    assert await app.count("users") == 1
    clock.move(days=7)
    assert (await charlie.sign_up()).status_code == 303


@BOTH
async def test_a_sign_up_that_waited_for_a_change_of_email_does_not_get_the_email(
    app: TestApp, mailer: Mailer, alice: Browser, bob: Browser
) -> None:
    """On PostgreSQL, the INSERT of a user can wait for the change and not see its undo link."""
    await changed_to(app, mailer, await verified(app, mailer, alice), "alice.new@example.com")
    user_id = (await app.viewer_of(bob)).id
    before = await app.count("outbox")
    with pytest.raises(AccountNotCreated):
        async with app.store.transaction():
            await post_verification(app.store, user_id, alice.email, is_first=True)
    assert await app.count("outbox") == before


@BOTH
async def test_an_email_of_another_account_is_not_taken_over(
    app: TestApp, mailer: Mailer, alice: Browser, bob: Browser
) -> None:
    viewer = await app.viewer_of(bob)
    await deliver(mailer)
    await email_change.request_change(confirmed(viewer), email=alice.email)
    messages = await deliver(mailer)
    assert (set(messages), messages["exists"].recipient) == ({"exists"}, alice.email)
    # The page of Bob displays what it does for an email that no account has.
    assert (await email_verification.get_state(viewer)).pending_email == alice.email
    await email_change.cancel_change(viewer)
    assert (await email_verification.get_state(viewer)).pending_email == ""


@BOTH
@pytest.mark.asvs("S79")
async def test_a_log_in_at_a_new_browser_is_told_to_a_confirmed_email(
    app: TestApp, mailer: Mailer, alice: Browser
) -> None:
    assert (await replace(await app.browser("Alice")).log_in()).status_code == 303
    assert "new-device" not in await deliver(mailer)
    await email_verification.send_again(await app.viewer_of(alice))
    await verified(app, mailer, alice)
    elsewhere = await app.browser("Alice")
    for _ in range(2):
        assert (await elsewhere.log_in()).status_code == 303
        elsewhere.client.cookies.delete("session")
    assert list(await deliver(mailer)) == ["new-device"]


@BOTH
async def test_a_required_confirmation_happens_at_log_in(make_app: Callable, clock: Clock) -> None:
    app = await make_app(mail=OutboxState(is_enabled=True, requires_verification=True))
    charlie = {"email": "charlie@example.com", "password": Secret(PASSWORD)}
    await signup.sign_up_privately(app.store, name="Charlie", client=LAPTOP, **charlie)
    message = (await deliver(Mailer(app.store)))["verify"]
    assert await login.log_in(app.store, client=LAPTOP, **charlie) is None
    wrong = Secret("x" * 43)
    assert await login.log_in(app.store, client=LAPTOP, verify_token=wrong, **charlie) is None
    session = await login.log_in(app.store, client=LAPTOP, verify_token=message.token, **charlie)
    assert session is not None
    assert await login.log_in(app.store, client=LAPTOP, **charlie) is not None


@BOTH
async def test_a_link_of_another_account_causes_no_work_that_shows_an_unconfirmed_account(
    make_app: Callable,
) -> None:
    app = await make_app(mail=OutboxState(is_enabled=True, requires_verification=True))
    charlie = {"email": "charlie@example.com", "password": Secret(PASSWORD)}
    await signup.sign_up_privately(app.store, name="Charlie", client=LAPTOP, **charlie)
    counts = []
    for password in (charlie["password"], NEW):
        before = app.statements
        guess = {**charlie, "password": password, "verify_token": Secret("x" * 43)}
        assert await login.log_in(app.store, client=LAPTOP, **guess) is None
        counts.append(app.statements - before)
    assert counts[0] == counts[1]


@BOTH
async def test_no_slug_shows_that_a_private_sign_up_has_created_an_account(
    make_app: Callable,
) -> None:
    app = await make_app(mail=OutboxState(is_enabled=True, requires_verification=True))
    charlie = {"email": "charlie@example.com", "password": Secret(PASSWORD)}
    await signup.sign_up_privately(app.store, name="Unusual Name", client=LAPTOP, **charlie)
    assert await app.rows("SELECT name FROM users WHERE slug = 'unusual-name'") == []


@BOTH
async def test_accounts_that_are_not_confirmed_are_deleted_after_a_week(
    make_app: Callable, clock: Clock
) -> None:
    app = await make_app(mail=OutboxState(is_enabled=True, requires_verification=True))
    await app.create("Ada")
    await signup.sign_up_privately(
        app.store,
        name="Charlie",
        email="charlie@example.com",
        password=Secret(PASSWORD),
        client=LAPTOP,
    )
    clock.move(days=6)
    await prune(app.store)
    assert await app.count("users") == 2
    clock.move(days=1)
    await prune(app.store)
    assert await app.rows("SELECT name FROM users") == [("Ada",)]
    assert await app.rows("SELECT event FROM audit ORDER BY number DESC LIMIT 1") == [
        ("account.expire",)
    ]


@BOTH
async def test_accounts_from_before_the_mails_are_not_deleted(
    make_app: Callable, clock: Clock
) -> None:
    app = await make_app(mail=OutboxState(is_enabled=True, requires_verification=True))
    await app.create("Ada")
    await app.store.database.execute("UPDATE users SET verified_at = NULL")
    for name in ("Bob", "Charlie"):
        await signup.sign_up_privately(
            app.store,
            name=name,
            email=f"{name.lower()}@example.com",
            password=Secret(PASSWORD),
            client=LAPTOP,
        )
    await deliver(Mailer(app.store))
    clock.move(days=7, minutes=5)
    await prune(app.store)
    assert await app.rows("SELECT name FROM users") == [("Ada",)]
    clock.move(days=1)
    await prune(app.store)
    assert await app.count("outbox") == 0


@BOTH
async def test_concurrent_senders_claim_each_message_once(app: TestApp, mailer: Mailer) -> None:
    for number in range(12):
        user = await app.browser(f"User{number}")
        assert (await user.sign_up()).status_code == 303

    async def send() -> list[str]:
        sent = []
        while message := await outbox.claim(mailer):
            await asyncio.sleep(0)
            assert await outbox.mark_sent(mailer, message)
            sent.append(message.recipient)
        return sent

    sent = [email for part in await asyncio.gather(*(send() for _ in range(4))) for email in part]
    assert sorted(sent) == sorted(f"user{number}@example.com" for number in range(12))
    assert await app.rows("SELECT DISTINCT recipient, facts FROM outbox") == [("", "")]


@BOTH
async def test_a_message_is_tried_again_with_growing_waits_and_then_given_up(
    app: TestApp, mailer: Mailer, alice: Browser, clock: Clock
) -> None:
    waits = []
    await app.change("UPDATE outbox SET expires_at = '2027-01-01T00:00:00.000000+00:00'")
    while message := await outbox.claim(mailer):
        assert await outbox.retry_later(mailer, message, "451 try later")
        before = clock()
        due = (await app.rows("SELECT due_at FROM outbox"))[0][0]
        if due is None:
            break
        while not (await app.rows(f"SELECT 1 FROM outbox WHERE due_at <= '{clock().isoformat()}'")):
            clock.move(seconds=30)
        waits.append((clock() - before).total_seconds() / 60)
    expected = [1, 2, 5, 15, 30, 60, 120, 240, 360]
    assert all(abs(wait - e) <= e * 0.1 + 0.5 for wait, e in zip(waits, expected, strict=True))
    assert await app.rows("SELECT attempts, error FROM outbox") == [(10, "451 try later")]


@BOTH
async def test_a_message_whose_link_is_about_to_expire_is_not_sent(
    app: TestApp, mailer: Mailer, alice: Browser, clock: Clock
) -> None:
    clock.move(hours=18)
    assert await outbox.claim(mailer) is None
    assert await app.rows("SELECT error, sent_at FROM outbox") == [("expired", None)]
    assert (await email_verification.get_state(await app.viewer_of(alice))).is_refused


@BOTH
async def test_a_late_sender_marks_nothing(
    app: TestApp, mailer: Mailer, alice: Browser, clock: Clock
) -> None:
    late = await outbox.claim(mailer)
    clock.move(minutes=6)
    again = await outbox.claim(mailer)
    assert late is not None and again is not None and again.id == late.id
    assert not await outbox.mark_sent(mailer, late)
    assert await outbox.mark_sent(mailer, again)


@BOTH
@pytest.mark.asvs("S60")
async def test_one_email_gets_few_mails_however_often_it_is_asked(
    make_app: Callable, clock: Clock
) -> None:
    app = await make_app(mail=OutboxState(is_enabled=True), RATE_LIMITS="enforce")
    mailer = Mailer(app.store)
    await app.create("Alice")
    sent = 0
    for number in range(60):
        client = replace(LAPTOP, ip_address=f"198.51.100.{number}")
        await password_reset.request_reset(app.store, email="alice@example.com", client=client)
        sent += len(await deliver(mailer))
        clock.move(minutes=2)
    assert sent == 5


@BOTH
async def test_one_new_email_gets_few_mails_however_many_users_ask(
    make_app: Callable, clock: Clock
) -> None:
    app = await make_app(mail=OutboxState(is_enabled=True), RATE_LIMITS="enforce")
    mailer, sent, email = Mailer(app.store), 0, "victim@example.com"
    viewers = [await app.viewer_of(await app.sign_up_user(name)) for name in ("Alice", "Bob")]
    await deliver(mailer)
    for viewer in viewers:
        for _ in range(4):
            await email_change.request_change(confirmed(viewer), email=email)
            sent += "change" in await deliver(mailer)
            assert (await email_verification.get_state(viewer)).pending_email == email
    assert sent == 5


@BOTH
async def test_a_request_above_the_limit_keeps_the_last_link(
    make_app: Callable, clock: Clock
) -> None:
    app = await make_app(mail=OutboxState(is_enabled=True), RATE_LIMITS="enforce")
    mailer = Mailer(app.store)
    await app.create("Alice")
    email = "alice@example.com"
    await password_reset.request_reset(app.store, email=email, client=LAPTOP)
    message = (await deliver(mailer))["reset"]
    clock.move(seconds=20)
    attacker = replace(LAPTOP, ip_address="198.51.100.1")
    await password_reset.request_reset(app.store, email=email, client=attacker)
    assert await deliver(mailer) == {}
    await password_reset.reset_password(app.store, **link_of(message), password=NEW, client=LAPTOP)


@BOTH
@pytest.mark.asvs("S86")
async def test_no_stored_value_opens_a_link(app: TestApp, mailer: Mailer, alice: Browser) -> None:
    await password_reset.request_reset(app.store, email=alice.email, client=LAPTOP)
    message = (await deliver(mailer))["reset"]
    assert message.token is not None
    assert message.token.reveal().encode() not in app.stored()
    for (value,) in await app.rows("SELECT hash FROM tokens UNION SELECT id FROM outbox"):
        with pytest.raises(LinkInvalid):
            await links.find_link(app.store, "reset", Secret(value))


@BOTH
@pytest.mark.asvs("S11")
async def test_a_token_is_valid_for_its_own_purpose_only(
    app: TestApp, mailer: Mailer, alice: Browser
) -> None:
    viewer = await verified(app, mailer, alice)
    await password_reset.request_reset(app.store, email=alice.email, client=LAPTOP)
    tokens = {"reset": (await deliver(mailer))["reset"].token}
    await email_change.request_change(confirmed(viewer), email="b@example.com")
    tokens["change"] = (await deliver(mailer))["change"].token
    await (await app.browser("Alice")).log_in()
    tokens["not-me"] = (await deliver(mailer))["new-device"].token
    for purpose, token in tokens.items():
        for other in ("verify", "reset", "change", "not-me"):
            if other == purpose:
                assert (await links.find_link(app.store, other, token)).user_id == viewer.id
            else:
                with pytest.raises(LinkInvalid):
                    await links.find_link(app.store, other, token)


@BOTH
async def test_without_mail_nothing_is_written(make_app: Callable) -> None:
    app = await make_app()
    await app.sign_up_user("Alice")
    assert (await app.count("outbox"), await app.count("tokens")) == (0, 0)


@BOTH
async def test_a_removed_key_leaves_a_message_without_its_link(
    app: TestApp, mailer: Mailer, alice: Browser
) -> None:
    message = await outbox.claim(mailer)
    assert message is not None and message.has_link
    assert derive_token(app.store, message.id, "a removed key") is None


@BOTH
async def test_links_are_asked_for_at_a_bounded_rate(make_app: Callable) -> None:
    app = await make_app(mail=OutboxState(is_enabled=True), RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    viewer = await app.viewer_of(alice)
    await email_verification.send_again(viewer)
    with pytest.raises(RateLimited):
        await email_verification.send_again(viewer)
    assert await app.count("outbox") == 1


@BOTH
async def test_each_use_of_a_link_is_recorded_with_masked_emails(
    app: TestApp, mailer: Mailer, alice: Browser
) -> None:
    viewer = await verified(app, mailer, alice)
    moved = (await changed_to(app, mailer, viewer, "alice.new@example.com"))["moved"]
    await account_lock.lock_account(app.store, **link_of(moved), client=LAPTOP)
    locked = (await deliver(mailer))["locked"]
    await password_reset.reset_password(app.store, **link_of(locked), password=NEW, client=LAPTOP)
    await password_reset.request_reset(app.store, email=alice.email, client=LAPTOP)
    await deliver(mailer)
    entries = await app.rows("SELECT event, actor, detail FROM audit ORDER BY number")
    assert entries[1:] == [
        ("email.verify", "user", ""),
        ("email.ask", "user", '{"email": "a\\u2026@example.com"}'),
        (
            "email.change",
            "user",
            '{"from": "a\\u2026@example.com", "to": "a\\u2026@example.com"}',
        ),
        ("account.lock", "user", '{"ended": 1}'),
        ("password.reset", "user", '{"ended": 0}'),
        ("password.ask", "anonymous", ""),
    ]
    assert {event for event, _, _ in entries} == MAIL_EVENTS - {"account.expire"} | {"signup"}


@BOTH
@pytest.mark.asvs("S79")
async def test_a_new_password_is_told_to_a_confirmed_email(
    app: TestApp, mailer: Mailer, alice: Browser
) -> None:
    viewer = await verified(app, mailer, alice)
    assert await account.change_password(viewer, current=Secret(PASSWORD), new=NEW)
    message = (await deliver(mailer))["password"]
    assert (message.recipient, message.facts["by"]) == (alice.email, "you")
    await operator.set_user_password(Operator(app.store), alice.email, Secret(PASSWORD))
    message = (await deliver(mailer))["password"]
    assert message.facts["by"] == "the operator"


@BOTH
@pytest.mark.asvs("S79")
async def test_guesses_are_told_to_a_confirmed_email_once_a_day(
    make_app: Callable, clock: Clock
) -> None:
    app = await make_app(mail=OutboxState(is_enabled=True), RATE_LIMITS="enforce")
    mailer = Mailer(app.store)
    await app.create("Alice")
    for email in ("alice@example.com", "nobody@example.com"):
        charlie = await app.browser("Charlie", email=email, password="a wrong No.1 x")
        for _ in range(30):
            await charlie.log_in()
            clock.move(minutes=1)
    sent = [message async for message in delivered(mailer)]
    assert [(message.message_type, message.recipient) for message in sent] == [
        ("guesses", "alice@example.com")
    ]


async def delivered(mailer: Mailer) -> AsyncIterator[Message]:
    while await outbox.resolve_next(mailer):
        pass
    while message := await outbox.claim(mailer):
        await outbox.mark_sent(mailer, message)
        yield message


@BOTH
async def test_the_start_warns_of_users_who_can_no_longer_log_in(
    make_app: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    optional = await make_app(mail=OutboxState(is_enabled=True))
    await optional.sign_up_user("Alice")
    await warn_of_unconfirmed_users(optional.store)
    assert "confirmed" not in caplog.text
    required = await make_app(
        optional.path, mail=OutboxState(is_enabled=True, requires_verification=True)
    )
    await warn_of_unconfirmed_users(required.store)
    assert "1 users who have logged in before have not confirmed their email" in caplog.text


@BOTH
@pytest.mark.asvs("S16")
async def test_links_end_stateless_sessions_too(make_app: Callable, clock: Clock) -> None:
    app = await make_app(mail=OutboxState(is_enabled=True), SESSION_STRATEGY="stateless")
    mailer, alice = Mailer(app.store), await app.sign_up_user("Alice")
    viewer = await verified(app, mailer, alice)
    moved = (await changed_to(app, mailer, viewer, "alice.new@example.com"))["moved"]
    assert await alice.is_logged_in(), "a change of email ends no session"
    await account_lock.lock_account(app.store, **link_of(moved), client=LAPTOP)
    assert not await alice.is_logged_in()
    locked = (await deliver(mailer))["locked"]
    await password_reset.reset_password(app.store, **link_of(locked), password=NEW, client=LAPTOP)
    laptop = await app.browser("Alice", password=NEW.reveal())
    assert (await laptop.log_in()).status_code == 303
    await password_reset.request_reset(app.store, email=alice.email, client=LAPTOP)
    link = link_of((await deliver(mailer))["reset"])
    await password_reset.reset_password(app.store, **link, password=Secret(PASSWORD), client=LAPTOP)
    assert not await laptop.is_logged_in()


@BOTH
@pytest.mark.asvs("S13", "S80")
async def test_a_change_of_email_ends_the_links_to_the_old_one(
    app: TestApp, mailer: Mailer, alice: Browser
) -> None:
    viewer = await app.viewer_of(alice)
    await password_reset.request_reset(app.store, email=alice.email, client=LAPTOP)
    assert set(await deliver(mailer)) == {"verify", "reset"}
    await changed_to(app, mailer, viewer, "alice.new@example.com")
    assert await app.rows("SELECT purpose FROM tokens") == []


@BOTH
async def test_guesses_are_not_told_to_an_unconfirmed_email(
    make_app: Callable, clock: Clock
) -> None:
    app = await make_app(mail=OutboxState(is_enabled=True), RATE_LIMITS="enforce")
    await app.sign_up_user("Alice")
    await deliver(Mailer(app.store))
    attacker = await app.browser("Alice", password="a wrong No.1 x")
    for _ in range(30):
        await attacker.log_in()
        clock.move(minutes=1)
    assert await deliver(Mailer(app.store)) == {}


@BOTH
async def test_users_who_have_logged_in_are_kept_when_confirmation_becomes_required(
    make_app: Callable, clock: Clock
) -> None:
    optional = await make_app(mail=OutboxState(is_enabled=True))
    await optional.sign_up_user("Alice")
    required = await make_app(
        optional.path, mail=OutboxState(is_enabled=True, requires_verification=True)
    )
    clock.move(days=8)
    await prune(required.store)
    assert await required.rows("SELECT name FROM users") == [("Alice",)]
