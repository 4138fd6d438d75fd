"""Tests of accounts that an identity of a provider opens: emails, links in mails, passwords."""

import re
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.browser_client import Browser, read, set_cookie_of
from tests.conftest import Clock, TestApp
from tests.environment import SECRET
from tests.lying_provider import LyingProvider, serving
from tests.mail import confirm_email, deliver, enabled_outbox, link_field, open_link, receive
from tests.test_hooks import refusing
from tests.test_identities import connect
from tests.test_provider_login import come_back, sign_up

NEW = "another engine-No.9"


@pytest.fixture
def lying(clock: Clock) -> Iterator[LyingProvider]:
    with serving(LyingProvider(now=clock)) as provider:
        yield provider


@pytest.fixture
def environ(lying: LyingProvider) -> dict[str, str]:
    return {"SESSION_SECRET": SECRET, "RATE_LIMITS": "off", **lying.settings}


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app(mail=enabled_outbox())


@pytest.fixture
async def strict(make_app: Callable) -> TestApp:
    """Returns an application that requires confirmed emails."""
    return await make_app(mail=enabled_outbox(requires_verification=True))


@pytest.fixture
async def private(make_app: Callable) -> TestApp:
    mail = enabled_outbox(requires_verification=True)
    return await make_app(mail=mail, SIGNUP_PRIVACY="private")


# Emails that must be confirmed, and emails that are private.


async def test_without_a_confirmed_email_there_is_no_session(strict, lying):
    browser = await strict.browser("Alice")
    answer = await sign_up(browser, lying)
    assert answer.headers["location"] == "/login?new=1"
    assert not await browser.is_logged_in()
    answer = await come_back(browser, lying)
    assert answer.headers["location"] == "/signup/with/work"
    assert "session" not in set_cookie_of(answer)


async def test_a_user_who_typed_a_wrong_email_signs_up_again(strict, lying):
    browser = await strict.browser("Alice")
    await sign_up(browser, lying, email="wrong@example.com")
    answer = await sign_up(browser, lying)
    assert answer.headers["location"] == "/login?new=1"
    await open_link(browser, await receive(strict, "verify", browser.email))
    assert (await come_back(browser, lying)).headers["location"] == "/dashboard"
    query = "SELECT email FROM users JOIN identities ON users.id = identities.user_id"
    assert await strict.rows(query) == [(browser.email,)]


async def test_the_link_of_the_mail_confirms_the_email_at_the_log_in(strict, lying):
    browser = await strict.browser("Alice")
    await sign_up(browser, lying)
    await open_link(browser, await receive(strict, "verify", browser.email))
    answer = await come_back(browser, lying)
    assert answer.headers["location"] == "/dashboard"
    assert await browser.is_logged_in()
    assert await strict.count("users WHERE verified_at IS NOT NULL") == 1
    await browser.post("/logout")
    assert (await come_back(browser, lying)).headers["location"] == "/dashboard"


async def test_the_link_of_another_account_confirms_nothing(strict, lying):
    other = await strict.browser("Bob")
    await other.sign_up()
    message = await receive(strict, "verify", other.email)
    browser = await strict.browser("Alice")
    await sign_up(browser, lying)
    await open_link(browser, message)
    answer = await come_back(browser, lying)
    assert answer.headers["location"] == "/signup/with/work"
    assert await strict.count("users WHERE verified_at IS NOT NULL") == 0


@pytest.mark.asvs("S52")
async def test_a_private_sign_up_does_not_show_that_an_email_is_taken(private, lying):
    await private.create("Alice")
    answers = []
    for number, email in enumerate(["alice@example.com", "grace@example.com"]):
        lying.user = {"sub": f"user-{number}", "name": "Grace"}
        browser = await private.browser("Grace", email)
        answer = await sign_up(browser, lying)
        answers.append((answer.status_code, answer.content, sorted(set_cookie_of(answer))))
        assert answer.headers["location"] == "/login?new=1"
        assert not await browser.is_logged_in()
    assert answers[0] == answers[1]
    assert await private.rows("SELECT subject FROM identities") == [("user-1",)]
    kinds = {(mail.message_type, mail.recipient) for mail in await deliver(private)}
    assert ("exists", "alice@example.com") in kinds
    assert ("verify", "grace@example.com") in kinds


