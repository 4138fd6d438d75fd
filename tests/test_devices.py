"""Tests of the devices page: list and end the user's own sessions."""

from collections.abc import Callable

import pytest

from db.crypto.passwords import Passwords
from db.maintenance.pruning import prune
from db.rate_limits.limits import SESSION_REVOKES
from tests.browser_client import IPHONE, Browser, Element, read, set_cookie_of
from tests.conftest import TestApp


async def devices_of(user: Browser) -> Element:
    return read(await user.get("/devices"))


async def id_of(user: Browser) -> str:
    """Returns the public id of the current device."""
    return (await devices_of(user)).one(data_current="true").attrs["data-device"]


@pytest.mark.guide("C7")
async def test_the_device_list_shows_the_users_sessions_and_marks_this_one(
    alice: Browser, alices_phone: Browser, bob: Browser
) -> None:
    page = await devices_of(alices_phone)
    names = [
        device.one("h2").one("bdi").text for device in page.one(id="devices").all(data_device=True)
    ]
    assert names == ["Safari on iPhone", "Firefox on Linux"]
    assert page.one(data_current="true").one("bdi").text == "Safari on iPhone"
    assert page.one(id="device-count").text == "2"
    assert page.one(data_current="true").all("form") == []
    assert "192.0.2.14" in page.one(data_current="true").text


@pytest.mark.guide("C1", "C3", "D20")
@pytest.mark.asvs("S01")
async def test_revoking_a_device_redirects_to_the_list(
    alice: Browser, alices_phone: Browser, bob: Browser
) -> None:
    answer = await alice.post(f"/devices/{await id_of(alices_phone)}/revoke")
    assert (answer.status_code, answer.headers["location"]) == (303, "/devices")
    assert [await user.is_logged_in() for user in (alice, alices_phone, bob)] == [
        True,
        False,
        True,
    ]


@pytest.mark.guide("C3")
async def test_revoking_a_device_by_htmx_returns_the_list_and_a_toast(
    alice: Browser, alices_phone: Browser
) -> None:
    answer = await alice.post_fragment(f"/devices/{await id_of(alices_phone)}/revoke")
    fragment = read(answer)
    assert (answer.status_code, fragment.one(id="device-count").text) == (200, "1")
    assert len(fragment.all(data_device=True)) == 1
    assert [
        toast.one("p").text for toast in fragment.all(data_hx_swap_oob="beforeend:#toasts")
    ] == ["Device logged out."]


@pytest.mark.guide("T6")
@pytest.mark.parametrize(("send", "status"), [(Browser.post, 303), (Browser.post_fragment, 204)])
async def test_revoking_the_current_device_logs_out(
    app: TestApp, alice: Browser, alices_phone: Browser, send: Callable, status: int
) -> None:
    answer = await send(alice, f"/devices/{await id_of(alice)}/revoke")
    assert answer.status_code == status
    assert "/login" in (answer.headers.get("location"), answer.headers.get("hx-redirect"))
    assert set_cookie_of(answer)["session"]["max-age"] == "0"
    assert [await user.is_logged_in() for user in (alice, alices_phone)] == [False, True]


async def test_revoking_other_devices_keeps_the_current_one(
    alice: Browser, alices_phone: Browser, bob: Browser
) -> None:
    answer = await alice.post_fragment("/devices/revoke-others")
    assert read(answer).one(id="device-count").text == "1"
    assert [await user.is_logged_in() for user in (alice, alices_phone, bob)] == [
        True,
        False,
        True,
    ]


async def test_revoking_several_devices_needs_confirmation(
    app: TestApp, alice: Browser, alices_phone: Browser
) -> None:
    await (await app.browser("Alice")).log_in()
    form = (await devices_of(alice)).one("form", action="/devices/revoke-others")
    sent = {field.attrs["name"]: field.attrs["value"] for field in form.all("input")}
    answer = await alice.post("/devices/revoke-others", sent)
    assert (answer.status_code, answer.headers["location"]) == (303, "/devices?confirm=others")
    assert await alices_phone.is_logged_in()
    page = read(await alice.get(answer.headers["location"]))
    assert "Log out 2 other devices?" in page.text
    form = page.one("form", action="/devices/revoke-others")
    sent = {field.attrs["name"]: field.attrs["value"] for field in form.all("input")}
    assert (await alice.post("/devices/revoke-others", sent)).headers["location"] == "/devices"
    assert [await user.is_logged_in() for user in (alice, alices_phone)] == [True, False]


async def test_revoking_one_other_device_needs_no_confirmation(
    alice: Browser, alices_phone: Browser
) -> None:
    form = (await devices_of(alice)).one("form", action="/devices/revoke-others")
    sent = {field.attrs["name"]: field.attrs["value"] for field in form.all("input")}
    assert (await alice.post("/devices/revoke-others", sent)).headers["location"] == "/devices"
    assert not await alices_phone.is_logged_in()


