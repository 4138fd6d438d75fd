"""Tests of confirming an email, and of the settings that require it before a log-in."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from db.access.outbox import Message
from tests.browser_client import Browser, read, set_cookie_of, without_challenges
from tests.conftest import TestApp
from tests.mail import confirm_email, enabled_outbox, link_field, main_text, open_link, receive
from web.http.session import verify_session

DEAD = "This link was used already, has expired, or was replaced by a newer mail."
BOTH_REQUEST_TYPES = pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
NO_MATCH = "Email or password is incorrect."


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app(mail=enabled_outbox())


@pytest.fixture
async def mail(app: TestApp, alice: Browser) -> Message:
    """Returns the mail that Alice gets after her sign-up."""
    return await receive(app, "verify", alice.email)


async def state_of(app: TestApp) -> list[list[tuple]]:
    """Returns all rows that a refused request must not change."""
    return [
        await app.rows(f"SELECT * FROM {table} ORDER BY 1")
        for table in ("users", "tokens", "outbox")
    ]


async def is_verified(app: TestApp, user: Browser) -> bool:
    return (await app.viewer_of(user)).verified


# The link


@BOTH_REQUEST_TYPES
async def test_the_link_and_a_session_confirm_the_email(
    app: TestApp, mail: Message, alice: Browser, send: Callable
) -> None:
    await open_link(alice, mail)
    page = read(await alice.get("/verify"))
    assert alice.email in page.one("main").text
    assert page.one(id="verify-form").one(name="link").attrs["value"] == link_field(mail)["link"]
    assert not await is_verified(app, alice)
    answer = await send(alice, "/verify", link_field(mail))
    target = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert (answer.status_code, target) in [(303, "/dashboard"), (204, "/dashboard")]
    assert set_cookie_of(answer)["link"]["max-age"] == "0"
    assert await is_verified(app, alice)
    dashboard = read(await alice.get("/dashboard"))
    assert dashboard.one(role="status", **{"class": "flash"}).text == "Email confirmed."
    assert dashboard.all(id="verify-banner") == []


@pytest.mark.asvs("S32", "S73")
async def test_opening_the_link_and_its_page_confirms_nothing(
    app: TestApp, mail: Message, alice: Browser
) -> None:
    before = await state_of(app)
    for method in ("GET", "HEAD"):
        for path in (f"/verify/{mail.token.reveal()}", "/verify"):
            assert (await alice.request(method, path)).status_code in (200, 303)
    assert await state_of(app) == before


async def test_an_anonymous_user_logs_in_on_the_way(
    app: TestApp, mail: Message, alice: Browser
) -> None:
    laptop = await app.browser("Alice")
    await open_link(laptop, mail)
    assert (await laptop.get("/verify")).headers["location"] == "/login?next=/verify"
    page = await laptop.get("/login?next=/verify")
    assert "Log in to confirm your email." in main_text(page)
    answer = await laptop.log_in(next="/verify")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert set_cookie_of(answer)["link"]["max-age"] == "0"
    assert await is_verified(app, laptop)
    assert "Email confirmed." in main_text(await laptop.get("/dashboard"))


async def test_a_wrong_password_confirms_nothing(
    app: TestApp, mail: Message, alice: Browser
) -> None:
    laptop = await app.browser("Alice")
    await open_link(laptop, mail)
    answer = await laptop.log_in("wrong-No.1", next="/verify")
    assert (answer.status_code, "link" in set_cookie_of(answer)) == (422, False)
    assert not await is_verified(app, alice)


@BOTH_REQUEST_TYPES
@pytest.mark.parametrize("page", ["/verify", "/login"])
async def test_the_link_of_another_account_confirms_nothing(
    app: TestApp, mail: Message, alice: Browser, bob: Browser, page: str, send: Callable
) -> None:
    await open_link(bob, mail)
    if page == "/login":
        await bob.post("/logout")
        answer = await bob.log_in(next="/verify")
        assert (answer.status_code, answer.headers["location"]) == (303, "/verify")
    before = await state_of(app)
    for answer in (await bob.get("/verify"), await send(bob, "/verify", link_field(mail))):
        assert answer.status_code == 410
        text = "This link belongs to another account. Log out, then open the link again."
        assert text in main_text(answer)
        forms = [form.attrs["action"] for form in read(answer).one(**ERROR).all("form")]
        assert forms == ["/logout"]
        assert "link" not in set_cookie_of(answer)
    assert await state_of(app) == before


ERROR = {"class": "error-page"}


@pytest.mark.asvs("S12")
@pytest.mark.parametrize("send", [Browser.get, Browser.post, Browser.post_fragment])
async def test_a_used_link_says_that_the_email_is_confirmed(
    app: TestApp, mail: Message, alice: Browser, send: Callable
) -> None:
    await confirm_email(app, alice)
    await open_link(alice, mail)
    before = await state_of(app)
    answer = await send(alice, "/verify", *(() if send is Browser.get else (link_field(mail),)))
    assert (answer.status_code, set_cookie_of(answer)["link"]["max-age"]) == (410, "0")
    assert DEAD in main_text(answer)
    assert "Your email is already confirmed" in main_text(answer)
    assert await state_of(app) == before


@pytest.mark.asvs("S13")
@pytest.mark.parametrize("send", [Browser.get, Browser.post, Browser.post_fragment])
@pytest.mark.parametrize("cause", ["expired", "superseded", "never opened"])
async def test_a_dead_link_offers_a_new_mail(
    app: TestApp, mail: Message, alice: Browser, send: Callable, cause: str
) -> None:
    app.clock.move(hours=24 if cause == "expired" else 1)
    if cause == "superseded":
        await alice.post("/account/verify")
    if cause != "never opened":
        await open_link(alice, mail)
    answer = await send(alice, "/verify", *(() if send is Browser.get else (link_field(mail),)))
    assert (answer.status_code, DEAD in main_text(answer)) == (410, True)
    assert not await is_verified(app, alice)
    form = read(answer).one(**ERROR).one("form")
    assert (form.attrs["action"], form.one("button").text) == (
        "/account/verify",
        "Send a new link",
    )
    sent = await alice.post("/account/verify", Referer="http://localhost:8000/verify")
    assert (sent.status_code, sent.headers["location"]) == (303, "/dashboard")


async def test_a_form_of_another_link_confirms_nothing(
    app: TestApp, mail: Message, alice: Browser
) -> None:
    await open_link(alice, mail)
    before = await state_of(app)
    for fields in ({}, {"link": "0" * 16}):
        assert (await alice.post("/verify", fields)).status_code == 409
    assert await state_of(app) == before


async def test_a_confirmation_needs_few_statements(
    app: TestApp, mail: Message, alice: Browser
) -> None:
    await open_link(alice, mail)
    before = app.statements
    await alice.post("/verify", link_field(mail))
    assert app.statements - before <= 9


# The banner


@pytest.mark.parametrize("path", ["/dashboard", "/account"])
async def test_the_banner_is_shown_until_the_email_is_confirmed(
    app: TestApp, alice: Browser, path: str
) -> None:
    banner = read(await alice.get(path)).one(id="verify-banner")
    assert "Confirm your email: we sent a link to alice@example.com." in banner.text
    assert banner.one("button", id="resend").text == "Send it again"
    await confirm_email(app, alice)
    assert read(await alice.get(path)).all(id="verify-banner") == []


async def test_the_banner_costs_no_statement(app: TestApp, alice: Browser) -> None:
    costs = []
    for path in ("/dashboard", "/account"):
        before = app.statements
        await alice.get(path)
        costs.append(app.statements - before)
    assert costs == [2, 2]


async def test_the_banner_of_an_unconfirmed_administrator(app: TestApp, alice: Browser) -> None:
    await app.change_role(alice, "admin")
    page = read(await alice.get("/dashboard"))
    assert page.one(data_dashboard="admin")
    assert alice.email in page.one(id="verify-banner").text


@pytest.mark.parametrize("path", ["/dashboard", "/account"])
async def test_the_banner_says_that_the_mail_was_refused(
    app: TestApp, mail: Message, alice: Browser, path: str
) -> None:
    await app.change("UPDATE outbox SET sent_at = NULL, error = '550 no such user'")
    banner = read(await alice.get(path)).one(id="verify-banner")
    assert "Our mail to alice@example.com couldn't be delivered." in banner.text
    assert banner.one("a").attrs["href"].startswith("/account#")
    app.clock.move(hours=1)
    await alice.post("/account/verify")
    assert "we sent a link to" in read(await alice.get(path)).one(id="verify-banner").text


async def test_a_plain_form_sends_a_new_link_and_returns_to_its_page(
    app: TestApp, mail: Message, alice: Browser
) -> None:
    app.clock.move(hours=1)
    for page in ("/dashboard", "/account"):
        answer = await alice.post("/account/verify", Referer=f"http://localhost:8000{page}")
        assert (answer.status_code, answer.headers["location"]) == (303, page)
        assert "We sent a new link." in main_text(await alice.get(page))
    await open_link(alice, mail)
    assert (await alice.get("/verify")).status_code == 410
    await confirm_email(app, alice)


async def test_htmx_gets_the_banner_and_a_toast(
    app: TestApp, mail: Message, alice: Browser
) -> None:
    app.clock.move(hours=1)
    fragment = read(await alice.post_fragment("/account/verify"))
    assert fragment.one(id="verify-banner")
    assert "We sent a new link." in fragment.one(data_hx_swap_oob="beforeend:#toasts").text
    assert fragment.all(id="main") == []


async def test_another_mail_is_rate_limited(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox(), RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    await receive(app, "verify")
    app.clock.move(hours=1)
    assert (await alice.post("/account/verify")).status_code == 303
    before = await state_of(app)
    page, fragment = (
        await alice.post("/account/verify"),
        await alice.post_fragment("/account/verify"),
    )
    assert await state_of(app) == before
    for answer in (page, fragment):
        assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (429, True)
        banner = read(answer).one(id="verify-banner").text
        assert "We sent one a moment ago. Try again in" in banner
    assert read(fragment).one("hx-partial").attrs["hx-target"] == "#verify-banner"
    assert read(page).one("html").one(id="nav")


async def test_no_mail_is_sent_for_a_confirmed_email(app: TestApp, alice: Browser) -> None:
    await confirm_email(app, alice)
    before = await app.count("outbox")
    app.clock.move(hours=1)
    assert (await alice.post("/account/verify")).status_code == 303
    assert await app.count("outbox") == before


async def test_a_page_that_needs_a_confirmed_email_shows_the_banner(
    app: TestApp, alice: Browser
) -> None:
    """An example of a developer's own page."""
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response

    from db.viewer import require_verified
    from web.router import Members

    async def show(request: Request) -> Response:
        require_verified(await verify_session(request))
        return PlainTextResponse("the plans")

    pages = [
        Members("/plans", get=show, name="plans"),
        Members("/api/plans", get=show, name="api-plans"),
    ]
    app.asgi_app.router.set_routes([*app.asgi_app.router.routes, *pages])
    for answer in (await alice.get("/plans"), await alice.get_fragment("/plans")):
        assert answer.status_code == 403
        assert read(answer).one(id="verify-banner").one(id="resend")
    api = await alice.get("/api/plans")
    assert (api.status_code, api.headers["content-type"]) == (403, "application/problem+json")
    await confirm_email(app, alice)
    assert (await alice.get("/plans")).text == "the plans"


