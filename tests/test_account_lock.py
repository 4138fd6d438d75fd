"""Tests of the page behind "Not you?" in mails, which locks an account."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from db.access.outbox import Message
from tests.browser_client import PASSWORD, Browser, read, set_cookie_of
from tests.conftest import TestApp
from tests.mail import (
    change_email,
    confirm_email,
    deliver,
    enabled_outbox,
    link_field,
    main_text,
    open_link,
    receive,
)

NEW_EMAIL = "attacker@evil.example"
NEW_PASSWORD = "another-No.7 by the sea"
DEAD = "This link was used already, has expired, or was replaced by a newer mail."
BOTH_REQUEST_TYPES = pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app(mail=enabled_outbox())


@pytest.fixture
async def moved(app: TestApp, alice: Browser) -> Message:
    """Returns the notice to Alice's old email after an attacker with her password changed it."""
    await confirm_email(app, alice)
    attacker = replace(await app.attacker_with_cookie_of(alice), email=alice.email)
    await attacker.confirm()
    await change_email(app, attacker, NEW_EMAIL)
    return await receive(app, "moved")


async def state_of(app: TestApp) -> list[list[tuple]]:
    """Returns all rows that a refused request must not change."""
    return [
        await app.rows(f"SELECT * FROM {table} ORDER BY 1")
        for table in ("users", "sessions", "tokens", "outbox")
    ]


def sure(mail: Message) -> dict[str, str]:
    return {"sure": "yes", **link_field(mail)}


@pytest.mark.asvs("S32", "S73")
async def test_opening_the_link_and_its_page_locks_nothing(
    app: TestApp, moved: Message, anonymous: Browser
) -> None:
    before = await state_of(app)
    for method in ("GET", "HEAD"):
        for path in (f"/not-me/{moved.token.reveal()}", "/not-me", "/not-me?done=1"):
            assert (await anonymous.request(method, path)).status_code in (200, 303)
    assert await state_of(app) == before


async def test_the_page_names_the_email_and_what_happened(
    app: TestApp, moved: Message, alice: Browser, anonymous: Browser
) -> None:
    await open_link(anonymous, moved)
    page = await anonymous.get("/not-me")
    text = main_text(page)
    assert "Lock this account?" in text
    assert "alice@example.com" in text
    assert "The email of this account was alice@example.com, and it was changed." in text
    box = read(page).one("form", id="not-me-form").one("input", id="sure")
    assert (box.attrs["type"], "checked" in box.attrs) == ("checkbox", False)


@BOTH_REQUEST_TYPES
@pytest.mark.parametrize("box", [{}, {"sure": ""}, {"sure": "no"}])
async def test_without_the_ticked_box_nothing_is_locked(
    app: TestApp, moved: Message, anonymous: Browser, send: Callable, box: dict
) -> None:
    await open_link(anonymous, moved)
    before = await state_of(app)
    answer = await send(anonymous, "/not-me", {**box, **link_field(moved)})
    page = read(answer)
    assert answer.status_code == 422
    assert "Tick the box if this wasn't you." in page.one(id="error-summary").text
    assert page.one("input", id="sure").attrs["aria-invalid"] == "true"
    assert await state_of(app) == before


@BOTH_REQUEST_TYPES
async def test_the_lock_returns_the_email_and_ends_every_session(
    app: TestApp, moved: Message, alice: Browser, anonymous: Browser, send: Callable
) -> None:
    await open_link(anonymous, moved)
    answer = await send(anonymous, "/not-me", sure(moved))
    target = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert (answer.status_code, target) in [(303, "/not-me?done=1"), (204, "/not-me?done=1")]
    assert set_cookie_of(answer)["link"]["max-age"] == "0"
    text = main_text(await anonymous.get(target))
    assert "We sent you a link to choose a new password." in text
    assert await app.rows("SELECT email FROM users") == [("alice@example.com",)]
    assert await app.count("sessions") == 0
    assert not await alice.is_logged_in()
    laptop = await app.browser("Alice")
    assert (await laptop.log_in(PASSWORD)).status_code == 422


async def test_the_user_returns_by_the_mail_about_the_lock(
    app: TestApp, moved: Message, anonymous: Browser
) -> None:
    await open_link(anonymous, moved)
    await anonymous.post("/not-me", sure(moved))
    locked = await receive(app, "locked")
    assert locked.recipient == "alice@example.com"
    await open_link(anonymous, locked)
    fields = {"password": NEW_PASSWORD, **link_field(locked)}
    assert (await anonymous.post("/reset", fields)).status_code == 303
    laptop = await app.browser("Alice")
    assert (await laptop.log_in(NEW_PASSWORD)).status_code == 303


async def test_the_lock_deletes_the_session_cookie_of_its_own_account(
    app: TestApp, moved: Message, alice: Browser, bob: Browser
) -> None:
    await open_link(alice, moved)
    answer = await alice.post("/not-me", sure(moved))
    assert set_cookie_of(answer)["session"]["max-age"] == "0"
    assert await bob.is_logged_in()


