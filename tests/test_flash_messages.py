"""Tests of the flash messages, which are shown once and whose text no cookie can change."""

import pytest

from tests.browser_client import PASSWORD, Browser, read, set_cookie_of
from tests.conftest import TestApp
from web.rendering.flash_messages import FLASH_MESSAGES

OTHER_PASSWORD = "another-No.7 by the sea"


async def flash_message(user: Browser, path: str) -> str:
    """Returns the flash message of the page, and checks that the page shows it only once."""
    page, reloaded = read(await user.get(path)), read(await user.get(path))
    assert reloaded.all(**{"class": "flash"}) == []
    return page.one("main").one("p", **{"class": "flash"}).text


async def test_every_change_is_confirmed_without_scripts(
    app: TestApp, alice: Browser, alices_phone: Browser
) -> None:
    revoke_path = read(await alice.get("/devices")).all("form", action=True)[2].attrs["action"]
    for path, fields, page, sentence in (
        (revoke_path, {}, "/devices", "Device logged out."),
        ("/devices/revoke-others", {}, "/devices", "Your other devices are logged out."),
        ("/account", {"phone": "1"}, "/account", "Profile saved."),
        (
            "/account/password",
            {"current_password": PASSWORD, "password": OTHER_PASSWORD},
            "/account",
            "Password changed.",
        ),
    ):
        answer = await alice.post(path, fields)
        assert (answer.status_code, answer.headers["location"]) == (303, page)
        assert await flash_message(alice, page) == sentence


async def test_every_change_by_an_administrator_is_confirmed_without_scripts(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    alice_id = (await alice.get("/api/session")).json()["user"]["id"]
    for action, fields, sentence in (
        ("role", {"role": "admin"}, "Role changed."),
        ("team", {"team": "Harbour"}, "Team changed."),
        ("end-sessions", {}, "Logged out everywhere."),
        ("disable", {}, "Account disabled, and logged out everywhere."),
        ("enable", {}, "Account enabled."),
    ):
        answer = await ada.post(f"/admin/users/{alice_id}/{action}", fields)
        assert (answer.status_code, answer.headers["location"]) == (303, "/admin/users")
        assert await flash_message(ada, "/admin/users") == sentence


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("/logout", "You've logged out."), ("/devices/revoke-all", "You've logged out everywhere.")],
)
async def test_a_log_out_is_confirmed_on_the_log_in_page(
    alice: Browser, path: str, sentence: str
) -> None:
    for send in (alice.post, alice.post_fragment):
        await alice.log_in()
        answer = await send(path)
        assert (answer.headers.get("location") or answer.headers["hx-redirect"]) == "/login"
        assert sentence in read(await alice.get("/login")).one("main").text
        assert sentence not in read(await alice.get("/login")).text


async def test_giving_up_the_admin_role_is_confirmed_on_the_dashboard(
    app: TestApp, ada: Browser
) -> None:
    await app.admin("Grace")
    ada_id = (await ada.get("/api/session")).json()["user"]["id"]
    await ada.post_fragment(f"/admin/users/{ada_id}/role", {"role": "user"})
    assert await flash_message(ada, "/dashboard") == "You're no longer an administrator."


async def test_a_change_by_htmx_is_confirmed_by_a_toast_and_sets_no_cookie(alice: Browser) -> None:
    answer = await alice.post_fragment("/account", {"phone": "1"})
    assert (set_cookie_of(answer), "Profile saved." in answer.text) == ({}, True)


async def test_the_cookie_is_http_only_and_expires_after_a_minute(alice: Browser) -> None:
    cookie = set_cookie_of(await alice.post("/account", {"phone": "1"}))["notice"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (
        True,
        "Lax",
        "/",
        "",
    )
    assert cookie["max-age"] == "60"
    deleted = set_cookie_of(await alice.get("/account"))["notice"]
    assert (deleted.value, deleted["max-age"]) == ("", "0")


@pytest.mark.parametrize(
    "forged", ["Call 0800 1234", "<b>x</b>", "profile-saved; x", "PROFILE-SAVED", ""]
)
async def test_a_forged_cookie_puts_no_text_on_a_page(alice: Browser, forged: str) -> None:
    answer = await alice.get(
        "/account", Cookie=f"session={alice.cookie}; notice={forged.partition(';')[0]}x"
    )
    assert answer.status_code == 200
    assert read(answer).all(**{"class": "flash"}) == []
    assert (forged in answer.text and bool(forged)) is False


def test_every_flash_message_ends_with_a_period() -> None:
    assert all(sentence.endswith(".") for sentence in FLASH_MESSAGES.values())
