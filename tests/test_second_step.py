"""Tests of the second step of a log-in: its page, its answers, and what a claim gives access to."""

import re
from collections.abc import Callable

import httpx
import pytest

from tests.authenticator_app import AuthenticatorApp, set_up_app
from tests.browser_client import (
    HTMX,
    PASSWORD,
    Browser,
    path_of,
    read,
    set_cookie_of,
    without_challenges,
)
from tests.conftest import TestApp
from tests.passkeys import add_passkey, hidden_fields, login_fields, passkey_form
from tests.soft_authenticator import SoftAuthenticator
from web.router import AppRoute

WRONG = "This code is wrong, or it was used already. Wait for the next one."
WRONG_RECOVERY = "This recovery code is wrong, or it was used already."
WRONG_PASSKEY = "This passkey doesn't open your account here. Use another second step."
AGAIN = "That took too long, or your account has changed. Log in again."


@pytest.fixture
async def factor(app: TestApp, alice: Browser) -> AuthenticatorApp:
    """Adds an authenticator app to Alice's account, which logs her out."""
    factor = await set_up_app(app, alice)
    alice.client.cookies.clear()
    return factor


@pytest.fixture
async def claimant(alice: Browser, factor: AuthenticatorApp) -> Browser:
    """Returns Alice's browser after the right password."""
    assert (await alice.log_in()).headers["location"] == "/login/factor"
    return alice


async def entries(app: TestApp, *events: str) -> list[tuple]:
    names = ", ".join(f"'{event}'" for event in events)
    return await app.rows(
        f"SELECT event, outcome, detail FROM audit WHERE event IN ({names}) ORDER BY number"
    )


# The first step


@pytest.mark.asvs("S09", "S115")
async def test_the_password_alone_starts_no_session(
    app: TestApp, alice: Browser, factor: AuthenticatorApp
) -> None:
    answer = await alice.log_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/login/factor")
    cookie = set_cookie_of(answer)
    assert set(cookie) == {"claim"}
    assert cookie["claim"]["max-age"] == "600"
    assert cookie["claim"]["httponly"]
    assert await app.count("sessions") == 0
    assert await entries(app, "login") == []


async def test_htmx_is_redirected_to_the_second_step_by_a_header(
    alice: Browser, factor: AuthenticatorApp
) -> None:
    answer = await alice.post_fragment("/login", {"email": alice.email, "password": PASSWORD})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/login/factor")


@pytest.mark.asvs("S49", "S50")
async def test_a_wrong_password_is_answered_as_without_a_second_step(
    app: TestApp, alice: Browser, bob: Browser, factor: AuthenticatorApp
) -> None:
    answers, work = [], []
    await app.create("Eve")
    await app.change("UPDATE users SET password_hash = '!' WHERE email = 'eve@example.com'")
    for email in ("alice@example.com", "bob12@example.com", "eve@example.com"):
        browser, before = await app.browser("Charlie"), (app.statements, app.hashes)
        browser.headers["Accept-Encoding"] = "identity"
        answer = await browser.post("/login", {"email": email, "password": "wrong-No.9"})
        work.append((app.statements - before[0], app.hashes - before[1]))
        text = without_challenges(answer.text).replace(email, "")
        headers = [pair for pair in answer.headers.multi_items() if pair[0] != "content-length"]
        answers.append((answer.status_code, headers, text))
    assert answers[0] == answers[1] == answers[2]
    assert work == [(4, 1)] * 3


async def test_the_first_step_runs_one_statement(
    app: TestApp, alice: Browser, factor: AuthenticatorApp
) -> None:
    before = app.statements
    await alice.log_in()
    assert app.statements - before == 1


# The page


async def test_the_page_has_the_forms_of_what_the_account_has(
    app: TestApp, claimant: Browser
) -> None:
    before = app.statements
    page = read(await claimant.get("/login/factor"))
    assert app.statements - before <= 2
    assert page.one("h1").text == "One more step"
    assert "You are logging in as alice@example.com." in page.one("main").text
    code = page.one("form", id="code-form").one("input", name="code").attrs
    assert (code["autocomplete"], code["inputmode"]) == ("one-time-code", "numeric")
    fold = page.one("main").one("details")
    assert fold.one("summary").text == "Use a recovery code"
    recovery = fold.one("form", id="recovery-form")
    assert recovery.one("input", name="recovery_code")
    assert "One of your ten codes, such as T7DN-69C2-…" in recovery.text
    assert "No codes left? Ask an administrator of this site." in recovery.text
    assert page.all("form", id="passkey-form") == []
    remember = page.one("form", id="code-form").one("input", name="remember")
    assert "checked" not in remember.attrs
    assert "Don't ask on this browser for 30 days" in page.one("main").text