ANDROID = (
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
)
FIREFOX_FOCUS = {
    f"{ANDROID}Focus/8.2 Mobile Safari/537.36": "Firefox Focus on Android",
    f"{ANDROID}Focus/8.0.24 Chrome/83.0.4103.106 Mobile Safari/537.36": "Firefox Focus on Android",
    f"{ANDROID}Klar/8.0.15 Chrome/79.0.3945.93 Mobile Safari/537.36": "Firefox Klar on Android",
    IPHONE.replace("Version/18.5", "Focus/105.0"): "Firefox Focus on iPhone",
}


@pytest.mark.parametrize(("user_agent", "name"), FIREFOX_FOCUS.items())
async def test_firefox_focus_is_named(app: TestApp, user_agent: str, name: str) -> None:
    phone = await app.sign_up_user("Alice", user_agent=user_agent)
    assert (await devices_of(phone)).one(data_current="true").one("bdi").text == name


@pytest.mark.guide("C8")
@pytest.mark.parametrize(("send", "status"), [(Browser.post, 303), (Browser.post_fragment, 204)])
async def test_one_click_logs_out_everywhere(
    alice: Browser, alices_phone: Browser, bob: Browser, send: Callable, status: int
) -> None:
    answer = await send(alice, "/devices/revoke-all")
    assert answer.status_code == status
    assert "/login" in (answer.headers.get("location"), answer.headers.get("hx-redirect"))
    assert set_cookie_of(answer)["session"]["max-age"] == "0"
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    assert [await user.is_logged_in() for user in (alice, alices_phone, bob)] == [
        False,
        False,
        True,
    ]


@pytest.mark.asvs("S05")
@pytest.mark.guide("D30")
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_the_device_of_another_user_cannot_be_revoked(
    alice: Browser, bob: Browser, send: Callable
) -> None:
    existing = await send(bob, f"/devices/{await id_of(alice)}/revoke")
    unknown = await send(bob, "/devices/AAAAAAAAAAAAAAAAAAAAAA/revoke")
    assert (existing.status_code, existing.text) == (404, unknown.text)
    assert await alice.is_logged_in()


@pytest.mark.parametrize(
    "path", ["/devices/{id}/revoke", "/devices/revoke-others", "/devices/revoke-all"]
)
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_a_device_form_of_another_viewer_changes_nothing(
    alice: Browser, alices_phone: Browser, bob: Browser, path: str, send: Callable
) -> None:
    bob_id = (await bob.get("/api/session")).json()["user"]["id"]
    answer = await send(alice, path.format(id=await id_of(alices_phone)), {"viewer": bob_id})
    assert answer.status_code == 409
    assert "You are logged in as Alice" in read(answer).text
    assert [await user.is_logged_in() for user in (alice, alices_phone)] == [True, True]


async def test_each_device_form_contains_the_viewer_id(
    alice: Browser, alices_phone: Browser
) -> None:
    alice_id = (await alice.get("/api/session")).json()["user"]["id"]
    page = await devices_of(alice)
    forms = page.one("main").all("form")
    assert [form.one("input", name="viewer").attrs["value"] for form in forms] == [alice_id] * 3
    assert (await alice.post(forms[0].attrs["action"], {"viewer": alice_id})).status_code == 303
    assert not await alices_phone.is_logged_in()