@pytest.mark.asvs("S52")
@pytest.mark.parametrize("email", ["alice@example.com", "free@example.com"])
async def test_after_a_private_sign_up_the_identity_answers_alike(private, lying, email):
    await private.create("Alice")
    browser = await private.browser("Grace", email)
    await sign_up(browser, lying)
    answer = await sign_up(browser, lying, email="other@example.com")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?new=1")
    assert not await browser.is_logged_in()


@pytest.mark.asvs("S52")
async def test_a_private_sign_up_does_not_show_the_refusal_of_a_hook(make_app, lying):
    app = await make_app(
        mail=enabled_outbox(requires_verification=True),
        product=refusing("signup"),
        SIGNUP_PRIVACY="private",
    )
    answer = await sign_up(await app.browser("Grace"), lying)
    assert answer.headers["location"] == "/login?new=1"
    assert (await app.count("users"), await app.count("identities")) == (0, 0)


# Taking over an account that nobody has confirmed.


@pytest.fixture
async def trusting(make_app: Callable, lying: LyingProvider) -> TestApp:
    """Returns an application that trusts the emails of the provider."""
    lying.user |= {"email": "alice@example.com", "email_verified": True}
    return await make_app(mail=enabled_outbox(), WORK_TRUST_EMAIL="yes")


async def take_over(app: TestApp, lying: LyingProvider, **fields: str) -> httpx.Response:
    owner = await app.browser("Alice")
    assert (await come_back(owner, lying)).headers["location"] == "/signup/with/work"
    return await owner.post("/signup/with/work", {"mine": "on", **fields})


@pytest.mark.asvs("S24")
async def test_a_take_over_leaves_no_column_of_the_former_user(trusting, clock, lying):
    attacker = await trusting.sign_up_user("Mallory", email="alice@example.com")
    fields = {"name": "Mallory", "slug": "of-mallory", "phone": "+4930123456"}
    await attacker.post("/account", fields)
    await attacker.post("/account/language", {"language": "de"})
    await trusting.change(
        "UPDATE users SET delete_at = created_at, passkey_declined_at = created_at, "
        "password_used_at = created_at, previous_login_at = created_at, team = 'Harbour'"
    )
    before = await trusting.rows("SELECT id, email, role FROM users")
    clock.move(hours=1)
    assert (await take_over(trusting, lying)).headers["location"] == "/dashboard"
    assert await trusting.rows("SELECT id, email, role FROM users") == before
    former = await trusting.rows(
        "SELECT name, slug, search_key, phone, team, language, password_hash, password_changed_at, "
        "password_used_at, passkey_declined_at, previous_login_at, delete_at FROM users"
    )
    key = "alice example\nalice@example.com"
    texts = ("Alice Example", "alice-example", key, "", "", "", "!")
    assert former == [(*texts, None, None, None, None, None)]
    same = await trusting.count("users WHERE created_at = verified_at AND verified_at IS NOT NULL")
    assert same == 1


@pytest.mark.asvs("S24")
async def test_a_take_over_ends_what_the_former_user_could_come_back_by(trusting, lying):
    attacker = await trusting.sign_up_user("Mallory", email="alice@example.com")
    await trusting.change("UPDATE users SET role = 'admin'")
    token = {"name": "Backup", "days": "30", "scope-account:read": "yes"}
    await attacker.post("/account/tokens", token)
    await attacker.post("/admin/invitations", {"email": "grace@example.com", "role": "admin"})
    await attacker.post("/account/delete", {"sure": "yes"})
    tables = ("tokens", "access_tokens", "invitations", "outbox WHERE due_at IS NOT NULL")
    assert 0 not in [await trusting.count(name) for name in tables]
    await take_over(trusting, lying)
    assert [await trusting.count(name) for name in tables] == [0, 0, 0, 0]


