"""Tests of REQUIRE_FACTOR, REMEMBER_BROWSER_DAYS and PASSKEY_RP_ID."""

from datetime import timedelta

import pytest

from db.factor_settings import FactorSettings
from web.settings.environment import Environment, InvalidSetting
from web.settings.factor_settings import read_factor_settings

SITE = "https://accounts.example.com"


def read(base_url: str = SITE, **environ: str) -> FactorSettings:
    return read_factor_settings(Environment(environ), base_url)


def test_the_defaults_require_nothing_and_use_the_host() -> None:
    assert read() == FactorSettings(SITE, "accounts.example.com", timedelta(days=30), False)


def test_the_settings_are_read() -> None:
    settings = read(REQUIRE_FACTOR="admins", REMEMBER_BROWSER_DAYS="0", PASSKEY_RP_ID="Example.COM")
    assert settings == FactorSettings(SITE, "example.com", timedelta(0), True)


@pytest.mark.parametrize(
    ("base_url", "rp_id"),
    [
        ("http://localhost:8000", "localhost"),
        ("https://a.b.example.co.uk", "example.co.uk"),
        ("https://a.b.example.co.uk", "b.example.co.uk"),
        ("https://example.com", "example.com"),
        ("https://co.uk", "co.uk"),
    ],
)
def test_passkeys_may_belong_to_the_host_or_a_parent_domain(base_url: str, rp_id: str) -> None:
    assert read(base_url, PASSKEY_RP_ID=rp_id).rp_id == rp_id


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:8000", "http://[::1]:8000"])
def test_an_ip_address_has_no_passkeys(base_url: str) -> None:
    assert read(base_url).rp_id == ""
    with pytest.raises(InvalidSetting, match="PASSKEY_RP_ID"):
        read(base_url, PASSKEY_RP_ID="example.com")


@pytest.mark.parametrize(
    ("base_url", "rp_id"),
    [
        (SITE, "com"),
        (SITE, "other.com"),
        (SITE, "ample.com"),
        (SITE, "x.accounts.example.com"),
        (SITE, ".example.com"),
        (SITE, "example.com."),
        (SITE, "https://example.com"),
        (SITE, "example.com:443"),
        (SITE, "127.0.0.1"),
        (SITE, "*.example.com"),
        ("https://accounts.example.co.uk", "co.uk"),
        ("https://accounts.example.com.au", "com.au"),
        ("https://accounts.example.co.uk", "uk"),
    ],
)
def test_a_wrong_domain_stops_the_start(base_url: str, rp_id: str) -> None:
    with pytest.raises(InvalidSetting) as problem:
        read(base_url, PASSKEY_RP_ID=rp_id)
    assert str(problem.value).startswith("PASSKEY_RP_ID")
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REQUIRE_FACTOR", "yes"),
        ("REQUIRE_FACTOR", "all"),
        ("REMEMBER_BROWSER_DAYS", "-1"),
        ("REMEMBER_BROWSER_DAYS", "91"),
        ("REMEMBER_BROWSER_DAYS", "30d"),
        ("REMEMBER_BROWSER_DAYS", "1.5"),
    ],
)
def test_a_wrong_value_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting) as problem:
        read(**{name: value})
    assert str(problem.value).startswith(name)
