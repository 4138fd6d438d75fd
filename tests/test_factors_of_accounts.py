"""Tests of what resets, locks and other changes of an account do to its second steps, and that
every way to log in asks for them.
"""

from collections.abc import Callable

import pytest

from db.access import operator
from db.crypto.secret import Secret
from db.viewer import Operator
from tests.authenticator_app import AuthenticatorApp, set_up_app
from tests.browser_client import PASSWORD, Browser, set_cookie_of
from tests.conftest import TestApp
from tests.databases import DATABASE_TYPES
from tests.mail import (
    confirm_email,
    deliver,
    enabled_outbox,
    link_field,
    main_text,
    open_link,
    receive,
)
from tests.passkeys import add_passkey, log_in_with
from tests.soft_authenticator import SoftAuthenticator

NEW = "another-No.7 by the sea"


@pytest.fixture(params=DATABASE_TYPES)
def database_type(request: pytest.FixtureRequest) -> str:
    """Runs the tests on both databases."""
    return request.param


@pytest.fixture(params=["database", "stateless"])
def environ(environ: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    """Runs the tests with both session strategies."""
    return environ | {"SESSION_STRATEGY": request.param}


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app(mail=enabled_outbox())


@pytest.fixture
async def confirmed(app: TestApp, alice: Browser) -> Browser:
    """Returns Alice's browser after she has confirmed her email."""
    await confirm_email(app, alice)
    return alice


async def factors(app: TestApp) -> tuple[int, int, int, bool]:
    """Returns the numbers of passkeys, apps and recovery codes, and whether an account has one."""
    ((has_factor,),) = await app.rows("SELECT max(CAST(has_factor AS integer)) AS m FROM users")
    counts = [await app.count(table) for table in ("passkeys", "totp", "recovery_codes")]
    return counts[0], counts[1], counts[2], bool(has_factor)


async def resets(app: TestApp) -> int:
    """Returns how many entries of the audit log report removed second steps."""
    return len(await app.rows("SELECT 1 FROM audit WHERE event = 'factor.reset'"))


async def reset_password(app: TestApp, user: Browser) -> Browser:
    """Chooses a new password by mail in a new browser, and returns it."""
    browser = await app.browser("Alice", password=NEW)
    await browser.post("/forgot", {"email": user.email})
    mail = await receive(app, "reset")
    await open_link(browser, mail)
    answer = await browser.post("/reset", {"password": NEW, **link_field(mail)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/reset?done=1")
    assert "session" not in set_cookie_of(answer)
    app.clock.move(seconds=1)
    return browser


# Password reset


@pytest.mark.asvs("S15", "S115")
async def test_a_reset_keeps_the_second_steps_and_the_log_in_asks(
    app: TestApp, confirmed: Browser
) -> None:
    passkey = await add_passkey(confirmed)
    factor = await set_up_app(app, confirmed)
    before = await factors(app)
    browser = await reset_password(app, confirmed)
    assert await factors(app) == before == (1, 1, 10, True)
    assert await resets(app) == 0
    assert (await browser.log_in()).headers["location"] == "/login/factor"
    assert not await browser.is_logged_in()
    assert (await browser.post("/login/factor", {"code": factor.code()})).status_code == 303
    other = await app.browser("Alice")
    assert (await log_in_with(other, passkey)).status_code == 303


@pytest.mark.asvs("S24")
async def test_the_first_proof_of_an_email_removes_all_second_steps(
    app: TestApp, alice: Browser
) -> None:
    """An attacker has signed up with the email and has set up everything."""
    passkey = await add_passkey(alice)
    attacker = await set_up_app(app, alice)
    assert await factors(app) == (1, 1, 10, True)
    owner = await reset_password(app, alice)
    assert await factors(app) == (0, 0, 0, False)
    assert (await owner.log_in()).headers["location"] == "/dashboard"
    other = await app.browser("Alice")
    assert (await log_in_with(other, passkey)).status_code == 422
    assert (await other.log_in()).status_code == 422
    assert attacker.recovery_codes
    assert not await alice.is_logged_in()
    assert await resets(app) == 1


@pytest.mark.asvs("S24")
async def test_a_later_reset_removes_nothing(app: TestApp, alice: Browser) -> None:
    owner = await reset_password(app, alice)
    await owner.log_in()
    await add_passkey(owner)
    app.clock.move(minutes=2)
    await reset_password(app, alice)
    assert (await factors(app))[0] == 1


@pytest.mark.asvs("S24")
async def test_the_link_in_a_session_keeps_the_second_steps(app: TestApp, alice: Browser) -> None:
    """Whoever has the session and the mail has set them up."""
    await add_passkey(alice)
    await confirm_email(app, alice)
    assert (await factors(app))[0] == 1


@pytest.mark.asvs("S24")
async def test_the_second_step_confirms_the_email_as_the_first_would(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox())
    alice = await app.sign_up_user("Alice")
    mail = await receive(app, "verify")
    factor = await set_up_app(app, alice)
    browser = await app.browser("Alice")
    await open_link(browser, mail)
    await browser.log_in(next="/verify")
    assert await app.rows("SELECT verified_at FROM users") == [(None,)]
    answer = await browser.post("/login/factor", {"code": factor.wrong_code()})
    assert (answer.status_code, await app.rows("SELECT verified_at FROM users")) == (422, [(None,)])
    answer = await browser.post("/login/factor", {"code": factor.code()})
    assert answer.headers["location"] == "/dashboard"
    assert set_cookie_of(answer)["link"]["max-age"] == "0"
    assert await app.rows("SELECT verified_at FROM users") != [(None,)]
    assert "Email confirmed." in (await browser.get("/dashboard")).text


async def test_an_unconfirmed_email_needs_its_link_for_the_second_step_too(
    make_app: Callable,
) -> None:
    app = await make_app(mail=enabled_outbox(requires_verification=True))
    await app.create("Alice")
    alice = await app.browser("Alice")
    factor = await set_up_app(app, alice)
    await alice.log_in()
    await app.change("UPDATE users SET verified_at = NULL")
    answer = await alice.post("/login/factor", {"code": factor.code()})
    assert answer.headers["location"] == "/login?again=1"
    assert await app.rows("SELECT last_step FROM totp") == [(0,)]
    assert not await alice.is_logged_in()


# "Not you?"


async def lock(app: TestApp, message_type: str) -> Browser:
    """Locks the account by the link of the newest mail of this type."""
    mail = await receive(app, message_type)
    browser = await app.browser("Alice")
    answer = await browser.get(f"/not-me/{mail.token.reveal()}")
    assert answer.headers["location"] == "/not-me"
    answer = await browser.post("/not-me", {"sure": "yes", **link_field(mail)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/not-me?done=1")
    return browser


@pytest.mark.asvs("S24")
async def test_a_lock_removes_the_passkey_that_its_mail_reports(
    app: TestApp, confirmed: Browser
) -> None:
    intruder = await add_passkey(confirmed)
    app.clock.move(hours=1)
    await lock(app, "factor")
    assert await factors(app) == (0, 0, 0, False)
    assert (await log_in_with(await app.browser("Alice"), intruder)).status_code == 422
    assert not await confirmed.is_logged_in()


@pytest.mark.asvs("S24")
async def test_a_lock_removes_what_was_added_since_its_mail_and_keeps_the_rest(
    app: TestApp, confirmed: Browser
) -> None:
    own = await add_passkey(confirmed)
    app.clock.move(days=1)
    await deliver(app)
    phone = await app.browser("Alice")
    assert (await log_in_with(phone, own)).status_code == 303
    app.clock.move(minutes=1)
    intruder = await add_passkey(phone, SoftAuthenticator())
    await set_up_app(app, confirmed)
    await lock(app, "new-device")
    assert await factors(app) == (1, 0, 0, True)
    assert await resets(app) == 1
    app.clock.move(seconds=1)
    assert (await log_in_with(await app.browser("Alice"), intruder)).status_code == 422
    assert (await log_in_with(await app.browser("Alice"), own)).status_code == 303


@pytest.mark.asvs("S28")
async def test_a_lock_after_a_failed_second_step_keeps_the_second_steps(
    app: TestApp, confirmed: Browser
) -> None:
    factor = await set_up_app(app, confirmed)
    app.clock.move(hours=1)
    intruder = await app.browser("Alice")
    await intruder.log_in()
    await intruder.post("/login/factor", {"code": factor.wrong_code()})
    mail = await receive(app, "second-step")
    browser = await app.browser("Alice")
    await browser.get(f"/not-me/{mail.token.reveal()}")
    text = main_text(await browser.get("/not-me"))
    assert "Someone typed the correct password of alice@example.com" in text
    assert "If it wasn't you, someone else knows the password." in text
    assert "recovery codes that were added since our mail are removed" in text
    await lock(app, "second-step")
    assert await factors(app) == (0, 1, 10, True)
    assert await resets(app) == 0
    answer = await intruder.post("/login/factor", {"code": factor.code()})
    assert answer.headers["location"] == "/login?again=1"
    assert (await intruder.log_in()).status_code == 422


# The operator and administrators


@pytest.mark.asvs("S16", "S115")
async def test_a_password_set_by_the_operator_keeps_the_second_steps(
    app: TestApp, confirmed: Browser
) -> None:
    factor = await set_up_app(app, confirmed)
    waiting = await app.browser("Alice")
    await waiting.log_in()
    await operator.set_user_password(Operator(app.store), confirmed.email, Secret(NEW))
    assert await factors(app) == (0, 1, 10, True)
    answer = await waiting.post("/login/factor", {"code": factor.code()})
    assert answer.headers["location"] == "/login?again=1"
    app.clock.move(seconds=1)
    browser = await app.browser("Alice", password=NEW)
    assert (await browser.log_in()).headers["location"] == "/login/factor"


@pytest.mark.asvs("S115")
async def test_a_disabled_account_keeps_its_second_steps(app: TestApp, confirmed: Browser) -> None:
    factor = await set_up_app(app, confirmed)
    await operator.disable_user(Operator(app.store), confirmed.email)
    browser = await app.browser("Alice")
    assert (await browser.log_in()).status_code == 422
    await operator.enable_user(Operator(app.store), confirmed.email)
    assert await factors(app) == (0, 1, 10, True)
    app.clock.move(seconds=1)
    assert (await factor.log_in(browser)).status_code == 303


@pytest.mark.asvs("S93")
async def test_a_deleted_account_leaves_no_second_step(app: TestApp, confirmed: Browser) -> None:
    await add_passkey(confirmed)
    await set_up_app(app, confirmed)
    await app.create("Bob")
    await operator.delete_user_now(Operator(app.store), confirmed.email)
    assert await factors(app) == (0, 0, 0, False)


# Every way to log in


@pytest.fixture
async def factor(app: TestApp, confirmed: Browser) -> AuthenticatorApp:
    return await set_up_app(app, confirmed)


@pytest.mark.asvs("S115")
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_a_sign_up_with_the_password_of_the_account_asks(
    app: TestApp, confirmed: Browser, factor: AuthenticatorApp, send: Callable
) -> None:
    browser = await app.browser("Alice")
    fields = {"name": "Alice", "email": confirmed.email, "password": PASSWORD, "next": "/account"}
    answer = await send(browser, "/signup", fields)
    target = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert target == "/login/factor"
    assert not await browser.is_logged_in()
    answer = await browser.post("/login/factor", {"code": factor.code()})
    assert answer.headers["location"] == "/account"


@pytest.mark.asvs("S115")
async def test_the_api_has_no_session_before_the_second_step(
    app: TestApp, confirmed: Browser, factor: AuthenticatorApp
) -> None:
    browser = await app.browser("Alice")
    await browser.log_in()
    assert (await browser.get("/api/session")).status_code == 401
    assert (await browser.get("/api/account")).status_code == 401
    claim = browser.client.cookies["claim"]
    browser.client.cookies.clear()
    browser.client.cookies.set("session", claim)
    assert (await browser.get("/api/session")).status_code == 401
    answer = await browser.get("/api/session", Authorization=f"Bearer {claim}")
    assert answer.status_code == 401
