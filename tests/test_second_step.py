"""Tests of the second step of a log-in."""

import pytest

from tests.authenticator_app import AuthenticatorApp, set_up_app
from tests.browser_client import Browser, read, set_cookie_of
from tests.conftest import TestApp


@pytest.fixture
async def authenticator(app: TestApp, alice: Browser) -> AuthenticatorApp:
    """Adds an authenticator app to Alice's account, which logs her out."""
    authenticator = await set_up_app(app, alice)
    alice.client.cookies.clear()
    return authenticator


async def test_a_password_alone_starts_no_session(
    app: TestApp, alice: Browser, authenticator: AuthenticatorApp
) -> None:
    answer = await alice.log_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/login/factor")
    assert set(set_cookie_of(answer)) == {"claim"}
    assert await app.count("sessions") == 0
    assert not await alice.is_logged_in()


async def test_a_correct_code_logs_in(
    app: TestApp, alice: Browser, authenticator: AuthenticatorApp
) -> None:
    await alice.log_in()
    before = app.statements
    answer = await alice.get("/login/factor")
    print("GET", app.statements - before)
    page = read(answer)
    assert page.one("h1").text == "One more step"
    print(answer.text)
    before = app.statements
    answer = await alice.post("/login/factor", {"code": authenticator.code()})
    print("POST", app.statements - before)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert await alice.is_logged_in()