async def test_another_users_session_survives_the_lock(
    app: TestApp, moved: Message, bob: Browser
) -> None:
    await open_link(bob, moved)
    answer = await bob.post("/not-me", sure(moved))
    assert (answer.status_code, "session" in set_cookie_of(answer)) == (303, False)
    assert await bob.is_logged_in()


@pytest.mark.asvs("S12")
@pytest.mark.parametrize("send", [Browser.get, Browser.post, Browser.post_fragment])
@pytest.mark.parametrize("cause", ["used", "expired", "never opened", "another purpose"])
async def test_a_dead_link_locks_nothing_and_leads_to_a_new_password(
    app: TestApp, moved: Message, anonymous: Browser, send: Callable, cause: str
) -> None:
    mail = moved
    if cause == "used":
        await open_link(anonymous, mail)
        await anonymous.post("/not-me", sure(mail))
    if cause == "expired":
        app.clock.move(days=7)
    if cause == "another purpose":
        await anonymous.post("/forgot", {"email": NEW_EMAIL})
        mail = await receive(app, "reset")
    if cause != "never opened":
        await anonymous.get(f"/not-me/{mail.token.reveal()}")
    before = await state_of(app)
    answer = await send(anonymous, "/not-me", *(() if send is Browser.get else (sure(mail),)))
    assert (answer.status_code, DEAD in main_text(answer)) == (410, True)
    links = {link.text: link.attrs["href"] for link in read(answer).all("a")}
    assert links["Choose a new password"] == "/forgot"
    assert await state_of(app) == before


async def test_a_form_of_another_link_locks_nothing(
    app: TestApp, moved: Message, anonymous: Browser
) -> None:
    await open_link(anonymous, moved)
    before = await state_of(app)
    for fields in ({"sure": "yes"}, {"sure": "yes", "link": "0" * 16}):
        assert (await anonymous.post("/not-me", fields)).status_code == 409
    assert await state_of(app) == before


@BOTH_REQUEST_TYPES
async def test_locks_are_rate_limited_per_client(make_app: Callable, send: Callable) -> None:
    app = await make_app(mail=enabled_outbox(), RATE_LIMITS="enforce")
    charlie = await app.browser("Charlie")
    for number in range(11):
        await app.create(f"user{number}")
        device = await app.browser(f"user{number}")
        assert (await device.log_in()).status_code == 303
    for number in range(11):
        mail = await receive(app, "new-device", f"user{number}@example.com")
        await open_link(charlie, mail)
        before = await state_of(app)
        answer = await send(charlie, "/not-me", sure(mail))
        assert (answer.status_code == 429) is (number == 10)
    assert await state_of(app) == before
    assert int(answer.headers["retry-after"]) > 0


async def test_a_notice_of_a_new_device_locks_the_account(app: TestApp, alice: Browser) -> None:
    await confirm_email(app, alice)
    attacker = await app.browser("Alice")
    assert (await attacker.log_in()).status_code == 303
    mail = await receive(app, "new-device")
    charlie = await app.browser("Charlie")
    await open_link(charlie, mail)
    assert "Someone logged in as" in main_text(await charlie.get("/not-me"))
    await charlie.post("/not-me", sure(mail))
    assert not await attacker.is_logged_in()
    assert not await alice.is_logged_in()


async def test_a_notice_of_a_new_password_locks_the_account(app: TestApp, alice: Browser) -> None:
    await confirm_email(app, alice)
    fields = {"current_password": PASSWORD, "password": NEW_PASSWORD}
    assert (await alice.post("/account/password", fields)).status_code == 303
    mail = await receive(app, "password")
    charlie = await app.browser("Charlie")
    await open_link(charlie, mail)
    assert "was changed. If it wasn't you" in main_text(await charlie.get("/not-me"))
    await charlie.post("/not-me", sure(mail))
    assert not await alice.is_logged_in()
    assert [message.message_type for message in await deliver(app)] == ["locked"]


async def test_the_lock_ends_the_invitations_of_an_intruder(app: TestApp) -> None:
    ada = await app.admin()
    mail = await receive(app, "new-device")
    intruder = await app.attacker_with_cookie_of(ada)
    await intruder.confirm()
    invited = {"email": NEW_EMAIL, "role": "admin", "team": ""}
    assert (await intruder.post("/admin/invitations", invited)).status_code == 303
    invitation = await receive(app, "invite")
    charlie = await app.browser("Charlie")
    await open_link(charlie, mail)
    assert (await charlie.post("/not-me", sure(mail))).status_code == 303
    await open_link(charlie, invitation)
    fields = {"name": "Charlie", "password": NEW_PASSWORD, **link_field(invitation)}
    assert (await charlie.post("/join", fields)).status_code == 410
    assert await app.rows("SELECT email FROM users") == [("ada@example.com",)]
