"""Tests the second step of a log-in, without HTTP."""

import pytest

from db.access.second_step import log_in
from db.crypto.secret import Secret
from db.errors import NoClaim
from db.factors.verification import GivenFactor
from db.sessions.claimants import Claimant, get_claimant
from db.viewer import ClientInfo
from tests.authenticator_app import AuthenticatorApp, set_up_app
from tests.browser_client import Browser
from tests.conftest import TestApp
from tests.databases import DATABASE_TYPES

CLIENT = ClientInfo("Firefox", "Linux", "computer", "Mozilla/5.0", "192.0.2.14")


@pytest.fixture(params=DATABASE_TYPES)
def database_type(request: pytest.FixtureRequest) -> str:
    """Runs the tests on both databases."""
    return request.param


@pytest.fixture
async def factor(app: TestApp, alice: Browser) -> AuthenticatorApp:
    return await set_up_app(app, alice)


@pytest.fixture
async def claimant(app: TestApp, factor: AuthenticatorApp) -> Claimant:
    browser = await app.browser("Alice")
    await browser.log_in()
    return await get_claimant(app.store, Secret(browser.client.cookies["claim"]), CLIENT)


def code_of(factor: AuthenticatorApp) -> GivenFactor:
    return GivenFactor(Secret(factor.code()), Secret(""))


@pytest.mark.asvs("S16")
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET sessions_ended_at = '2026-11-24T09:12:01.000000+00:00'",
        "UPDATE users SET disabled_at = created_at",
        "DELETE FROM users",
    ],
)
async def test_a_change_after_the_request_was_verified_ends_the_claim(
    app: TestApp, claimant: Claimant, factor: AuthenticatorApp, change: str
) -> None:
    await app.change(change)
    with pytest.raises(NoClaim):
        await log_in(claimant, code_of(factor))
    assert await app.count("sessions") == 0
    assert await app.rows("SELECT last_used_at FROM totp WHERE last_used_at IS NOT NULL") == []


async def test_a_log_in_whose_session_cannot_be_stored_uses_no_code(
    app: TestApp, claimant: Claimant, factor: AuthenticatorApp
) -> None:
    await app.break_inserts("sessions")
    with pytest.raises(Exception):  # noqa: B017  (each database has its own error)
        await log_in(claimant, code_of(factor))
    await app.restore_inserts("sessions")
    assert await log_in(claimant, code_of(factor)) is not None


async def test_secrets_of_a_log_in_are_not_printed(claimant: Claimant) -> None:
    given = GivenFactor(Secret("123456"), Secret("ABCD"), "credential text", "challenge text")
    printed = f"{given!r} {claimant!r}"
    for secret in ("123456", "ABCD", "credential text", "challenge text"):
        assert secret not in printed