async def test_the_page_shows_no_user_interface_of_a_session(claimant: Browser) -> None:
    page = read(await claimant.get("/login/factor"))
    assert page.all("form", action="/account/language") == []
    assert "Dashboard" not in page.one("body").text


async def test_start_again_drops_the_claim(app: TestApp, claimant: Browser) -> None:
    form = read(await claimant.get("/login/factor")).one("form", action="/logout")
    assert form.one("button").text == "Start again"
    answer = await claimant.post("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "claim" not in claimant.client.cookies
    assert "You've logged out" not in (await claimant.get("/login")).text
    assert (await claimant.get("/login/factor")).headers["location"] == "/login?again=1"


# A correct second step


@pytest.mark.guide("A25")
@pytest.mark.asvs("S06", "S07")
async def test_a_correct_code_logs_in(
    app: TestApp, claimant: Browser, factor: AuthenticatorApp
) -> None:
    before = app.statements
    answer = await claimant.post("/login/factor", {"code": factor.code()})
    assert app.statements - before <= 8
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    cookies = set_cookie_of(answer)
    assert set(cookies) == {"session", "sudo", "device", "claim", "notice"}
    assert cookies["claim"]["max-age"] == "0"
    assert await claimant.is_logged_in()
    assert await entries(app, "login") == [
        ("login", "done", '{"with": "password", "factor": "authenticator app"}')
    ]


async def test_htmx_is_redirected_after_the_second_step_by_a_header(
    claimant: Browser, factor: AuthenticatorApp
) -> None:
    answer = await claimant.post_fragment("/login/factor", {"code": factor.code()})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/dashboard")
    assert await claimant.is_logged_in()


async def test_the_log_in_leads_to_the_page_of_the_first_step(
    alice: Browser, factor: AuthenticatorApp
) -> None:
    await alice.log_in(next="/devices")
    answer = await alice.post("/login/factor", {"code": factor.code()})
    assert answer.headers["location"] == "/devices"


async def test_a_foreign_page_of_the_first_step_is_not_opened(
    alice: Browser, factor: AuthenticatorApp
) -> None:
    await alice.log_in(next="//evil.example/")
    answer = await alice.post("/login/factor", {"code": factor.code()})
    assert answer.headers["location"] == "/dashboard"


async def test_the_log_in_is_recorded_once_after_the_second_step(
    app: TestApp, claimant: Browser, factor: AuthenticatorApp
) -> None:
    columns = "SELECT last_login_at, previous_login_at, password_used_at FROM users"
    signed_up_at = "2026-11-24T09:12:00.000000+00:00"
    assert await app.rows(columns) == [(signed_up_at, None, None)]
    await claimant.post("/login/factor", {"code": factor.wrong_code()})
    assert await app.rows(columns) == [(signed_up_at, None, None)]
    await claimant.post("/login/factor", {"code": factor.code()})
    now = "2026-11-24T09:12:01.000000+00:00"
    assert await app.rows(columns) == [(now, signed_up_at, now)]


async def test_keep_me_logged_in_is_kept_until_the_second_step(make_app: Callable) -> None:
    app = await make_app(SESSION_REMEMBER_IDLE="14d")
    alice = await app.sign_up_user("Alice")
    factor = await set_up_app(app, alice)
    for ticked in ({}, {"remember": "on"}):
        user = await app.browser("Alice")
        app.clock.move(minutes=1)
        await user.log_in(**ticked)
        await user.post("/login/factor", {"code": factor.code()})
    remembered = await app.rows("SELECT is_remembered FROM sessions ORDER BY created_at")
    assert [bool(value) for (value,) in remembered] == [False, True]


@pytest.mark.asvs("S27")
@pytest.mark.parametrize("typed", ["{0} {1}", " {0}{1} ", "{0}\t{1}"])
async def test_blanks_in_a_code_are_ignored(
    claimant: Browser, factor: AuthenticatorApp, typed: str
) -> None:
    code = factor.code()
    answer = await claimant.post("/login/factor", {"code": typed.format(code[:3], code[3:])})
    assert answer.status_code == 303


@pytest.mark.asvs("S27")
async def test_a_code_works_once(app: TestApp, claimant: Browser, factor: AuthenticatorApp) -> None:
    code = factor.code()
    assert (await claimant.post("/login/factor", {"code": code})).status_code == 303
    other = await app.browser("Alice")
    await other.log_in()
    assert (await other.post("/login/factor", {"code": code})).status_code == 422
    assert (await other.post("/login/factor", {"code": factor.code(-1)})).status_code == 422
    assert await app.count("sessions") == 1


@pytest.mark.asvs("S29")
async def test_a_recovery_code_works_once_and_the_next_page_counts_them(
    app: TestApp, claimant: Browser, factor: AuthenticatorApp
) -> None:
    typed = {"recovery_code": factor.recovery_codes[0].lower().replace("-", " ")}
    answer = await claimant.post("/login/factor", typed)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert "You have 9 recovery codes left." in (await claimant.get("/dashboard")).text
    assert await entries(app, "recovery.use", "login") == [
        ("recovery.use", "done", ""),
        ("login", "done", '{"with": "password", "factor": "recovery code"}'),
    ]
    other = await app.browser("Alice")
    await other.log_in()
    page = read(await other.post("/login/factor", typed))
    assert WRONG_RECOVERY in page.one(id="error-summary").text
    assert "open" in page.one("main").one("details").attrs
    assert await app.count("sessions") == 1


async def test_after_the_last_recovery_code_the_page_asks_for_new_ones(
    app: TestApp, claimant: Browser, factor: AuthenticatorApp
) -> None:
    await app.change(
        "DELETE FROM recovery_codes WHERE code_hash NOT IN (SELECT min(code_hash) FROM"
        " recovery_codes)"
    )
    for code in factor.recovery_codes:
        answer = await claimant.post("/login/factor", {"recovery_code": code})
        if answer.status_code == 303:
            break
    assert "You have used your last recovery code." in (await claimant.get("/dashboard")).text


# A wrong second step


@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_a_wrong_code_is_refused(
    app: TestApp, claimant: Browser, factor: AuthenticatorApp, send: Callable
) -> None:
    wrong = factor.wrong_code()
    answer = await send(claimant, "/login/factor", {"code": wrong, "remember": "on"})
    assert answer.status_code == 422
    form = read(answer).one("form", id="code-form")
    assert WRONG in form.one(id="error-summary").text
    assert form.one("input", id="code").attrs["value"] == ""
    assert "checked" in form.one("input", name="remember").attrs
    assert wrong not in answer.text
    assert await app.count("sessions") == 0
    assert await entries(app, "login", "factor") == [("factor", "refused", "")]
    ((target, actor),) = await app.rows("SELECT target_id, actor FROM audit WHERE event = 'factor'")
    ((user_id,),) = await app.rows("SELECT id FROM users")
    assert (target, actor) == (user_id, "anonymous")


@pytest.mark.parametrize(
    ("sent", "other"), [("recovery_code", "code-form"), ("code", "recovery-form")]
)
async def test_an_error_replaces_that_of_the_other_form(
    claimant: Browser, factor: AuthenticatorApp, sent: str, other: str
) -> None:
    answer = read(await claimant.post_fragment("/login/factor", {sent: factor.wrong_code()}))
    replacement = answer.one("hx-partial")
    assert replacement.attrs["hx-target"] == f"#{other}"
    assert replacement.one("form", id=other).all(id="error-summary") == []
    assert len(answer.all(id="error-summary")) == 1
    assert len(answer.all(autofocus=True)) == (2 if sent == "code" else 1)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *(("code", text) for text in ("", " ", "12345", "1234567", "abcdef", "١٢٣", "½" * 6)),
        *(("code", text) for text in ("1" * 50_000, "\0" * 6, "'; DROP TABLE users", "𝟙" * 7)),
        *(("recovery_code", text) for text in ("", "x", "\0", "I" * 50_000, "ŉ" * 24, "-" * 24)),
        *(("credential", text) for text in ("{}", "[", "\0", '{"id": 1}', "[" * 15_000)),
    ],
)
async def test_garbage_is_refused(app: TestApp, claimant: Browser, field: str, text: str) -> None:
    answer = await claimant.post("/login/factor", {field: text, "challenge": text[:100]})
    assert answer.status_code == 422
    assert read(answer).one(id="error-summary")
    assert await app.count("sessions") == 0


