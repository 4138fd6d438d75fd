"""Tests logging in, without HTTP."""

from collections.abc import Callable

import pytest

from db.access.login import log_in
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.sessions.claims import NewSession
from db.viewer import ClientInfo
from tests.browser_client import PASSWORD, Browser
from tests.conftest import TestApp
from tests.hashing import HeldHasher

CLIENT = ClientInfo("Firefox", "Linux", "computer", "Mozilla/5.0", "192.0.2.14")


async def log_in_as(app: TestApp, email: str, password: str = PASSWORD) -> NewSession | None:
    return await log_in(app.store, email=email, password=Secret(password), client=CLIENT)


@pytest.mark.guide("A21")
async def test_email_and_password_must_both_be_correct(app: TestApp, alice: Browser) -> None:
    assert await log_in_as(app, "alice@example.com") is not None
    assert await log_in_as(app, "alice@example.com", "wrong-No.9") is None
    assert await log_in_as(app, "joe@example.com") is None
    assert await app.count("sessions") == 2


@pytest.mark.guide("A21")
@pytest.mark.asvs("S37")
async def test_a_user_disabled_during_hashing_is_not_logged_in(
    make_app: Callable,
) -> None:
    hasher = HeldHasher()
    app = await make_app(hashing=Passwords(hasher=hasher))
    alice = await app.sign_up_user("Alice")
    async with hasher.held("verify", log_in_as(app, "alice@example.com")) as login:
        await app.change("UPDATE users SET disabled_at = created_at")
    assert await login is None
    assert await app.count("sessions") == 1
    assert not await alice.is_logged_in()


@pytest.mark.guide("C6", "C4")
async def test_a_log_in_whose_session_cannot_be_stored_stores_nothing(
    app: TestApp, alice: Browser
) -> None:
    await app.break_inserts("sessions")
    app.clock.move(days=1)
    laptop = await app.browser("Alice")
    assert (await laptop.log_in()).status_code == 500
    assert laptop.cookie is None
    assert await app.rows("SELECT last_login_at FROM users") == [
        ("2026-11-24T09:12:00.000000+00:00",)
    ]
    assert await app.count("sessions") == 1