# Hints about typos


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("charlie@gmial.com", "Did you mean gmail.com?"),
        (" Charlie@GMAIL.CON ", "Did you mean gmail.com?"),
        ("charlie@hotmal.com", "Did you mean hotmail.com?"),
        ("charlie@gmail.com", "Looks good"),
        ("charlie@mail.com", "Looks good"),
        ("charlie@example.com", "Looks good"),
    ],
)
async def test_a_likely_typo_of_a_domain_gets_a_hint(
    app: TestApp, anonymous: Browser, typed: str, message: str
) -> None:
    checked = read(await anonymous.post("/signup/check/email", {"email": typed}))
    assert checked.one(id="email-message").text == message
    fields = {"name": "Charlie", "email": typed, "password": "short"}
    refused = read(await anonymous.post("/signup", fields)).one(id="email-message").text
    assert refused == (
        message if message != "Looks good" else "We'll check this when you send the form."
    )


async def test_a_typo_is_never_refused(app: TestApp, anonymous: Browser) -> None:
    charlie = replace(anonymous, email="charlie@gmial.com")
    assert (await charlie.sign_up()).status_code == 303
    assert (await receive(app, "verify")).recipient == "charlie@gmial.com"


# Required confirmation

PRIVACIES = pytest.mark.parametrize("privacy", ["open", "private"])


