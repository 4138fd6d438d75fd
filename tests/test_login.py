"""Tests of logging in, with one answer for every failure, and of logging out."""

from collections.abc import Callable

import httpx
import pytest

from db.crypto.passwords import Passwords
from tests.browser_client import PASSWORD, Browser, read, set_cookie_of, without_challenges
from tests.conftest import TestApp

NO_MATCH = "Email or password is incorrect."


@pytest.mark.guide("A20", "A21", "B1")
async def test_the_right_password_logs_in_and_redirects_to_the_dashboard(
    app: TestApp, alice: Browser
) -> None:
    laptop = await app.browser("Alice")
    answer = await laptop.log_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert await laptop.is_logged_in()


@pytest.mark.guide("A20")
async def test_htmx_is_redirected_to_the_dashboard_by_a_header(
    app: TestApp, alice: Browser
) -> None:
    laptop = await app.browser("Alice")
    answer = await laptop.post_fragment("/login", {"email": laptop.email, "password": PASSWORD})
    assert (answer.status_code, answer.headers["hx-redirect"], answer.content) == (
        204,
        "/dashboard",
        b"",
    )
    assert await laptop.is_logged_in()


@pytest.fixture
async def failures(app: TestApp, bob: Browser) -> dict[str, dict[str, str]]:
    """Returns the forms of three log-ins that fail, all of the same length."""
    await app.create("Eve")
    await app.change("UPDATE users SET disabled_at = created_at WHERE email = 'eve@example.com'")
    return {
        "wrong password": {"email": "bob@example.com", "password": "engine-No.8 to the sea"},
        "unknown email": {"email": "joe@example.com", "password": PASSWORD},
        "disabled account": {"email": "eve@example.com", "password": PASSWORD},
    }


def without_email(answer: httpx.Response, email: str) -> tuple:
    text = without_challenges(answer.text).replace(email, "")
    return answer.status_code, answer.headers.multi_items(), text


@pytest.mark.guide("A21")
@pytest.mark.asvs("S49")
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_every_failed_log_in_has_the_same_answer_to_the_byte(
    app: TestApp, anonymous: Browser, failures: dict, send: Callable
) -> None:
    before = await app.count("sessions")
    # The length of a compressed page depends on the email in it.
    anonymous.headers["Accept-Encoding"] = "identity"
    answers = [
        without_email(await send(anonymous, "/login", typed), typed["email"])
        for typed in failures.values()
    ]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == 422
    assert NO_MATCH in read(answers[0][2]).one(id="error-summary").text
    assert await app.count("sessions") == before


@pytest.mark.guide("A21")
@pytest.mark.asvs("S50")
async def test_every_failed_log_in_does_the_same_work(
    app: TestApp, anonymous: Browser, failures: dict
) -> None:
    work = []
    for typed in failures.values():
        before = app.statements, app.hashes
        await anonymous.post("/login", typed)
        work.append((app.statements - before[0], app.hashes - before[1]))
    assert work == [(4, 1)] * 3  # One statement reads the user, and three write the audit entry.


@pytest.mark.guide("A9")
@pytest.mark.parametrize("typed", [{"email": "alice"}, {"password": ""}, {"password": "x" * 257}])
async def test_an_invalid_form_costs_no_query_and_no_hash(
    app: TestApp, anonymous: Browser, typed: dict
) -> None:
    before = app.statements, app.hashes
    answer = await anonymous.post(
        "/login", {"email": "charlie@example.com", "password": PASSWORD, **typed}
    )
    assert (answer.status_code, (app.statements, app.hashes)) == (422, before)


@pytest.mark.guide("A11")
async def test_a_failed_log_in_keeps_the_email_and_never_the_password(
    alice: Browser, anonymous: Browser
) -> None:
    answer = await anonymous.post(
        "/login", {"email": "alice@example.com", "password": "wrong-No.9"}
    )
    page = read(answer)
    assert page.one("input", id="email").attrs["value"] == "alice@example.com"
    assert page.one("input", id="password").attrs.get("value", "") == ""
    assert "wrong-No.9" not in answer.text
    assert page.one("title").text.startswith("Error: ")


