"""Tests of the page of the authenticator app: its set-up, its replacement and its removal."""

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest

from tests.authenticator_app import AuthenticatorApp
from tests.browser_client import Browser, Element, read
from tests.conftest import TestApp

PATH = "/account/authenticator"
BOTH_REQUEST_TYPES = pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
EVERY_MODE = pytest.mark.parametrize(
    ("database_type", "strategy"),
    [("sqlite", "database"), ("sqlite", "stateless"), ("postgresql", "database")],
)


@pytest.fixture
async def strategy_app(make_app: Callable, strategy: str) -> TestApp:
    return await make_app(SESSION_STRATEGY=strategy)


async def open_form(user: Browser) -> Element:
    answer = await user.get(PATH)
    assert answer.status_code == 200
    return read(answer).one("form", id="totp-form")


def fields_of(form: Element, code: str, **changes: str) -> dict[str, str]:
    """Returns the fields of the form with the code, and the ticked box if there is one."""
    hidden = {field.attrs["name"]: field.attrs["value"] for field in form.all(type="hidden")}
    box = {"saved": "on"} if form.all(name="saved") else {}
    return {**hidden, "code": code, **box, **changes}


def app_of(app: TestApp, form: Element) -> AuthenticatorApp:
    return AuthenticatorApp(app.clock, form.one(data_totp_key=True).text.replace(" ", ""))


def codes_of(form: Element) -> list[str]:
    return [item.text for item in form.all(data_code=True)]


async def set_up(app: TestApp, user: Browser) -> tuple[AuthenticatorApp, list[str]]:
    """Sets up an app through the page, and returns it with the recovery codes of the page."""
    form = await open_form(user)
    phone = app_of(app, form)
    answer = await user.post(PATH, fields_of(form, phone.code()))
    assert answer.status_code == 303, answer.text
    return phone, codes_of(form)


async def stored(app: TestApp) -> tuple[int, int, list[tuple]]:
    """Returns the number of apps and of codes, and the columns `has_factor`."""
    flags = await app.rows("SELECT has_factor FROM users")
    return await app.count("totp"), await app.count("recovery_codes"), flags


def error_of(answer: httpx.Response) -> str:
    return read(answer).one(id="error-summary").text


@EVERY_MODE
async def test_a_user_sets_up_an_app_and_saves_the_first_codes(strategy_app: TestApp) -> None:
    app = strategy_app
    alice = await app.sign_up_user("Alice")
    old_cookie = alice.cookie
    form = await open_form(alice)
    phone = app_of(app, form)
    assert len(codes_of(form)) == 10
    answer = await alice.post(PATH, fields_of(form, phone.code()))
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/security")
    page = await alice.get("/account/security")
    assert "Authenticator app set up." in page.text
    assert await stored(app) == (1, 10, [(1,)])
    assert alice.cookie != old_cookie
    alice.cookie = old_cookie
    assert not await alice.is_logged_in()
    events = await app.rows("SELECT event, outcome, detail FROM audit ORDER BY number DESC LIMIT 1")
    assert events == [("factor.add", "done", '{"factor": "authenticator app"}')]


async def test_the_page_and_the_database_have_no_stored_secret(
    app: TestApp, alice: Browser
) -> None:
    phone, codes = await set_up(app, alice)
    for path in (PATH, "/account/security", "/account/recovery-codes"):
        text = (await alice.get(path)).text
        assert not [secret for secret in (phone.key, *codes) if secret in text]
    database = app.stored()
    for secret in (phone.key, *codes, *(code.replace("-", "") for code in codes)):
        assert secret.encode() not in database


async def test_set_up_ends_the_other_sessions(
    app: TestApp, alice: Browser, alices_phone: Browser
) -> None:
    await set_up(app, alice)
    page = await alice.get("/account/security")
    assert "Your other devices are logged out." in page.text
    assert not await alices_phone.is_logged_in()


