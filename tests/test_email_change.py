"""Tests of changing the email of an account, which counts after its link was opened."""

from collections.abc import Callable

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

NEW = "alice@new.example"
DEAD = "This link was used already, has expired, or was replaced by a newer mail."
BOTH_REQUEST_TYPES = pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
ASK = {"email": NEW}


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app(mail=enabled_outbox())


@pytest.fixture
async def mail(app: TestApp, alice: Browser) -> Message:
    """Returns the mail to Alice's new email."""
    await alice.post("/account/email", ASK)
    return await receive(app, "change")


async def state_of(app: TestApp) -> list[list[tuple]]:
    """Returns all rows that a refused request must not change."""
    return [
        await app.rows(f"SELECT * FROM {table} ORDER BY 1")
        for table in ("users", "tokens", "outbox")
    ]


async def email_of(app: TestApp, name: str = "Alice") -> str:
    return (await app.rows(f"SELECT email FROM users WHERE name = '{name}'"))[0][0]


# The request


async def test_the_account_page_has_a_form_for_the_email(app: TestApp, alice: Browser) -> None:
    page = read(await alice.get("/account"))
    form = page.one("form", id="email-form")
    assert form.one(name="viewer").attrs["value"] == (await app.viewer_of(alice)).id
    fields = {
        field.attrs["id"]: field.attrs["autocomplete"] for field in form.all("input", id=True)
    }
    assert fields == {"email-email": "email"}
    assert page.all(id="pending-email") == []


async def test_a_plain_request_sends_a_link_and_keeps_the_email(
    app: TestApp, alice: Browser
) -> None:
    answer = await alice.post("/account/email", ASK)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    page = await alice.get("/account")
    assert "We sent a link to the new email." in main_text(page)
    pending = read(page).one(id="pending-email").text
    assert f"We sent a link to {NEW}. Open it in a browser where you're logged in." in pending
    assert (await receive(app, "change")).recipient == NEW
    assert await email_of(app) == alice.email


async def test_an_htmx_request_returns_the_pending_email_and_a_toast(alice: Browser) -> None:
    fragment = read(await alice.post_fragment("/account/email", ASK))
    assert NEW in fragment.one(id="email-change").one(id="pending-email").text
    assert fragment.one("input", id="email-email").attrs["value"] == ""
    toast = fragment.one(data_hx_swap_oob="beforeend:#toasts").text
    assert "We sent a link to the new email." in toast


@BOTH_REQUEST_TYPES
@pytest.mark.parametrize(
    ("typed", "field", "sentence"),
    [
        ({"email": "alice@"}, "email", "Please enter a valid email."),
        ({"email": " ALICE@example.com"}, "email", "This is already your email."),
    ],
)
async def test_a_refused_request_keeps_the_typed_email_and_sends_nothing(
    app: TestApp, alice: Browser, send: Callable, typed: dict, field: str, sentence: str
) -> None:
    before = await state_of(app)
    fields = ASK | typed
    answer = await send(alice, "/account/email", fields)
    page = read(answer)
    assert (answer.status_code, sentence in page.one(id="error-summary").text) == (422, True)
    assert sentence in page.one(id=f"email-{field}-message").text
    assert page.one("input", id="email-email").attrs["value"] == fields["email"]
    assert PASSWORD not in answer.text
    assert await state_of(app) == before


@BOTH_REQUEST_TYPES
async def test_a_taken_email_gets_the_same_answer_and_its_user_a_mail(
    app: TestApp, alice: Browser, bob: Browser, send: Callable
) -> None:
    await deliver(app)
    answers = []
    for email in (NEW, "bob@example.com"):
        answer = await send(alice, "/account/email", ASK | {"email": email})
        page = await alice.get("/account")
        assert email in read(page).one(id="pending-email").text
        texts = [read(shown).text.replace(email, "") for shown in (answer, page)]
        answers.append((answer.status_code, answer.headers.get("location"), texts))
        await alice.post("/account/email/cancel")
        await alice.get("/account")  # takes the message about it
    assert answers[0] == answers[1]
    assert (await receive(app, "exists")).recipient == bob.email
    assert await email_of(app) == alice.email