@pytest.mark.guide("A3")
@pytest.mark.asvs("S47")
async def test_password_managers_recognize_the_log_in_form(anonymous: Browser) -> None:
    form = read(await anonymous.get("/login")).one("form", id="login-form")
    fields = {field.attrs["id"]: field.attrs["autocomplete"] for field in form.all("input")}
    assert fields == {"email": "username webauthn", "password": "current-password"}
    assert [label.attrs["for"] for label in form.all("label")] == ["email", "password"]


@pytest.mark.guide("T9", "T13")
@pytest.mark.asvs("S43")
@pytest.mark.parametrize(
    ("password", "similar"),
    [
        (" pass-word 1 ", ["pass-word 1", " pass-word 1", "pass-word 1 "]),
        ("Pass-word 1", ["pass-word 1", "PASS-WORD 1"]),
        ("1-" + "x" * 198 + "yz", ["1-" + "x" * 198 + "yy", "1-" + "x" * 198, "1-" + "x" * 70]),
        ("caf\u00e9-1234", ["cafe\u0301-1234", "cafe-1234"]),
        ("🔑-latch-1", ["🔒-latch-1", "?-latch-1"]),
    ],
    ids=["spaces", "case", "the end of a long one", "NFC and NFD", "emoji"],
)
async def test_a_password_is_compared_exactly_as_it_was_typed(
    make_app: Callable, fast_passwords: Passwords, password: str, similar: list[str]
) -> None:
    app = await make_app(hashing=fast_passwords)
    await app.sign_up_user("Alice", password=password)
    laptop = await app.browser("Alice")
    for password_variant in similar:
        assert (await laptop.log_in(password_variant)).status_code == 422
    assert laptop.cookie is None
    assert (await laptop.log_in(password)).status_code == 303


