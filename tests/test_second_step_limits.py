"""Tests of the rate limits of the second step, and of what its user learns about failures."""

import asyncio

import pytest

from db.access import operator_factors
from db.rate_limits.limits import (
    DAY,
    FACTOR_CLIENT,
    FACTOR_DAY,
    FACTOR_HOUR,
    FACTOR_TRIES,
    HOUR,
)
from db.viewer import Operator
from tests.authenticator_app import AuthenticatorApp, set_up_app
from tests.browser_client import Browser, read
from tests.conftest import Clock, TestApp
from tests.databases import DATABASE_TYPES
from tests.mail import deliver, enabled_outbox

OWN_IP = "203.0.113.9"


@pytest.fixture(params=DATABASE_TYPES)
def database_type(request: pytest.FixtureRequest) -> str:
    """Runs the tests on both databases."""
    return request.param


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Makes the test's client a trusted proxy, so that a test can set any client IP address."""
    return environ | {"RATE_LIMITS": "enforce", "TRUSTED_PROXIES": "192.0.2.14"}


@pytest.fixture
async def app(make_app) -> TestApp:
    return await make_app(mail=enabled_outbox())


@pytest.fixture
async def factor(app: TestApp, alice: Browser) -> AuthenticatorApp:
    """Adds an authenticator app to Alice's account, which logs her out."""
    await app.change("UPDATE users SET verified_at = created_at")
    factor = await set_up_app(app, alice)
    alice.client.cookies.clear()
    return factor


async def attempt(browser: Browser, code: str, ip_address: str) -> int:
    """Logs in with the password unless the browser has, sends the code and returns the status."""
    if "claim" not in browser.client.cookies:
        await log_in(browser, ip_address)
    headers = {"X-Forwarded-For": ip_address}
    return (await browser.post("/login/factor", {"code": code}, **headers)).status_code


async def log_in(browser: Browser, ip_address: str) -> None:
    fields = {"email": browser.email, "password": browser.password}
    answer = await browser.post("/login", fields, **{"X-Forwarded-For": ip_address})
    assert answer.headers["location"] == "/login/factor"


@pytest.mark.asvs("S28")
async def test_guesses_are_limited_per_account_over_sessions_and_clients(
    app: TestApp, factor: AuthenticatorApp
) -> None:
    """Sends 200 guesses at once from 20 browsers that have logged in with the password."""
    browsers = [await app.browser("Alice") for _ in range(20)]
    for number, browser in enumerate(browsers):
        await log_in(browser, f"198.51.100.{number}")
    guesses = [
        attempt(browser, factor.wrong_code(), f"198.51.100.{number}")
        for number, browser in list(enumerate(browsers)) * 10
    ]
    statuses = await asyncio.gather(*guesses)
    assert sorted(statuses) == [422] * FACTOR_TRIES.burst + [429] * 195
    browser = await app.browser("Alice")
    assert await attempt(browser, factor.code(), OWN_IP) == 429
    assert await app.count("sessions") == 0


@pytest.mark.asvs("S28")
async def test_guesses_of_an_account_are_limited_per_hour_and_day(
    app: TestApp, factor: AuthenticatorApp, clock: Clock
) -> None:
    """Guesses from many clients whenever an answer allows it."""
    browser, evaluated, start = await app.browser("Alice"), [], clock.moment
    for number in range(200):
        browser.client.cookies.clear()
        await log_in(browser, f"198.51.100.{number}")
        headers = {"X-Forwarded-For": f"198.51.100.{number}"}
        answer = await browser.post("/login/factor", {"code": factor.wrong_code()}, **headers)
        if answer.status_code == 422:
            evaluated.append((clock.moment - start).total_seconds())
        clock.move(seconds=int(answer.headers.get("Retry-After", 0)))
        if (clock.moment - start).total_seconds() > DAY:
            break
    assert len([moment for moment in evaluated if moment < HOUR]) <= FACTOR_HOUR.burst
    assert len(evaluated) <= FACTOR_DAY.burst
    assert number < 199


@pytest.mark.asvs("S28")
async def test_a_correct_code_refunds_its_own_attempt_only(
    app: TestApp, factor: AuthenticatorApp
) -> None:
    browser = await app.browser("Alice")
    for _ in range(FACTOR_TRIES.burst - 1):
        assert await attempt(browser, factor.wrong_code(), OWN_IP) == 422
    assert await attempt(browser, factor.code(), OWN_IP) == 303
    other = await app.browser("Alice")
    statuses = [await attempt(other, factor.wrong_code(), "198.51.100.1") for _ in range(2)]
    assert statuses == [422, 429]


@pytest.mark.asvs("S28")
async def test_a_known_browser_has_attempts_of_its_own(
    app: TestApp, factor: AuthenticatorApp, clock: Clock
) -> None:
    own = await app.browser("Alice")
    assert await attempt(own, factor.code(), OWN_IP) == 303
    await own.post("/logout")
    clock.move(minutes=1)
    attacker = await app.browser("Alice")
    for number in range(FACTOR_TRIES.burst):
        await attempt(attacker, factor.wrong_code(), f"198.51.100.{number}")
    assert await attempt(attacker, factor.code(), "198.51.100.9") == 429
    assert await attempt(own, factor.code(), OWN_IP) == 303


@pytest.mark.asvs("S28")
async def test_a_known_browser_is_limited_too(
    app: TestApp, factor: AuthenticatorApp, clock: Clock
) -> None:
    own = await app.browser("Alice")
    assert await attempt(own, factor.code(), OWN_IP) == 303
    await own.post("/logout")
    clock.move(minutes=1)
    statuses = [await attempt(own, factor.wrong_code(), OWN_IP) for _ in range(6)]
    assert statuses == [422] * 5 + [429]