async def test_htmx_follows_a_redirect_after_the_set_up(app: TestApp, alice: Browser) -> None:
    form = await open_form(alice)
    fields = fields_of(form, app_of(app, form).code())
    answer = await alice.post_fragment(PATH, fields)
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/account/security")
    assert (await app.count("totp")) == 1


@BOTH_REQUEST_TYPES
@pytest.mark.parametrize(
    "code", ["", "  ", "12345", "1234567", "abcdef", "000000", "１２", "9" * 65]
)
async def test_a_wrong_code_stores_nothing_and_keeps_the_qr_code(
    app: TestApp, alice: Browser, send: Callable, code: str
) -> None:
    form = await open_form(alice)
    phone = app_of(app, form)
    if code == "000000":
        code = phone.wrong_code()
    answer = await send(alice, PATH, fields_of(form, code))
    assert answer.status_code == 422
    wanted = "This code is wrong." if code.strip() else "Please enter the code."
    assert wanted in error_of(answer)
    again = read(answer).one("form", id="totp-form")
    assert again.one(data_totp_key=True).text == form.one(data_totp_key=True).text
    assert codes_of(again) == codes_of(form)
    assert again.one(name="code").attrs["value"] == ""
    assert await stored(app) == (0, 0, [(0,)])
    # The same app works with the form of this answer.
    assert (await alice.post(PATH, fields_of(again, phone.code()))).status_code == 303


@pytest.mark.parametrize("separator", [" ", "\u00a0", "\t"])
async def test_a_code_may_have_blanks(app: TestApp, alice: Browser, separator: str) -> None:
    form = await open_form(alice)
    code = app_of(app, form).code()
    typed = f" {code[:3]}{separator}{code[3:]} "
    assert (await alice.post(PATH, fields_of(form, typed))).status_code == 303


@pytest.mark.parametrize(("steps", "status"), [(-2, 422), (-1, 303), (1, 303), (2, 422)])
async def test_the_clocks_may_differ_by_one_step(
    app: TestApp, alice: Browser, steps: int, status: int
) -> None:
    form = await open_form(alice)
    answer = await alice.post(PATH, fields_of(form, app_of(app, form).code(steps)))
    assert answer.status_code == status
    assert (await app.count("totp")) == int(status == 303)


@pytest.mark.parametrize("steps", [-1, 0, 1])
async def test_the_step_of_the_first_code_counts_as_used(
    app: TestApp, alice: Browser, steps: int
) -> None:
    form = await open_form(alice)
    assert (
        await alice.post(PATH, fields_of(form, app_of(app, form).code(steps)))
    ).status_code == 303
    now = int(app.clock.moment.timestamp()) // 30
    assert await app.rows("SELECT last_step FROM totp") == [(now + steps,)]


@BOTH_REQUEST_TYPES
async def test_the_first_codes_must_be_saved(app: TestApp, alice: Browser, send: Callable) -> None:
    form = await open_form(alice)
    fields = fields_of(form, app_of(app, form).code())
    for saved in ("", "off"):
        answer = await send(alice, PATH, {**fields, "saved": saved})
        assert answer.status_code == 422
        assert "Save the codes, then tick this box." in error_of(answer)
        assert codes_of(read(answer)) == codes_of(form)
    assert await stored(app) == (0, 0, [(0,)])


async def test_a_new_app_replaces_the_old_one_and_keeps_the_codes(
    app: TestApp, alice: Browser
) -> None:
    old, _ = await set_up(app, alice)
    hashes = await app.rows("SELECT code_hash FROM recovery_codes ORDER BY 1")
    page = read(await alice.get(PATH))
    assert page.one(id="authenticator").attrs["data-on"] == "true"
    form = page.one("form", id="totp-form")
    assert codes_of(form) == []
    assert not form.all(name="saved")
    before = await app.rows("SELECT secret FROM totp")
    answer = await alice.post(PATH, fields_of(form, old.wrong_code()))
    assert (answer.status_code, await app.rows("SELECT secret FROM totp")) == (422, before)
    new = app_of(app, form)
    assert new.key != old.key
    assert (await alice.post(PATH, fields_of(form, new.code()))).status_code == 303
    assert await app.rows("SELECT secret FROM totp") != before
    assert await app.rows("SELECT code_hash FROM recovery_codes ORDER BY 1") == hashes


