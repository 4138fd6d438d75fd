"""Tests of the confirmation of a user's identity by a log-in at a provider."""

from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.responses import JSONResponse

from tests.browser_client import Browser, read, set_cookie_of
from tests.conftest import Clock, TestApp
from tests.environment import SECRET
from tests.lying_provider import LyingProvider, serving
from tests.test_provider_login import sign_up


@pytest.fixture
def lying(clock: Clock) -> Iterator[LyingProvider]:
    with serving(LyingProvider(now=clock)) as provider:
        yield provider


@pytest.fixture
def environ(lying: LyingProvider) -> dict[str, str]:
    return {"SESSION_SECRET": SECRET, "RATE_LIMITS": "off", **lying.settings}


@pytest.fixture(params=["database", "stateless"])
async def app(make_app: Callable, request: pytest.FixtureRequest) -> TestApp:
    return await make_app(SESSION_STRATEGY=request.param)


@pytest.fixture
async def user(app: TestApp, lying: LyingProvider) -> Browser:
    """Returns the browser of a user without a password, eleven minutes after the log-in."""
    browser = await app.browser("Alice")
    assert (await sign_up(browser, lying)).headers["location"] == "/dashboard"
    app.clock.move(minutes=11)
    return browser


async def start(user: Browser, next_page: str = "/account/data") -> str:
    """Presses the button of the page, and returns the URL at the provider."""
    answer = await user.post("/confirm/with/work", {"next": next_page})
    meta = read(answer).one("meta", http_equiv="refresh").attrs["content"]
    return meta.removeprefix("0;url=")


async def confirm(user: Browser, lying: LyingProvider) -> httpx.Response:
    return await user.get(lying.callback_of(await start(user)))


async def require_no_confirmation(user: Browser, answer: httpx.Response, trouble: str) -> None:
    location = answer.headers["location"]
    assert location == f"/account/security?trouble={trouble}&with=work"
    assert "sudo" not in set_cookie_of(answer)
    assert (await user.get("/account/data")).headers["location"].startswith("/confirm")


@pytest.mark.asvs("S30")
async def test_a_provider_confirms_an_account_without_a_password(app, user, lying):
    page = read(await user.get("/confirm?next=/account/data"))
    form = page.one("form", data_provider="work")
    assert form.attrs["action"] == "/confirm/with/work"
    answer = await confirm(user, lying)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/data")
    assert (await user.get("/account/data")).status_code == 200
    entries = await app.rows("SELECT outcome, detail FROM audit WHERE event = 'confirm'")
    assert entries == [("done", '{"factor": "provider"}')]


async def test_three_started_confirmations_fit_into_their_cookie(user):
    """Browsers drop a cookie of more than 4,096 bytes silently, and `__Host-` precedes its name."""
    for _ in range(3):
        fields = {"next": "/account/data?q=" + "a" * 484}
        answer = await user.post("/confirm/with/work", fields)
        size = len("__Host-flow=") + len(set_cookie_of(answer)["flow"].value)
        assert 0 < size <= 4096


async def test_the_provider_is_asked_for_a_new_log_in(user):
    query = parse_qs(urlsplit(await start(user)).query)
    assert (query["prompt"], query["max_age"]) == (["login"], ["0"])


async def test_a_form_that_waits_must_be_sent_again(app, user, lying):
    fields = {"name": "Backup", "days": "30", "scope-account:read": "yes"}
    answer = await user.post("/account/tokens", fields)
    assert answer.status_code == 403
    assert "Send the form again after you have confirmed." in read(answer).text
    assert read(answer).one("form", data_provider="work").one("input", name="next")
    await confirm(user, lying)
    assert (await user.post("/account/tokens", fields)).status_code == 200
    assert await app.count("access_tokens") == 1


@pytest.mark.asvs("S30")
async def test_a_log_in_before_the_start_confirms_nothing(app, user, lying):
    lying.change_claims = lambda claims: claims.update(auth_time=claims["iat"] - 120)
    await require_no_confirmation(user, await confirm(user, lying), "refused")
    assert await app.count("audit WHERE event = 'confirm' AND outcome = 'refused'") == 1


