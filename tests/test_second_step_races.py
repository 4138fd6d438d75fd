"""Tests of second steps that are sent many times at once, and together with other changes."""

import asyncio
from typing import Any

import pytest

from db.access import operator
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.factors.totp import STEP_SECONDS
from db.sessions.lifecycle import end_all_sessions
from db.viewer import Operator
from tests.authenticator_app import AuthenticatorApp, set_up_app
from tests.browser_client import Browser
from tests.conftest import TestApp
from tests.databases import DATABASE_TYPES
from tests.passkeys import add_passkey, hidden_fields, passkey_form

COUNT = 50


@pytest.fixture(params=DATABASE_TYPES)
def database_type(request: pytest.FixtureRequest) -> str:
    """Runs the tests on both databases, because each has its own locks."""
    return request.param


@pytest.fixture(params=["database", "stateless"])
def environ(environ: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    """Runs the tests with both session strategies."""
    return environ | {"SESSION_STRATEGY": request.param}


@pytest.fixture
async def factor(app: TestApp, alice: Browser) -> AuthenticatorApp:
    """Adds an authenticator app to Alice's account, which logs her out."""
    return await set_up_app(app, alice)


async def claimants(app: TestApp, count: int = COUNT) -> list[Browser]:
    """Returns browsers that wait for the second step."""
    browsers = [await app.browser("Alice") for _ in range(count)]
    answers = await asyncio.gather(*[browser.log_in() for browser in browsers])
    assert {answer.headers["location"] for answer in answers} == {"/login/factor"}
    return browsers


async def send(browsers: list[Browser], fields: dict[str, str]) -> list[int]:
    """Sends the same fields from all browsers at once and returns the statuses, sorted."""
    answers = await asyncio.gather(*[browser.post("/login/factor", fields) for browser in browsers])
    return sorted(answer.status_code for answer in answers)


async def log_ins(app: TestApp) -> int:
    return len(await app.rows("SELECT 1 FROM audit WHERE event = 'login' AND outcome = 'done'"))


ONE = [303] + [422] * (COUNT - 1)


@pytest.mark.asvs("S27", "S102")
async def test_fifty_uses_of_one_code_at_once_log_in_once(
    app: TestApp, factor: AuthenticatorApp
) -> None:
    browsers = await claimants(app)
    assert await send(browsers, {"code": factor.code()}) == ONE
    assert await log_ins(app) == 1


@pytest.mark.asvs("S27", "S102")
async def test_neighboring_codes_at_once_never_go_back(
    app: TestApp, factor: AuthenticatorApp
) -> None:
    """Sends the codes of three steps from three browsers at once: a later one ends earlier ones."""
    for _ in range(5):
        app.clock.move(minutes=3)
        browsers = await claimants(app, 3)
        sent = [
            browser.post("/login/factor", {"code": factor.code(steps)})
            for browser, steps in zip(browsers, (1, 0, -1), strict=True)
        ]
        statuses = [answer.status_code for answer in await asyncio.gather(*sent)]
        assert set(statuses) in ({303, 422}, {303})
        newest = 1 - statuses.index(303)
        ((last_step,),) = await app.rows("SELECT last_step FROM totp")
        assert last_step == int(app.clock.moment.timestamp()) // STEP_SECONDS + newest


@pytest.mark.asvs("S29", "S102")
async def test_fifty_uses_of_one_recovery_code_at_once_log_in_once(
    app: TestApp, factor: AuthenticatorApp
) -> None:
    browsers = await claimants(app)
    assert await send(browsers, {"recovery_code": factor.recovery_codes[0]}) == ONE
    assert (await log_ins(app), await app.count("recovery_codes")) == (1, 9)


@pytest.mark.asvs("S25", "S102")
async def test_fifty_uses_of_one_passkey_answer_at_once_log_in_once(
    app: TestApp, alice: Browser
) -> None:
    passkey = await add_passkey(alice)
    app.clock.move(seconds=1)
    browsers = await claimants(app)
    form = passkey_form(await browsers[0].get("/login/factor"))
    fields = hidden_fields(form) | {"credential": passkey.get(form.attrs["data-options"])}
    assert await send(browsers, fields) == ONE
    assert await log_ins(app) == 1


@pytest.mark.asvs("S16", "S102")
async def test_a_new_password_at_once_ends_the_session_or_the_claim(
    app: TestApp, factor: AuthenticatorApp
) -> None:
    for number in range(10):
        app.clock.move(minutes=1)
        (browser,) = await claimants(app, 1)
        new = Secret(browser.password)
        sent = [
            browser.post("/login/factor", {"code": factor.code()}),
            operator.set_user_password(Operator(app.store), browser.email, new),
        ]
        await asyncio.gather(*sent[:: -1 if number % 2 else 1])
        assert not await browser.is_logged_in()


@pytest.mark.asvs("S37", "S102")
async def test_an_account_that_is_disabled_at_once_is_not_logged_in(
    app: TestApp, factor: AuthenticatorApp
) -> None:
    for number in range(10):
        app.clock.move(minutes=1)
        (browser,) = await claimants(app, 1)
        sent = [
            browser.post("/login/factor", {"code": factor.code()}),
            operator.disable_user(Operator(app.store), browser.email),
        ]
        await asyncio.gather(*sent[:: -1 if number % 2 else 1])
        assert not await browser.is_logged_in()
        await operator.enable_user(Operator(app.store), browser.email)
        assert not await browser.is_logged_in()


@pytest.mark.asvs("S115", "S102")
async def test_a_second_step_that_is_added_during_a_log_in_is_asked_for(
    app: TestApp, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password is verified before the second step is added, and recorded after that."""
    verify, added = Passwords.verify, []

    async def verify_and_add(self: Passwords, *given: Any, **options: Any) -> bool:
        is_correct = await verify(self, *given, **options)
        if not added:
            added.append(await set_up_app(app, alice))
        return is_correct

    monkeypatch.setattr(Passwords, "verify", verify_and_add)
    browser = await app.browser("Alice")
    assert (await browser.log_in()).headers["location"] == "/login/factor"
    assert await app.count("sessions") == 0


@pytest.mark.asvs("S16", "S102")
async def test_an_end_of_all_sessions_during_a_log_in_ends_the_trust(
    app: TestApp, factor: AuthenticatorApp, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A remembered browser logs in while the user ends every session of the account."""
    assert (await factor.log_in(alice, remember="on")).status_code == 303
    viewer = await app.viewer_of(alice)
    await alice.post("/logout")
    verify, ended = Passwords.verify, []

    async def verify_and_end(self: Passwords, *given: Any, **options: Any) -> bool:
        is_correct = await verify(self, *given, **options)
        if not ended:
            async with app.store.transaction():
                ended.append(await end_all_sessions(app.store, viewer.id))
        return is_correct

    monkeypatch.setattr(Passwords, "verify", verify_and_end)
    assert (await alice.log_in()).headers["location"] == "/login/factor"