# The enrollment


@BOTH_REQUEST_TYPES
@pytest.mark.parametrize("change", ["missing", "garbage", "damaged", "other purpose"])
async def test_an_invalid_enrollment_stores_nothing(
    app: TestApp, alice: Browser, send: Callable, change: str
) -> None:
    form = await open_form(alice)
    fields, phone = fields_of(form, ""), app_of(app, form)
    token = fields["enrolment"]
    changed = {
        "missing": "",
        "garbage": "a.b.c.d.é" * 900,
        "damaged": token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB"),
        "other purpose": alice.client.cookies.get("sudo") or "",
    }[change]
    answer = await send(alice, PATH, fields | {"enrolment": changed, "code": phone.code()})
    assert answer.status_code == 422
    assert "This page was open for too long." in error_of(answer)
    again = read(answer).one("form", id="totp-form")
    assert app_of(app, again).key != phone.key
    assert await stored(app) == (0, 0, [(0,)])


async def test_an_enrollment_expires_after_ten_minutes(app: TestApp, alice: Browser) -> None:
    form = await open_form(alice)
    app.clock.move(minutes=10)
    await alice.post("/logout")
    assert (await alice.log_in()).status_code == 303
    answer = await alice.post(PATH, fields_of(form, app_of(app, form).code()))
    assert (answer.status_code, await app.count("totp")) == (422, 0)


async def test_an_enrollment_belongs_to_one_session(
    app: TestApp, alice: Browser, alices_phone: Browser, bob: Browser
) -> None:
    form = await open_form(alice)
    code = app_of(app, form).code()
    for other in (alices_phone, bob):
        fields = fields_of(form, code)
        fields.pop("viewer")
        answer = await other.post(PATH, fields)
        assert (answer.status_code, await app.count("totp")) == (422, 0)


async def test_an_enrollment_works_once(app: TestApp, alice: Browser) -> None:
    form = await open_form(alice)
    fields = fields_of(form, app_of(app, form).code())
    assert (await alice.post(PATH, fields)).status_code == 303
    assert (await alice.post("/account/authenticator/remove")).status_code == 303
    app.clock.move(seconds=60)
    again = fields | {"code": app_of(app, form).code()}
    assert (await alice.post(PATH, again)).status_code == 422
    assert (await app.count("totp"), await app.count("recovery_codes")) == (0, 0)


@pytest.mark.parametrize("database_type", ["sqlite", "postgresql"])
async def test_twenty_concurrent_set_ups_store_one_app(app: TestApp) -> None:
    alice = await app.sign_up_user("Alice")
    form = await open_form(alice)
    fields = fields_of(form, app_of(app, form).code())
    cookies = dict(alice.client.cookies)

    async def send() -> int:
        user = await app.browser("Alice")
        for name, value in cookies.items():
            user.client.cookies.set(name, value, domain="localhost.local", path="/")
        answer = await user.post(PATH, fields)
        return int(answer.headers.get("location") == "/account/security")

    assert sum(await asyncio.gather(*(send() for _ in range(20)))) == 1
    assert await stored(app) == (1, 10, [(1,)])
    assert await app.rows("SELECT count(*) FROM audit WHERE event = 'factor.add'") == [(1,)]


# The removal