async def test_a_take_over_asks_for_a_name_if_the_provider_has_none(trusting, lying):
    await trusting.sign_up_user("Mallory", email="alice@example.com")
    lying.user["name"] = "x"
    owner = await trusting.browser("Alice")
    await come_back(owner, lying)
    form = read(await owner.get("/signup/with/work")).one("form", id="finish-form")
    assert form.one("input", name="name").attrs.get("value", "") == ""
    refused = await owner.post("/signup/with/work", {"mine": "on"})
    assert refused.status_code == 422
    assert await trusting.rows("SELECT name FROM users") == [("Mallory",)]
    done = await owner.post("/signup/with/work", {"mine": "on", "name": "Alice Adams"})
    assert done.headers["location"] == "/dashboard"
    assert await trusting.rows("SELECT name, slug FROM users") == [("Alice Adams", "alice-adams")]


async def test_a_take_over_has_no_name_field_if_the_provider_has_one(trusting, lying):
    await trusting.sign_up_user("Mallory", email="alice@example.com")
    owner = await trusting.browser("Alice")
    await come_back(owner, lying)
    form = read(await owner.get("/signup/with/work")).one("form", id="finish-form")
    assert not form.all("input", name="name")


async def test_a_take_over_gets_another_slug_if_its_own_is_taken(trusting, lying):
    await trusting.sign_up_user("Alice Example", email="other@example.com")
    await trusting.sign_up_user("Mallory", email="alice@example.com")
    await take_over(trusting, lying)
    query = "SELECT slug FROM users WHERE email = 'alice@example.com'"
    ((slug,),) = await trusting.rows(query)
    assert re.fullmatch(r"alice-example-[a-z0-9]{1,6}", slug)


# "Not you?" in mails.


async def test_not_me_disconnects_the_identity_that_its_mail_reports(app, clock, alice, lying):
    await confirm_email(app, alice)
    await connect(alice, lying)
    clock.move(hours=1)
    await alice.confirm()
    lying.user = {"sub": "of an attacker"}
    await connect(alice, lying)
    message = await receive(app, "factor", alice.email)
    owner = await app.browser("Alice")
    await open_link(owner, message)
    await owner.post("/not-me", {"sure": "yes", **link_field(message)})
    assert await app.rows("SELECT subject FROM identities") == [("user-1",)]
    assert not await alice.is_logged_in()


async def test_not_me_of_an_older_mail_disconnects_newer_identities(app, clock, alice, lying):
    await confirm_email(app, alice)
    phone = await app.browser("Alice", user_agent="Mozilla/5.0 (Windows NT 10.0) Chrome/140.0")
    await phone.log_in()
    message = await receive(app, "new-device", alice.email)
    clock.move(hours=1)
    await phone.confirm()
    await connect(phone, lying)
    owner = await app.browser("Alice")
    await open_link(owner, message)
    await owner.post("/not-me", {"sure": "yes", **link_field(message)})
    assert await app.count("identities") == 0


# Accounts without a password.


@pytest.mark.asvs("S49")
async def test_log_in_answers_alike_for_an_account_without_a_password(app, lying):
    await sign_up(await app.browser("Alice"), lying)
    answers, hashes = [], []
    for email in ("alice@example.com", "nobody@example.com"):
        browser = await app.browser("Alice", email)
        before = app.hashes
        answer = await browser.log_in("wrong-No.1 at all")
        hashes.append(app.hashes - before)
        # The form after it has a random challenge for a passkey.
        page = answer.text.partition('<form id="passkey-form"')[0]
        answers.append((answer.status_code, page.replace(email, "")))
    assert answers[0] == answers[1]
    assert answers[0][0] == 422
    assert hashes == [1, 1]


