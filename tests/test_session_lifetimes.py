"""Tests of the lifetimes of sessions as settings, and of "Keep me logged in"."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.browser_client import HTMX, PASSWORD, Browser, read, set_cookie_of
from tests.conftest import SECRET, Clock, TestApp
from web.rendering.formatting import duration, period
from web.settings.environment import InvalidSetting
from web.settings.settings import Settings, read_settings

SHORT = {"SESSION_IDLE": "1h", "SESSION_MAX": "12h"}
REMEMBER = SHORT | {"SESSION_REMEMBER_IDLE": "14d", "SESSION_REMEMBER_MAX": "90d"}
HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture
def read_with(tmp_path: Path) -> Callable:
    def read_with(**environ: str) -> Settings:
        return read_settings({"SESSION_SECRET": SECRET} | environ, data=tmp_path)

    return read_with


@pytest.fixture
async def office(make_app: Callable) -> TestApp:
    """Returns an application with short sessions and "Keep me logged in"."""
    return await make_app(**REMEMBER)


def max_age(answer: httpx.Response) -> int:
    return int(set_cookie_of(answer)["session"]["max-age"])


async def test_a_session_that_is_not_used_for_its_idle_time_ends(
    make_app: Callable, clock: Clock
) -> None:
    app = await make_app(**SHORT)
    alice = await app.sign_up_user("Alice")
    clock.move(minutes=59)
    assert await alice.is_logged_in()  # This renews the session.
    clock.move(minutes=59)
    assert await alice.is_logged_in()
    clock.move(minutes=60)
    assert not await alice.is_logged_in()


@pytest.mark.parametrize("strategy", ["database", "stateless"])
async def test_a_session_ends_at_its_maximum_although_it_is_used(
    make_app: Callable, clock: Clock, strategy: str
) -> None:
    app = await make_app(SESSION_STRATEGY=strategy, **SHORT)
    alice = await app.sign_up_user("Alice")
    for _ in range(23):
        clock.move(minutes=31)
        assert await alice.is_logged_in()
    clock.move(minutes=7)
    assert not await alice.is_logged_in()


async def test_the_cookie_lives_as_long_as_the_session(make_app: Callable) -> None:
    app = await make_app(**SHORT)
    assert max_age(await (await app.browser("Alice")).sign_up()) == HOUR


async def test_a_ticked_box_selects_the_longer_lifetimes(office: TestApp, clock: Clock) -> None:
    await office.create("Alice")
    alice = await office.browser("Alice")
    assert max_age(await alice.log_in(remember="on")) == 14 * DAY
    assert await office.rows("SELECT is_remembered FROM sessions") in ([(1,)], [(True,)])
    clock.move(days=13)
    renewed = await alice.get("/dashboard")
    assert max_age(renewed) == 14 * DAY
    for _ in range(6):
        clock.move(days=12)
        assert await alice.is_logged_in()
    clock.move(days=5)
    assert not await alice.is_logged_in()  # 90 days after the log-in.


@pytest.mark.parametrize("fields", [{}, {"remember": ""}, {"remember": "yes"}])
async def test_without_the_ticked_box_a_session_has_the_shorter_lifetimes(
    office: TestApp, clock: Clock, fields: dict[str, str]
) -> None:
    await office.create("Alice")
    alice = await office.browser("Alice")
    assert max_age(await alice.log_in(**fields)) == HOUR
    assert await office.rows("SELECT is_remembered FROM sessions") in ([(0,)], [(False,)])
    clock.move(hours=1)
    assert not await alice.is_logged_in()


async def test_a_sign_up_with_the_ticked_box_is_remembered(office: TestApp) -> None:
    alice = await office.browser("Alice")
    fields = {"name": "Alice", "email": alice.email, "password": PASSWORD, "remember": "on"}
    assert max_age(await alice.post("/signup", fields)) == 14 * DAY


async def test_a_password_change_keeps_the_choice(office: TestApp) -> None:
    await office.create("Alice")
    alice = await office.browser("Alice")
    await alice.log_in(remember="on")
    fields = {"current_password": PASSWORD, "password": "another-No.9 to the sea"}
    assert max_age(await alice.post("/account/password", fields)) == 14 * DAY


async def test_the_choice_does_not_count_without_its_settings(
    make_app: Callable, clock: Clock
) -> None:
    app = await make_app(**SHORT)
    await app.create("Alice")
    alice = await app.browser("Alice")
    assert max_age(await alice.log_in(remember="on")) == HOUR
    assert await app.rows("SELECT is_remembered FROM sessions") in ([(0,)], [(False,)])


async def test_a_remembered_session_without_settings_uses_the_shorter_time(
    office: TestApp, make_app: Callable, clock: Clock
) -> None:
    await office.create("Alice")
    alice = await office.browser("Alice")
    await alice.log_in(remember="on")
    restarted = await make_app(office.path, **SHORT)
    phone = await restarted.attacker_with_cookie_of(alice)
    clock.move(days=13, hours=23, minutes=59)
    assert await phone.is_logged_in()
    clock.move(minutes=2)  # The renewal to 12 hours after the log-in has no effect.
    assert not await phone.is_logged_in()


@pytest.mark.parametrize("path", ["/login", "/signup"])
async def test_the_forms_have_the_checkbox_only_with_its_settings(
    office: TestApp, make_app: Callable, path: str
) -> None:
    box = read(await (await office.browser("Charlie")).get(path)).one("input", id="remember")
    assert box.attrs == {"id": "remember", "name": "remember", "type": "checkbox", "value": "on"}
    app = await make_app()
    assert "Keep me logged in" not in (await (await app.browser("Charlie")).get(path)).text


async def test_sign_up_without_a_log_in_has_no_checkbox(make_app: Callable) -> None:
    app = await make_app(EMAIL_VERIFICATION="required", **REMEMBER)
    charlie = await app.browser("Charlie")
    assert "Keep me logged in" not in (await charlie.get("/signup")).text
    assert "Keep me logged in" in (await charlie.get("/login")).text


@pytest.mark.parametrize("path", ["/login", "/signup"])
@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_a_refused_form_keeps_the_ticked_box(
    office: TestApp, path: str, headers: dict[str, str]
) -> None:
    charlie = await office.browser("Charlie")
    refused = await charlie.post(path, {"email": "x", "remember": "on"}, **headers)
    assert refused.status_code == 422
    assert "checked" in read(refused).one("input", id="remember").attrs


async def test_the_checkbox_has_no_live_check(office: TestApp) -> None:
    charlie = await office.browser("Charlie")
    assert (await charlie.post("/signup/check/remember", {"remember": "on"})).status_code == 404


async def test_the_pages_name_the_lifetimes_of_the_settings(
    office: TestApp, make_app: Callable
) -> None:
    alice = await office.sign_up_user("Alice")
    handbook = " ".join(read(await alice.get("/handbook")).text.split())
    assert "It lasts 1 hour." in handbook
    assert "up to 12 hours after you logged in" in handbook
    assert "these times are 14 days and 90 days" in handbook
    security = " ".join(read(await alice.get("/account/security")).text.split())
    assert "Stays logged in until today at 10:12 UTC." in security
    assert "Visits after today at 09:42 UTC extend that." in security
    bob: Browser = await (await make_app()).sign_up_user("Bob")
    handbook = " ".join(read(await bob.get("/handbook")).text.split())
    assert "It lasts 7 days." in handbook
    assert "Keep me logged in" not in handbook


def test_a_single_remember_setting_is_followed_by_the_other(read_with: Callable) -> None:
    remembered = read_with(SESSION_REMEMBER_IDLE="90d").session_lifetimes.remembered
    assert (remembered.idle, remembered.maximum) == (timedelta(days=90), timedelta(days=90))
    remembered = read_with(SESSION_REMEMBER_MAX="90d").session_lifetimes.remembered
    assert (remembered.idle, remembered.maximum) == (timedelta(days=7), timedelta(days=90))


def test_without_settings_sessions_last_as_before(read_with: Callable) -> None:
    lifetimes = read_with().session_lifetimes
    assert lifetimes.default.idle == timedelta(days=7)
    assert lifetimes.default.maximum == timedelta(days=30)
    assert lifetimes.remembered is None


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"SESSION_IDLE": "4m"}, "SESSION_IDLE: must be a duration from 5m to 365d"),
        ({"SESSION_IDLE": "7"}, "SESSION_IDLE: must be a duration"),
        ({"SESSION_MAX": "366d"}, "SESSION_MAX: must be a duration"),
        ({"SESSION_MAX": "1w"}, "SESSION_MAX: must be a duration"),
        ({"SESSION_MAX": "6d"}, "SESSION_MAX: 6d is less than SESSION_IDLE, which is 7d"),
        ({"SESSION_REMEMBER_IDLE": "6d"}, "SESSION_REMEMBER_IDLE: 6d is less than SESSION_IDLE"),
        ({"SESSION_REMEMBER_MAX": "29d"}, "SESSION_REMEMBER_MAX: 29d is less than SESSION_MAX"),
        (
            {"SESSION_REMEMBER_IDLE": "9d", "SESSION_REMEMBER_MAX": "8d"},
            "SESSION_REMEMBER_MAX: 8d is less than SESSION_REMEMBER_IDLE, which is 9d",
        ),
        (
            {"SESSION_REMEMBER_MAX": "90d", "SESSION_STRATEGY": "stateless"},
            "SESSION_REMEMBER_MAX: needs SESSION_STRATEGY=database",
        ),
    ],
)
def test_an_invalid_lifetime_stops_the_start(
    read_with: Callable, environ: dict[str, str], problem: str
) -> None:
    with pytest.raises(InvalidSetting) as refused:
        read_with(**environ)
    assert str(refused.value).startswith(problem)


def test_durations_are_written_in_their_largest_unit() -> None:
    lengths = [timedelta(days=7), timedelta(days=1), timedelta(hours=36), timedelta(minutes=90)]
    assert [duration(length) for length in lengths] == [
        "7 days",
        "1 day",
        "36 hours",
        "90 minutes",
    ]
    assert [period(length) for length in lengths[:3]] == ["week", "day", "36 hours"]
