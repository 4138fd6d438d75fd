"""Tests of the log-in of an organization's users, whose email leads to its own provider."""

from collections.abc import Iterator

import pytest
from starlette.responses import Response

from tests.browser_client import Browser, read, set_cookie_of
from tests.conftest import Clock, TestApp
from tests.environment import SECRET
from tests.lying_provider import LyingProvider, serving
from tests.mail import enabled_outbox
from tests.organizations import DOMAIN, bind

ALICE = {"sub": "user-1", "name": "Alice Example", "email": "alice@example.com"}
VERIFIED_ALICE = {**ALICE, "email_verified": True}


@pytest.fixture
def lying(clock: Clock) -> Iterator[LyingProvider]:
    with serving(LyingProvider(now=clock, user=VERIFIED_ALICE)) as provider:
        yield provider


@pytest.fixture
def environ() -> dict[str, str]:
    return {"SESSION_SECRET": SECRET, "RATE_LIMITS": "off", "ORGANIZATIONS": "on"}


async def depart(browser: Browser, email: str, **fields: str) -> str:
    """Types an email on the log-in page, and returns the URL that the answer leads to."""
    answer = await browser.post("/login", {"email": email, "password": "", **fields})
    assert answer.status_code == 200, answer.text
    return read(answer).one("meta", http_equiv="refresh").attrs["content"].removeprefix("0;url=")


async def come_back(browser: Browser, lying: LyingProvider, **fields: str):
    return await browser.get(lying.callback_of(await depart(browser, browser.email, **fields)))


async def sign_up(browser: Browser, lying: LyingProvider, **fields: str):
    answer = await come_back(browser, lying)
    assert answer.headers["location"] == f"/signup/with/{DOMAIN}", answer.text
    return await browser.post(f"/signup/with/{DOMAIN}", {"name": browser.name, **fields})


async def role_of(app: TestApp, email: str) -> str:
    return (await app.rows(f"SELECT role FROM users WHERE email = '{email}'"))[0][0]


# From the log-in page to the provider.


async def test_an_email_of_the_domain_leads_to_the_provider(app, anonymous, lying):
    await bind(app.store, lying)
    url = await depart(anonymous, "Somebody@Example.com", next="/devices")
    assert url.startswith(f"{lying.issuer}/authorize?")
    assert "login%2Fwith%2Fexample.com%2Fcallback" in url


async def test_htmx_is_redirected_to_the_provider_of_the_domain(app, anonymous, lying):
    await bind(app.store, lying)
    answer = await anonymous.post_fragment("/login", {"email": "a@example.com", "password": ""})
    assert answer.status_code == 204
    assert answer.headers["hx-redirect"].startswith(f"{lying.issuer}/authorize?")


async def test_a_typed_password_is_not_verified_before_the_provider(app, anonymous, lying):
    await app.create("Alice")
    await bind(app.store, lying)
    hashes = app.hashes
    await depart(anonymous, "alice@example.com", password="wrong")
    assert app.hashes == hashes


@pytest.mark.parametrize("email", ["alice@example.org", "alice@sub.example.com", "alice"])
async def test_another_email_does_not_lead_to_the_provider(app, anonymous, lying, email):
    await bind(app.store, lying)
    answer = await anonymous.post("/login", {"email": email, "password": "wrong"})
    assert answer.status_code == 422
    assert lying.requests == []


async def test_an_unverified_domain_has_no_effect(app, anonymous, lying):
    await bind(app.store, lying, is_verified=False)
    answer = await anonymous.post("/login", {"email": "alice@example.com", "password": "wrong"})
    assert answer.status_code == 422
    assert (await anonymous.get(f"/login/with/{DOMAIN}")).status_code == 404
    assert (await anonymous.post(f"/login/with/{DOMAIN}")).status_code == 404
    assert lying.requests == []


async def test_without_the_setting_a_domain_has_no_effect(make_app, app, lying):
    await bind(app.store, lying)
    other = await make_app(app.path, ORGANIZATIONS="off")
    anonymous = await other.browser("Charlie")
    answer = await anonymous.post("/login", {"email": "alice@example.com", "password": "wrong"})
    assert answer.status_code == 422
    assert (await anonymous.post(f"/login/with/{DOMAIN}")).status_code == 404
    assert (await anonymous.post("/login/check", {"email": "a@example.com"})).status_code == 404