@pytest.mark.asvs("S50")
async def test_log_in_does_the_same_work_for_an_account_without_a_password(app, bob, lying):
    await sign_up(await app.browser("Alice"), lying)
    browser, work = await app.browser("Charlie"), []
    for email in ("alice@example.com", bob.email, "nobody@example.com"):
        before = app.statements, app.hashes
        typed = {"email": email, "password": "wrong-No.1 at all"}
        assert (await browser.post("/login", typed)).status_code == 422
        work.append((app.statements - before[0], app.hashes - before[1]))
    assert work == [(4, 1)] * 3


@pytest.mark.asvs("S50", "S51")
async def test_a_forgotten_password_is_answered_alike_without_a_password(app, bob, lying):
    await sign_up(await app.browser("Alice"), lying)
    browser, work, answers = await app.browser("Charlie"), [], []
    for email in ("alice@example.com", bob.email, "nobody@example.com"):
        before = app.statements, app.hashes
        answer = await browser.post("/forgot", {"email": email})
        work.append((app.statements - before[0], app.hashes - before[1]))
        answers.append((answer.status_code, answer.content, answer.headers.multi_items()))
    assert work[0] == work[1] == work[2]
    assert answers[0] == answers[1] == answers[2]
    await deliver(app)
    assert await app.count("tokens WHERE purpose = 'reset'") == 2


@pytest.mark.asvs("S52")
async def test_a_private_sign_up_is_alike_for_an_account_without_a_password(private, lying):
    await sign_up(await private.browser("Alice"), lying)
    work, answers = [], []
    for email in ("alice@example.com", "grace@example.com"):
        before = private.statements, private.hashes
        answer = await (await private.browser("Grace", email)).sign_up()
        work.append((private.statements - before[0], private.hashes - before[1]))
        answers.append((answer.status_code, answer.content, sorted(answer.headers.items())))
    assert answers[0] == answers[1]
    assert work[0][1] == work[1][1]
    assert abs(work[0][0] - work[1][0]) <= 2
    assert await private.count("users") == 2


@pytest.mark.asvs("S49")
async def test_the_stored_mark_is_no_password(app, lying):
    await sign_up(await app.browser("Alice"), lying)
    assert (await (await app.browser("Alice")).log_in("!")).status_code == 422


async def test_an_account_without_a_password_sets_one(app, lying):
    browser = await app.browser("Alice")
    await sign_up(browser, lying)
    form = read(await browser.get("/account")).one("form", id="password-form")
    assert not form.all("input", name="current_password")
    assert (await browser.post("/account/password", {"password": NEW})).status_code == 303
    other = await app.browser("Alice")
    assert (await other.log_in(NEW)).headers["location"] == "/dashboard"
    assert await app.count("identities") == 1


async def test_a_reset_of_a_confirmed_account_keeps_its_identity(app, lying):
    browser = await app.browser("Alice")
    await sign_up(browser, lying)
    await confirm_email(app, browser)
    app.clock.move(seconds=1)
    await browser.post("/forgot", {"email": browser.email})
    message = await receive(app, "reset")
    await open_link(browser, message)
    await browser.post("/reset", {"password": NEW, **link_field(message)})
    assert await app.count("identities") == 1
    assert (await (await app.browser("Alice")).log_in(NEW)).status_code == 303


async def test_the_last_identity_is_disconnected_after_a_password_is_set(app, lying):
    browser = await app.browser("Alice")
    await sign_up(browser, lying)
    await browser.post("/account/password", {"password": NEW})
    ((identity,),) = await app.rows("SELECT id FROM identities")
    await browser.post(f"/account/identities/{identity}/remove")
    assert await app.count("identities") == 0


# Sessions without rows.


async def test_stateless_sessions_start_and_end_with_a_provider(make_app, lying):
    app = await make_app(SESSION_STRATEGY="stateless")
    browser: Browser = await app.browser("Alice")
    await sign_up(browser, lying)
    assert await browser.is_logged_in()
    other = await app.browser("Alice")
    assert (await come_back(other, lying)).headers["location"] == "/dashboard"
    lying.user = {"sub": "user-2"}
    app.clock.move(seconds=1)
    await connect(browser, lying)
    assert await browser.is_logged_in()
    assert not await other.is_logged_in()
    assert await app.count("identities") == 2
