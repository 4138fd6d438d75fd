"""Tests of connecting an identity of another provider to an account, and of disconnecting it."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.browser_client import Browser, read
from tests.conftest import Clock, TestApp
from tests.environment import SECRET
from tests.lying_provider import LyingProvider, serving
from tests.test_provider_login import come_back, sign_up

NEXT = "another engine-No.9"


@pytest.fixture
def lying(clock: Clock) -> Iterator[LyingProvider]:
    with serving(LyingProvider(now=clock)) as provider:
        yield provider


@pytest.fixture
def environ(lying: LyingProvider) -> dict[str, str]:
    return {"SESSION_SECRET": SECRET, "RATE_LIMITS": "off", **lying.settings}


async def prepare(browser: Browser, lying: LyingProvider) -> None:
    """Logs in at the provider, so that the identity waits in the browser."""
    page = await browser.post("/account/identities", {"provider": "work"})
    url = read(page).one("meta", http_equiv="refresh").attrs["content"].removeprefix("0;url=")
    answer = await browser.get(lying.callback_of(url))
    assert answer.headers["location"] == "/account/security?connect=1"


async def connect(browser: Browser, lying: LyingProvider):
    await prepare(browser, lying)
    return await browser.post("/account/identities/connect", {"provider": "work"})


async def identity_of(app: TestApp) -> str:
    return (await app.rows("SELECT id FROM identities"))[0][0]


async def activity_of(browser: Browser) -> str:
    return read(await browser.get("/account/activity")).one("main").text


async def outcomes(app: TestApp, event: str) -> list[str]:
    """Returns the outcomes of the audit entries about an event."""
    found = await app.rows(f"SELECT outcome FROM audit WHERE event = '{event}' ORDER BY number")
    return [outcome for (outcome,) in found]


async def test_a_user_connects_an_identity_and_logs_in_with_it(app, alice, lying):
    lying.user["email"] = "work@example.com"
    await prepare(alice, lying)
    assert await app.count("identities") == 0
    page = read(await alice.get("/account/security?connect=1"))
    assert "work@example.com" in page.one("form", id="connect-form").text
    await alice.post("/account/identities/connect", {"provider": "work"})
    row = read(await alice.get("/account/security")).one("li", data_identity=True)
    assert "work@example.com" in row.text
    await alice.post("/logout")
    assert (await come_back(alice, lying)).headers["location"] == "/dashboard"
    assert await app.count("users") == 1


async def test_a_log_out_forgets_the_identity_that_waits(alice, lying):
    """The next user of the browser must not create an account that it opens."""
    await prepare(alice, lying)
    await alice.post("/logout")
    answer = await alice.get("/signup/with/work")
    assert answer.headers["location"] == "/login?trouble=expired&with=work"


async def test_connecting_ends_the_other_sessions(app, alice, alices_phone, lying):
    await connect(alice, lying)
    assert await alice.is_logged_in()
    assert not await alices_phone.is_logged_in()


@pytest.mark.asvs("S30")
async def test_connecting_needs_a_recent_confirmation(app, clock, alice, lying):
    await prepare(alice, lying)
    clock.move(minutes=9)
    page = await alice.post("/account/identities", {"provider": "work"})
    assert page.status_code == 200
    clock.move(minutes=2)
    for path in ("/account/identities", "/account/identities/connect"):
        assert (await alice.post(path, {"provider": "work"})).status_code == 403
    assert await app.count("identities") == 0


@pytest.mark.asvs("S30")
async def test_disconnecting_needs_a_recent_confirmation(app, clock, alice, lying):
    await connect(alice, lying)
    clock.move(minutes=11)
    path = f"/account/identities/{await identity_of(app)}/remove"
    assert (await alice.post(path)).status_code == 403
    assert await app.count("identities") == 1


async def test_an_identity_of_another_account_is_taken(app, alice, bob, lying):
    await connect(alice, lying)
    answer = await connect(bob, lying)
    assert answer.headers["location"] == "/account/security?trouble=taken&with=work"
    assert await app.rows("SELECT count(*) AS n FROM identities") == [(1,)]
    assert await outcomes(app, "identity.link") == ["done", "refused"]
    page = read(await bob.get(answer.headers["location"]))
    assert "connected to another account" in page.one(id="trouble").text


async def test_the_activity_says_that_another_account_has_the_identity(alice, bob, lying):
    await connect(alice, lying)
    await connect(bob, lying)
    assert "You could not connect work: another account" in await activity_of(bob)
    assert "another account" not in await activity_of(alice)


async def test_an_account_has_at_most_ten_connections(app, alice, lying):
    for number in range(10):
        lying.user = {"sub": f"user-{number}"}
        await connect(alice, lying)
    lying.user = {"sub": "one too many"}
    answer = await connect(alice, lying)
    assert answer.headers["location"] == "/account/security?trouble=many&with=work"
    assert await app.count("identities") == 10
    assert "the account has too many connections" in await activity_of(alice)


async def test_an_identity_that_was_used_connects_nothing(app, lying):
    await app.create("Alice")
    alice = await app.browser("Alice")
    await come_back(alice, lying)
    await alice.log_in()
    kept = alice.client.cookies["identity"]
    await alice.post("/account/identities/connect", {"provider": "work"})
    await alice.post(f"/account/identities/{await identity_of(app)}/remove")
    alice.client.cookies.set("identity", kept, domain="localhost.local", path="/")
    answer = await alice.post("/account/identities/connect", {"provider": "work"})
    assert answer.headers["location"] == "/account/security?trouble=expired&with=work"
    assert await app.count("identities") == 0
    assert "the form was too old, or was sent before" in await activity_of(alice)


async def test_a_limited_callback_of_a_user_leads_to_the_security_page(make_app, lying):
    app = await make_app(LIMIT_PROVIDER_RETURN="1/1m", RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    await prepare(alice, lying)
    lying.requests.clear()
    page = await alice.post("/account/identities", {"provider": "work"})
    url = read(page).one("meta", http_equiv="refresh").attrs["content"].removeprefix("0;url=")
    callback = lying.callback_of(url)
    answer = await alice.get(callback)
    assert answer.headers["location"] == "/account/security?trouble=limited&with=work"
    assert "/token" not in lying.requests
    app.clock.move(minutes=1)
    again = await alice.get(callback)
    assert again.headers["location"] == "/account/security?connect=1"


@pytest.mark.asvs("S22")
async def test_a_flow_of_the_former_user_connects_nothing_to_the_next(app, alice, lying):
    """Both users have one browser, so that the cookie of the flows stays or is replaced there."""
    page = await alice.post("/account/identities", {"provider": "work"})
    url = read(page).one("meta", http_equiv="refresh").attrs["content"].removeprefix("0;url=")
    callback, flow = lying.callback_of(url), alice.client.cookies["flow"]
    await alice.post("/logout")
    await alice.post("/signup", {"name": "Bob", "email": "b@example.com", "password": NEXT})
    assert await alice.is_logged_in()
    alice.client.cookies.delete("flow")
    alice.client.cookies.set("flow", flow, domain="localhost.local", path="/")
    answer = await alice.get(callback)
    assert answer.headers["location"] == "/account/security?trouble=expired&with=work"
    assert "/token" not in lying.requests
    await alice.post("/account/identities/connect", {"provider": "work"})
    assert await app.count("identities") == 0


@pytest.mark.asvs("S22")
async def test_an_identity_of_the_former_user_is_not_offered_to_the_next(app, alice, lying):
    await prepare(alice, lying)
    kept = alice.client.cookies["identity"]
    await alice.post("/logout")
    assert "identity" not in alice.client.cookies
    await alice.post("/signup", {"name": "Bob", "email": "b@example.com", "password": NEXT})
    page = read(await alice.get("/account/security?connect=1"))
    assert not page.all("form", id="connect-form")
    assert kept


@pytest.mark.asvs("S22")
async def test_an_identity_waits_for_the_session_that_started(app, alice, bob, lying):
    """The next user of the browser must not give the former one access to an account."""
    await prepare(alice, lying)
    alice.cookie = bob.cookie
    await alice.confirm(bob.password)
    page = await alice.get("/account/security?connect=1")
    assert not read(page).all(id="connect-form")
    answer = await alice.post("/account/identities/connect", {"provider": "work"})
    assert "trouble=expired" in answer.headers["location"]
    assert await app.count("identities") == 0


async def test_a_flow_of_another_session_connects_nothing(app, alice, bob, lying):
    page = await alice.post("/account/identities", {"provider": "work"})
    url = read(page).one("meta", http_equiv="refresh").attrs["content"].removeprefix("0;url=")
    callback = lying.callback_of(url)
    flow = alice.client.cookies["flow"]
    bob.client.cookies.set("flow", flow, domain="localhost.local", path="/")
    answer = await bob.get(callback)
    assert answer.headers["location"] == "/account/security?trouble=expired&with=work"
    assert "/token" not in lying.requests


@pytest.mark.asvs("S31")
async def test_another_site_cannot_connect_an_identity(app, alice, lying):
    await prepare(alice, lying)
    fields = {"provider": "work"}
    answer = await alice.post("/account/identities/connect", fields, sec_fetch_site="cross-site")
    assert answer.status_code == 403
    assert await app.count("identities") == 0


async def test_the_owner_of_a_trusted_email_logs_in_and_connects(make_app, lying):
    app = await make_app(WORK_TRUST_EMAIL="yes")
    alice = await app.sign_up_user("Alice")
    await app.change("UPDATE users SET verified_at = created_at")
    await alice.post("/logout")
    lying.user |= {"email": "alice@example.com", "email_verified": True}
    location = (await come_back(alice, lying)).headers["location"]
    form = read(await alice.get(location)).one("form", id="login-form")
    target = form.one("input", name="next").attrs["value"]
    assert (await alice.log_in(next=target)).headers["location"] == "/account/security?connect=1"
    await alice.post("/account/identities/connect", {"provider": "work"})
    assert await app.count("identities") == 1


async def test_the_data_download_has_the_identities(app, alice, bob, lying):
    lying.user["email"] = "work@example.com"
    await connect(alice, lying)
    (entry,) = json.loads((await alice.post("/account/data")).text)["identities"]
    assert (entry["provider"], entry["issuer"]) == ("work", lying.issuer)
    assert (entry["subject"], entry["label"]) == ("user-1", "work@example.com")
    assert json.loads((await bob.post("/account/data")).text)["identities"] == []


async def test_an_identity_can_be_disconnected(app, alice, lying):
    await connect(alice, lying)
    answer = await alice.post(f"/account/identities/{await identity_of(app)}/remove")
    assert answer.headers["location"] == "/account/security"
    assert await app.count("identities") == 0
    assert await outcomes(app, "identity.unlink") == ["done"]
    await alice.post("/logout")
    assert (await come_back(alice, lying)).headers["location"] == "/signup/with/work"


@pytest.mark.asvs("S05")
async def test_a_user_cannot_disconnect_another_users_identity(app, alice, bob, lying):
    await connect(alice, lying)
    path = f"/account/identities/{await identity_of(app)}/remove"
    assert (await bob.post(path)).status_code == 404
    assert await app.count("identities") == 1


@pytest.mark.asvs("S101")
async def test_the_last_way_in_is_not_disconnected(app, anonymous, lying):
    await sign_up(anonymous, lying)
    path = f"/account/identities/{await identity_of(app)}/remove"
    assert (await anonymous.post(path)).status_code == 409
    assert await app.count("identities") == 1
    assert await anonymous.is_logged_in()


@pytest.mark.asvs("S101")
async def test_of_two_identities_one_stays_if_both_are_removed_at_once(app, anonymous, lying):
    await sign_up(anonymous, lying)
    lying.user = {"sub": "user-2"}
    await connect(anonymous, lying)
    ids = [row[0] for row in await app.rows("SELECT id FROM identities")]
    assert len(ids) == 2
    await asyncio.gather(*[anonymous.post(f"/account/identities/{id}/remove") for id in ids])
    assert await app.count("identities") == 1


@pytest.mark.asvs("S101", "S12")
async def test_of_fifty_removals_at_once_none_takes_the_last_way_in(app, anonymous, lying):
    await sign_up(anonymous, lying)
    path = f"/account/identities/{await identity_of(app)}/remove"
    answers = await asyncio.gather(*[anonymous.post(path) for _ in range(50)])
    assert {answer.status_code for answer in answers} == {409}
    assert await app.count("identities") == 1


@pytest.mark.asvs("S22", "S12")
async def test_of_fifty_connections_at_once_one_is_made(app, alice, lying):
    await prepare(alice, lying)
    path, cookie = "/account/identities/connect", alice.cookie
    await asyncio.gather(*[alice.post(path, {"provider": "work"}) for _ in range(50)])
    assert cookie != alice.cookie
    assert await app.count("identities") == 1
    assert (await outcomes(app, "identity.link")).count("done") == 1


async def test_an_identity_of_a_removed_provider_is_no_way_in(make_app, app, anonymous, lying):
    await sign_up(anonymous, lying)
    lying.user = {"sub": "user-2"}
    await connect(anonymous, lying)
    await app.change(
        "UPDATE identities SET provider = 'former', issuer = 'https://former.example'"
        " WHERE subject = 'user-2'"
    )
    page = await anonymous.get("/account/security")
    assert "No longer offered here" in page.text
    kept = (await app.rows("SELECT id FROM identities WHERE provider = 'work'"))[0][0]
    assert (await anonymous.post(f"/account/identities/{kept}/remove")).status_code == 409


async def test_connections_and_disconnections_are_rate_limited(make_app, lying):
    app = await make_app(LIMIT_IDENTITY_CHANGE="1/1h", RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    await connect(alice, lying)
    path = f"/account/identities/{await identity_of(app)}/remove"
    lying.user = {"sub": "user-2"}
    assert (await connect(alice, lying)).status_code == 429
    assert (await alice.post(path)).status_code == 429
    assert await app.rows("SELECT subject FROM identities") == [("user-1",)]
    assert await alice.is_logged_in()


async def test_the_limit_of_second_steps_is_not_that_of_identities(make_app, lying):
    app = await make_app(LIMIT_FACTOR_CHANGE="1/1h", RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    await connect(alice, lying)
    answer = await alice.post(f"/account/identities/{await identity_of(app)}/remove")
    assert answer.headers["location"] == "/account/security"
    assert await app.count("identities") == 0


async def test_connecting_needs_few_statements(app, alice, lying):
    await prepare(alice, lying)
    before = app.statements
    await alice.post("/account/identities/connect", {"provider": "work"})
    # Three belong to the identity: its token is used, the others are counted, and it is inserted.
    # The rest ends the other sessions, starts a new one and writes the audit entry, as every change
    # of a second step does.
    assert app.statements - before == 17