@pytest.fixture
async def strict_app(make_app: Callable, privacy: str) -> TestApp:
    return await make_app(
        mail=enabled_outbox(requires_verification=True),
        EMAIL_VERIFICATION="required",
        SIGNUP_PRIVACY=privacy,
    )


@PRIVACIES
@pytest.mark.asvs("S52")
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_a_sign_up_answers_the_same_for_a_free_and_a_taken_email(
    strict_app: TestApp, send: Callable
) -> None:
    answers = []
    await strict_app.create("Bob")
    charlie = await strict_app.browser("Charlie")
    for email in ("charlie@example.com", "bob@example.com"):
        fields = {"name": "Charlie", "email": email, "password": charlie.password}
        answer = await send(charlie, "/signup", fields)
        answers.append((answer.status_code, answer.headers.multi_items(), answer.content))
    assert answers[0] == answers[1]
    target = dict(answers[0][1]).get("location") or dict(answers[0][1])["hx-redirect"]
    assert (answers[0][0], target) in [(303, "/login?new=1"), (204, "/login?new=1")]
    assert charlie.cookie is None
    page = await charlie.get("/login?new=1")
    assert "Check your inbox: we sent you a mail with the next step." in main_text(page)
    assert (await receive(strict_app, "verify")).recipient == "charlie@example.com"
    assert (await receive(strict_app, "exists")).recipient == "bob@example.com"