@pytest.mark.asvs("S103")
async def test_the_oldest_session_is_deleted_beyond_fifty(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    app = await make_app(hashing=fast_passwords)
    browsers = [await app.sign_up_user("Alice")]
    for _ in range(60):
        app.clock.move(seconds=1)
        browsers.append(await app.browser("Alice"))
        assert (await browsers[-1].log_in()).status_code == 303
    assert await app.count("sessions") == 50
    assert [await browser.is_logged_in() for browser in browsers] == [False] * 11 + [True] * 50


@pytest.mark.asvs("S95")
async def test_expired_sessions_are_pruned_and_others_are_kept(
    app: TestApp, alice: Browser
) -> None:
    app.clock.move(days=6)
    laptop = await app.browser("Alice")
    await laptop.log_in()
    app.clock.move(days=2)
    assert await prune(app.store) == 1
    assert await app.count("sessions") == 1
    assert await laptop.is_logged_in()


@pytest.mark.asvs("S95", "S64")
async def test_an_expired_session_row_invalidates_an_unexpired_cookie(
    app: TestApp, alice: Browser
) -> None:
    await app.change("UPDATE sessions SET expires_at = '2026-11-24T09:11:59.000000+00:00'")
    assert not await alice.is_logged_in()


async def test_an_expired_session_is_not_counted_as_a_device(app: TestApp, alice: Browser) -> None:
    app.clock.move(days=8)
    laptop = await app.browser("Alice")
    await laptop.log_in()
    assert (await devices_of(laptop)).one(id="device-count").text == "1"


@pytest.mark.parametrize(
    "path", ["/devices/{id}/revoke", "/devices/revoke-others", "/devices/revoke-all"]
)
async def test_revoking_is_rate_limited_per_session(
    make_app: Callable, fast_passwords: Passwords, path: str
) -> None:
    app = await make_app(hashing=fast_passwords, RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    phone = await app.browser("Alice")
    assert (await phone.log_in()).status_code == 303
    path = path.format(id=await id_of(phone))
    for _ in range(SESSION_REVOKES.burst):
        assert (await alice.post("/devices/nobodys/revoke")).status_code == 404
    for send in (Browser.post, Browser.post_fragment):
        answer = await send(alice, path)
        assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (429, True)
    assert [await user.is_logged_in() for user in (alice, phone)] == [True, True]
    assert (await phone.post("/devices/revoke-others")).status_code == 303, (
        "the other session has a limit of its own"
    )
    assert [await user.is_logged_in() for user in (alice, phone)] == [False, True]


# Browser and system names

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
ANDROID = (
    "Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0"
)
KNOWN_AGENTS = {
    CHROME: "Chrome on Linux",
    f"{CHROME} Edg/140.0.0.0": "Edge on Linux",
    f"{CHROME} OPR/120.0.0.0": "Opera on Linux",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.5 Safari/605.1": "Safari on macOS",
    f"{ANDROID} Focus/8.0.15 Chrome/120 Mobile Safari/537.36": "Firefox Focus on Android",
    f"{ANDROID} Mobile Safari/537.36": "Android browser on Android",
    "curl/8.5.0": "curl",
    "Wget/1.21": "Wget",
    "python-requests/2.31.0": "python-requests",
    "python-httpx/0.28.1": "python-httpx",
    "Python/3.11 aiohttp/3.9.1": "aiohttp",
    "Go-http-client/1.1": "Go-http-client",
    "Java-http-client/21": "Java",
}
UNKNOWN_AGENTS = [
    "Latchkey Support - call 0800 123456 bot",
    "URGENT! Your password leaked [call 555-123] bot",
    "Call-0800-123456/1",
    "Mozilla/5.0 (compatible; Call-0800-Bot/1.0; +http://evil.example)",
    "Call0800/1",
    "Visit evil.example/1",
    "",
]


@pytest.mark.parametrize("user_agent", KNOWN_AGENTS)
async def test_a_known_browser_or_tool_is_named(anonymous: Browser, user_agent: str) -> None:
    anonymous.user_agent = user_agent
    await anonymous.sign_up()
    assert (await devices_of(anonymous)).one(data_current="true").one("bdi").text == KNOWN_AGENTS[
        user_agent
    ]


@pytest.mark.parametrize(
    "user_agent",
    [
        "Mozilla/5.0 (Linux; Android 9;  ) AppleWebKit/537.36",
        "Mozilla/5.0 (" + ";" * 490,
        "; " * 250,
        "/",
    ],
)
async def test_an_unusual_user_agent_causes_no_error(
    app: TestApp, anonymous: Browser, user_agent: str
) -> None:
    anonymous.user_agent = user_agent
    assert (
        await anonymous.post("/signup/check/email", {"email": "grace@example.com"})
    ).status_code == 200
    assert (await anonymous.sign_up()).status_code == 303
    assert (await anonymous.post("/logout")).status_code == 303
    assert (await anonymous.log_in()).status_code == 303


@pytest.mark.asvs("S33", "S88")
@pytest.mark.parametrize("user_agent", UNKNOWN_AGENTS)
async def test_text_in_a_user_agent_is_neither_shown_nor_recorded(
    app: TestApp, alice: Browser, ada: Browser, anonymous: Browser, user_agent: str
) -> None:
    anonymous.user_agent = user_agent
    await anonymous.log_in("a wrong password No.1", email=alice.email)
    assert (await app.rows("SELECT browser FROM audit ORDER BY number"))[-1] == ("Unknown browser",)
    laptop = await app.browser("Alice", user_agent=user_agent)
    await laptop.log_in()
    for user, path in ((alice, "/account/activity"), (alice, "/devices"), (ada, "/admin/audit")):
        page = (await user.get(path)).text
        assert "Unknown browser" in page
        assert not [word for word in ("0800", "555-123", "evil.example") if word in page]
    await alice.post(f"/devices/{await id_of(laptop)}/revoke")
    newest = read(await alice.get("/account/activity")).one(id="activity").all("h3")[0]
    assert newest.text == "You logged out another device: Unknown browser"


async def test_device_text_stored_by_an_earlier_version_is_not_shown(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    laptop = await app.browser("Alice")
    await laptop.log_in()
    await alice.post(f"/devices/{await id_of(laptop)}/revoke")
    await app.change(
        "UPDATE audit SET browser = 'Call 0800 123456 on Linux'",
        "UPDATE audit SET detail = '{\"device\": \"Call 0800 123456\"}' WHERE event = 'session.end'",
        "UPDATE sessions SET browser = 'Call 0800 123456', system = 'Call 0800 123456'",
    )
    for user, path in ((alice, "/account/activity"), (alice, "/devices"), (ada, "/admin/audit")):
        page = (await user.get(path)).text
        assert ("Unknown browser" in page, "0800" in page) == (True, False)
