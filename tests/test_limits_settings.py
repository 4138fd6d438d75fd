"""Tests of the rate limits as settings, and of `latchkey limits`."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from db.rate_limits.descriptions import DESCRIPTIONS
from db.rate_limits.limits import ALL_LIMITS, LOGIN_DEVICE, SIGNUP_HOUR, SIGNUP_MINUTE, RateLimit
from tests.browser_client import Browser
from tests.conftest import SECRET, Clock, TestApp
from tests.test_rate_limiter import words
from web.cli.main import main
from web.settings.environment import InvalidSetting
from web.settings.limit_settings import value_of, variable_of
from web.settings.paths import ROOT
from web.settings.settings import Settings, read_settings

IPV6_CLIENT = "2001:db8::1"


@pytest.fixture
def environ() -> dict[str, str]:
    return {"SESSION_SECRET": SECRET, "TRUSTED_PROXIES": "192.0.2.14"}


def changed_limits(tmp_path: Path, **environ: str) -> dict[str, RateLimit]:
    settings: Settings = read_settings({"SESSION_SECRET": SECRET} | environ, data=tmp_path)
    return {limit.name: limit for limit in settings.changed_limits}


async def sign_up(app: TestApp, number: int, **headers: str) -> int:
    user = await app.browser("Charlie", f"charlie{number}@example.com")
    return (await user.sign_up(**headers)).status_code


async def test_a_lower_limit_refuses_earlier(make_app: Callable) -> None:
    app = await make_app(LIMIT_SIGNUP_MINUTE="2")
    assert [await sign_up(app, n) for n in range(3)] == [303, 303, 429]
    assert await app.count("users") == 2


async def test_a_higher_limit_refuses_later(make_app: Callable) -> None:
    app = await make_app(LIMIT_SIGNUP_MINUTE="7")
    assert [await sign_up(app, n) for n in range(8)] == [303] * 7 + [429]


async def test_a_changed_period_refills_the_limit_within_it(
    make_app: Callable, clock: Clock
) -> None:
    app = await make_app(LIMIT_SIGNUP_MINUTE="1/10m")
    assert [await sign_up(app, n) for n in range(2)] == [303, 429]
    clock.move(minutes=9)
    assert await sign_up(app, 2) == 429
    clock.move(minutes=1)
    assert await sign_up(app, 3) == 303


async def test_a_changed_limit_of_a_client_grows_with_its_network(make_app: Callable) -> None:
    app = await make_app(LIMIT_SIGNUP_MINUTE="1", LIMIT_EMAIL_MINUTE="100")
    ips = [f"2001:db8:0:{n}::1" for n in range(4)]
    statuses = [await sign_up(app, n, X_Forwarded_For=ip) for n, ip in enumerate(ips)]
    assert statuses == [303, 303, 429, 429]  # The /56 has twice the tokens.


async def test_a_refund_gives_back_the_token_of_a_changed_limit(
    make_app: Callable,
) -> None:
    app = await make_app(LIMIT_LOGIN_FAILS="2/1h", LIMIT_LOGIN_CLIENT_ACCOUNT="1/1h")
    alice: Browser = await app.sign_up_user("Alice")
    phone = await app.browser("Alice")
    for _ in range(4):
        assert (await phone.log_in()).status_code == 303
        phone.cookie = None
    assert (await phone.log_in("wrong-password-1")).status_code == 422
    assert (await phone.log_in("wrong-password-1")).status_code == 429
    assert await alice.is_logged_in()


def test_a_new_limit_has_its_variable_and_its_description() -> None:
    assert DESCRIPTIONS.keys() == {limit.name for limit in ALL_LIMITS}
    assert variable_of(SIGNUP_HOUR) == "LIMIT_SIGNUP_HOUR"
    assert value_of(SIGNUP_HOUR) == "20/1h"


def test_only_changed_limits_are_replaced(tmp_path: Path) -> None:
    changed = changed_limits(
        tmp_path, LIMIT_SIGNUP_HOUR="100/2h", LIMIT_SIGNUP_MINUTE="5/1m", LIMIT_FORGOT=" "
    )
    assert changed.keys() == {"signup-hour"}
    assert (changed["signup-hour"].burst, changed["signup-hour"].seconds) == (100, 7200.0)


def test_a_changed_limit_keeps_its_back_off(tmp_path: Path) -> None:
    changed = changed_limits(tmp_path, LIMIT_LOGIN_DEVICE="10/1h")["login-device"]
    assert changed.backoff_after == LOGIN_DEVICE.backoff_after
    assert changed.is_account_limit


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIMIT_SIGNUP_HOUR", "0"),
        ("LIMIT_SIGNUP_HOUR", "-1"),
        ("LIMIT_SIGNUP_HOUR", "off"),
        ("LIMIT_SIGNUP_HOUR", "1.5"),
        ("LIMIT_SIGNUP_HOUR", "²"),
        ("LIMIT_SIGNUP_HOUR", "1000001"),
        ("LIMIT_SIGNUP_HOUR", "20/hour"),
        ("LIMIT_SIGNUP_HOUR", "20/"),
        ("LIMIT_SIGNUP_HOUR", "20/0s"),
        ("LIMIT_SIGNUP_HOUR", "20/31d"),
        ("LIMIT_LOGIN_DEVICE", "11"),  # The back-off starts after 10.
        ("LIMIT_LOGIN_DEVICE", "5/2d"),  # Its row is kept for a day.
        ("LIMIT_EMAIL_SEEN", "2"),
    ],
)
def test_a_malformed_limit_stops_the_start(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^{name}: must be COUNT or COUNT/PERIOD") as refused:
        changed_limits(tmp_path, **{name: value})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LIMIT_SIGN_UP_HOUR", "did you mean LIMIT_SIGNUP_HOUR"),
        ("LIMIT_XYZ", "`latchkey limits` prints their names"),
    ],
)
def test_an_unknown_limit_stops_the_start_with_a_hint(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^{name}: is not a rate limit: {hint}"):
        changed_limits(tmp_path, **{name: "5"})


def test_the_command_prints_every_limit_and_marks_changed_ones(capsys) -> None:
    assert main(["limits"], {"LIMIT_SIGNUP_MINUTE": "9/2m"}) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[2:].split()[0] for line in lines] == [limit.name for limit in ALL_LIMITS]
    marked = [line for line in lines if line.startswith("*")]
    assert len(marked) == 1
    assert re.split(r" {2,}", marked[0]) == [
        "* signup-minute",
        "LIMIT_SIGNUP_MINUTE=9/2m",
        f"default {value_of(SIGNUP_MINUTE)}",
        DESCRIPTIONS["signup-minute"],
    ]


def test_the_documentation_has_the_variable_of_every_limit() -> None:
    documentation = (ROOT / "docs" / "operations.md").read_text()
    for limit in ALL_LIMITS:
        row = (
            f"| `{limit.name}` | {limit.burst} in {words(limit.seconds)} "
            f"| `{variable_of(limit)}={value_of(limit)}` | {DESCRIPTIONS[limit.name]}"
        )
        assert row in documentation, row
