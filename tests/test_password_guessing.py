"""Tests of guesses at the current password: back-off, and the end of the session."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from db.access import account
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.errors import BreachedPassword
from db.sessions.claims import decode_claims
from db.sessions.lifecycle import get_viewer
from tests.browser_client import PASSWORD, Browser, read, set_cookie_of
from tests.conftest import Clock, TestApp

NEW, WRONG = "another-No.7", "not-her-No.7 key"
STRATEGIES = pytest.mark.parametrize("strategy", ["database", "stateless"])


@pytest.fixture
def strategy() -> str:
    return "database"


@pytest.fixture
def environ(environ: dict[str, str], strategy: str) -> dict[str, str]:
    return environ | {"RATE_LIMITS": "enforce", "SESSION_STRATEGY": strategy}


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


async def change(browser: Browser, current: str = WRONG, send: Callable = Browser.post):
    return await send(browser, "/account/password", {"current_password": current, "password": NEW})


async def guess(browser: Browser, clock: Clock, times: int) -> int:
    """Sends `times` wrong passwords as soon as the answers allow, until each one is verified.

    Returns the seconds that passed on the clock.
    """
    start = clock()
    for _ in range(times):
        while (answer := await change(browser)).status_code == 429:
            clock.move(seconds=int(answer.headers["Retry-After"]))
        assert answer.status_code == 422
    return int((clock() - start).total_seconds())


@STRATEGIES
@pytest.mark.asvs("S46")
async def test_consecutive_wrong_passwords_have_to_wait_longer_and_longer(
    app: TestApp, clock: Clock, alice: Browser
) -> None:
    waits = [await guess(alice, clock, 1) for _ in range(19)]
    assert waits == [0] * 5 + [60] * 6 + [60, 120, 240, 480, 960, 1920, 3600, 3600]


@STRATEGIES
@pytest.mark.asvs("S46")
async def test_twenty_consecutive_wrong_passwords_end_the_session(
    app: TestApp, clock: Clock, alice: Browser, bob: Browser
) -> None:
    attacker, before = (
        await app.attacker_with_cookie_of(alice),
        await app.rows("SELECT password_hash FROM users ORDER BY id"),
    )
    await guess(attacker, clock, 19)
    assert await alice.is_logged_in()
    clock.move(hours=1)
    answer = await change(attacker)
    assert (answer.status_code, answer.headers["Location"]) == (
        303,
        "/login?next=/dashboard&ended=1&guessed=1",
    )
    assert set_cookie_of(answer)["session"]["max-age"] == "0"
    assert [
        await browser.is_logged_in()
        for browser in (await app.attacker_with_cookie_of(alice), alice, bob)
    ] == [
        False,
        False,
        True,
    ]
    assert await app.rows("SELECT password_hash FROM users ORDER BY id") == before
    page = read(await attacker.get(answer.headers["Location"]))
    assert "the current password was wrong 20 times in a row" in page.one("main").text
    assert (await alice.log_in()).status_code == 303
    assert (await change(alice, PASSWORD)).status_code == 303


async def test_htmx_is_redirected_to_login_when_the_session_ends(
    app: TestApp, clock: Clock, alice: Browser
) -> None:
    await guess(alice, clock, 19)
    clock.move(hours=1)
    answer = await change(alice, send=Browser.post_fragment)
    assert (answer.status_code, answer.headers["HX-Redirect"].partition("&")[2]) == (
        401,
        "ended=1&guessed=1",
    )
    assert not await alice.is_logged_in()


async def test_only_the_session_that_guessed_ends(
    app: TestApp, clock: Clock, alice: Browser, alices_phone: Browser
) -> None:
    await guess(alice, clock, 19)
    assert (await change(alices_phone)).status_code == 422  # Each session has its own count.
    clock.move(hours=1)
    assert (await change(alice)).status_code == 303
    assert [await alice.is_logged_in(), await alices_phone.is_logged_in()] == [False, True]
    assert (await change(alices_phone, PASSWORD)).status_code == 303


@pytest.mark.parametrize("strategy", ["stateless"])
async def test_stateless_sessions_all_end_because_none_can_be_ended_alone(
    app: TestApp, clock: Clock, alice: Browser, alices_phone: Browser
) -> None:
    await guess(alice, clock, 19)
    clock.move(hours=1)
    assert (await change(alice)).status_code == 303
    assert [await alice.is_logged_in(), await alices_phone.is_logged_in()] == [False, False]


@STRATEGIES
@pytest.mark.asvs("S91")
async def test_the_end_of_a_session_by_guessing_is_shown_in_the_activity(
    app: TestApp, clock: Clock, alice: Browser
) -> None:
    await guess(alice, clock, 19)
    clock.move(hours=1)
    await change(alice)
    rows = await app.rows("SELECT event, outcome, actor, detail FROM audit ORDER BY number")
    assert rows[-1] == ("session.end-guessing", "done", "user", '{"times": 20}')
    await alice.log_in()
    page = read(await alice.get("/account/activity"))
    sentences = [item.one("h3").text for item in page.one("ol", id="activity").all("li")]
    assert (
        "You were logged out, because the current password was wrong 20 times in a row" in sentences
    )


@STRATEGIES
async def test_the_right_password_resets_the_count(
    app: TestApp, clock: Clock, alice: Browser
) -> None:
    await guess(alice, clock, 19)
    clock.move(hours=1)
    assert (await change(alice, PASSWORD)).status_code == 303
    clock.move(hours=1)
    await guess(alice, clock, 19)
    assert await alice.is_logged_in()


async def test_the_right_password_resets_the_count_if_the_new_one_is_refused(
    app: TestApp, clock: Clock, alice: Browser
) -> None:
    """The session continues, so its count would continue too."""
    await guess(alice, clock, 19)
    clock.move(hours=1)
    store = replace(app.store, breached_passwords=EveryPasswordBreached())
    viewer = await get_viewer(store, decode_claims(store, alice.cookie))
    with pytest.raises(BreachedPassword):
        await account.change_password(viewer, current=Secret(PASSWORD), new=Secret(NEW))
    clock.move(hours=1)
    await guess(alice, clock, 19)
    assert await alice.is_logged_in()


class EveryPasswordBreached:
    async def require_not_breached(self, password: Secret[str]) -> None:
        raise BreachedPassword


async def test_waiting_for_days_does_not_reset_the_count(
    app: TestApp, clock: Clock, alice: Browser
) -> None:
    """Without this, an attacker could make 19 guesses a day for as long as the session lives."""
    for _ in range(19):
        await guess(alice, clock, 1)
        clock.move(days=1)
        await alice.is_logged_in()  # This request renews the session.
    assert (await change(alice)).status_code == 303
    assert not await alice.is_logged_in()


@pytest.mark.parametrize("mode", ["observe", "off"])
async def test_without_enforced_limits_no_session_ends(
    make_app: Callable, clock: Clock, mode: str
) -> None:
    app = await make_app(RATE_LIMITS=mode)
    alice = await app.sign_up_user("Alice")
    for _ in range(25):
        assert (await change(alice)).status_code == 422
        clock.move(hours=1)
    assert await alice.is_logged_in()