async def test_requests_are_rate_limited_per_account(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox(), RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    for _ in range(5):
        assert (await alice.post("/account/email", ASK)).status_code == 303
    before, hashes = await state_of(app), app.hashes
    for send in (Browser.post, Browser.post_fragment):
        answer = await send(alice, "/account/email", ASK)
        assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (429, True)
        summary = read(answer).one(id="error-summary").text
        assert "Too many attempts to change your email." in summary
    assert (await state_of(app), app.hashes) == (before, hashes)


@BOTH_REQUEST_TYPES
async def test_a_canceled_change_ends_its_link(
    app: TestApp, mail: Message, alice: Browser, send: Callable
) -> None:
    answer = await send(alice, "/account/email/cancel")
    assert answer.status_code in (200, 303)
    assert read(await alice.get("/account")).all(id="pending-email") == []
    await open_link(alice, mail)
    assert (await alice.get("/change-email")).status_code == 410
    assert await email_of(app) == "alice@example.com"


# The link


@BOTH_REQUEST_TYPES
async def test_the_link_changes_the_email_and_keeps_the_sessions(
    app: TestApp, mail: Message, alice: Browser, alices_phone: Browser, send: Callable
) -> None:
    await open_link(alice, mail)
    text = main_text(await alice.get("/change-email"))
    assert NEW in text
    assert "alice@example.com" in text
    answer = await send(alice, "/change-email", link_field(mail))
    target = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert (answer.status_code, target) in [(303, "/account"), (204, "/account")]
    assert set_cookie_of(answer)["link"]["max-age"] == "0"
    page = main_text(await alice.get("/account"))
    assert "Email changed." in page
    assert f"You log in as {NEW}." in page
    assert await alices_phone.is_logged_in()
    laptop = await app.browser("Alice")
    assert (await laptop.log_in()).status_code == 422
    laptop.email = NEW
    assert (await laptop.log_in()).status_code == 303


@pytest.mark.asvs("S32", "S73")
async def test_opening_the_link_and_its_page_changes_nothing(
    app: TestApp, mail: Message, alice: Browser
) -> None:
    before = await state_of(app)
    for method in ("GET", "HEAD"):
        for path in (f"/change-email/{mail.token.reveal()}", "/change-email"):
            assert (await alice.request(method, path)).status_code in (200, 303)
    assert await state_of(app) == before


async def test_an_anonymous_user_logs_in_on_the_way(
    app: TestApp, mail: Message, alice: Browser
) -> None:
    laptop = await app.browser("Alice")
    await open_link(laptop, mail)
    assert (await laptop.get("/change-email")).headers["location"] == "/login?next=/change-email"
    page = await laptop.get("/login?next=/change-email")
    assert "Log in to confirm your new email." in main_text(page)
    assert (await laptop.log_in(next="/change-email")).headers["location"] == "/change-email"
    assert (await laptop.post("/change-email", link_field(mail))).status_code == 303
    assert await email_of(app) == NEW


@pytest.mark.parametrize("send", [Browser.get, Browser.post, Browser.post_fragment])
async def test_the_link_of_another_account_changes_nothing(
    app: TestApp, mail: Message, bob: Browser, send: Callable
) -> None:
    await open_link(bob, mail)
    before = await state_of(app)
    answer = await send(bob, "/change-email", *(() if send is Browser.get else (link_field(mail),)))
    assert answer.status_code == 410
    assert "This link belongs to another account." in main_text(answer)
    assert await state_of(app) == before


@pytest.mark.asvs("S12", "S13")
@pytest.mark.parametrize("send", [Browser.get, Browser.post, Browser.post_fragment])
@pytest.mark.parametrize("cause", ["used", "expired", "superseded", "never opened"])
async def test_a_dead_link_changes_nothing_and_leads_to_the_form(
    app: TestApp, mail: Message, alice: Browser, send: Callable, cause: str
) -> None:
    if cause == "used":
        await open_link(alice, mail)
        await alice.post("/change-email", link_field(mail))
    app.clock.move(minutes=60 if cause == "expired" else 1)
    if cause == "superseded":
        await alice.post("/account/email", ASK | {"email": "alice@third.example"})
    if cause != "never opened":
        await open_link(alice, mail)
    before = await state_of(app)
    answer = await send(
        alice, "/change-email", *(() if send is Browser.get else (link_field(mail),))
    )
    assert (answer.status_code, DEAD in main_text(answer)) == (410, True)
    (way_on,) = [link for link in read(answer).all("a") if link.text == "Go to your account"]
    assert way_on.attrs["href"] == "/account"
    assert await state_of(app) == before


async def test_an_email_that_was_taken_since_is_not_changed(
    app: TestApp, mail: Message, alice: Browser
) -> None:
    await app.sign_up_user("Bob", email=NEW)
    await open_link(alice, mail)
    assert (await alice.post("/change-email", link_field(mail))).status_code == 410
    assert await email_of(app) == alice.email


async def test_a_form_of_another_link_changes_nothing(
    app: TestApp, mail: Message, alice: Browser
) -> None:
    await open_link(alice, mail)
    assert (await alice.post("/change-email", {"link": "0" * 16})).status_code == 409
    assert await email_of(app) == alice.email


# Notices


async def test_both_emails_are_notified_if_the_old_one_was_confirmed(
    app: TestApp, alice: Browser
) -> None:
    await confirm_email(app, alice)
    await change_email(app, alice, NEW)
    moved, arrived = await receive(app, "moved"), await receive(app, "arrived")
    assert (moved.recipient, moved.facts["masked"]) == ("alice@example.com", "a…@new.example")
    assert (arrived.recipient, arrived.token) == (NEW, None)


async def test_the_activity_shows_the_emails_masked(app: TestApp, alice: Browser) -> None:
    await change_email(app, alice, NEW)
    text = main_text(await alice.get("/account/activity"))
    assert "You asked to change your email to a…@new.example" in text
    assert "You changed your email from a…@example.com to a…@new.example" in text