async def test_the_live_check_names_the_provider_of_the_email(app, anonymous, lying):
    await bind(app.store, lying)
    path = read(await anonymous.get("/login?next=/devices")).one(id="email").attrs["data-hx-post"]
    answer = await anonymous.post_fragment(path, {"email": "alice@example.com"})
    hint = read(answer).one(id="email-hint")
    assert "Your organization logs in with Example Corp." in hint.text
    assert hint.one("a").attrs["href"] == "/login?other=1&next=/devices"
    answer = await anonymous.post_fragment(path, {"email": "alice@example.org"})
    assert "Example Corp" not in answer.text
    assert read(answer).one(id="email").attrs["value"] == "alice@example.org"


async def test_the_front_page_without_open_sign_up_leads_there_too(make_app, lying):
    app = await make_app(SIGNUP="invited")
    await bind(app.store, lying)
    anonymous = await app.browser("Charlie")
    form = read(await anonymous.get("/")).one(id="login-form")
    assert form.one(id="email").attrs["data-hx-post"] == "/login/check"
    assert (await depart(anonymous, "a@example.com")).startswith(f"{lying.issuer}/authorize?")


async def test_a_user_can_log_in_another_way(app, lying):
    await app.create("Alice")
    await bind(app.store, lying)
    alice = await app.browser("Alice")
    form = read(await alice.get("/login?other=1")).one(id="login-form")
    assert form.one("input", name="other").attrs["value"] == "on"
    answer = await alice.log_in(other="on")
    assert answer.headers["location"] == "/dashboard"


async def test_a_wrong_password_keeps_the_other_way(app, lying):
    await app.create("Alice")
    await bind(app.store, lying)
    alice = await app.browser("Alice")
    answer = await alice.post("/login", {"email": alice.email, "password": "wrong", "other": "on"})
    assert answer.status_code == 422
    assert read(answer).one(id="login-form").one("input", name="other")


async def test_an_unavailable_provider_leaves_the_other_way(app, lying):
    await app.create("Alice")
    await bind(app.store, lying)
    lying.answers["/.well-known/openid-configuration"] = Response(status_code=503)
    alice = await app.browser("Alice")
    answer = await alice.post("/login", {"email": alice.email, "password": ""})
    assert answer.headers["location"] == f"/login?trouble=down&with={DOMAIN}"
    page = read(await alice.get(answer.headers["location"]))
    assert "Example Corp isn't answering" in page.one(id="trouble").text
    assert page.one(id="providers").one("form", data_provider=DOMAIN)
    assert page.one(id="login-form").one("input", name="other")


# Accounts.


async def test_a_user_of_the_organization_signs_up_and_comes_back(app, lying):
    await bind(app.store, lying)
    alice = await app.browser("Alice")
    answer = await sign_up(alice, lying, email="mallory@example.org")
    assert answer.headers["location"] == "/dashboard"
    rows = await app.rows("SELECT email, verified_at IS NOT NULL AS v FROM users")
    assert [(email, bool(verified)) for email, verified in rows] == [("alice@example.com", True)]
    await alice.post("/logout")
    assert (await come_back(alice, lying)).headers["location"] == "/dashboard"
    assert await app.count("users") == 1


async def test_an_email_of_another_domain_signs_nobody_up(app, lying):
    await bind(app.store, lying)
    lying.user = {**VERIFIED_ALICE, "email": "alice@example.org"}
    alice = await app.browser("Alice")
    answer = await come_back(alice, lying)
    assert answer.headers["location"] == f"/login?trouble=closed&with={DOMAIN}"
    answer = await alice.post(
        f"/signup/with/{DOMAIN}", {"name": "Alice", "email": "alice@example.com"}
    )
    assert answer.headers["location"].startswith("/login?trouble=")
    assert await app.count("users") == 0


async def test_an_email_that_the_provider_did_not_verify_is_not_confirmed(app, lying):
    await bind(app.store, lying)
    lying.user = ALICE
    alice = await app.browser("Alice")
    answer = await sign_up(alice, lying, email="mallory@example.org")
    assert answer.headers["location"] == "/dashboard"
    assert await app.rows("SELECT email, verified_at FROM users") == [("alice@example.com", None)]