@pytest.mark.asvs("S41")
@pytest.mark.guide("A17")
async def test_a_log_in_renews_a_hash_with_outdated_parameters(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    old_app = await make_app(hashing=fast_passwords)
    await old_app.sign_up_user("Alice")
    new_app = await make_app(old_app.path, hashing=Passwords())
    laptop = await new_app.browser("Alice")
    assert (await laptop.log_in()).status_code == 303
    ((stored,),) = await new_app.rows("SELECT password_hash FROM users")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (await (await new_app.browser("Alice")).log_in()).status_code == 303


@pytest.mark.guide("C6")
async def test_each_log_in_updates_the_time_of_the_last_log_in(
    app: TestApp, alice: Browser
) -> None:
    times = "SELECT last_login_at, previous_login_at FROM users"
    assert await app.rows(times) == [("2026-11-24T09:12:00.000000+00:00", None)]
    app.clock.move(days=1)
    await (await app.browser("Alice")).log_in()
    assert await app.rows(times) == [
        ("2026-11-25T09:12:00.000000+00:00", "2026-11-24T09:12:00.000000+00:00")
    ]
    await (await app.browser("Alice")).log_in("wrong")
    assert (await app.rows(times))[0][0] == "2026-11-25T09:12:00.000000+00:00"


@pytest.mark.asvs("S06", "S07")
async def test_each_log_in_sets_a_new_cookie_and_the_old_cookie_is_invalid(
    app: TestApp, alice: Browser
) -> None:
    attacker = await app.attacker_with_cookie_of(alice)
    await alice.post("/logout")
    await alice.log_in()
    assert alice.cookie != attacker.cookie
    assert await alice.is_logged_in()
    assert not await attacker.is_logged_in()


@pytest.mark.asvs("S07")
async def test_a_log_in_replaces_a_planted_session_cookie(app: TestApp, alice: Browser) -> None:
    victim = await app.browser("Alice")
    victim.cookie = "planted"
    assert (await victim.log_in()).status_code == 303
    attacker = await app.browser("Charlie")
    attacker.cookie = "planted"
    assert "planted" not in str(victim.cookie)
    assert not await attacker.is_logged_in()


@pytest.mark.asvs("S07")
async def test_a_session_is_read_only_from_the_cookie(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    token = str(alice.cookie)
    assert (await anonymous.get(f"/dashboard?session={token}&sid={token}")).status_code == 303
    assert (await anonymous.get("/api/session", Authorization=f"Bearer {token}")).status_code == 401
    assert (await anonymous.get("/api/session", **{"X-Session": token})).status_code == 401
    assert (
        await anonymous.request("POST", "/devices/revoke-all", {"session": token})
    ).status_code == 303
    assert await alice.is_logged_in()


@pytest.mark.guide("B1", "B15", "T6", "C1")
@pytest.mark.asvs("S08")
async def test_log_out_ends_the_session_for_every_copy_of_the_cookie(
    app: TestApp, alice: Browser
) -> None:
    attacker = await app.attacker_with_cookie_of(alice)
    answer = await alice.post("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert set_cookie_of(answer)["session"]["max-age"] == "0"
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    assert alice.cookie is None
    assert await app.count("sessions") == 0
    assert not await attacker.is_logged_in()


@pytest.mark.guide("B15")
async def test_an_htmx_log_out_is_redirected_by_a_header(app: TestApp, alice: Browser) -> None:
    answer = await alice.post_fragment("/logout")
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/login")
    assert await app.count("sessions") == 0


@pytest.mark.asvs("S08", "S32")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_get_and_head_requests_do_not_log_out(alice: Browser, method: str) -> None:
    assert (await alice.request(method, "/logout")).status_code == 405
    assert await alice.is_logged_in()


async def test_a_log_out_without_a_session_changes_nothing(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    assert (await anonymous.post("/logout")).headers["location"] == "/login"
    assert await alice.is_logged_in()


async def test_log_out_refuses_content_types_other_than_forms(alice: Browser) -> None:
    answer = await alice.client.post(
        "/logout", content=b"{}", headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 415
    assert await alice.is_logged_in()


async def test_log_out_ends_only_the_session_of_this_device(
    alice: Browser, alices_phone: Browser, bob: Browser
) -> None:
    await alice.post("/logout")
    assert [await user.is_logged_in() for user in (alice, alices_phone, bob)] == [
        False,
        True,
        True,
    ]


async def test_the_login_page_explains_why_it_is_shown(anonymous: Browser) -> None:
    required = read(await anonymous.get("/login?next=/devices"))
    ended = read(await anonymous.get("/login?next=/devices&ended=1"))
    plain = read(await anonymous.get("/login"))
    assert "Log in to continue." in required.one("main").text
    assert "You've been logged out on this device." in ended.one("main").text
    assert "to continue" not in plain.one("main").text


async def test_a_log_in_returns_to_the_requested_page(app: TestApp, alice: Browser) -> None:
    laptop = await app.browser("Alice")
    login_url = (await laptop.get("/devices?from=mail")).headers["location"]
    form = read(await laptop.get(login_url)).one("form", id="login-form")
    target = form.one("input", name="next").attrs["value"]
    repeated = read(
        await laptop.post("/login", {"email": laptop.email, "password": "wrong", "next": target})
    )
    form = repeated.one("form", id="login-form")
    assert form.one("input", name="next").attrs["value"] == target
    assert (await laptop.log_in(next=target)).headers["location"] == "/devices?from=mail"


@pytest.mark.parametrize("form", ["/login", "/signup", "/login?next=/devices"])
async def test_login_reports_that_the_browser_blocks_cookies(anonymous: Browser, form: str) -> None:
    answer = await anonymous.get("/devices", Referer=f"http://localhost:8000{form}")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/login?next=/devices&cookies=1",
    )
    page = read(await anonymous.get(answer.headers["location"]))
    assert "Logging in needs one cookie" in page.one("main").text


async def test_an_ended_session_is_not_mistaken_for_blocked_cookies(
    app: TestApp, alice: Browser
) -> None:
    from_login = {"Referer": "http://localhost:8000/login"}
    await alice.post("/logout")
    assert (await alice.get("/devices", **from_login)).headers["location"] == "/login?next=/devices"
    await alice.log_in()
    await app.change("DELETE FROM sessions")
    assert (await alice.get("/devices", **from_login)).headers[
        "location"
    ] == "/login?next=/devices&ended=1"
    other = await app.browser("Charlie")
    for referer in ("https://evil.example/login", "http://localhost:8000/", ""):
        answer = await other.get("/devices", Referer=referer)
        assert answer.headers["location"] == "/login?next=/devices"
