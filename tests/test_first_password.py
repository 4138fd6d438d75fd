"""Tests of accounts without a password, such as one that only a passkey opens."""

from collections.abc import Callable

import pytest

from tests.browser_client import PASSWORD, Browser, read
from tests.conftest import TestApp
from tests.databases import DATABASE_TYPES
from tests.passkeys import add_passkey, log_in_with
from tests.soft_authenticator import SoftAuthenticator

NEW = "another-No.7 by the sea"
PATH = "/account/password"
NO_PASSWORD = "UPDATE users SET password_hash = '!', password_changed_at = NULL"


@pytest.fixture(params=DATABASE_TYPES)
def database_type(request: pytest.FixtureRequest) -> str:
    """Runs the tests on both databases."""
    return request.param


@pytest.fixture
async def passkey(app: TestApp, alice: Browser) -> SoftAuthenticator:
    """Adds a passkey to Alice's account and removes its password."""
    passkey = await add_passkey(alice)
    await app.change(NO_PASSWORD)
    return passkey


async def hashes(app: TestApp) -> list[tuple]:
    return await app.rows("SELECT password_hash FROM users")


async def test_the_form_asks_for_no_current_password(
    alice: Browser, passkey: SoftAuthenticator
) -> None:
    form = read(await alice.get("/account")).one("form", id="password-form")
    assert form.all("input", name="current_password") == []
    assert "Set a password" in form.text
    assert "Your account has no password yet." in form.text


@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_the_first_password_is_set_and_ends_other_sessions(
    app: TestApp, alice: Browser, passkey: SoftAuthenticator, send: Callable
) -> None:
    phone = await app.browser("Alice", password=NEW)
    assert (await log_in_with(phone, passkey)).status_code == 303
    answer = await send(alice, PATH, {"password": NEW})
    assert answer.status_code in (303, 200)
    if answer.status_code == 200:
        assert read(answer).one("input", name="current_password")
    assert [await alice.is_logged_in(), await phone.is_logged_in()] == [True, False]
    app.clock.move(seconds=1)
    assert (await phone.log_in()).headers["location"] == "/login/factor"


@pytest.mark.asvs("S30", "S101")
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_the_first_password_needs_a_confirmation(
    app: TestApp, alice: Browser, passkey: SoftAuthenticator, send: Callable
) -> None:
    app.clock.move(minutes=11)
    answer = await send(alice, PATH, {"password": NEW})
    assert answer.status_code == 403
    assert NEW not in answer.text
    assert await hashes(app) == [("!",)]


async def test_an_account_with_a_password_needs_the_current_one(
    app: TestApp, alice: Browser
) -> None:
    before = await hashes(app)
    for fields in ({"password": NEW}, {"password": NEW, "current_password": "wrong-No.9"}):
        answer = await alice.post(PATH, fields)
        assert answer.status_code == 422
        assert (
            "current_password"
            in read(answer)
            .one("form", id="password-form")
            .one("input", name="current_password")
            .attrs["id"]
        )
    assert await hashes(app) == before


async def test_a_first_password_obeys_the_rules(
    app: TestApp, alice: Browser, passkey: SoftAuthenticator
) -> None:
    answer = await alice.post(PATH, {"password": "short"})
    assert answer.status_code == 422
    assert read(answer).one(id="error-summary")
    assert await hashes(app) == [("!",)]


@pytest.mark.asvs("S49", "S50")
async def test_a_log_in_without_a_password_is_refused_after_the_same_work(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    await app.change(f"{NO_PASSWORD} WHERE email = 'alice@example.com'")
    anonymous, work = await app.browser("Charlie"), []
    for email in (alice.email, bob.email, "joe@example.com"):
        for password in ("!", "wrong-No.9"):
            before = app.statements, app.hashes
            answer = await anonymous.post("/login", {"email": email, "password": password})
            assert answer.status_code == 422
            work.append((app.statements - before[0], app.hashes - before[1]))
    assert work == [(4, 1)] * 6
    assert (
        await anonymous.post("/login", {"email": alice.email, "password": PASSWORD})
    ).status_code == 422