async def test_userinfo_does_not_verify_the_email_of_the_id_token(app, lying):
    await bind(app.store, lying, role_claim="groups", roles=[("it", "admin")])
    lying.user = {**VERIFIED_ALICE, "email": "mallory@example.com", "groups": ["it"]}
    lying.change_claims = lambda claims: (
        claims.pop("groups"),
        claims.update(email="alice@example.com", email_verified=False),
    )
    await sign_up(await app.browser("Alice"), lying)
    assert await app.rows("SELECT email, verified_at FROM users") == [("alice@example.com", None)]


@pytest.mark.parametrize(
    ("sign_up_mode", "allows_sign_up", "is_allowed"),
    [
        ("open", True, True),
        ("open", False, False),
        ("invited", True, True),
        ("invited", False, False),
        ("closed", True, False),
    ],
)
async def test_the_organization_decides_who_signs_up(
    make_app, lying, sign_up_mode, allows_sign_up, is_allowed
):
    app = await make_app(SIGNUP=sign_up_mode)
    await bind(app.store, lying, allows_sign_up=allows_sign_up)
    alice = await app.browser("Alice")
    answer = await come_back(alice, lying)
    assert (answer.headers["location"] == f"/signup/with/{DOMAIN}") is is_allowed
    await alice.post(f"/signup/with/{DOMAIN}", {"name": "Alice"})
    assert (await app.count("users") == 1) is is_allowed


async def test_a_known_email_is_not_linked(app, lying):
    await app.sign_up_user("Alice")
    await app.change("UPDATE users SET verified_at = created_at")
    await bind(app.store, lying)
    alice = await app.browser("Alice")
    answer = await come_back(alice, lying)
    location = answer.headers["location"]
    assert location.startswith(f"/login?link={DOMAIN}&")
    assert "session" not in set_cookie_of(answer)
    assert await app.count("identities") == 0
    page = read(await alice.get(location))
    assert "offer to connect Example Corp" in page.one(id="trouble").text
    answer = await alice.log_in(other="on", next="/account/security?connect=1")
    form = read(await alice.get(answer.headers["location"])).one(id="connect-form")
    assert form.one("button").text == "Connect Example Corp"
    await alice.post("/account/identities/connect", {"provider": DOMAIN})
    assert await app.rows("SELECT provider, subject FROM identities") == [(DOMAIN, "user-1")]


async def test_an_unverified_email_of_an_account_leads_to_its_log_in(app, lying):
    await app.sign_up_user("Alice")
    await bind(app.store, lying)
    lying.user = ALICE
    alice = await app.browser("Alice")
    answer = await sign_up(alice, lying)
    assert answer.headers["location"].startswith(f"/login?link={DOMAIN}&")
    assert not await alice.is_logged_in()
    assert await app.count("users") == 1
    await alice.log_in(other="on")
    await alice.post("/account/identities/connect", {"provider": DOMAIN})
    assert await app.count("identities") == 1


async def test_a_user_of_the_domain_can_connect_the_provider(app, alice, lying):
    await bind(app.store, lying)
    page = read(await alice.get("/account/security"))
    form = page.one(id="identities").one("form", data_provider=DOMAIN)
    assert form.one("button").text == "Connect"
    answer = await alice.post("/account/identities", {"provider": DOMAIN})
    url = read(answer).one("meta", http_equiv="refresh").attrs["content"].removeprefix("0;url=")
    answer = await alice.get(lying.callback_of(url))
    assert answer.headers["location"] == "/account/security?connect=1"
    await alice.post("/account/identities/connect", {"provider": DOMAIN})
    assert await app.rows("SELECT provider FROM identities") == [(DOMAIN,)]


async def test_a_user_of_another_domain_is_not_offered_the_provider(app, lying):
    await bind(app.store, lying)
    bob = await app.sign_up_user("Bob", email="bob@example.org")
    assert "Example Corp" not in (await bob.get("/account/security")).text


async def test_a_user_without_password_is_confirmed_by_the_organization(app, lying, clock):
    await bind(app.store, lying)
    alice = await app.browser("Alice")
    await sign_up(alice, lying)
    clock.move(minutes=11)
    page = read(await alice.get("/confirm"))
    assert page.one("form", action=f"/confirm/with/{DOMAIN}")