async def test_a_slow_clock_of_the_provider_is_tolerated(user, lying):
    lying.change_claims = lambda claims: claims.update(auth_time=claims["iat"] - 50)
    assert (await confirm(user, lying)).headers["location"] == "/account/data"


@pytest.mark.parametrize("value", [0, -1, "0", True, [], float("nan"), 10**400])
async def test_a_strange_auth_time_confirms_nothing(user, lying, value):
    lying.change_claims = lambda claims: claims.update(auth_time=value)
    await require_no_confirmation(user, await confirm(user, lying), "refused")


async def test_a_provider_without_auth_time_confirms(user, lying):
    lying.change_claims = lambda claims: claims.pop("auth_time")
    assert (await confirm(user, lying)).headers["location"] == "/account/data"


@pytest.mark.asvs("S30")
async def test_an_identity_of_nobody_confirms_nothing(user, lying):
    lying.user = {"sub": "another"}
    answer = await confirm(user, lying)
    await require_no_confirmation(user, answer, "other")
    page = read(await user.get(answer.headers["location"]))
    assert "isn't connected to your account" in page.one(id="trouble").text


@pytest.mark.asvs("S115")
@pytest.mark.parametrize("change", ["has_factor = true", "password_hash = 'some hash'"])
async def test_a_provider_replaces_nothing_that_is_stronger(app, user, lying, change):
    callback = lying.callback_of(await start(user))
    await app.change(f"UPDATE users SET {change}")
    await require_no_confirmation(user, await user.get(callback), "other")


async def test_an_account_with_a_password_is_led_to_its_form(alice, app, lying):
    app.clock.move(minutes=11)
    page = read(await alice.get("/confirm"))
    assert not page.all("form", data_provider="work")
    answer = await alice.post("/confirm/with/work", {"next": "/account/data"})
    assert answer.headers["location"] == "/confirm?next=%2Faccount%2Fdata"
    assert lying.requests == []


@pytest.mark.asvs("S22")
async def test_another_session_cannot_be_confirmed(app, user, lying):
    callback = lying.callback_of(await start(user))
    other = await app.browser("Bob")
    lying.user = {"sub": "user-2"}
    await sign_up(other, lying)
    app.clock.move(minutes=5)
    lying.requests.clear()
    cookie = user.client.cookies["flow"]
    other.client.cookies.delete("flow")
    other.client.cookies.set("flow", cookie, domain="localhost.local", path="/")
    answer = await other.get(callback)
    assert answer.headers["location"] == "/account/security?trouble=expired&with=work"
    assert lying.requests == []


async def test_a_confirmation_after_a_log_out_ends_on_the_log_in_page(user, lying):
    callback = lying.callback_of(await start(user))
    await user.post("/logout")
    answer = await user.get(callback)
    assert answer.headers["location"] == "/login?trouble=expired&with=work"


async def test_a_second_callback_changes_nothing(app, user, lying):
    callback = lying.callback_of(await start(user))
    await user.get(callback)
    assert (await user.get(callback)).headers["location"] == "/dashboard"
    assert await app.count("audit WHERE event = 'confirm'") == 1


async def test_an_unconnected_provider_is_not_found(app, user):
    assert (await user.post("/confirm/with/google")).status_code == 404
    await app.change("DELETE FROM identities")
    assert (await user.post("/confirm/with/work")).status_code == 404


async def test_a_provider_that_is_away_confirms_nothing(user, lying):
    url = await start(user)
    lying.answers["/token"] = JSONResponse({}, 503)
    await require_no_confirmation(user, await user.get(lying.callback_of(url)), "down")


@pytest.mark.asvs("S31")
async def test_another_site_cannot_start_a_confirmation(user, lying):
    answer = await user.post("/confirm/with/work", sec_fetch_site="cross-site")
    assert answer.status_code == 403


@pytest.mark.asvs("S34")
async def test_a_confirmation_leads_to_no_other_site(user, lying):
    url = await start(user, "//evil.example")
    assert (await user.get(lying.callback_of(url))).headers["location"] == "/dashboard"
