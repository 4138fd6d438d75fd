"""Tests of sessions in all four combinations of session strategy and cookie type."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import product

import pytest

from db.access import admin
from tests.browser_client import Browser, path_of, set_cookie_of
from tests.conftest import SECRET, Clock, TestApp
from tests.databases import DATABASE_TYPES

STRATEGIES, COOKIES = ("database", "stateless"), ("signed", "encrypted")
MODES = list(product(STRATEGIES, COOKIES))
OTHER_SECRET = "another secret of the tests: mQ4kT8yVb1Xc6Nd3"

pytestmark = pytest.mark.guide("B2", "B3")


@pytest.fixture(params=DATABASE_TYPES)
def database_type(request: pytest.FixtureRequest) -> str:
    """Runs the tests on both databases."""
    return request.param


@pytest.fixture(params=MODES, ids="-".join)
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    strategy, cookie = request.param
    return {
        "SESSION_SECRET": SECRET,
        "RATE_LIMITS": "off",
        "SESSION_STRATEGY": strategy,
        "SESSION_COOKIE": cookie,
    }


async def is_logged_in(user: Browser) -> bool:
    return (await user.get("/dashboard")).status_code == 200


async def id_of(app: TestApp, user: Browser) -> str:
    return (await app.rows(f"SELECT id FROM users WHERE email = '{user.email}'"))[0][0]


@pytest.mark.guide("A20", "B1", "C4", "T4")
async def test_signing_up_logs_in(app: TestApp) -> None:
    alice = await app.browser("Alice")
    answer = await alice.sign_up()
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert await is_logged_in(alice)


@pytest.mark.guide("B1")
async def test_logging_in_starts_a_new_session(app: TestApp, alice: Browser) -> None:
    before = alice.cookie
    phone = await app.browser("Alice")
    await phone.log_in()
    assert await is_logged_in(phone)
    assert phone.cookie != before


@pytest.mark.guide("B15")
async def test_logging_out_deletes_the_cookie(app: TestApp, alice: Browser) -> None:
    answer = await alice.post("/logout")
    assert path_of(answer.headers["location"]) == "/login"
    assert alice.cookie is None
    assert not await is_logged_in(alice)


async def test_a_copied_cookie_survives_a_log_out_only_if_sessions_are_stateless(
    app: TestApp, alice: Browser
) -> None:
    copy = alice.cookie
    await alice.post("/logout")
    alice.cookie = copy
    assert await is_logged_in(alice) == app.settings.stateless


@pytest.mark.guide("C8")
@pytest.mark.parametrize("seconds", [0, 0.000001, 0.4, 3600])
async def test_logging_out_everywhere_ends_every_copy_even_within_one_second(
    app: TestApp, alice: Browser, alices_phone: Browser, seconds: float
) -> None:
    app.clock.move(seconds=seconds)
    copies = [alice.cookie, alices_phone.cookie]
    answer = await alice.post("/devices/revoke-all")
    assert path_of(answer.headers["location"]) == "/login"
    for copy in copies:
        alice.cookie = copy
        assert not await is_logged_in(alice)


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_log_in_works_at_the_same_instant_as_logging_out_everywhere(
    app: TestApp, alice: Browser, times: int
) -> None:
    for _ in range(times):
        ended = alice.cookie
        await alice.post("/devices/revoke-all")
        await alice.log_in()
        assert await is_logged_in(alice)
        other = await app.browser("Alice")
        other.cookie = ended
        assert not await is_logged_in(other)


@pytest.mark.guide("D2", "C3")
@pytest.mark.asvs("S37")
async def test_a_role_change_applies_to_the_next_request_of_the_same_session(
    app: TestApp, alice: Browser
) -> None:
    before = alice.cookie
    await app.change_role(alice, "admin")
    page = await alice.get("/dashboard")
    assert 'data-dashboard="admin"' in page.text
    assert alice.cookie != before
    await app.create("Ada", "admin")
    await app.change_role(alice, "user")
    assert 'data-dashboard="user"' in (await alice.get("/dashboard")).text


@pytest.mark.asvs("S37")
async def test_disabling_a_user_ends_the_sessions_and_prevents_log_in(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    alice_id = await id_of(app, alice)
    await ada.post(f"/admin/users/{alice_id}/disable")
    assert not await is_logged_in(alice)
    assert (await alice.log_in()).status_code == 422
    await ada.post(f"/admin/users/{alice_id}/enable")
    assert not await is_logged_in(alice), "an ended session stays ended"
    assert (await alice.log_in()).status_code == 303


@pytest.mark.asvs("S37", "S66")
async def test_an_administrator_ends_the_sessions_of_a_user(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    copy = alice.cookie
    await ada.post(f"/admin/users/{await id_of(app, alice)}/end-sessions")
    alice.cookie = copy
    assert not await is_logged_in(alice)
    assert (await alice.log_in()).status_code == 303


@pytest.mark.asvs("S06", "S16")
async def test_a_new_password_ends_every_other_session_and_renews_this_one(
    app: TestApp, alice: Browser, alices_phone: Browser
) -> None:
    before, phone_cookie = alice.cookie, alices_phone.cookie
    answer = await alice.post(
        "/account/password", {"current_password": alice.password, "password": "another-No.7"}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    assert await is_logged_in(alice)
    for copy in (before, phone_cookie):
        alices_phone.cookie = copy
        assert not await is_logged_in(alices_phone)
    assert (await alices_phone.log_in()).status_code == 422
    assert (await alices_phone.log_in("another-No.7")).status_code == 303


@pytest.mark.guide("B12", "T3")
async def test_a_request_in_the_second_half_of_its_lifetime_renews_a_session(
    app: TestApp, alice: Browser
) -> None:
    before = alice.cookie
    app.clock.move(days=3)
    await alice.get("/dashboard")
    assert alice.cookie == before
    app.clock.move(days=1)
    await alice.get("/dashboard")
    assert alice.cookie != before
    app.clock.move(days=6.9)
    assert await is_logged_in(alice)


@pytest.mark.guide("B12")
@pytest.mark.asvs("S64")
async def test_renewal_ends_thirty_days_after_the_log_in(app: TestApp, alice: Browser) -> None:
    for _ in range(9):
        app.clock.move(days=3.3)
        assert await is_logged_in(alice)
    app.clock.move(days=0.4)
    assert not await is_logged_in(alice)


@pytest.mark.asvs("S64")
async def test_an_unused_session_ends_after_seven_days(app: TestApp, alice: Browser) -> None:
    copy = alice.cookie
    app.clock.move(days=7, seconds=1)
    alice.cookie = copy
    assert not await is_logged_in(alice)


@pytest.mark.guide("B14")
@pytest.mark.asvs("S65")
async def test_many_concurrent_requests_during_renewal_all_succeed(
    app: TestApp, alice: Browser
) -> None:
    app.clock.move(days=4)
    answers = await asyncio.gather(*(alice.get("/dashboard") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert await is_logged_in(alice)


@pytest.mark.guide("B9", "B10", "C2", "T8")
@pytest.mark.asvs("S63")
async def test_an_encrypted_cookie_is_unreadable_and_a_signed_one_shows_claims(
    app: TestApp, alice: Browser
) -> None:
    from base64 import urlsafe_b64decode

    parts = alice.cookie.split(".")
    assert len(parts) == (5 if app.settings.encrypted else 3)
    assert len(alice.cookie) < 4096
    readable = b"".join(urlsafe_b64decode(part + "==") for part in parts)
    assert (b'"sub"' in readable) == (not app.settings.encrypted)
    assert b"alice@example.com" not in readable
    cookie = set_cookie_of(await (await app.browser("Alice")).log_in())["session"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["max-age"]) == (
        True,
        "Lax",
        "/",
        "604800",
    )


@pytest.mark.reliability("R15")
async def test_an_expired_session_stays_expired_when_the_clock_moves_back(
    app: TestApp, alice: Browser
) -> None:
    cookie = alice.cookie
    app.clock.move(days=7, minutes=10)
    assert not await is_logged_in(await app.attacker_with_cookie_of(alice))
    app.clock.move(hours=-1)
    alice.cookie = cookie
    assert not await is_logged_in(alice)
    assert not (await alice.get("/login")).is_redirect
    assert (await alice.log_in()).status_code == 303
    assert await is_logged_in(alice)


@pytest.mark.reliability("R15")
async def test_a_live_session_stays_valid_when_the_clock_moves_back(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    app.clock.move(days=-30)
    for user in (alice, ada, await app.sign_up_user("Bob")):
        assert await is_logged_in(user)
    await alice.post("/devices/revoke-all")
    assert not await is_logged_in(await app.attacker_with_cookie_of(alice))
    app.clock.move(days=31)
    assert await is_logged_in(ada)


@pytest.mark.guide("B6")
@pytest.mark.asvs("S94")
async def test_rotating_the_secret_keeps_sessions_while_both_keys_are_listed(
    make_app: Callable, tmp_path, app: TestApp, alice: Browser
) -> None:
    path = tmp_path / "latchkey.db"
    rotated = await make_app(path, SESSION_SECRET=f"{OTHER_SECRET},{SECRET}")
    browser = await rotated.browser("Alice")
    browser.cookie = alice.cookie
    assert await is_logged_in(browser)
    bob = await rotated.sign_up_user("Bob")

    retired = await make_app(path, SESSION_SECRET=OTHER_SECRET)
    for cookie, is_valid in ((alice.cookie, False), (bob.cookie, True)):
        browser = await retired.browser("Charlie")
        browser.cookie = cookie
        assert await is_logged_in(browser) == is_valid


@pytest.mark.parametrize("other", MODES, ids="-".join)
async def test_a_change_of_mode_raises_no_error_and_restores_no_session(
    make_app: Callable, tmp_path, app: TestApp, alice: Browser, other: tuple[str, str]
) -> None:
    ended = alice.cookie
    await alice.post("/devices/revoke-all")
    await alice.log_in()
    strategy, cookie = other
    changed = await make_app(
        tmp_path / "latchkey.db", SESSION_STRATEGY=strategy, SESSION_COOKIE=cookie
    )
    is_same_mode = (changed.settings.stateless, changed.settings.encrypted) == (
        app.settings.stateless,
        app.settings.encrypted,
    )
    for value, is_valid in ((ended, False), (alice.cookie, is_same_mode)):
        browser = await changed.browser("Alice")
        browser.cookie = value
        answer = await browser.get("/dashboard")
        assert answer.status_code == (200 if is_valid else 303)
        assert (await browser.log_in()).status_code == 303


async def test_pages_and_links_that_the_strategy_cannot_support_are_absent(
    app: TestApp, alice: Browser
) -> None:
    stateless = app.settings.stateless
    assert (await alice.get("/devices")).status_code == (404 if stateless else 200)
    assert (await alice.post("/devices/revoke-others")).status_code == (404 if stateless else 303)
    assert (await alice.post("/devices/anything/revoke")).status_code == 404
    for page in ("/dashboard", "/account", "/handbook"):
        assert ('href="/devices"' in (await alice.get(page)).text) == (not stateless)
    assert ('action="/devices/revoke-all"' in (await alice.get("/account")).text) == stateless


@pytest.mark.guide("D17", "D18")
async def test_a_request_costs_one_query_for_the_session(app: TestApp, alice: Browser) -> None:
    before = app.statements
    await alice.get("/api/session")
    assert app.statements - before == 1


def test_the_search_orders_match_the_schema() -> None:
    from web.forms.schemas import UsersQuery

    assert set(admin.SEARCHES) == set(UsersQuery.model_json_schema()["properties"]["sort"]["enum"])


async def test_logging_out_everywhere_ends_sessions_of_a_host_with_a_fast_clock(
    make_app: Callable, app: TestApp, clock: Clock, alice: Browser
) -> None:
    ticks = iter(range(10_000))
    fast_app = await make_app(
        app.path, now=lambda: clock() + timedelta(seconds=2, microseconds=next(ticks))
    )
    phone = await fast_app.browser("Alice")
    assert (await phone.log_in()).status_code == 303
    attacker = await fast_app.attacker_with_cookie_of(phone)
    tablet = await app.browser("Alice")
    assert (await tablet.log_in()).status_code == 303
    clock.move(seconds=1)
    assert (await tablet.post("/devices/revoke-all")).status_code == 303
    assert [await is_logged_in(user) for user in (alice, phone, attacker, tablet)] == [False] * 4
    assert ((await phone.log_in()).status_code, await is_logged_in(phone)) == (303, True)