async def test_a_removed_organization_is_no_way_in(app, lying):
    await bind(app.store, lying)
    alice = await app.browser("Alice")
    await sign_up(alice, lying)
    await app.change("DELETE FROM organizations")
    page = await alice.get("/account/security")
    assert "No longer offered here" in page.text
    await alice.post("/logout")
    assert (await alice.post(f"/login/with/{DOMAIN}")).status_code == 404


async def test_a_changed_organization_is_used_at_once(app, lying, clock):
    await bind(app.store, lying)
    alice = await app.browser("Alice")
    await depart(alice, alice.email)
    with serving(LyingProvider(now=clock, user=VERIFIED_ALICE)) as other:
        await app.change(f"UPDATE organizations SET issuer = '{other.issuer}'")
        assert (await depart(alice, alice.email)).startswith(f"{other.issuer}/authorize?")


async def test_the_metadata_of_an_organization_is_cached(app, lying):
    await bind(app.store, lying)
    alice = await app.browser("Alice")
    await depart(alice, alice.email)
    await depart(alice, alice.email)
    assert lying.requests == ["/.well-known/openid-configuration"]


# Roles.


async def test_the_claim_decides_the_role_of_a_new_account(app, lying):
    await bind(app.store, lying, role_claim="groups", roles=[("staff", "user"), ("it", "admin")])
    lying.user = {**VERIFIED_ALICE, "groups": ["other", "it"]}
    await sign_up(await app.browser("Alice"), lying)
    assert await role_of(app, "alice@example.com") == "admin"


async def test_the_first_rule_that_matches_counts(app, lying):
    await bind(app.store, lying, role_claim="groups", roles=[("staff", "user"), ("it", "admin")])
    lying.user = {**VERIFIED_ALICE, "groups": ["it", "staff"]}
    await sign_up(await app.browser("Alice"), lying)
    assert await role_of(app, "alice@example.com") == "user"


@pytest.mark.parametrize(
    "claims",
    [
        {"groups": "it"},
        {"groups": ["it"]},
        {"realm_access": {"roles": ["it"]}},
        {"https://example.com/roles": ["it"]},
    ],
)
async def test_a_claim_is_a_text_or_an_array_and_may_be_nested(app, lying, claims):
    name = next(iter(claims))
    role_claim = "realm_access.roles" if name == "realm_access" else name
    await bind(app.store, lying, role_claim=role_claim, roles=[("it", "admin")])
    lying.user = {**VERIFIED_ALICE, **claims}
    await sign_up(await app.browser("Alice"), lying)
    assert await role_of(app, "alice@example.com") == "admin"


@pytest.mark.parametrize("value", [None, {}, {"it": True}, [["it"]], ["IT"], [True], 1, "it staff"])
async def test_any_other_claim_gives_the_role_of_a_user(app, lying, value):
    await bind(app.store, lying, role_claim="groups", roles=[("it", "admin")])
    lying.user = {**VERIFIED_ALICE, "groups": value}
    await sign_up(await app.browser("Alice"), lying)
    assert await role_of(app, "alice@example.com") == "user"


async def test_a_claim_at_the_userinfo_endpoint_counts(app, lying):
    await bind(app.store, lying, role_claim="groups", roles=[("it", "admin")])
    lying.change_claims = lambda claims: claims.pop("groups", None)
    lying.user = {**VERIFIED_ALICE, "groups": ["it"]}
    await sign_up(await app.browser("Alice"), lying)
    assert await role_of(app, "alice@example.com") == "admin"


async def test_each_log_in_follows_the_claim(app, lying):
    await app.create("Ada", "admin")
    await bind(app.store, lying, role_claim="groups", roles=[("it", "admin")])
    lying.user = {**VERIFIED_ALICE, "groups": ["it"]}
    alice = await app.browser("Alice")
    await sign_up(alice, lying)
    await alice.post("/logout")
    lying.user = {**VERIFIED_ALICE, "groups": []}
    await come_back(alice, lying)
    assert await role_of(app, "alice@example.com") == "user"
    assert (await alice.get("/admin/users")).status_code == 403
    await alice.post("/logout")
    lying.user = {**VERIFIED_ALICE, "groups": ["it"]}
    await come_back(alice, lying)
    assert (await alice.get("/admin/users")).status_code == 200
    details = await app.rows("SELECT detail FROM audit WHERE event = 'role.change' ORDER BY number")
    assert [DOMAIN in detail for (detail,) in details] == [True, True]