@PRIVACIES
@pytest.mark.asvs("S49")
async def test_without_the_link_the_right_password_gets_the_answer_to_a_wrong_one(
    strict_app: TestApp,
) -> None:
    alice = await strict_app.browser("Alice")
    await alice.sign_up()
    alice.headers["Accept-Encoding"] = "identity"
    answers = [await alice.log_in(), await alice.log_in("wrong-No.1 password")]
    assert [answer.status_code for answer in answers] == [422, 422]
    pages = [without_challenges(answer.text) for answer in answers]
    assert pages[0] == pages[1]
    assert NO_MATCH in main_text(answers[0])
    assert await strict_app.count("sessions") == 0


@PRIVACIES
async def test_the_link_and_the_password_log_in_for_the_first_time(strict_app: TestApp) -> None:
    alice = await strict_app.browser("Alice")
    await alice.sign_up()
    await open_link(alice, await receive(strict_app, "verify"))
    assert (await alice.get("/verify")).headers["location"] == "/login?next=/verify"
    answer = await alice.log_in(next="/verify")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert await is_verified(strict_app, alice)
    assert "Email confirmed." in main_text(await alice.get("/dashboard"))
    await alice.post("/logout")
    assert (await alice.log_in()).status_code == 303


@PRIVACIES
async def test_a_new_link_is_available_by_the_forgotten_password_page(
    strict_app: TestApp,
) -> None:
    alice = await strict_app.browser("Alice")
    await alice.sign_up()
    page = read(await alice.get("/login?new=1"))
    assert "/forgot" in [link.attrs["href"] for link in page.one("main").all("a")]
    await alice.post("/forgot", {"email": alice.email})
    mail = await receive(strict_app, "reset")
    await open_link(alice, mail)
    fields = {"password": "another-No.7", **link_field(mail)}
    assert (await alice.post("/reset", fields)).status_code == 303
    assert (await alice.log_in("another-No.7")).status_code == 303


async def test_without_required_confirmation_new_users_are_logged_in(
    app: TestApp, anonymous: Browser
) -> None:
    assert (await anonymous.sign_up()).headers["location"] == "/dashboard"
    assert await anonymous.is_logged_in()
