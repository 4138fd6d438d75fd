"""Tests of browsers that are not asked for the second step again."""

from collections.abc import Callable

import pytest

from db.access import operator
from db.crypto.secret import Secret
from db.viewer import Operator
from tests.authenticator_app import AuthenticatorApp, set_up_app
from tests.browser_client import PASSWORD, Browser, read
from tests.conftest import TestApp
from tests.databases import DATABASE_TYPES

NEW_PASSWORD = "another-No.7 by the sea"


@pytest.fixture(params=DATABASE_TYPES)
def database_type(request: pytest.FixtureRequest) -> str:
    """Runs the tests on both databases."""
    return request.param


@pytest.fixture(params=["database", "stateless"])
def environ(environ: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    """Runs the tests with both session strategies."""
    return environ | {"SESSION_STRATEGY": request.param}


@pytest.fixture
async def factor(app: TestApp, alice: Browser) -> AuthenticatorApp:
    """Adds an authenticator app to Alice's account, which logs her out."""
    factor = await set_up_app(app, alice)
    alice.client.cookies.clear()
    return factor


@pytest.fixture
async def remembered(alice: Browser, factor: AuthenticatorApp) -> Browser:
    """Returns Alice's browser, which was logged in and remembered, and logged out."""
    assert (await factor.log_in(alice, remember="on")).status_code == 303
    await log_out(factor, alice)
    return alice


async def log_out(factor: AuthenticatorApp, user: Browser) -> None:
    await user.post("/logout")
    factor.clock.move(seconds=1)


async def target(user: Browser, password: str = PASSWORD) -> str:
    """Returns where a log-in with the password leads to."""
    return (await user.log_in(password)).headers["location"]


async def test_a_remembered_browser_needs_the_password_alone(
    app: TestApp, remembered: Browser
) -> None:
    assert await target(remembered) == "/dashboard"
    assert await remembered.is_logged_in()
    details = await app.rows("SELECT detail FROM audit WHERE event = 'login' ORDER BY number")
    assert details[-1] == ('{"with": "password", "factor": "remembered browser"}',)


@pytest.mark.asvs("S30")
async def test_a_log_in_at_a_remembered_browser_is_no_confirmation(remembered: Browser) -> None:
    remembered.client.cookies.delete("sudo")
    await remembered.log_in()
    assert "sudo" not in remembered.client.cookies


async def test_other_browsers_of_the_account_are_asked(app: TestApp, remembered: Browser) -> None:
    assert await target(await app.browser("Alice")) == "/login/factor"


async def test_other_accounts_in_the_browser_are_asked(
    app: TestApp, remembered: Browser, bob: Browser
) -> None:
    await set_up_app(app, bob)
    other = await app.browser("Bob")
    other.client.cookies.set("device", remembered.client.cookies["device"])
    assert await target(other) == "/login/factor"


@pytest.mark.parametrize("fields", [{}, {"remember": ""}, {"remember": "yes"}])
async def test_without_the_ticked_box_the_browser_is_asked_again(
    alice: Browser, factor: AuthenticatorApp, fields: dict[str, str]
) -> None:
    assert (await factor.log_in(alice, **fields)).status_code == 303
    await log_out(factor, alice)
    assert await target(alice) == "/login/factor"


async def test_a_wrong_code_remembers_nothing(alice: Browser, factor: AuthenticatorApp) -> None:
    await alice.log_in()
    await alice.post("/login/factor", {"code": factor.wrong_code(), "remember": "on"})
    assert "device" not in alice.client.cookies
    assert await target(alice) == "/login/factor"


async def test_later_log_ins_keep_the_choice_and_do_not_renew_it(
    app: TestApp, remembered: Browser
) -> None:
    for _ in range(2):
        app.clock.move(days=14)
        assert await target(remembered) == "/dashboard"
        await remembered.post("/logout")
    app.clock.move(days=2)
    assert await target(remembered) == "/login/factor"


async def test_a_log_in_with_the_box_ticked_again_renews_the_choice(
    app: TestApp, remembered: Browser, factor: AuthenticatorApp
) -> None:
    app.clock.move(days=31)
    await factor.log_in(remembered, remember="on")
    await remembered.post("/logout")
    app.clock.move(days=29)
    assert await target(remembered) == "/dashboard"


async def test_the_setting_changes_how_long_browsers_are_remembered(
    make_app: Callable, app: TestApp, remembered: Browser
) -> None:
    app.clock.move(days=2)
    shorter = await make_app(app.path, REMEMBER_BROWSER_DAYS="1")
    user = await shorter.browser("Alice")
    user.client.cookies.set("device", remembered.client.cookies["device"])
    assert await target(user) == "/login/factor"
    page = read(await user.get("/login/factor"))
    assert "Don't ask on this browser for 1 day" in page.one("form", id="code-form").text


async def test_without_days_no_browser_is_remembered(
    make_app: Callable, app: TestApp, remembered: Browser, factor: AuthenticatorApp
) -> None:
    never = await make_app(app.path, REMEMBER_BROWSER_DAYS="0")
    user = await never.browser("Alice")
    user.client.cookies.set("device", remembered.client.cookies["device"])
    assert await target(user) == "/login/factor"
    assert read(await user.get("/login/factor")).all("input", name="remember") == []
    user.client.cookies.clear()
    await factor.log_in(user, remember="on")
    await user.post("/logout")
    app.clock.move(seconds=1)
    assert await target(user) == "/login/factor"


# What ends it


async def log_out_everywhere(app: TestApp, remembered: Browser, other: Browser) -> None:
    assert (await other.post("/devices/revoke-all")).status_code == 303


async def change_password(app: TestApp, remembered: Browser, other: Browser) -> None:
    fields = {"current_password": PASSWORD, "password": NEW_PASSWORD}
    assert (await other.post("/account/password", fields)).status_code == 303
    remembered.password = NEW_PASSWORD


async def set_password(app: TestApp, remembered: Browser, other: Browser) -> None:
    caller, new = Operator(app.store), Secret(NEW_PASSWORD)
    await operator.set_user_password(caller, remembered.email, new)
    remembered.password = NEW_PASSWORD


async def disable_and_enable(app: TestApp, remembered: Browser, other: Browser) -> None:
    await operator.disable_user(Operator(app.store), remembered.email)
    await operator.enable_user(Operator(app.store), remembered.email)


async def set_up_another_app(app: TestApp, remembered: Browser, other: Browser) -> None:
    await set_up_app(app, remembered)


@pytest.mark.asvs("S16")
@pytest.mark.parametrize(
    "event",
    [log_out_everywhere, change_password, set_password, disable_and_enable, set_up_another_app],
    ids=lambda event: event.__name__,
)
async def test_every_end_of_all_sessions_ends_the_choice(
    app: TestApp, remembered: Browser, factor: AuthenticatorApp, event: Callable
) -> None:
    other = await app.browser("Alice")
    await factor.log_in(other)
    await event(app, remembered, other)
    app.clock.move(seconds=1)
    assert await target(remembered, remembered.password) == "/login/factor"


@pytest.mark.asvs("S16")
async def test_an_end_of_all_sessions_in_the_same_microsecond_ends_the_choice(
    app: TestApp, alice: Browser, factor: AuthenticatorApp
) -> None:
    await factor.log_in(alice, remember="on")
    await alice.post("/devices/revoke-all")
    assert await target(alice) == "/login/factor"


# Administrators who need a second step


async def test_such_administrators_are_always_asked(
    make_app: Callable, app: TestApp, remembered: Browser, factor: AuthenticatorApp
) -> None:
    await app.create("Ada", "admin")
    await app.change_role(remembered, "admin")
    assert await target(remembered) == "/dashboard"
    strict = await make_app(app.path, REQUIRE_FACTOR="admins")
    user = await strict.browser("Alice")
    user.client.cookies.set("device", remembered.client.cookies["device"])
    assert await target(user) == "/login/factor"
    assert read(await user.get("/login/factor")).all("input", name="remember") == []
    user.client.cookies.clear()
    await factor.log_in(user, remember="on")
    await user.post("/logout")
    app.clock.move(seconds=1)
    assert await target(user) == "/login/factor"
    # The choice was not stored either, so that it is not there after a demotion.
    await app.change_role(remembered, "user")
    assert await target(user) == "/login/factor"
