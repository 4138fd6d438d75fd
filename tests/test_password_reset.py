"""Tests of the pages for a forgotten password, by a link in a mail."""

from collections.abc import Callable

import pytest

from db.access.outbox import Message
from tests.browser_client import PASSWORD, Browser, read, set_cookie_of
from tests.conftest import TestApp
from tests.mail import enabled_outbox, link_field, main_text, open_link, receive
from web.mail.rendering import MailRenderer

NEW = "another-No.7 by the sea"
DEAD = "This link was used already, has expired, or was replaced by a newer mail."
BOTH_REQUEST_TYPES = pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
RULE = "Be at least 8 characters long"


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app(mail=enabled_outbox())


@pytest.fixture
async def mail(app: TestApp, alice: Browser, anonymous: Browser) -> Message:
    """Returns the mail that Alice gets after a request for a new password."""
    await anonymous.post("/forgot", {"email": alice.email})
    return await receive(app, "reset")


async def state_of(app: TestApp) -> list[list[tuple]]:
    """Returns all rows that a refused request must not change."""
    return [
        await app.rows(f"SELECT * FROM {table} ORDER BY 1")
        for table in ("users", "sessions", "tokens", "outbox")
    ]


# The request for a link


@pytest.mark.parametrize("path", ["/forgot", "/forgot?sent=1"])
async def test_the_request_page_needs_no_query(app: TestApp, anonymous: Browser, path: str) -> None:
    before = app.statements
    assert (await anonymous.get(path)).status_code == 200
    assert app.statements == before


async def test_the_log_in_page_links_to_the_request(anonymous: Browser) -> None:
    links = read(await anonymous.get("/login")).one("main").all("a")
    assert ("/forgot", "Forgot your password?") in [
        (link.attrs["href"], link.text) for link in links
    ]


@pytest.mark.asvs("S51")
async def test_a_request_has_the_same_answer_and_work_for_every_email(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    answers, work = [], []
    for email in (alice.email, "nobody@example.com"):
        before = app.statements, app.hashes
        answer = await anonymous.post("/forgot", {"email": email})
        work.append((app.statements - before[0], app.hashes - before[1]))
        answers.append((answer.status_code, answer.headers.multi_items(), answer.content))
    assert answers[0] == answers[1]
    assert answers[0][0] == 303
    assert work == [(1, 0)] * 2


@pytest.mark.asvs("S14")
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Host": "evil.example"},
        {"Forwarded": "host=evil.example;proto=https"},
        {"X-Original-Host": "evil.example", "X-Forwarded-Server": "evil.example"},
    ],
)
async def test_the_link_in_a_mail_has_the_configured_origin(
    app: TestApp, alice: Browser, anonymous: Browser, headers: dict[str, str]
) -> None:
    await anonymous.post("/forgot", {"email": alice.email}, **headers)
    message = await receive(app, "reset")
    mail = MailRenderer(app.settings).build(message).as_string()
    assert f"{app.settings.base_url}/reset/" in mail.replace("=\n", "")
    assert "evil.example" not in mail