async def test_the_last_administrator_stays_one(app, lying):
    await bind(app.store, lying, role_claim="groups", roles=[("it", "admin")])
    lying.user = {**VERIFIED_ALICE, "groups": ["it"]}
    alice = await app.browser("Alice")
    await sign_up(alice, lying)
    await alice.post("/logout")
    lying.user = VERIFIED_ALICE
    assert (await come_back(alice, lying)).headers["location"] == "/dashboard"
    assert await role_of(app, "alice@example.com") == "admin"
    assert await app.rows("SELECT outcome FROM audit WHERE event = 'role.change'") == [("refused",)]


async def test_without_a_claim_the_role_stays(app, lying):
    await bind(app.store, lying)
    alice = await app.browser("Alice")
    await sign_up(alice, lying)
    await app.change_role(alice, "admin")
    await alice.post("/logout")
    await come_back(alice, lying)
    assert await role_of(app, "alice@example.com") == "admin"


async def test_a_role_that_was_taken_from_the_organization_creates_no_account(app, lying):
    await bind(app.store, lying, role_claim="groups", roles=[("it", "admin")])
    lying.user = {**VERIFIED_ALICE, "groups": ["it"]}
    alice = await app.browser("Alice")
    await come_back(alice, lying)
    await app.change("DELETE FROM organization_roles")
    answer = await alice.post(f"/signup/with/{DOMAIN}", {"name": "Alice"})
    assert answer.headers["location"].startswith("/login?trouble=expired")
    assert await app.count("users") == 0


async def test_an_identity_of_another_provider_keeps_its_role(make_app, lying):
    """Two organizations may have one issuer, and each decides about its own users only."""
    app = await make_app()
    await bind(app.store, lying, domain="example.org")
    alice = await app.browser("Alice", "alice@example.org")
    lying.user = {**VERIFIED_ALICE, "email": "alice@example.org"}
    await alice.get(lying.callback_of(await depart(alice, alice.email)))
    await alice.post("/signup/with/example.org", {"name": "Alice"})
    await app.change_role(alice, "admin")
    await app.create("Ada", "admin")
    await alice.post("/logout")
    await bind(app.store, lying, role_claim="groups", roles=[("it", "admin")])
    lying.user = {**lying.user, "groups": []}
    answer = await alice.get(lying.callback_of(await depart(alice, "alice@example.com")))
    assert answer.headers["location"] == "/dashboard"
    assert await role_of(app, "alice@example.org") == "admin"


async def test_an_identity_that_moves_belongs_to_its_new_organization(make_app, lying):
    app = await make_app(mail=enabled_outbox(requires_verification=True))
    await app.create("Ada", "admin")
    await bind(app.store, lying, domain="example.org")
    await bind(app.store, lying, role_claim="groups", roles=[("it", "admin")])
    alice = await app.browser("Alice")
    lying.user = {**ALICE, "email": "alice@example.org"}
    await alice.get(lying.callback_of(await depart(alice, "alice@example.org")))
    await alice.post("/signup/with/example.org", {"name": "Alice"})
    lying.user = {**VERIFIED_ALICE, "groups": ["it"]}
    await sign_up(alice, lying)
    assert await app.rows("SELECT provider, label FROM identities") == [(DOMAIN, alice.email)]
    await alice.post("/logout")
    lying.user = {**VERIFIED_ALICE, "groups": []}
    await come_back(alice, lying)
    assert await role_of(app, alice.email) == "user"


@pytest.mark.parametrize(("groups", "role"), [([], "user"), (["it"], "admin")])
async def test_the_claim_decides_the_role_after_a_take_over(app, lying, groups, role):
    await app.create("Ada", "admin")
    former = await app.sign_up_user("Alice")
    await app.change_role(former, "user" if groups else "admin")
    await bind(app.store, lying, role_claim="groups", roles=[("it", "admin")])
    lying.user = {**VERIFIED_ALICE, "groups": groups}
    alice = await app.browser("Alice")
    await sign_up(alice, lying, mine="on")
    assert await alice.is_logged_in()
    assert await role_of(app, alice.email) == role
    assert (await alice.get("/admin/users")).status_code == (200 if role == "admin" else 403)
