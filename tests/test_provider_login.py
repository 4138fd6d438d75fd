"""Tests of log-in and sign-up with an identity provider that lies if a test wants it to."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.responses import JSONResponse

from tests.browser_client import Browser, path_of, read, set_cookie_of
from tests.conftest import Clock, TestApp
from tests.environment import SECRET, environ_of
from tests.lying_provider import CLIENT_SECRET, LyingProvider, serving, unsigned
from tests.mail import enabled_outbox, link_field, open_link, receive
from tests.test_hostile_requests import FORM, UNSTORABLE
from web.app import create_app


@pytest.fixture
def lying(clock: Clock) -> Iterator[LyingProvider]:
    with serving(LyingProvider(now=clock)) as provider:
        yield provider


@pytest.fixture
def environ(lying: LyingProvider) -> dict[str, str]:
    return {"SESSION_SECRET": SECRET, "RATE_LIMITS": "off", **lying.settings}


async def start(browser: Browser, next_page: str = "") -> str:
    """Presses the button, and returns the URL that the page leads to."""
    fields = {"next": next_page} if next_page else {}
    answer = await browser.post("/login/with/work", fields)
    assert answer.status_code == 200, answer.text
    return read(answer).one("meta", http_equiv="refresh").attrs["content"].removeprefix("0;url=")


async def come_back(browser: Browser, lying: LyingProvider, next_page: str = ""):
    """Logs in at the provider, and returns the response of the callback."""
    return await browser.get(lying.callback_of(await start(browser, next_page)))


async def sign_up(browser: Browser, lying: LyingProvider, **fields: str):
    """Signs up with the identity of the provider, and returns the response of the form."""
    answer = await come_back(browser, lying)
    assert answer.headers["location"] == "/signup/with/work"
    typed = {"name": browser.name, "email": browser.email, **fields}
    return await browser.post("/signup/with/work", typed)


@pytest.fixture
async def known(app: TestApp, lying: LyingProvider) -> Browser:
    """Returns the browser of a user who has signed up with the provider, and has logged out."""
    browser = await app.browser("Alice")
    assert (await sign_up(browser, lying)).headers["location"] == "/dashboard"
    await browser.post("/logout")
    return browser


async def trouble_after(browser: Browser, lying: LyingProvider) -> str:
    """Returns the trouble that the callback ends with, after checking that there is no session."""
    answer = await come_back(browser, lying)
    location = answer.headers["location"]
    assert answer.status_code == 303
    assert "session" not in set_cookie_of(answer)
    assert not await browser.is_logged_in()
    page = await browser.get(location)
    assert read(page).one(id="trouble").text
    return location.partition("trouble=")[2].partition("&")[0]


# The start.


async def test_the_button_leads_to_the_provider(anonymous, lying):
    page = read(await anonymous.get("/login?next=/devices"))
    form = page.one(id="providers").one("form", data_provider="work")
    assert form.one("button").text == "Continue with Work"
    assert form.one("input", name="next").attrs["value"] == "/devices"
    url = await start(anonymous)
    assert url.startswith(f"{lying.issuer}/authorize?")
    assert "code_challenge_method=S256" in url


async def test_the_departing_page_sends_no_referrer_and_has_a_link(anonymous, lying):
    answer = await anonymous.post("/login/with/work")
    assert answer.headers["referrer-policy"] == "no-referrer"
    meta = read(answer).one("meta", http_equiv="refresh").attrs["content"]
    assert read(answer).one("main").one("a").attrs["href"] == meta.removeprefix("0;url=")


async def test_htmx_is_redirected_to_the_provider(anonymous, lying):
    answer = await anonymous.post_fragment("/login/with/work")
    assert answer.status_code == 204
    assert answer.headers["hx-redirect"].startswith(f"{lying.issuer}/authorize?")


@pytest.mark.asvs("S32")
async def test_a_get_starts_nothing(anonymous, lying):
    answer = await anonymous.get("/login/with/work")
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert lying.requests == []


async def test_an_unknown_provider_is_not_found(anonymous):
    assert (await anonymous.post("/login/with/google")).status_code == 404
    assert (await anonymous.get("/login/with/google/callback?state=a&code=b")).status_code == 404


@pytest.mark.asvs("S31")
async def test_another_site_cannot_start_a_log_in(anonymous):
    answer = await anonymous.post("/login/with/work", sec_fetch_site="cross-site")
    assert answer.status_code == 403


async def test_without_the_setting_there_is_no_route(make_app):
    app = await make_app(PROVIDERS="")
    browser = await app.browser("Charlie")
    assert (await browser.get("/login/with/work")).status_code == 404
    assert not read(await browser.get("/login")).all(id="providers")


async def test_a_provider_that_is_away_is_named(anonymous, lying):
    lying.answers["/.well-known/openid-configuration"] = JSONResponse({}, 503)
    answer = await anonymous.post("/login/with/work")
    assert answer.headers["location"] == "/login?trouble=down&with=work"
    page = read(await anonymous.get(answer.headers["location"]))
    assert page.one(id="trouble").text.startswith("Work isn't answering.")
    assert (await anonymous.get("/login")).status_code == 200


# Signing up and logging in.


async def test_a_user_with_an_account_is_led_to_the_connection(app, lying):
    await app.create("Alice")
    alice = await app.browser("Alice")
    answer = await come_back(alice, lying)
    page = read(await alice.get(answer.headers["location"]))
    (link,) = [one for one in page.all("a") if one.text == "I already have an account"]
    form = read(await alice.get(link.attrs["href"])).one(id="login-form")
    answer = await alice.log_in(next=form.one("input", name="next").attrs["value"])
    page = read(await alice.get(answer.headers["location"]))
    assert page.one(id="connect-form").one("button").text == "Connect Work"
    assert await app.count("identities") == 0


async def test_an_unknown_identity_signs_up_by_a_form(app, anonymous, lying):
    answer = await come_back(anonymous, lying)
    assert answer.headers["location"] == "/signup/with/work"
    assert await app.count("users") == 0
    form = read(await anonymous.get("/signup/with/work")).one("form", id="finish-form")
    assert form.one("input", name="name").attrs["value"] == "Alice Example"
    done = await anonymous.post(
        "/signup/with/work", {"name": "Alice", "email": "alice@example.com"}
    )
    assert done.headers["location"] == "/dashboard"
    assert await anonymous.is_logged_in()
    rows = await app.rows("SELECT provider, issuer, subject FROM identities")
    assert rows == [("work", lying.issuer, "user-1")]
    assert await app.rows("SELECT password_hash FROM users") == [("!",)]


@pytest.mark.guide("A25")
async def test_a_known_identity_logs_in(app, known, lying):
    answer = await come_back(known, lying, "/devices")
    assert answer.headers["location"] == "/devices"
    assert await known.is_logged_in()
    assert await app.count("users") == 1


@pytest.mark.asvs("S20")
async def test_an_identity_is_known_by_its_subject_alone(app, known, lying):
    lying.user["email"] = "new@example.com"
    assert (await come_back(known, lying)).headers["location"] == "/dashboard"
    await known.post("/logout")
    lying.user = {"sub": "another", "email": known.email, "email_verified": True}
    assert (await come_back(known, lying)).headers["location"] == "/signup/with/work"
    assert not await known.is_logged_in()


@pytest.mark.asvs("S21")
@pytest.mark.parametrize("verified", [True, False, "true"])
async def test_an_email_never_connects_an_identity(app, alice, lying, verified):
    await app.change("UPDATE users SET verified_at = created_at")
    attacker = await app.browser("Charlie", "alice@example.com")
    lying.user |= {"email": "alice@example.com", "email_verified": verified}
    answer = await sign_up(attacker, lying)
    assert answer.status_code == 422
    assert await app.count("identities") == 0
    assert not await attacker.is_logged_in()


@pytest.mark.asvs("S21")
async def test_a_trusted_email_of_an_account_leads_to_its_log_in(make_app, lying):
    app = await make_app(WORK_TRUST_EMAIL="yes")
    await app.sign_up_user("Alice")
    await app.change("UPDATE users SET verified_at = created_at")
    lying.user |= {"email": "alice@example.com", "email_verified": True}
    browser = await app.browser("Charlie")
    answer = await come_back(browser, lying)
    assert path_of(answer.headers["location"]) == "/login"
    page = read(await browser.get(answer.headers["location"]))
    assert "You already have an account" in page.one(id="trouble").text
    assert await app.count("identities") == 0


async def test_a_trusted_email_is_confirmed_and_cannot_be_changed(make_app, lying):
    app = await make_app(WORK_TRUST_EMAIL="yes")
    lying.user |= {"email": "alice@example.com", "email_verified": True}
    browser = await app.browser("Alice")
    await sign_up(browser, lying, email="other@example.com")
    rows = await app.rows("SELECT email, verified_at IS NOT NULL AS confirmed FROM users")
    assert [(email, bool(confirmed)) for email, confirmed in rows] == [("alice@example.com", True)]


@pytest.mark.asvs("S24")
async def test_an_unconfirmed_account_becomes_that_of_its_email(make_app, lying):
    app = await make_app(WORK_TRUST_EMAIL="yes")
    attacker = await app.sign_up_user("Alice")
    lying.user |= {"email": "alice@example.com", "email_verified": True}
    owner = await app.browser("Alice")
    await come_back(owner, lying)
    page = read(await owner.get("/signup/with/work"))
    assert page.one("input", name="mine")
    done = await owner.post("/signup/with/work", {"mine": "on"})
    assert done.headers["location"] == "/dashboard"
    assert await owner.is_logged_in()
    assert not await attacker.is_logged_in()
    assert (await attacker.log_in()).status_code == 422
    assert await app.count("users") == 1
    assert await app.count("audit WHERE event = 'identity.take-over'") == 1


@pytest.mark.asvs("S24")
async def test_the_reset_of_an_unconfirmed_account_disconnects_its_identity(make_app, lying):
    app = await make_app(mail=enabled_outbox())
    attacker = await app.browser("Alice")
    await sign_up(attacker, lying)
    owner = await app.browser("Alice")
    await owner.post("/forgot", {"email": owner.email})
    message = await receive(app, "reset")
    await open_link(owner, message)
    await owner.post("/reset", {"password": "another engine-No.9", **link_field(message)})
    assert await app.count("identities") == 0
    assert not await attacker.is_logged_in()
    assert (await owner.log_in("another engine-No.9")).headers["location"] == "/dashboard"


@pytest.mark.asvs("S24")
async def test_a_confirmed_account_cannot_be_taken_over(make_app, lying):
    app = await make_app(WORK_TRUST_EMAIL="yes")
    alice = await app.sign_up_user("Alice")
    lying.user |= {"email": "alice@example.com", "email_verified": True}
    attacker = await app.browser("Charlie")
    await come_back(attacker, lying)
    await app.change("UPDATE users SET verified_at = created_at")
    answer = await attacker.post("/signup/with/work", {"mine": "on"})
    assert path_of(answer.headers["location"]) == "/login"
    assert await alice.is_logged_in()
    assert await app.count("identities") == 0


async def test_an_untrusted_email_takes_over_nothing(app, alice, lying):
    lying.user |= {"email": "alice@example.com", "email_verified": True}
    attacker = await app.browser("Charlie")
    await come_back(attacker, lying)
    answer = await attacker.post("/signup/with/work", {"mine": "on"})
    assert path_of(answer.headers["location"]) == "/login"
    assert await alice.is_logged_in()


async def test_another_email_can_be_typed_after_one_that_is_taken(app, alice, lying):
    browser = await app.browser("Charlie")
    answer = await sign_up(browser, lying, email="alice@example.com")
    assert answer.status_code == 422
    typed = {"name": "Charlie", "email": "charlie@example.com"}
    done = await browser.post("/signup/with/work", typed)
    assert done.headers["location"] == "/dashboard"


@pytest.mark.asvs("S21", "S24")
async def test_a_trusted_email_in_capitals_finds_its_account(make_app, lying):
    app = await make_app(WORK_TRUST_EMAIL="yes")
    attacker = await app.sign_up_user("Alice")
    lying.user |= {"email": "Alice@Example.COM", "email_verified": True}
    user = await app.browser("Alice")
    await come_back(user, lying)
    await user.post("/signup/with/work", {"mine": "on"})
    assert await user.is_logged_in()
    assert not await attacker.is_logged_in()
    assert await app.rows("SELECT email FROM users") == [("alice@example.com",)]


async def test_a_trusted_email_is_stored_as_forms_store_it(make_app, lying):
    app = await make_app(WORK_TRUST_EMAIL="yes")
    lying.user |= {"email": "Alice@Example.COM", "email_verified": True}
    await sign_up(await app.browser("Alice"), lying)
    assert await app.rows("SELECT email FROM users") == [("alice@example.com",)]


async def test_two_sign_ups_with_one_identity_create_one_account(app, anonymous, lying):
    await come_back(anonymous, lying)
    typed = {"name": "Alice", "email": "alice@example.com"}
    answers = await asyncio.gather(*[anonymous.post("/signup/with/work", typed) for _ in range(5)])
    assert {answer.headers["location"] for answer in answers} == {"/dashboard"}
    assert (await app.count("users"), await app.count("identities")) == (1, 1)


@pytest.mark.parametrize("changes", [{"SIGNUP": "closed"}, {"WORK_SIGNUP": "no"}])
async def test_an_unknown_identity_is_refused_where_nobody_signs_up(make_app, lying, changes):
    app = await make_app(**changes)
    browser = await app.browser("Charlie")
    assert await trouble_after(browser, lying) == "closed"
    assert await app.count("users") == 0


async def test_a_disabled_account_is_refused(app, known, lying):
    await app.change("UPDATE users SET disabled_at = created_at")
    assert await trouble_after(known, lying) == "closed"


@pytest.mark.asvs("S115")
async def test_an_account_with_a_second_step_is_asked_for_it(app, known, lying):
    await app.change("UPDATE users SET has_factor = true")
    answer = await come_back(known, lying)
    assert answer.headers["location"] == "/login/factor"
    assert not await known.is_logged_in()


@pytest.mark.asvs("S33")
async def test_claims_are_never_markup(anonymous, lying):
    lying.user |= {"name": '"><img src=x onerror=alert(1)>', "email": '"><script>@example.com'}
    await come_back(anonymous, lying)
    page = read(await anonymous.get("/signup/with/work"))
    assert not page.all("img", src="x")
    assert not [script for script in page.all("script") if "src" not in script.attrs]


@pytest.mark.asvs("S85")
@pytest.mark.parametrize("name", ["name", "email"])
@pytest.mark.parametrize("value", UNSTORABLE.values(), ids=UNSTORABLE)
async def test_a_value_that_cannot_be_stored_signs_nobody_up(app, anonymous, lying, name, value):
    await come_back(anonymous, lying)
    other = b"name=Alice" if name == "email" else b"email=alice%40example.com"
    body = other + b"&" + name.encode() + b"=" + value
    answer = await anonymous.client.post("/signup/with/work", content=body, headers=FORM)
    assert answer.status_code in (400, 413, 422)
    assert (await app.count("users"), await app.count("identities")) == (0, 0)
    assert not await anonymous.is_logged_in()


# What is refused.


@pytest.mark.asvs("S22")
async def test_a_callback_in_another_browser_is_refused(app, known, lying):
    callback = lying.callback_of(await start(known))
    other = await app.browser("Charlie")
    answer = await other.get(callback)
    assert answer.headers["location"] == "/login?trouble=expired&with=work"
    assert not await other.is_logged_in()


async def test_an_ended_session_does_not_prevent_a_log_in(app, known, lying):
    await come_back(known, lying)
    await app.change("DELETE FROM sessions")
    other = await app.browser("Alice")
    callback = lying.callback_of(await start(other))
    other.client.cookies.set("session", known.cookie, domain="localhost.local", path="/")
    answer = await other.get(callback)
    assert answer.headers["location"] == "/dashboard"
    assert await other.is_logged_in()


@pytest.mark.asvs("S22")
async def test_a_callback_works_once(app, known, lying):
    callback = lying.callback_of(await start(known))
    flow = known.client.cookies["flow"]
    assert (await known.get(callback)).headers["location"] == "/dashboard"
    assert (await known.get(callback)).headers["location"] == "/dashboard"
    other = await app.browser("Charlie")
    other.client.cookies.set("flow", flow, domain="localhost.local", path="/")
    assert "trouble=expired" in (await other.get(callback)).headers["location"]


@pytest.mark.asvs("S22", "S12")
async def test_of_fifty_callbacks_at_once_one_logs_in(app, known, lying):
    callback = lying.callback_of(await start(known))
    answers = await asyncio.gather(*[known.get(callback) for _ in range(50)])
    assert sum("session" in set_cookie_of(answer) for answer in answers) == 1
    assert lying.requests.count("/token") == 2  # of the sign-up and of this log-in


@pytest.mark.asvs("S22")
async def test_a_flow_expires_after_ten_minutes(clock, known, lying):
    callback = lying.callback_of(await start(known))
    clock.move(minutes=11)
    assert "trouble=expired" in (await known.get(callback)).headers["location"]


async def test_two_tabs_can_both_finish(known, lying):
    first = lying.callback_of(await start(known))
    second = lying.callback_of(await start(known))
    assert (await known.get(first)).headers["location"] == "/dashboard"
    await known.post("/logout")
    assert (await known.get(second)).headers["location"] == "/dashboard"


@pytest.mark.asvs("S32")
async def test_head_and_prefetch_use_nothing(known, lying):
    callback = lying.callback_of(await start(known))
    assert (await known.request("HEAD", callback)).status_code == 204
    assert (await known.get(callback, sec_purpose="prefetch")).status_code == 204
    assert (await known.get(callback)).headers["location"] == "/dashboard"


@pytest.mark.asvs("S23")
async def test_a_lie_ends_with_a_sentence_and_without_a_session(app, known, lying):
    lying.sign = unsigned
    assert await trouble_after(known, lying) == "refused"
    entries = await app.rows("SELECT detail FROM audit WHERE event = 'provider'")
    assert len(entries) == 1
    assert "canary" not in entries[0][0]


async def test_a_canceled_log_in_is_named(known, lying):
    lying.change_answer = lambda answer: answer.update(error="access_denied")
    assert await trouble_after(known, lying) == "cancelled"


@pytest.mark.asvs("S99")
async def test_a_stopped_provider_changes_nothing_else(app, alice, lying):
    browser = await app.browser("Charlie")
    callback = lying.callback_of(await start(browser))
    lying.answers["/token"] = JSONResponse({}, 503)
    assert "trouble=down" in (await browser.get(callback)).headers["location"]
    assert await alice.is_logged_in()


@pytest.mark.asvs("S34")
@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example"])
async def test_the_next_page_is_of_this_site(known, lying, target):
    assert (await come_back(known, lying, target)).headers["location"] == "/dashboard"


# Two providers (mix-up, RFC 9700, section 4.4).


@pytest.fixture
def second(clock: Clock) -> Iterator[LyingProvider]:
    with serving(LyingProvider(now=clock)) as provider:
        yield provider


@pytest.fixture
async def two(make_app: Callable, lying: LyingProvider, second: LyingProvider) -> TestApp:
    """Returns an application with the providers `work` and `other`."""
    other = {
        name.replace("WORK", "OTHER"): value
        for name, value in second.settings.items()
        if name != "PROVIDERS"
    }
    return await make_app(PROVIDERS="work,other", **other)


@pytest.mark.asvs("S100", "S22")
async def test_the_callback_of_another_provider_is_refused(two, lying, second):
    browser = await two.browser("Charlie")
    callback = lying.callback_of(await start(browser)).replace("/with/work/", "/with/other/")
    answer = await browser.get(callback)
    assert answer.headers["location"] == "/login?trouble=expired&with=other"
    assert "/token" not in lying.requests + second.requests


@pytest.mark.asvs("S100")
@pytest.mark.parametrize("sends_iss", [True, False])
async def test_an_answer_with_the_issuer_of_another_provider_is_refused(
    two, lying, second, sends_iss
):
    browser = await two.browser("Charlie")
    url = await start(browser)
    lying.change_answer = lambda answer: answer.update(iss=second.issuer)
    if not sends_iss:
        lying.change_answer = lambda answer: answer.pop("iss")
    answer = await browser.get(lying.callback_of(url))
    assert answer.headers["location"] == "/login?trouble=refused&with=work"
    assert "/token" not in lying.requests + second.requests


@pytest.mark.asvs("S100")
async def test_one_subject_at_two_providers_is_two_identities(two, lying, second):
    first = await two.browser("Alice")
    await sign_up(first, lying)
    browser = await two.browser("Bob")
    page = await browser.post("/login/with/other")
    url = read(page).one("meta", http_equiv="refresh").attrs["content"].removeprefix("0;url=")
    answer = await browser.get(second.callback_of(url))
    assert answer.headers["location"] == "/signup/with/other"
    assert not await browser.is_logged_in()


# The size of the cookies. Browsers drop a cookie of more than 4,096 bytes silently (RFC 6265bis).


def size_of(answer: httpx.Response, name: str) -> int:
    """Returns the length of the name and the value of a cookie that the response sets."""
    (header,) = [
        value for value in answer.headers.get_list("set-cookie") if value.startswith(f"{name}=")
    ]
    # Over https the name has a prefix.
    return len("__Host-") + len(header.partition(";")[0])


@pytest.mark.parametrize("many", [49, 320])
@pytest.mark.parametrize("character", ["\U0001f600", "\u0623", '"'], ids=["emoji", "alef", "quote"])
async def test_the_longest_identity_fits_into_its_cookie(make_app, clock, character, many):
    email = f"{'e' * 64}@{'d' * 63}.{'d' * 63}.{'d' * 57}.com"
    names = {"given_name": character * many, "family_name": character * many}
    user = {"sub": '"' * 255, "email": email, "email_verified": True, **names}
    with serving(LyingProvider(now=clock, path="/" + "i" * 475, user=user)) as provider:
        assert 495 <= len(provider.issuer) <= 500
        app = await make_app(**provider.settings)
        answer = await come_back(await app.browser("Charlie"), provider)
    assert answer.headers["location"] == "/signup/with/work"
    assert size_of(answer, "identity") <= 4096


async def test_a_subject_that_is_not_ascii_is_refused(app, anonymous, lying):
    lying.user["sub"] = "\U0001f600" * 255
    assert await trouble_after(anonymous, lying) == "refused"
    assert await app.count("identities") == 0


@pytest.mark.parametrize("character", ["a", "\u0623", "\U0001f600"], ids=["a", "alef", "emoji"])
async def test_three_started_log_ins_fit_into_their_cookie(anonymous, character):
    fields = {"next": "/devices?q=" + character * 489}
    for _ in range(3):
        answer = await anonymous.post("/login/with/work", fields)
        assert answer.status_code == 200
        assert size_of(answer, "flow") <= 4096


# The limits.


async def test_starts_of_one_client_are_limited(make_app, lying):
    app = await make_app(RATE_LIMITS="enforce")
    browser = await app.browser("Charlie")
    for _ in range(30):
        assert (await browser.post("/login/with/work")).status_code == 200
    answer = await browser.post("/login/with/work")
    assert (answer.status_code, "retry-after" in answer.headers) == (429, True)
    app.clock.move(minutes=1)
    assert (await browser.post("/login/with/work")).status_code == 200


async def test_returns_of_one_client_are_limited_before_the_exchange(make_app, lying):
    app = await make_app(RATE_LIMITS="enforce")
    browser = await app.browser("Charlie")
    for _ in range(10):
        assert (await come_back(browser, lying)).status_code == 303
    lying.requests.clear()
    callback = lying.callback_of(await start(browser))
    answer = await browser.get(callback)
    assert answer.headers["location"] == "/login?trouble=limited&with=work"
    page = read(await browser.get(answer.headers["location"]))
    assert "Too many log-ins from your network." in page.one(id="trouble").text
    assert "/token" not in lying.requests
    app.clock.move(minutes=1)
    assert (await browser.get(callback)).headers["location"] == "/signup/with/work"


async def test_a_callback_beyond_ten_at_once_leads_to_the_log_in_page(app, lying):
    browsers = [await app.browser("Charlie") for _ in range(11)]
    callbacks = [lying.callback_of(await start(browser)) for browser in browsers]
    lying.delay_seconds = 0.5
    requests = zip(browsers, callbacks, strict=True)
    answers = await asyncio.gather(*[browser.get(callback) for browser, callback in requests])
    locations = [answer.headers["location"] for answer in answers]
    assert locations.count("/login?trouble=busy&with=work") == 1
    assert locations.count("/signup/with/work") == 10
    page = read(await browsers[0].get("/login?trouble=busy&with=work"))
    assert page.one(id="trouble").text == "We're busy. Try again in a few seconds."


async def test_failures_of_a_provider_are_reported_once_a_minute(make_app, lying, caplog):
    app = await make_app(RATE_LIMITS="enforce")
    browser = await app.browser("Charlie")
    lying.sign = unsigned
    for _ in range(3):
        await come_back(browser, lying)
    warnings = [one for one in caplog.records if "log-in with work failed" in one.getMessage()]
    assert len(warnings) == 1
    assert await app.count("audit WHERE event = 'provider'") == 1


# What logs, pages and the audit log must not contain.


async def test_no_secret_is_logged_shown_or_audited(app, anonymous, lying, caplog):
    caplog.set_level(logging.INFO)
    lying.user |= {"sub": "canary-subject", "email": "canary@example.com"}
    url = await start(anonymous)
    flow = parse_qs(urlsplit(url).query)
    pages = [await anonymous.get(lying.callback_of(url))]
    pages.append(await anonymous.get("/signup/with/work"))
    typed = {"name": "Alice", "email": "alice@example.com"}
    pages.append(await anonymous.post("/signup/with/work", typed))
    pages.append(await anonymous.get("/account/security"))
    await anonymous.post("/logout")
    lying.sign = unsigned
    pages.append(await come_back(anonymous, lying))
    pages.append(await anonymous.get(pages[-1].headers["location"]))
    audit = str(await app.rows("SELECT * FROM audit"))
    # The test client has the logger `httpx`.
    records = [one for one in caplog.records if one.name != "httpx"]
    logs = "\n".join(f"{one.getMessage()} {one.__dict__}" for one in records)
    shown = "\n".join(f"{page.headers} {page.text}" for page in pages)
    secrets = ["canary-code", "canary-access-token", CLIENT_SECRET, flow["nonce"][0]]
    for secret in (*secrets, flow["state"][0], "canary-subject", "canary@example.com"):
        assert secret not in audit
        assert secret not in logs
    for secret in (*secrets, "canary-subject"):
        assert secret not in shown


# An answer by a form, as Apple sends it.


@pytest.fixture
async def apple_like(app: TestApp, lying: LyingProvider) -> TestApp:
    """Returns an application whose provider answers by a form."""
    (provider,) = app.settings.providers
    settings = replace(app.settings, providers=(replace(provider, response_mode="form_post"),))
    app.asgi_app = create_app(settings, app.store, app.clock)
    return app


@pytest.mark.asvs("S31")
async def test_an_answer_from_another_site_is_sent_again_from_here(apple_like, known, lying):
    browser = await apple_like.browser("Alice")
    fields = lying.authorize(await start(browser))
    foreign = {"origin": lying.issuer, "sec_fetch_site": "cross-site"}
    answer = await browser.post("/login/with/work/callback", {**fields, "more": "x"}, **foreign)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert "/token" not in lying.requests[-1:]
    form = read(answer).one("form", id="callback-form")
    sent = {item.attrs["name"]: item.attrs["value"] for item in form.all("input")}
    assert sent == fields
    done = await browser.post(form.attrs["action"], sent)
    assert done.headers["location"] == "/dashboard"
    assert await browser.is_logged_in()


@pytest.mark.asvs("S31")
async def test_no_other_path_accepts_a_form_of_another_site(apple_like, lying):
    browser = await apple_like.browser("Charlie")
    foreign = {"origin": lying.issuer, "sec_fetch_site": "cross-site"}
    for path in ("/login", "/login/with/work", "/signup/with/work", "/logout"):
        assert (await browser.post(path, **foreign)).status_code == 403


async def test_a_provider_that_answers_by_get_sends_no_form(app, anonymous, lying):
    foreign = {"origin": lying.issuer, "sec_fetch_site": "cross-site"}
    answer = await anonymous.post("/login/with/work/callback", {"state": "s"}, **foreign)
    assert answer.status_code == 403


# Statements.


async def test_a_bad_state_needs_no_query(app, anonymous):
    before = app.statements
    await anonymous.get("/login/with/work/callback?state=guessed&code=c")
    assert app.statements == before


async def test_a_start_needs_no_query(app, anonymous):
    before = app.statements
    await start(anonymous)
    assert app.statements == before


async def test_a_log_in_needs_few_statements(app, known, lying):
    callback = lying.callback_of(await start(known))
    before = app.statements
    await known.get(callback)
    assert app.statements - before <= 9


async def test_a_start_and_a_callback_with_a_wrong_state_need_no_statement(app, anonymous):
    before = app.statements
    await start(anonymous)
    assert (await anonymous.get("/login/with/work/callback?state=a&code=b")).status_code == 303
    assert app.statements == before


async def test_a_log_in_before_the_second_step_needs_two_statements(app, known, lying):
    await app.change("UPDATE users SET has_factor = true")
    callback = lying.callback_of(await start(known))
    before = app.statements
    answer = await known.get(callback)
    assert answer.headers["location"] == "/login/factor"
    assert app.statements - before == 2  # One marks the state as used, and one reads the user.


async def test_a_sign_up_needs_few_statements(app, anonymous, lying):
    await come_back(anonymous, lying)
    typed = {"name": "Alice", "email": "alice@example.com"}
    before = app.statements
    answer = await anonymous.post("/signup/with/work", typed)
    assert answer.headers["location"] == "/dashboard"
    assert app.statements - before <= 11


# The start of the program.


@pytest.mark.parametrize("providers", ["", "work"])
def test_no_client_is_imported_before_a_provider_is_used(lying, tmp_path, providers):
    code = (
        "import sys; from pathlib import Path; from web.app import create_app; "
        "from web.settings.settings import read_settings; import os; "
        "create_app(read_settings(os.environ, data=Path(os.environ['DATA']))); "
        "print([name for name in sys.modules if name.partition('.')[0] in ('authlib', 'httpx2')])"
    )
    environ = environ_of(tmp_path / "latchkey.db", **lying.settings, DATA=str(tmp_path))
    environ["PROVIDERS"] = providers
    result = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


# The metrics.


async def test_the_metrics_have_the_outcome_of_each_callback(app, anonymous, lying):
    await come_back(anonymous, lying)
    lying.sign = unsigned
    await come_back(anonymous, lying)
    lying.change_answer = lambda answer: answer.update(error="access_denied")
    await come_back(anonymous, lying)
    lying.change_answer = lambda answer: None
    callback = lying.callback_of(await start(anonymous))
    lying.answers["/token"] = JSONResponse({}, 503)
    await anonymous.get(callback)
    text = (await app.asgi_app.state.metrics.render()).decode()
    for outcome in ("done", "refused", "canceled", "down"):
        labels = f'outcome="{outcome}",pid="{os.getpid()}",provider="work"'
        assert f"latchkey_provider_seconds_count{{{labels}}} 1.0" in text