@pytest.mark.asvs("S14")
async def test_a_request_for_another_host_asks_for_no_mail(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    answer = await anonymous.post("/forgot", {"email": alice.email}, Host="evil.example")
    assert answer.status_code == 400
    assert await app.rows("SELECT 1 FROM outbox WHERE kind = 'forgot'") == []


@BOTH_REQUEST_TYPES
async def test_a_request_redirects_to_a_page_without_the_email(
    alice: Browser, anonymous: Browser, send: Callable
) -> None:
    answer = await send(anonymous, "/forgot", {"email": alice.email})
    target = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert (answer.status_code, target) in [(303, "/forgot?sent=1"), (204, "/forgot?sent=1")]
    text = main_text(await anonymous.get(target))
    assert "If an account has this email, we sent it a link" in text
    assert alice.email not in text


async def test_only_an_existing_account_gets_a_mail(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    await anonymous.post("/forgot", {"email": "nobody@example.com"})
    await anonymous.post("/forgot", {"email": alice.email.upper()})
    message = await receive(app, "reset")
    assert message.recipient == alice.email
    assert await app.rows("SELECT count(*) AS n FROM outbox WHERE kind = 'reset'") == [(1,)]


@BOTH_REQUEST_TYPES
async def test_an_invalid_email_is_refused_without_a_request(
    app: TestApp, anonymous: Browser, send: Callable
) -> None:
    before = app.statements
    answer = await send(anonymous, "/forgot", {"email": "alice@"})
    page = read(answer)
    assert (answer.status_code, app.statements) == (422, before)
    assert "Please enter a valid email." in page.one(id="error-summary").text
    assert page.one("input", id="email").attrs["value"] == "alice@"


async def test_requests_are_rate_limited_per_client(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox(), RATE_LIMITS="enforce")
    charlie = await app.browser("Charlie")
    answers = [await charlie.post("/forgot", {"email": f"a{n}@example.com"}) for n in range(21)]
    assert [answer.status_code for answer in answers] == [303] * 20 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert "Too many requests from your network." in read(answers[-1]).one(id="error-summary").text
    assert await app.rows("SELECT count(*) AS n FROM outbox") == [(20,)]


# The link


@pytest.mark.asvs("S73")
async def test_a_link_is_redirected_to_a_page_without_the_token(
    app: TestApp, mail: Message, anonymous: Browser
) -> None:
    before = app.statements
    token = mail.token.reveal()
    answer = await anonymous.get(f"/reset/{token}")
    assert (answer.status_code, answer.headers["location"], answer.content) == (303, "/reset", b"")
    assert answer.headers.get_list("referrer-policy") == ["no-referrer"]
    cookie = set_cookie_of(answer)["link"]
    assert (cookie.value, cookie["max-age"], cookie["path"], cookie["samesite"]) == (
        token,
        "900",
        "/",
        "Lax",
    )
    assert cookie["httponly"]
    assert app.statements == before
    page = await anonymous.get("/reset")
    assert page.headers.get_list("referrer-policy") == ["same-origin"]
    assert token not in page.text
    assert mail.recipient in main_text(page)


@pytest.mark.parametrize("token", ["x", "A" * 42, "A" * 44, "A" * 42 + "!", "%00" * 43])
async def test_a_malformed_link_deletes_the_cookie(
    app: TestApp, mail: Message, anonymous: Browser, token: str
) -> None:
    await open_link(anonymous, mail)
    answer = await anonymous.get(f"/reset/{token}")
    if "%00" in token:
        assert answer.status_code == 404
        return
    assert (answer.status_code, answer.headers["location"]) == (303, "/reset")
    assert set_cookie_of(answer)["link"]["max-age"] == "0"
    assert (await anonymous.get("/reset")).status_code == 410


async def test_over_https_the_link_cookie_is_bound_to_the_host(make_app: Callable) -> None:
    app = await make_app(BASE_URL="https://localhost", mail=enabled_outbox())
    answer = await (await app.browser("Charlie")).get(f"/reset/{'A' * 43}")
    (header,) = answer.headers.get_list("set-cookie")
    assert header.startswith(f"__Host-link={'A' * 43}; Max-Age=900; Path=/; HttpOnly")
    assert header.endswith("; Secure")


@pytest.mark.asvs("S32", "S73")
async def test_opening_a_link_and_its_page_changes_nothing(
    app: TestApp, mail: Message, anonymous: Browser
) -> None:
    before = await state_of(app)
    for method in ("GET", "HEAD"):
        for path in (f"/reset/{mail.token.reveal()}", "/reset", "/reset?done=1"):
            assert (await anonymous.request(method, path)).status_code in (200, 303)
    assert await state_of(app) == before


async def test_the_reset_page_needs_one_statement(
    app: TestApp, mail: Message, anonymous: Browser
) -> None:
    await open_link(anonymous, mail)
    before = app.statements
    assert (await anonymous.get("/reset")).status_code == 200
    assert app.statements == before + 1


async def test_a_reset_needs_few_statements(
    app: TestApp, mail: Message, anonymous: Browser
) -> None:
    await open_link(anonymous, mail)
    before = app.statements, app.hashes
    await anonymous.post("/reset", {"password": NEW, **link_field(mail)})
    assert app.statements - before[0] <= 18
    assert app.hashes == before[1] + 1


async def test_the_reset_form_names_the_account_for_password_managers(
    mail: Message, anonymous: Browser
) -> None:
    await open_link(anonymous, mail)
    form = read(await anonymous.get("/reset")).one("form", id="reset-form")
    fields = {field.attrs["name"]: field.attrs for field in form.all("input")}
    assert (fields["username"]["value"], fields["username"]["autocomplete"]) == (
        mail.recipient,
        "username",
    )
    assert fields["password"]["autocomplete"] == "new-password"
    assert fields["link"]["value"] == link_field(mail)["link"]


# The new password


@pytest.mark.asvs("S15", "S16")
@BOTH_REQUEST_TYPES
async def test_a_reset_changes_the_password_and_starts_no_session(
    app: TestApp, mail: Message, alice: Browser, anonymous: Browser, send: Callable
) -> None:
    await open_link(anonymous, mail)
    answer = await send(anonymous, "/reset", {"password": NEW, **link_field(mail)})
    target = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert (answer.status_code, target) in [(303, "/reset?done=1"), (204, "/reset?done=1")]
    cookies = set_cookie_of(answer)
    assert cookies["link"]["max-age"] == "0"
    assert "session" not in cookies
    assert "Every device was logged out. Log in with your new password." in main_text(
        await anonymous.get(target)
    )
    assert await app.count("sessions") == 0
    laptop = await app.browser("Alice")
    assert (await laptop.log_in(PASSWORD)).status_code == 422
    assert (await laptop.log_in(NEW)).status_code == 303
    assert not await alice.is_logged_in()


async def test_a_reset_confirms_the_email(app: TestApp, mail: Message, anonymous: Browser) -> None:
    await open_link(anonymous, mail)
    await anonymous.post("/reset", {"password": NEW, **link_field(mail)})
    assert await app.rows("SELECT verified_at IS NULL AS missing FROM users") == [(0,)]


async def test_a_reset_deletes_the_session_cookie_of_its_own_account(
    app: TestApp, mail: Message, alice: Browser, bob: Browser
) -> None:
    for user, is_deleted in ((bob, False), (alice, True)):
        await open_link(user, mail)
        answer = await user.post("/reset", {"password": NEW, **link_field(mail)})
        assert ("session" in set_cookie_of(answer)) is is_deleted
        app.clock.move(minutes=2)
        await user.post("/forgot", {"email": alice.email})
        mail = await receive(app, "reset")
    assert await bob.is_logged_in()


@BOTH_REQUEST_TYPES
async def test_an_invalid_new_password_keeps_the_link(
    app: TestApp, mail: Message, anonymous: Browser, send: Callable
) -> None:
    await open_link(anonymous, mail)
    before = await state_of(app)
    answer = await send(anonymous, "/reset", {"password": "a", **link_field(mail)})
    assert (answer.status_code, RULE in read(answer).one(id="error-summary").text) == (422, True)
    assert await state_of(app) == before
    assert read(answer).one("input", name="link").attrs["value"] == link_field(mail)["link"]
    answer = await send(anonymous, "/reset", {"password": NEW, **link_field(mail)})
    assert answer.status_code in (204, 303)


async def test_a_password_close_to_the_email_is_refused(app: TestApp, anonymous: Browser) -> None:
    await app.sign_up_user("Grace", email="hopper-navy@example.com")
    await anonymous.post("/forgot", {"email": "hopper-navy@example.com"})
    mail = await receive(app, "reset")
    await open_link(anonymous, mail)
    answer = await anonymous.post("/reset", {"password": "hopper-navy1", **link_field(mail)})
    assert answer.status_code == 422
    assert "too close to your name or email" in read(answer).one(id="error-summary").text


# Links that do not work


def use(app: TestApp, user: Browser, mail: Message) -> object:
    return user.post("/reset", {"password": NEW, **link_field(mail)})


async def expire(app: TestApp, user: Browser, mail: Message) -> None:
    app.clock.move(hours=1)


async def supersede(app: TestApp, user: Browser, mail: Message) -> None:
    app.clock.move(minutes=2)
    await user.post("/forgot", {"email": mail.recipient})
    await receive(app, "reset")


@pytest.mark.asvs("S12", "S13", "S80")
@pytest.mark.parametrize("end", [use, expire, supersede])
@pytest.mark.parametrize("send", [Browser.get, Browser.post, Browser.post_fragment])
async def test_a_dead_link_changes_nothing_and_offers_a_new_one(
    app: TestApp, mail: Message, anonymous: Browser, send: Callable, end: Callable
) -> None:
    await open_link(anonymous, mail)
    await end(app, anonymous, mail)
    await open_link(anonymous, mail)
    before = await state_of(app)
    fields = {"password": "a third-No.3 engine", **link_field(mail)}
    answer = await (
        anonymous.get("/reset") if send is Browser.get else send(anonymous, "/reset", fields)
    )
    assert answer.status_code == 410
    assert DEAD in main_text(answer)
    (way_on,) = [link for link in read(answer).all("a") if link.text == "Ask for a new link"]
    assert way_on.attrs["href"] == "/forgot"
    assert set_cookie_of(answer)["link"]["max-age"] == "0"
    assert await state_of(app) == before


async def test_htmx_displays_the_error_in_place_of_the_page(
    mail: Message, anonymous: Browser
) -> None:
    answer = await anonymous.post_fragment("/reset", {"password": NEW, "link": ""})
    assert answer.status_code == 410
    partial = read(answer).one("hx-partial")
    assert (partial.attrs["hx-target"], partial.attrs["hx-swap"]) == ("#main", "innerHTML")
    assert partial.one("h1").text == "This link no longer works"


@pytest.mark.asvs("S11")
async def test_a_link_of_another_purpose_does_not_reset(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    mail = await receive(app, "verify")
    answer = await anonymous.get(f"/reset/{mail.token.reveal()}")
    assert answer.headers["location"] == "/reset"
    assert (await anonymous.get("/reset")).status_code == 410
    await anonymous.get(f"/reset/{mail.token.reveal()}")
    answer = await anonymous.post("/reset", {"password": NEW, **link_field(mail)})
    assert answer.status_code == 410
    assert (await (await app.browser("Alice")).log_in()).status_code == 303


@BOTH_REQUEST_TYPES
async def test_a_form_of_another_link_changes_nothing(
    app: TestApp, mail: Message, bob: Browser, anonymous: Browser, send: Callable
) -> None:
    """Two links were opened in two tabs. The form of the first must not use the second."""
    await anonymous.post("/forgot", {"email": bob.email})
    mail_to_bob = await receive(app, "reset", bob.email)
    await open_link(anonymous, mail)
    await open_link(anonymous, mail_to_bob)
    before = await state_of(app)
    answer = await send(anonymous, "/reset", {"password": NEW, **link_field(mail)})
    assert answer.status_code == 409
    text = main_text(answer)
    assert "Another link was opened in this browser. Open the link in your mail again." in text
    assert "link" not in set_cookie_of(answer)
    assert await state_of(app) == before


async def test_a_form_without_the_link_field_is_refused(mail: Message, anonymous: Browser) -> None:
    await open_link(anonymous, mail)
    assert (await anonymous.post("/reset", {"password": NEW})).status_code == 409


@BOTH_REQUEST_TYPES
async def test_resets_are_rate_limited_per_client(make_app: Callable, send: Callable) -> None:
    app = await make_app(mail=enabled_outbox(), RATE_LIMITS="enforce")
    charlie = await app.browser("Charlie")
    for number in range(11):
        await app.create(f"user{number}")
        await charlie.post("/forgot", {"email": f"user{number}@example.com"})
    for number in range(11):
        mail = await receive(app, "reset", f"user{number}@example.com")
        await open_link(charlie, mail)
        before, hashes = await state_of(app), app.hashes
        answer = await send(charlie, "/reset", {"password": NEW, **link_field(mail)})
        assert (answer.status_code == 429) is (number == 10)
    assert (await state_of(app), app.hashes) == (before, hashes)
    assert int(answer.headers["retry-after"]) > 0
    summary = read(answer).one(id="error-summary").text
    assert "Too many attempts. Nothing was changed. Try again in" in summary


# Without mail


async def test_without_mail_the_log_in_page_says_who_can_help(make_app: Callable) -> None:
    app = await make_app(BASE_URL="https://latchkey.example")
    charlie = await app.browser("Charlie")
    for path in ("/forgot", "/reset", "/verify", "/not-me", f"/reset/{'A' * 43}"):
        assert (await charlie.get(path)).status_code == 404, path
    text = main_text(await charlie.get("/login"))
    assert "Forgot your password? Ask an administrator to set a new one." in text
    alice = await app.sign_up_user("Alice")
    assert read(await alice.get("/dashboard")).all(id="verify-banner") == []
    assert read(await alice.get("/account")).all(id="email-form") == []