async def test_removal_of_the_last_second_step_removes_the_codes(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    await set_up(app, alice)
    await set_up(app, bob)
    answer = await alice.post(f"{PATH}/remove")
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/security")
    assert "Authenticator app removed." in (await alice.get("/account/security")).text
    assert sorted((await stored(app))[2]) == [(0,), (1,)]
    assert (await stored(app))[:2] == (1, 10)


async def test_there_may_be_no_app_to_remove(app: TestApp, alice: Browser, bob: Browser) -> None:
    await set_up(app, bob)
    assert (await alice.post(f"{PATH}/remove")).status_code == 404
    assert (await app.count("totp")) == 1
    assert await alice.is_logged_in()


async def test_an_administrator_keeps_the_last_required_step(make_app: Callable) -> None:
    app = await make_app(REQUIRE_FACTOR="admins")
    ada = await app.admin()
    await set_up(app, ada)
    page = read(await ada.get(PATH)).one(id="authenticator")
    assert page.all("button", **{"class": "danger"}) == []
    assert "Add another before you remove this one." in page.text
    answer = await ada.post(f"{PATH}/remove")
    assert (answer.status_code, await stored(app)) == (409, (1, 10, [(1,)]))
    assert "Administrators need a second step" in answer.text
    assert await ada.is_logged_in()


# Who may call


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_anonymous_user_is_sent_to_the_login(
    app: TestApp, anonymous: Browser, method: str
) -> None:
    answer = await anonymous.request(method, PATH)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")


@BOTH_REQUEST_TYPES
async def test_a_form_of_another_user_is_refused(
    app: TestApp, alice: Browser, bob: Browser, send: Callable
) -> None:
    form = await open_form(alice)
    fields = fields_of(form, app_of(app, form).code())
    assert (await send(bob, PATH, fields)).status_code == 409
    assert (await app.count("totp")) == 0


@BOTH_REQUEST_TYPES
@pytest.mark.parametrize("path", [PATH, f"{PATH}/remove"])
async def test_changes_need_a_recent_confirmation(
    app: TestApp, alice: Browser, send: Callable, path: str
) -> None:
    form = await open_form(alice)
    fields = fields_of(form, app_of(app, form).code())
    if path != PATH:
        await alice.post(PATH, fields)
    before = await stored(app)
    app.clock.move(minutes=11)
    assert (await send(alice, path, fields)).status_code == 403
    assert await stored(app) == before


async def test_changes_are_rate_limited(make_app: Callable) -> None:
    app = await make_app(RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    form = await open_form(alice)
    phone = app_of(app, form)
    for _ in range(10):
        assert (await alice.post(PATH, fields_of(form, phone.wrong_code()))).status_code == 422
    answer = await alice.post(PATH, fields_of(form, phone.code()))
    assert (answer.status_code, "Too many changes." in error_of(answer)) == (429, True)
    assert int(answer.headers["retry-after"]) > 0
    assert await stored(app) == (0, 0, [(0,)])
    fragment = await alice.post_fragment(PATH, fields_of(form, phone.code()))
    assert (fragment.status_code, "<hx-partial" in fragment.text) == (429, True)


async def test_a_huge_code_is_refused(app: TestApp, alice: Browser) -> None:
    form = await open_form(alice)
    answer = await alice.post(PATH, fields_of(form, "1" * 1_000_000))
    assert (answer.status_code, await app.count("totp")) == (413, 0)


# The page


async def test_the_uri_has_the_key_the_email_and_the_name(app: TestApp, alice: Browser) -> None:
    form = await open_form(alice)
    (link,) = (a for a in form.all("a") if a.attrs["href"].startswith("otpauth:"))
    uri = urlsplit(link.attrs["href"])
    query = parse_qs(uri.query)
    assert (uri.netloc, unquote(uri.path)) == ("totp", "/Latchkey:alice@example.com")
    assert query["secret"] == [app_of(app, form).key]
    assert query["issuer"] == ["Latchkey"]


async def test_each_page_shows_another_key_and_other_codes(app: TestApp, alice: Browser) -> None:
    first, second = await open_form(alice), await open_form(alice)
    assert app_of(app, first).key != app_of(app, second).key
    assert not {*codes_of(first)} & {*codes_of(second)}
    assert (await app.count("used_tokens")) == 0


async def test_the_set_up_takes_few_statements(app: TestApp, alice: Browser) -> None:
    form = await open_form(alice)
    before = app.statements
    await alice.post(PATH, fields_of(form, app_of(app, form).code()))
    assert app.statements - before <= 16
    before = app.statements
    await alice.get(PATH)
    assert app.statements - before == 2