async def test_a_form_without_fields_asks_for_the_code(claimant: Browser) -> None:
    page = read(await claimant.post("/login/factor"))
    assert "Please enter the code." in page.one("form", id="code-form").text


async def test_only_the_first_given_second_step_counts(
    app: TestApp, claimant: Browser, factor: AuthenticatorApp
) -> None:
    fields = {"code": factor.wrong_code(), "recovery_code": factor.recovery_codes[0]}
    assert (await claimant.post("/login/factor", fields)).status_code == 422
    assert await app.count("recovery_codes") == 10


async def test_other_content_types_than_forms_are_refused(
    claimant: Browser, factor: AuthenticatorApp
) -> None:
    answer = await claimant.client.post(
        "/login/factor", content=b"{}", headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 415


@pytest.mark.asvs("S31")
async def test_a_foreign_origin_is_refused(
    app: TestApp, claimant: Browser, factor: AuthenticatorApp
) -> None:
    fields = {"code": factor.code()}
    answer = await claimant.post("/login/factor", fields, **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert await app.count("sessions") == 0


# Claims that do not count


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("cookie", [None, "x", "a.b.c.d.e"])
async def test_without_a_claim_the_log_in_starts_again(
    app: TestApp, anonymous: Browser, factor: AuthenticatorApp, method: str, cookie: str | None
) -> None:
    if cookie:
        anonymous.client.cookies.set("claim", cookie)
    before = app.statements
    answer = await anonymous.request(method, "/login/factor", {"code": factor.code()})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?again=1")
    assert ("claim" in set_cookie_of(answer)) == (cookie is not None)
    fragment = await anonymous.request(method, "/login/factor", {"code": factor.code()}, **HTMX)
    assert (fragment.status_code, fragment.headers["hx-redirect"]) == (401, "/login?again=1")
    assert app.statements == before
    assert AGAIN in (await anonymous.get("/login?again=1")).text


async def expire(app: TestApp) -> None:
    app.clock.move(minutes=10)


async def end_sessions(app: TestApp) -> None:
    await app.change("UPDATE users SET sessions_ended_at = '2026-11-24T09:12:02.000000+00:00'")
    app.clock.move(seconds=1)


async def disable(app: TestApp) -> None:
    await app.change("UPDATE users SET disabled_at = created_at")


async def delete(app: TestApp) -> None:
    await app.change("DELETE FROM users")


@pytest.mark.asvs("S16")
@pytest.mark.parametrize("event", [expire, end_sessions, disable, delete])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_void_claim_logs_nobody_in(
    app: TestApp, claimant: Browser, factor: AuthenticatorApp, event: Callable, method: str
) -> None:
    await event(app)
    answer = await claimant.request(method, "/login/factor", {"code": factor.code()})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?again=1")
    assert "claim" not in claimant.client.cookies
    assert await app.count("sessions") == 0


@pytest.mark.asvs("S11")
async def test_no_other_token_is_a_claim(
    app: TestApp, claimant: Browser, factor: AuthenticatorApp
) -> None:
    claims = app.store.encrypted_tokens.decrypt("claim", claimant.client.cookies["claim"])
    assert claims is not None
    for purpose in ("sudo", "challenge", "enrollment", "draft"):
        token = app.store.encrypted_tokens.encrypt(purpose, claims)
        other = await app.browser("Alice")
        other.client.cookies.set("claim", token.reveal())
        answer = await other.post("/login/factor", {"code": factor.code()})
        assert answer.headers["location"] == "/login?again=1"
    assert await app.count("sessions") == 0


async def test_a_claim_of_the_version_before_providers_is_accepted(
    app: TestApp, claimant: Browser, factor: AuthenticatorApp
) -> None:
    claims = app.store.encrypted_tokens.decrypt("claim", claimant.client.cookies["claim"])
    assert claims is not None
    older = {name: value for name, value in claims.items() if name != "first_step"}
    other = await app.browser("Alice")
    token = app.store.encrypted_tokens.encrypt("claim", older)
    other.client.cookies.set("claim", token.reveal())
    answer = await other.post("/login/factor", {"code": factor.code()})
    assert answer.headers["location"] == "/dashboard"


async def test_a_logged_in_user_is_redirected_to_the_dashboard(bob: Browser) -> None:
    for method in ("GET", "POST"):
        answer = await bob.request(method, "/login/factor")
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")


OPEN_TO_CLAIMANTS = {"/login/factor", "/logout"}


@pytest.mark.asvs("S09")
@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
async def test_a_claim_gives_access_to_nothing_but_the_second_step(
    app: TestApp, claimant: Browser, headers: dict[str, str]
) -> None:
    """Compares every response with that to a browser without cookies."""
    anonymous = await app.browser("Charlie")
    claim = claimant.client.cookies["claim"]
    different = set()
    for route in app.asgi_app.router.routes:
        if not isinstance(route, AppRoute):
            continue
        path = re.sub(r"{\w+}", "A" * 22, route.path.replace("{field}", "name"))
        for method in route.endpoints:
            answers = []
            for browser in (anonymous, claimant):
                browser.client.cookies.clear()
                if browser is claimant:
                    browser.client.cookies.set("claim", claim)
                answers.append(comparable(await browser.request(method, path, **headers)))
            if answers[0] != answers[1]:
                different.add(path)
            assert "data-dashboard" not in answers[1][2]
    assert different == OPEN_TO_CLAIMANTS
    assert await app.count("sessions") == 0


def comparable(answer: httpx.Response) -> tuple[int, str, str]:
    """Returns the status, the target and the body without what differs between two requests."""
    target = answer.headers.get("location") or answer.headers.get("hx-redirect", "")
    body = re.sub(r"[A-Za-z0-9_-]{10,}", "", answer.text)
    cookies = sorted(set_cookie_of(answer))
    return answer.status_code, f"{path_of(target)} {cookies}", re.sub(r"\d+", "", body)


# Passkeys


@pytest.fixture
async def passkey(app: TestApp, alice: Browser) -> SoftAuthenticator:
    """Adds a passkey to Alice's account and logs her out."""
    passkey = await add_passkey(alice)
    await alice.post("/logout")
    app.clock.move(seconds=1)
    return passkey


async def passkey_fields(user: Browser, passkey: SoftAuthenticator) -> dict[str, str]:
    """Returns the fields that a browser sends from the page of the second step."""
    form = passkey_form(await user.get("/login/factor"))
    return hidden_fields(form) | {"credential": passkey.get(form.attrs["data-options"])}


@pytest.mark.asvs("S25")
async def test_a_passkey_logs_in(app: TestApp, alice: Browser, passkey: SoftAuthenticator) -> None:
    await alice.log_in()
    before = app.statements
    page = read(await alice.get("/login/factor"))
    assert app.statements - before == 2
    assert page.all("form", id="code-form") == []
    assert "hidden" in page.one("form", id="passkey-form").one("button").attrs
    names = [field.attrs["name"] for field in page.one("main").all("input")]
    assert names.index("remember") < names.index("credential")
    assert page.one("input", id="remember")
    fields = await passkey_fields(alice, passkey)
    before = app.statements
    answer = await alice.post("/login/factor", fields)
    assert app.statements - before <= 10
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert (await entries(app, "login"))[-1][2] == '{"with": "password", "factor": "passkey"}'


@pytest.mark.asvs("S25")
async def test_a_passkey_remembers_the_browser(
    app: TestApp, alice: Browser, passkey: SoftAuthenticator
) -> None:
    await alice.log_in()
    await alice.post("/login/factor", await passkey_fields(alice, passkey) | {"remember": "on"})
    await alice.post("/logout")
    app.clock.move(seconds=1)
    assert (await alice.log_in()).headers["location"] == "/dashboard"


@pytest.mark.asvs("S25")
async def test_an_answer_of_a_passkey_works_once(
    app: TestApp, alice: Browser, passkey: SoftAuthenticator
) -> None:
    await alice.log_in()
    fields = await passkey_fields(alice, passkey)
    assert (await alice.post("/login/factor", fields)).status_code == 303
    other = await app.browser("Alice")
    await other.log_in()
    answer = await other.post("/login/factor", fields)
    assert answer.status_code == 422
    assert WRONG_PASSKEY in passkey_form(answer).one(id="error-summary").text
    fragment = await other.post_fragment("/login/factor", fields)
    assert (fragment.status_code, WRONG_PASSKEY in passkey_form(fragment).text) == (422, True)


@pytest.mark.asvs("S25")
async def test_the_passkey_of_another_account_is_refused(
    app: TestApp, alice: Browser, bob: Browser, passkey: SoftAuthenticator
) -> None:
    other = await add_passkey(bob)
    await alice.log_in()
    fields = await passkey_fields(alice, other)
    assert (await alice.post("/login/factor", fields)).status_code == 422
    assert not await alice.is_logged_in()


@pytest.mark.asvs("S25")
async def test_an_answer_for_the_log_in_page_is_no_second_step(
    app: TestApp, alice: Browser, passkey: SoftAuthenticator
) -> None:
    fields = await login_fields(alice, passkey)
    await alice.log_in()
    assert (await alice.post("/login/factor", fields)).status_code == 422
    assert await app.count("sessions") == 0
