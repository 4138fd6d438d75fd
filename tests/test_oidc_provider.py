"""Tests of log-in with a real OpenID Connect provider: `oidc-provider` of npm."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.browser.live import OffsetClock
from tests.browser_client import Browser, read
from tests.commands import CommandResult
from tests.environment import SECRET
from tests.oidc_provider import OidcProvider, ProviderUser, needs_oidc_provider
from tests.organizations import DOMAIN

pytestmark = needs_oidc_provider


@pytest.fixture
def provider() -> OidcProvider:
    return OidcProvider()


@pytest.fixture
def clock() -> OffsetClock:
    """Returns the clock of the machine, which the provider has too."""
    return OffsetClock()


@pytest.fixture
def environ(provider: OidcProvider) -> dict[str, str]:
    return {"SESSION_SECRET": SECRET, "RATE_LIMITS": "off", **provider.settings}


@pytest.fixture
def running(provider: OidcProvider) -> Iterator[None]:
    with provider.running():
        yield


@pytest.fixture
async def at_provider(provider: OidcProvider, running: None) -> AsyncIterator[ProviderUser]:
    user = ProviderUser(provider, "alice")
    yield user
    await user.client.aclose()


async def start(browser: Browser, path: str = "/login/with/work", **fields: str) -> str:
    answer = await browser.post(path, fields)
    assert answer.status_code == 200, answer.text
    return read(answer).one("meta", http_equiv="refresh").attrs["content"].removeprefix("0;url=")


async def come_back(browser: Browser, user: ProviderUser, *, cancels: bool = False):
    return await browser.get(await user.go(await start(browser), cancels=cancels))


async def sign_up(browser: Browser, user: ProviderUser):
    answer = await come_back(browser, user)
    assert answer.headers["location"] == "/signup/with/work", answer.headers
    typed = {"name": browser.name, "email": browser.email}
    return await browser.post("/signup/with/work", typed)


async def test_a_user_signs_up_leaves_and_comes_back(app, at_provider):
    alice = await app.browser("Alice")
    assert (await sign_up(alice, at_provider)).headers["location"] == "/dashboard"
    await alice.post("/logout")
    assert (await come_back(alice, at_provider)).headers["location"] == "/dashboard"
    assert await alice.is_logged_in()
    rows = await app.rows("SELECT issuer, subject FROM identities")
    assert rows == [(at_provider.provider.issuer, "alice")]


async def test_the_form_has_the_name_and_email_of_the_provider(app, at_provider):
    alice = await app.browser("Alice")
    answer = await come_back(alice, at_provider)
    form = read(await alice.get(answer.headers["location"])).one(id="finish-form")
    assert form.one(id="name").attrs["value"] == "Alice Example"
    assert form.one(id="email").attrs["value"] == "alice@example.com"


@pytest.mark.parametrize("in_id_token", [True, False])
async def test_a_verified_email_is_trusted_if_the_settings_say_so(make_app, in_id_token):
    provider = OidcProvider(claims_in_id_token=in_id_token)
    app = await make_app(**provider.settings, WORK_TRUST_EMAIL="yes")
    with provider.running():
        for name, is_trusted in (("alice", True), ("bob", False)):
            browser = await app.browser(name.title())
            await sign_up(browser, ProviderUser(provider, name))
            verified = (
                f"SELECT verified_at IS NOT NULL AS v FROM users WHERE name = '{name.title()}'"
            )
            assert bool((await app.rows(verified))[0][0]) is is_trusted


async def test_a_user_who_cancels_has_no_session(app, at_provider):
    alice = await app.browser("Alice")
    answer = await come_back(alice, at_provider, cancels=True)
    assert answer.headers["location"] == "/login?trouble=cancelled&with=work"
    assert not await alice.is_logged_in()


async def test_a_user_connects_and_disconnects(app, alice, at_provider):
    answer = await alice.get(
        await at_provider.go(await start(alice, "/account/identities", provider="work"))
    )
    assert answer.headers["location"] == "/account/security?connect=1"
    await alice.post("/account/identities/connect", {"provider": "work"})
    ((identity,),) = await app.rows("SELECT id FROM identities")
    await alice.post(f"/account/identities/{identity}/remove")
    assert await app.count("identities") == 0


async def test_the_last_way_in_stays(app, at_provider):
    alice = await app.browser("Alice")
    await sign_up(alice, at_provider)
    ((identity,),) = await app.rows("SELECT id FROM identities")
    answer = await alice.post(f"/account/identities/{identity}/remove")
    assert answer.status_code == 409
    assert await app.count("identities") == 1


async def test_a_confirmation_asks_the_provider_for_a_new_log_in(app, at_provider):
    alice = await app.browser("Alice")
    await sign_up(alice, at_provider)
    alice.client.cookies.delete("sudo")
    assert (await alice.get("/account/delete")).headers["location"].startswith("/confirm")
    url = await start(alice, "/confirm/with/work", next="/account/delete")
    assert "prompt=login&max_age=0" in url
    answer = await alice.get(await at_provider.go(url))
    assert answer.headers["location"] == "/account/delete"
    assert "sudo=" in str(answer.headers)


async def test_the_provider_may_be_stopped_and_started_again(app, provider):
    alice = await app.sign_up_user("Alice")
    await alice.post("/logout")
    answer = await alice.post("/login/with/work")
    assert answer.headers["location"] == "/login?trouble=down&with=work"
    assert (await alice.log_in()).headers["location"] == "/dashboard"
    await alice.post("/logout")
    app.clock.move(seconds=11)  # A failure is remembered for ten seconds.
    with provider.running():
        user = ProviderUser(provider, "alice")
        answer = await come_back(alice, user)
    assert answer.headers["location"].startswith(("/signup/with/work", "/login?link=work"))


async def test_a_restarted_provider_has_new_keys(app, provider):
    alice = await app.browser("Alice")
    with provider.running():
        await sign_up(alice, ProviderUser(provider, "alice"))
    await alice.post("/logout")
    app.clock.move(seconds=61)  # Keys are fetched again at most once a minute.
    with provider.running():
        user = ProviderUser(provider, "alice")
        assert (await come_back(alice, user)).headers["location"] == "/dashboard"


async def test_an_organization_has_its_own_provider_and_roles(make_app):
    provider = OidcProvider(name=DOMAIN)
    provider.users["alice"]["groups"] = ["it"]
    app = await make_app(PROVIDERS="", ORGANIZATIONS="on")
    ada = await app.admin()
    with provider.running():
        form = {
            "domain": DOMAIN,
            "label": "Example Corp",
            "issuer": provider.issuer,
            "client_id": provider.settings["WORK_CLIENT_ID"],
            "client_secret": provider.settings["WORK_CLIENT_SECRET"],
            "scopes": "openid email profile groups",
            "allows_sign_up": "yes",
            "role_claim": "groups",
            "rules": "it = admin",
        }
        assert (await ada.post("/admin/organizations", form)).status_code == 303
        await app.change("UPDATE organizations SET verified_at = created_at")
        alice = await app.browser("Alice")
        url = await start(alice, "/login", email="alice@example.com")
        answer = await alice.get(await ProviderUser(provider, "alice").go(url))
        assert answer.headers["location"] == f"/signup/with/{DOMAIN}"
        await alice.post(f"/signup/with/{DOMAIN}", {"name": "Alice"})
    assert (await alice.get("/admin/users")).status_code == 200


def test_the_check_finds_no_problem(run, provider: OidcProvider, running: None) -> None:
    result: CommandResult = run("providers", "check", **provider.settings)
    assert (result.returncode, result.stderr) == (0, "")
    assert "problem" not in result.stdout