@pytest.mark.asvs("S28")
async def test_one_client_cannot_guess_at_many_accounts(
    app: TestApp, factor: AuthenticatorApp
) -> None:
    statuses = []
    for name in ("Bob", "Eve", "Joe", "Zoe"):
        await app.create(name)
        user = await app.browser(name)
        other = await set_up_app(app, user)
        statuses += [await attempt(user, other.wrong_code(), OWN_IP) for _ in range(4)]
    assert statuses.count(422) == FACTOR_CLIENT.burst
    assert statuses[-1] == 429


async def test_a_refused_attempt_says_how_long_to_wait(
    app: TestApp, factor: AuthenticatorApp
) -> None:
    browser = await app.browser("Alice")
    for _ in range(FACTOR_TRIES.burst):
        await attempt(browser, factor.wrong_code(), OWN_IP)
    headers = {"X-Forwarded-For": OWN_IP}
    code = factor.code()
    for send in (browser.post, browser.post_fragment):
        answer = await send("/login/factor", {"code": code}, **headers)
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert "Too many wrong codes. Try again in" in read(answer).one(id="code-form").text
    # The refused code was not used.
    app.clock.move(seconds=int(answer.headers["retry-after"]))
    assert await attempt(browser, factor.code(), OWN_IP) == 303


async def test_a_failed_second_step_is_reported_once_a_day(
    app: TestApp, factor: AuthenticatorApp, clock: Clock
) -> None:
    await deliver(app)
    browser, reports = await app.browser("Alice"), []
    for _ in range(2):
        for _ in range(3):
            await attempt(browser, factor.wrong_code(), OWN_IP)
        mails = [mail for mail in await deliver(app) if mail.message_type == "second-step"]
        reports.append([(mail.recipient, mail.facts["ip_address"]) for mail in mails])
        assert all(mail.token is not None for mail in mails)
        clock.move(days=1)
        browser.client.cookies.clear()
    assert reports == [[("alice@example.com", OWN_IP)]] * 2


async def test_an_unconfirmed_email_gets_no_mail_about_a_failed_second_step(
    app: TestApp, factor: AuthenticatorApp
) -> None:
    await app.change("UPDATE users SET verified_at = NULL")
    await deliver(app)
    assert await attempt(await app.browser("Alice"), factor.wrong_code(), OWN_IP) == 422
    assert await deliver(app) == []


async def test_a_log_in_at_a_new_browser_is_reported_after_the_second_step(
    app: TestApp, factor: AuthenticatorApp, clock: Clock
) -> None:
    await deliver(app)
    browser = await app.browser("Alice")
    await attempt(browser, factor.wrong_code(), OWN_IP)
    assert "new-device" not in [mail.message_type for mail in await deliver(app)]
    await attempt(browser, factor.code(), OWN_IP)
    assert [mail.message_type for mail in await deliver(app)] == ["new-device"]
    await browser.post("/logout")
    clock.move(minutes=1)
    await attempt(browser, factor.code(), OWN_IP)
    assert await deliver(app) == []


@pytest.mark.asvs("S28")
async def test_a_password_change_gives_no_new_browser_attempts_of_its_own(
    app: TestApp, factor: AuthenticatorApp, alice: Browser
) -> None:
    """An attacker with the session cookie and the password gets no further guesses."""
    assert (await factor.log_in(alice)).status_code == 303
    attacker = await app.attacker_with_cookie_of(alice)
    passwords = {"current_password": alice.password, "password": "another-No.7 by the sea"}
    answer = await attacker.post("/account/password", passwords)
    assert (answer.status_code, "device" in attacker.client.cookies) == (303, False)
    evaluated = 0
    for number in range(20):
        session = attacker.cookie
        guess = {"code": factor.wrong_code()}
        headers = {"X-Forwarded-For": f"198.51.100.{number}"}
        evaluated += (await attacker.post("/confirm", guess, **headers)).status_code == 422
        attacker.cookie = session
    assert evaluated == FACTOR_TRIES.burst


async def test_a_known_browser_stays_known_after_a_password_change(
    app: TestApp, factor: AuthenticatorApp, alice: Browser
) -> None:
    assert (await factor.log_in(alice)).status_code == 303
    passwords = {"current_password": alice.password, "password": "another-No.7 by the sea"}
    assert (await alice.post("/account/password", passwords)).status_code == 303
    attacker = await app.browser("Alice", password=passwords["password"])
    for _ in range(FACTOR_TRIES.burst + 1):
        await attempt(attacker, factor.wrong_code(), "198.51.100.7")
    app.clock.move(seconds=30)
    assert await attempt(attacker, factor.code(), "198.51.100.8") == 429
    assert (await alice.post("/confirm", {"code": factor.code()})).status_code == 303


async def test_a_reset_by_the_operator_gives_new_attempts(
    app: TestApp, alice: Browser, factor: AuthenticatorApp
) -> None:
    wrong = factor.wrong_code()
    answers = [await attempt(alice, wrong, f"203.0.113.{number}") for number in range(1, 7)]
    assert answers == [422] * 5 + [429]
    assert await operator_factors.reset_factors(Operator(app.store), alice.email) == "reset"
    app.clock.move(seconds=1)
    again = await set_up_app(app, alice)
    alice.client.cookies.clear()
    assert await attempt(alice, again.code(), "203.0.113.7") == 303
