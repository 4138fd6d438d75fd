"""Tests of back-channel logout: a provider ends the sessions that its log-ins have begun."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from joserfc.jwk import RSAKey
from starlette.responses import JSONResponse

from tests.authenticator_app import set_up_app
from tests.browser_client import PASSWORD, Browser
from tests.conftest import Clock, TestApp
from tests.environment import SECRET
from tests.lying_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    LOGOUT_EVENT,
    LyingProvider,
    serving,
    signed_by_hand,
    signed_with_secret,
    unsigned,
)
from tests.organizations import DOMAIN, bind
from tests.passkeys import add_passkey, log_in_with
from tests.test_identities import connect
from tests.test_provider_login import come_back, sign_up

PATH = "/login/with/work/logout"
NEW = "another engine-No.9"
EVENTS = {LOGOUT_EVENT: {}}


@pytest.fixture
def lying(clock: Clock) -> Iterator[LyingProvider]:
    with serving(LyingProvider(now=clock)) as provider:
        provider.user["sid"] = "canary-sid-1"
        yield provider


@pytest.fixture
def environ(lying: LyingProvider) -> dict[str, str]:
    return {"SESSION_SECRET": SECRET, "RATE_LIMITS": "off", **lying.settings}


@pytest.fixture
async def user(app: TestApp, lying: LyingProvider) -> Browser:
    """Returns the browser of a user whom the provider has signed up, and who is logged in."""
    browser = await app.browser("Alice")
    assert (await sign_up(browser, lying)).headers["location"] == "/dashboard"
    return browser


async def send(
    app: TestApp, token: str, path: str = PATH, *, ip: str = "192.0.2.99", **headers: str
) -> httpx.Response:
    """Sends a token as the server of a provider does: without cookies and headers of browsers."""
    transport = httpx.ASGITransport(app.asgi_app, client=(ip, 50_000))
    async with httpx.AsyncClient(transport=transport, base_url=app.settings.public_url) as server:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return await server.post(path, data={"logout_token": token}, headers=headers)


async def log_in_again(app: TestApp, lying: LyingProvider, sid: str = "") -> Browser:
    """Logs the user in with the provider in another browser."""
    browser = await app.browser("Alice")
    lying.user |= {"sid": sid} if sid else {}
    assert (await come_back(browser, lying)).headers["location"] == "/dashboard"
    return browser


async def details(app: TestApp, outcome: str = "done") -> list[dict[str, Any]]:
    """Returns the details of the audit entries about log-outs of providers."""
    query = f"event = 'provider.logout' AND outcome = '{outcome}' ORDER BY number"
    return [
        json.loads(detail)
        for (detail,) in await app.rows(f"SELECT detail FROM audit WHERE {query}")
    ]


# What ends.


@pytest.mark.any_database
async def test_a_log_out_of_the_subject_ends_its_sessions(app, user, lying):
    phone = await log_in_again(app, lying, sid="canary-sid-2")
    answer = await send(app, lying.logout_token())
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert not await user.is_logged_in()
    assert not await phone.is_logged_in()
    assert await app.count("sessions") == 0
    assert await details(app) == [{"provider": "work", "ended": 2}]


@pytest.mark.any_database
async def test_a_log_out_of_a_session_ends_that_one(app, user, lying):
    phone = await log_in_again(app, lying, sid="canary-sid-2")
    assert (await send(app, lying.logout_token(sub=None, sid="canary-sid-2"))).status_code == 200
    assert await user.is_logged_in()
    assert not await phone.is_logged_in()
    assert await details(app) == [{"provider": "work", "ended": 1}]


@pytest.mark.any_database
async def test_a_log_out_with_both_ends_what_matches_both(app, user, lying):
    phone = await log_in_again(app, lying, sid="canary-sid-2")
    assert (await send(app, lying.logout_token(sid="canary-sid-2"))).status_code == 200
    assert await user.is_logged_in()
    assert not await phone.is_logged_in()


@pytest.mark.parametrize(
    "changes", [{"sub": "user-2"}, {"sub": "user-2", "sid": "canary-sid-1"}, {"sid": "other"}]
)
async def test_a_log_out_of_another_user_ends_nothing(app, user, lying, changes):
    assert (await send(app, lying.logout_token(**changes))).status_code == 200
    assert await user.is_logged_in()
    assert await details(app) == []


async def test_a_provider_without_sessions_logs_the_subject_out(app, lying):
    del lying.user["sid"]
    browser = await app.browser("Alice")
    await sign_up(browser, lying)
    assert (await send(app, lying.logout_token(sid="canary-sid-1"))).status_code == 200
    assert await browser.is_logged_in()
    assert (await send(app, lying.logout_token())).status_code == 200
    assert not await browser.is_logged_in()


async def test_sessions_that_other_log_ins_began_stay(app, alice, bob, lying):
    """Alice logs in with her password, with a passkey and with the provider."""
    await connect(alice, lying)
    passkey = await add_passkey(alice)
    password_session = await app.browser("Alice")
    await password_session.log_in()
    passkey_session = await app.browser("Alice")
    await log_in_with(passkey_session, passkey)
    await app.change("UPDATE users SET has_factor = false")
    provider_session = await log_in_again(app, lying)
    assert (await send(app, lying.logout_token())).status_code == 200
    assert not await provider_session.is_logged_in()
    assert await alice.is_logged_in()
    assert await passkey_session.is_logged_in()
    assert await bob.is_logged_in()
    assert await details(app) == [{"provider": "work", "ended": 1}]


async def test_a_session_of_another_provider_stays(make_app, user, lying, clock):
    with serving(LyingProvider(now=clock)) as other:
        names = {"PROVIDERS": "work,other", "OTHER_ISSUER": other.issuer}
        app = await make_app(**names, OTHER_CLIENT_ID=CLIENT_ID, OTHER_CLIENT_SECRET=CLIENT_SECRET)
        await send(app, other.logout_token(), "/login/with/other/logout")
        assert await user.is_logged_in()
        # A token of the other issuer is no token of this one, whatever it says.
        assert (await send(app, other.logout_token())).status_code == 400
        assert (await send(app, other.logout_token(iss=lying.issuer))).status_code == 400
        assert await user.is_logged_in()


async def test_access_tokens_stay(app, user, lying):
    fields = {"name": "Backup", "days": "30", "scope-account:read": "yes"}
    assert (await user.post("/account/tokens", fields)).status_code in (200, 303)
    assert (await send(app, lying.logout_token())).status_code == 200
    assert await app.count("access_tokens") == 1


async def test_the_user_can_log_in_again_at_once(app, user, lying, clock):
    await send(app, lying.logout_token(sid="canary-sid-1"))
    clock.move(seconds=1)
    assert await (await log_in_again(app, lying, sid="canary-sid-2")).is_logged_in()


async def test_the_user_reads_in_the_activity_why(app, user, lying):
    await send(app, lying.logout_token())
    page = await (await log_in_again(app, lying)).get("/account/activity")
    assert "logged you out after a log-out at work" in page.text


# Sessions that begin later, and sessions that replace another one.


async def test_a_session_after_a_second_step_ends(app, user, lying):
    factor = await set_up_app(app, user)
    browser = await app.browser("Alice")
    assert (await come_back(browser, lying)).headers["location"] == "/login/factor"
    app.clock.move(seconds=30)
    await browser.post("/login/factor", {"code": factor.code()})
    assert await browser.is_logged_in()
    await send(app, lying.logout_token(sid="canary-sid-1"))
    assert not await browser.is_logged_in()


@pytest.mark.any_database
@pytest.mark.parametrize(
    "changes", [{}, {"sid": "canary-sid-1"}, {"sub": None, "sid": "canary-sid-1"}]
)
async def test_a_log_in_that_waits_for_its_second_step_ends(app, user, lying, changes):
    factor = await set_up_app(app, user)
    browser = await app.browser("Alice")
    await come_back(browser, lying)
    app.clock.move(seconds=30)
    await send(app, lying.logout_token(**changes))
    answer = await browser.post("/login/factor", {"code": factor.code()})
    assert answer.headers["location"] == "/login?again=1"
    assert not await browser.is_logged_in()
    # A log-in that begins after the log-out is not concerned.
    app.clock.move(seconds=30)
    await come_back(browser, lying)
    app.clock.move(seconds=30)
    await browser.post("/login/factor", {"code": factor.code()})
    assert await browser.is_logged_in()


async def test_an_identity_that_waits_for_a_sign_up_ends(app, lying, clock):
    browser = await app.browser("Alice")
    await come_back(browser, lying)
    clock.move(seconds=5)
    await send(app, lying.logout_token(sid="canary-sid-1"))
    fields = {"name": "Alice", "email": "alice@example.com"}
    answer = await browser.post("/signup/with/work", fields)
    assert answer.headers["location"] == "/login?trouble=expired&with=work"
    assert await app.count("users") == 0
    clock.move(seconds=5)
    assert (await sign_up(browser, lying)).headers["location"] == "/dashboard"


async def test_an_identity_that_waits_to_take_an_account_over_ends(make_app, lying, clock):
    app = await make_app(WORK_TRUST_EMAIL="yes")
    alice = await app.sign_up_user("Alice")
    lying.user |= {"email": "alice@example.com", "email_verified": True}
    browser = await app.browser("Alice")
    await come_back(browser, lying)
    clock.move(seconds=5)
    await send(app, lying.logout_token())
    await browser.post("/signup/with/work", {"name": "Alice", "mine": "on"})
    assert await app.count("identities") == 0
    assert await alice.is_logged_in()


async def test_another_log_out_does_not_end_a_log_in_that_waits(app, user, lying):
    factor = await set_up_app(app, user)
    browser = await app.browser("Alice")
    await come_back(browser, lying)
    app.clock.move(seconds=30)
    await send(app, lying.logout_token(sid="canary-sid-2"))
    await send(app, lying.logout_token(sub="user-2"))
    await browser.post("/login/factor", {"code": factor.code()})
    assert await browser.is_logged_in()


async def test_a_session_after_a_change_of_the_factors_ends(app, user, lying):
    lying.user |= {"sub": "user-2"}
    before = user.cookie
    await connect(user, lying)
    assert user.cookie != before
    lying.user |= {"sub": "user-1"}
    await send(app, lying.logout_token(sid="canary-sid-1"))
    assert not await user.is_logged_in()


async def test_a_session_after_a_change_of_the_password_ends(app, user, lying):
    before = user.cookie
    await user.post("/account/password", {"password": PASSWORD})
    await user.post("/account/password", {"current_password": PASSWORD, "password": NEW})
    assert user.cookie != before
    assert await user.is_logged_in()
    await send(app, lying.logout_token(sid="canary-sid-1"))
    assert not await user.is_logged_in()


async def test_a_password_session_is_not_marked_by_connecting(app, alice, lying):
    await connect(alice, lying)
    await send(app, lying.logout_token())
    assert await alice.is_logged_in()


async def test_a_session_of_an_account_that_was_taken_over_ends(make_app, lying):
    app = await make_app(WORK_TRUST_EMAIL="yes")
    await app.sign_up_user("Alice")
    lying.user |= {"email": "alice@example.com", "email_verified": True}
    browser = await app.browser("Alice")
    await come_back(browser, lying)
    await browser.post("/signup/with/work", {"name": "Alice", "mine": "on"})
    assert await browser.is_logged_in()
    await send(app, lying.logout_token(sub=None, sid="canary-sid-1"))
    assert not await browser.is_logged_in()


async def test_a_provider_of_an_organization_logs_its_users_out(make_app, lying):
    app = await make_app(ORGANIZATIONS="on")
    await bind(app.store, lying)
    lying.user |= {"email": "alice@example.com", "email_verified": True}
    browser = await app.browser("Alice")
    await browser.get(await _callback_of_organization(browser, lying))
    await browser.post(f"/signup/with/{DOMAIN}", {"name": "Alice"})
    assert await browser.is_logged_in()
    answer = await send(app, lying.logout_token(), f"/login/with/{DOMAIN}/logout")
    assert answer.status_code == 200
    assert not await browser.is_logged_in()
    assert await details(app) == [{"provider": DOMAIN, "ended": 1}]


async def _callback_of_organization(browser: Browser, lying: LyingProvider) -> str:
    answer = await browser.post_fragment("/login", {"email": browser.email, "password": ""})
    return lying.callback_of(answer.headers["hx-redirect"])


# Stateless sessions.


@pytest.fixture
async def stateless(make_app: Callable) -> TestApp:
    return await make_app(SESSION_STRATEGY="stateless")


async def test_stateless_sessions_of_the_account_end(stateless, lying, clock):
    browser = await stateless.browser("Alice")
    await sign_up(browser, lying)
    other = await stateless.sign_up_user("Bob")
    clock.move(seconds=1)
    assert (await send(stateless, lying.logout_token(sid="canary-sid-1"))).status_code == 200
    assert not await browser.is_logged_in()
    assert await other.is_logged_in()
    assert await details(stateless) == [{"provider": "work"}]


async def test_stateless_sessions_need_a_subject(stateless, lying):
    browser = await stateless.browser("Alice")
    await sign_up(browser, lying)
    answer = await send(stateless, lying.logout_token(sub=None, sid="canary-sid-1"))
    assert answer.status_code == 400
    assert answer.json()["error_description"] == "logout_token_sid_alone"
    assert await browser.is_logged_in()


async def test_access_tokens_stay_without_stored_sessions(stateless, lying):
    browser = await stateless.browser("Alice")
    await sign_up(browser, lying)
    fields = {"name": "Backup", "days": "30", "scope-account:read": "yes"}
    await browser.post("/account/tokens", fields)
    assert (await send(stateless, lying.logout_token())).status_code == 200
    assert await stateless.count("access_tokens") == 1


# What is refused.


async def refused(app: TestApp, user: Browser, token: str) -> str:
    """Returns the code of the refusal, after checking that nothing was ended."""
    sessions = await app.count("sessions")
    answer = await send(app, token)
    assert answer.status_code == 400, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["error"] == "invalid_request"
    assert await user.is_logged_in()
    assert await app.count("sessions") == sessions
    assert await app.count("used_tokens WHERE id LIKE 'provider-logout%'") == 0
    assert await details(app) == []
    return body["error_description"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": None}, "iss"),
        ({"iss": "https://other.example"}, "iss"),
        ({"iss": ["http://127.0.0.1"]}, "iss"),
        ({"aud": None}, "aud"),
        ({"aud": "another-client"}, "aud"),
        ({"aud": ["another-client"]}, "aud"),
        ({"aud": {CLIENT_ID: True}}, "aud"),
        ({"aud": f"{CLIENT_ID} "}, "aud"),
        ({"iat": None}, "iat"),
        ({"iat": "now"}, "iat"),
        ({"iat": True}, "iat"),
        ({"iat": float("nan")}, "iat"),
        ({"exp": 1}, "exp"),
        ({"exp": "never"}, "exp"),
        ({"exp": float("inf")}, "exp"),
        ({"events": None}, "events"),
        ({"events": LOGOUT_EVENT}, "events"),
        ({"events": [LOGOUT_EVENT]}, "events"),
        ({"events": {}}, "events"),
        ({"events": {"http://schemas.openid.net/event/other": {}}}, "events"),
        ({"events": {LOGOUT_EVENT: True}}, "events"),
        ({"events": {LOGOUT_EVENT: []}}, "events"),
        ({"nonce": "n"}, "nonce"),
        ({"nonce": ""}, "nonce"),
        ({"jti": None}, "jti"),
        ({"jti": ""}, "jti"),
        ({"jti": 7}, "jti"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 1}, "sub"),
        ({"sub": ["user-1"]}, "sub"),
        ({"sub": "user-1", "sid": ""}, "sid"),
        ({"sub": "user-1", "sid": 1}, "sid"),
        ({"sub": "user-1", "sid": "s" * 501}, "sid"),
    ],
)
async def test_a_token_with_a_wrong_claim_ends_nothing(app, user, lying, changes, code):
    assert await refused(app, user, lying.logout_token(**changes)) == f"logout_token_{code}"


@pytest.mark.parametrize("seconds", [-301, 61])
async def test_an_old_or_a_future_token_ends_nothing(app, user, lying, clock, seconds):
    moment = int(clock().timestamp()) + seconds
    token = lying.logout_token(iat=moment, exp=moment + 3600)
    assert await refused(app, user, token) == "logout_token_iat"


@pytest.mark.parametrize("seconds", [-299, 59])
async def test_clocks_may_differ_by_a_minute(app, user, lying, clock, seconds):
    moment = int(clock().timestamp()) + seconds
    token = lying.logout_token(iat=moment, exp=max(moment, int(clock().timestamp()) - 59))
    assert (await send(app, token)).status_code == 200
    assert not await user.is_logged_in()


@pytest.mark.parametrize("header", [{"typ": "at+jwt"}, {"typ": ""}, {"typ": "dpop+jwt"}])
async def test_a_token_of_another_type_ends_nothing(app, user, lying, header):
    lying.sign = signed_by_hand(lying.key, {})
    assert await refused(app, user, lying.logout_token(header=header)) == "logout_token_typ"


@pytest.mark.parametrize(
    ("header", "changes"),
    [
        ({"typ": "JWT"}, {}),
        ({"typ": "LOGOUT+JWT"}, {}),
        ({}, {"exp": None}),
        ({}, {"aud": ["another-client", CLIENT_ID]}),
        ({}, {"events": {LOGOUT_EVENT: {}, "https://other.example": {}}}),
    ],
)
async def test_a_correct_token_is_accepted(app, user, lying, header, changes):
    assert (await send(app, lying.logout_token(header=header, **changes))).status_code == 200
    assert not await user.is_logged_in()


async def test_a_token_without_a_type_is_accepted(app, user, lying):
    lying.sign = signed_by_hand(lying.key, {"typ": "JWT"})
    assert (await send(app, lying.logout_token())).status_code == 200
    assert not await user.is_logged_in()


@pytest.mark.parametrize("lie", ["other key", "unsigned", "HS256", "critical header", "changed"])
async def test_a_token_that_the_provider_did_not_sign_ends_nothing(app, user, lying, lie):
    public = lying.key.as_pem(private=False)
    if lie == "other key":
        lying.sign = signed_by_hand(RSAKey.generate_key(2048), {})
    elif lie == "unsigned":
        lying.sign = unsigned
    elif lie == "HS256":
        lying.sign = signed_with_secret(public)
    elif lie == "critical header":
        lying.sign = signed_by_hand(lying.key, {"crit": ["unknown"], "unknown": True})
    token = lying.logout_token()
    if lie == "changed":
        header, _, signature = token.split(".")
        token = f"{header}.{lying.logout_token(sid='s').split('.')[1]}.{signature}"
    assert (await refused(app, user, token)).startswith("logout_token")


async def test_the_client_secret_signs_no_log_out(app, user, lying):
    lying.sign = signed_with_secret(CLIENT_SECRET.encode())
    assert await refused(app, user, lying.logout_token()) == "logout_token"


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "..", "a.b.c.d.e", "é" * 9, "a" * 40_000])
async def test_text_that_is_no_token_ends_nothing(app, user, token):
    assert (await refused(app, user, token)) in ("no_logout_token", "logout_token")


async def test_a_form_without_a_token_ends_nothing(app, user):
    assert (await send(app, "")).status_code == 400
    answer = await user.request("POST", PATH)
    assert answer.status_code == 400
    assert await user.is_logged_in()


async def test_an_id_token_ends_nothing(app, user, lying):
    kept = []
    lying.change_tokens = lambda tokens: kept.append(tokens["id_token"])
    phone = await log_in_again(app, lying)
    assert await refused(app, user, kept[0]) == "logout_token_events"
    assert await phone.is_logged_in()


async def test_an_id_token_with_the_event_ends_nothing(app, user, lying):
    kept = []
    lying.change_claims = lambda claims: claims.update(events=EVENTS, jti="j")
    lying.change_tokens = lambda tokens: kept.append(tokens["id_token"])
    await log_in_again(app, lying)
    assert await refused(app, user, kept[0]) == "logout_token_nonce"


async def test_a_logout_token_logs_nobody_in(app, user, lying):
    browser = await app.browser("Alice")
    lying.change_tokens = lambda tokens: tokens.update(id_token=lying.logout_token())
    answer = await come_back(browser, lying)
    assert answer.headers["location"] == "/login?trouble=refused&with=work"
    assert not await browser.is_logged_in()


async def test_a_token_is_used_once(app, user, lying, clock):
    token = lying.logout_token()
    assert (await send(app, token)).status_code == 200
    clock.move(seconds=1)
    again = await log_in_again(app, lying)
    answer = await send(app, token)
    assert answer.status_code == 400
    assert answer.json()["error_description"] == "logout_token_used"
    assert await again.is_logged_in()


@pytest.mark.any_database
async def test_of_fifty_copies_of_a_token_one_is_used(app, user, lying):
    token = lying.logout_token()
    answers = await asyncio.gather(*[send(app, token) for _ in range(50)])
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 49
    assert not await user.is_logged_in()
    assert len(await details(app)) == 1


@pytest.mark.any_database
async def test_fifty_tokens_at_once_are_all_accepted(app, user, lying):
    tokens = [lying.logout_token(sid=f"canary-sid-{number % 3}") for number in range(50)]
    answers = await asyncio.gather(*[send(app, token) for token in tokens])
    assert [answer.status_code for answer in answers] == [200] * 50
    assert not await user.is_logged_in()


@pytest.mark.any_database
async def test_a_session_does_not_escape_by_a_change_at_the_same_time(app, user, lying):
    """Each change replaces the session, which is then another row with the same mark."""
    await user.post("/account/password", {"password": PASSWORD})
    fields = {"current_password": PASSWORD, "password": NEW}
    await asyncio.gather(
        user.post("/account/password", fields), *[send(app, lying.logout_token()) for _ in range(5)]
    )
    assert await app.count("sessions") == 0


async def test_a_failure_leaves_the_token_and_the_session(app, user, lying):
    await app.break_inserts("audit")
    token = lying.logout_token()
    assert (await send(app, token)).status_code == 500
    await app.restore_inserts("audit")
    assert await user.is_logged_in()
    assert (await send(app, token)).status_code == 200
    assert not await user.is_logged_in()


# Keys and requests.


async def test_a_new_key_of_the_provider_is_fetched(app, user, lying, clock):
    lying.rotate("second")
    clock.move(minutes=2)
    assert (await send(app, lying.logout_token())).status_code == 200
    assert not await user.is_logged_in()


async def test_a_provider_that_is_away_ends_nothing(make_app, user, app, lying):
    cold = await make_app(app.path)
    lying.answers["/jwks"] = JSONResponse({}, 503)
    answer = await send(cold, lying.logout_token())
    assert answer.status_code == 400
    assert answer.json() == {"error": "invalid_request", "error_description": "status_503"}
    assert await user.is_logged_in()


async def test_known_keys_are_enough_while_the_provider_is_away(app, user, lying):
    lying.answers["/jwks"] = JSONResponse({}, 503)
    assert (await send(app, lying.logout_token())).status_code == 200
    assert not await user.is_logged_in()


async def test_tokens_that_nobody_signed_cause_one_request_a_minute(app, user, lying, clock):
    clock.move(minutes=2)
    before = lying.requests.count("/jwks")
    lying.sign = signed_by_hand(RSAKey.generate_key(2048), {"kid": "unknown"})
    for _ in range(5):
        await refused(app, user, lying.logout_token())
    assert lying.requests.count("/jwks") == before + 1


async def test_an_unknown_provider_has_no_log_out(app, user, lying):
    answer = await send(app, lying.logout_token(), "/login/with/other/logout")
    assert answer.status_code == 404
    assert await user.is_logged_in()


async def test_a_get_is_not_allowed(app, user):
    answer = await user.get(PATH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_github_has_no_log_out(make_app, user, app, lying):
    both = await make_app(
        app.path, PROVIDERS="work,github", GITHUB_CLIENT_ID="x", GITHUB_CLIENT_SECRET="y"
    )
    answer = await send(both, lying.logout_token(), "/login/with/github/logout")
    assert answer.status_code == 400
    assert await user.is_logged_in()


@pytest.mark.asvs("S31")
@pytest.mark.parametrize(
    "headers", [{"sec_fetch_site": "cross-site"}, {"origin": "https://other.example"}]
)
async def test_a_page_of_another_site_ends_nothing(app, user, lying, headers):
    answer = await send(app, lying.logout_token(), **headers)
    assert answer.status_code == 403
    assert await user.is_logged_in()


async def test_refused_tokens_are_limited_and_valid_ones_are_not(make_app, user, app, lying):
    limited = await make_app(app.path, RATE_LIMITS="enforce")
    answers = [(await send(limited, "a.b.c")).status_code for _ in range(31)]
    assert answers == [400] * 30 + [429]
    assert (await send(limited, "a.b.c", ip="198.51.100.7")).status_code == 400
    assert await user.is_logged_in()
    assert (await send(limited, lying.logout_token())).status_code == 200
    assert not await user.is_logged_in()


async def test_refusals_are_reported_once_a_minute(make_app, user, app, lying, caplog):
    limited = await make_app(app.path, RATE_LIMITS="enforce")
    with caplog.at_level(logging.WARNING, "latchkey"):
        for _ in range(3):
            await send(limited, lying.logout_token(aud="another-client"))
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["log-out by work failed: logout_token_aud"]
    assert await details(app, "refused") == [{"provider": "work", "code": "logout_token_aud"}]


async def test_neither_log_nor_audit_names_the_log_out(app, user, lying, caplog):
    with caplog.at_level(logging.DEBUG):
        token = lying.logout_token(sid="canary-sid-1")
        await send(app, token)
        await send(app, token)
        await send(app, lying.logout_token(sub="canary-sub", sid="canary-sid-9", aud="x"))
    stored = app.stored().decode("utf-8", "replace")
    for canary in ("canary-sid", "canary-sub", "canary-jti", token):
        assert canary not in caplog.text
        assert canary not in stored


async def test_a_log_out_needs_few_statements(app, user, lying):
    before = app.statements
    await send(app, lying.logout_token())
    assert app.statements - before <= 11
