"""Tests of the pages on which administrators bind the domain of an organization to its provider."""

import json
from collections.abc import Iterator

import pytest

from tests.browser_client import Browser, read
from tests.conftest import Clock, TestApp
from tests.dns_server import DnsServer, serving_dns
from tests.environment import SECRET
from tests.lying_provider import CLIENT_ID, CLIENT_SECRET, LyingProvider, serving

DOMAIN = "example.org"
PAGE = f"/admin/organizations/{DOMAIN}"


@pytest.fixture
def lying(clock: Clock) -> Iterator[LyingProvider]:
    with serving(LyingProvider(now=clock)) as provider:
        yield provider


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with serving_dns() as server:
        yield server


@pytest.fixture
def environ(dns: DnsServer) -> dict[str, str]:
    return {
        "SESSION_SECRET": SECRET,
        "RATE_LIMITS": "off",
        "ORGANIZATIONS": "on",
        "DNS_SERVER": dns.address,
    }


def form_of(provider: LyingProvider, **changes: str) -> dict[str, str]:
    return {
        "domain": DOMAIN,
        "label": "Example Corp",
        "issuer": provider.issuer,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "scopes": "openid email profile",
        "allows_sign_up": "yes",
        **changes,
    }


async def add(ada: Browser, provider: LyingProvider, **changes: str) -> None:
    answer = await ada.post("/admin/organizations", form_of(provider, **changes))
    assert answer.status_code == 303, answer.text


async def proof_of(app: TestApp) -> str:
    return (await app.rows("SELECT proof FROM organizations"))[0][0]


async def is_verified(app: TestApp) -> bool:
    return (await app.rows("SELECT verified_at IS NOT NULL AS v FROM organizations")) == [(True,)]


async def entries(app: TestApp, event: str) -> list[tuple[str, dict[str, str]]]:
    rows = await app.rows(
        f"SELECT outcome, detail FROM audit WHERE event = '{event}' ORDER BY number"
    )
    return [(outcome, json.loads(detail)) for outcome, detail in rows]


# Adding.


async def test_an_administrator_adds_an_organization(app, ada, lying):
    await add(ada, lying)
    rows = await app.rows(
        "SELECT domain, label, issuer, client_id, scopes, verified_at FROM organizations"
    )
    assert rows == [(DOMAIN, "Example Corp", lying.issuer, CLIENT_ID, "openid email profile", None)]
    assert await entries(app, "organization.add") == [
        ("done", {"domain": DOMAIN, "issuer": lying.issuer})
    ]
    row = read(await ada.get("/admin/organizations")).one("tr", data_organization=DOMAIN)
    assert "Not verified" in row.text


async def test_the_client_secret_is_encrypted_and_never_shown(app, ada, lying):
    await add(ada, lying)
    assert CLIENT_SECRET.encode() not in app.stored()
    for path in ("/admin/organizations", PAGE, "/admin/audit", "/account/activity"):
        assert CLIENT_SECRET not in (await ada.get(path)).text
    answer = await ada.post(PAGE, form_of(lying, label="", client_secret="another-canary"))
    assert answer.status_code == 422
    assert "another-canary" not in answer.text


async def test_the_redirect_uri_is_shown_before_and_after(ada, lying):
    text = read(await ada.get("/admin/organizations")).one("main").text
    assert "http://localhost:8000/login/with/example.com/callback" in text
    await add(ada, lying)
    text = read(await ada.get(PAGE)).one("main").text
    assert f"http://localhost:8000/login/with/{DOMAIN}/callback" in text


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("EXAMPLE.Org", "example.org"),
        ("@example.org", "example.org"),
        (" example.org ", "example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
async def test_a_domain_is_stored_as_emails_have_it(app, ada, lying, typed, stored):
    await add(ada, lying, domain=typed)
    assert await app.rows("SELECT domain FROM organizations") == [(stored,)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"domain": ""}, "Type a domain such as example.com."),
        ({"domain": "localhost"}, "Type a domain such as example.com."),
        ({"domain": "192.0.2.1"}, "Type a domain such as example.com."),
        ({"domain": "a@example.org"}, "Type a domain such as example.com."),
        ({"domain": "example.org/x"}, "Type a domain such as example.com."),
        ({"domain": "gmail.com"}, "Anyone can have an email of this domain. Type your own."),
        ({"label": " "}, "Please enter a name."),
        ({"label": "x" * 41}, "Name must be at most 40 characters long."),
        ({"issuer": ""}, "Type an address that starts with https://."),
        ({"issuer": "http://id.example.org"}, "Type an address that starts with https://."),
        ({"issuer": "https://u@id.example.org"}, "Type an address that starts with https://."),
        ({"issuer": "https://id.example.org/?a"}, "Type an address that starts with https://."),
        ({"issuer": "javascript:alert(1)"}, "Type an address that starts with https://."),
        ({"client_id": ""}, "Type the client ID that your provider has given you."),
        ({"client_secret": ""}, "Type the client secret that your provider has given you."),
        ({"scopes": "email"}, "Type scopes separated by spaces. One of them must be openid."),
        ({"rules": "staff"}, "“staff” is not a rule."),
        ({"rules": "a = user\na = admin"}, "“a” has two rules. Remove one."),
        ({"rules": "a = nobody"}, "That role doesn't exist anymore. Choose another."),
    ],
)
async def test_a_wrong_value_adds_nothing(app, ada, lying, changes, sentence):
    answer = await ada.post("/admin/organizations", form_of(lying, **changes))
    assert answer.status_code == 422
    main = read(answer).one("main").text
    assert sentence in main
    assert await app.count("organizations") == 0


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/wrong", "There is no OpenID Connect provider at this address."),
        ("/", "The provider has another issuer than this."),
    ],
)
async def test_an_issuer_that_cannot_be_used_adds_nothing(app, ada, lying, path, sentence):
    answer = await ada.post("/admin/organizations", form_of(lying, issuer=f"{lying.issuer}{path}"))
    assert answer.status_code == 422
    assert sentence in read(answer).one("main").text
    assert await app.count("organizations") == 0


async def test_a_domain_belongs_to_one_organization(app, ada, lying):
    await add(ada, lying)
    answer = await ada.post("/admin/organizations", form_of(lying, label="Other"))
    assert "There is already an organization with this domain." in answer.text
    assert await app.rows("SELECT label FROM organizations") == [("Example Corp",)]


async def test_a_private_host_is_refused_at_a_public_site(make_app, lying):
    app = await make_app(BASE_URL="https://accounts.example.net")
    ada = await app.admin()
    answer = await ada.post("/admin/organizations", form_of(lying))
    assert "This address is in a private network." in read(answer).one("main").text
    assert await app.count("organizations") == 0
    assert lying.requests == []


# Verification.


async def test_a_dns_record_verifies_the_domain(app, ada, lying, dns):
    await add(ada, lying)
    facts = read(await ada.get(PAGE)).one(id="organization-verification").text
    proof = await proof_of(app)
    assert f"_latchkey.{DOMAIN}" in facts
    assert proof in facts
    dns.records[f"_latchkey.{DOMAIN}"] = [proof]
    assert (await ada.post(f"{PAGE}/verify")).status_code == 303
    assert await is_verified(app)
    assert [outcome for outcome, _ in await entries(app, "organization.verify")] == ["done"]
    charlie = await app.browser("Charlie")
    answer = await charlie.post("/login", {"email": f"a@{DOMAIN}", "password": ""})
    assert "Going to Example Corp" in answer.text


@pytest.mark.parametrize("records", [{}, {"_latchkey.example.org": ["other"]}])
async def test_without_its_record_a_domain_is_not_verified(app, ada, lying, dns, records):
    await add(ada, lying)
    dns.records |= records
    answer = await ada.post(f"{PAGE}/verify")
    assert answer.status_code == 422
    assert "We didn't find the record yet." in read(answer).one("main").text
    assert not await is_verified(app)
    assert [outcome for outcome, _ in await entries(app, "organization.verify")] == ["refused"]


async def test_a_silent_dns_server_verifies_nothing(app, ada, lying, dns):
    await add(ada, lying)
    dns.is_silent = True
    answer = await ada.post(f"{PAGE}/verify")
    assert answer.status_code == 422
    assert "We couldn't look the record up just now." in read(answer).one("main").text
    assert not await is_verified(app)


async def test_another_issuer_must_be_verified_again(app, ada, lying, dns, clock):
    await add(ada, lying)
    first = await proof_of(app)
    dns.records[f"_latchkey.{DOMAIN}"] = [first]
    await ada.post(f"{PAGE}/verify")
    with serving(LyingProvider(now=clock)) as other:
        assert (await ada.post(PAGE, form_of(other))).status_code == 303
    assert not await is_verified(app)
    assert await proof_of(app) != first
    assert (await ada.post(f"{PAGE}/verify")).status_code == 422
    assert not await is_verified(app)


# Changes.


async def test_a_change_keeps_the_secret_and_the_verification(app, ada, lying, dns):
    await add(ada, lying)
    dns.records[f"_latchkey.{DOMAIN}"] = [await proof_of(app)]
    await ada.post(f"{PAGE}/verify")
    before = await app.rows("SELECT client_secret, kid, proof FROM organizations")
    changes = {"label": "Renamed", "client_secret": "", "rules": "it = admin\nstaff = user"}
    answer = await ada.post(PAGE, form_of(lying, **changes, role_claim="groups"))
    assert answer.status_code == 303
    assert await app.rows("SELECT client_secret, kid, proof FROM organizations") == before
    assert await is_verified(app)
    rules = "SELECT claim_value, role FROM organization_roles ORDER BY position"
    assert await app.rows(rules) == [("it", "admin"), ("staff", "user")]
    page = read(await ada.get(PAGE))
    assert page.one(id="organization-rules").text.strip() == "it = admin\nstaff = user"
    await ada.post(PAGE, form_of(lying, allows_sign_up="", rules=""))
    assert await app.count("organization_roles") == 0
    assert (await app.rows("SELECT allows_sign_up FROM organizations"))[0][0] in (0, False)


async def test_an_organization_is_removed_and_its_users_stay(app, ada, lying):
    await add(ada, lying)
    users = await app.count("users")
    assert (await ada.post(f"{PAGE}/remove")).status_code == 303
    assert await app.count("organizations") == 0
    assert await app.count("users") == users
    assert len(await entries(app, "organization.remove")) == 1


@pytest.mark.parametrize("last", ["", "/verify", "/remove"])
async def test_an_unknown_domain_is_not_found(ada, lying, last):
    answer = await ada.post(f"/admin/organizations/example.net{last}", form_of(lying))
    assert answer.status_code == 404


async def test_a_deleted_role_takes_its_rules_along(app, ada, lying):
    await ada.post("/admin/roles", {"name": "editor", "label": "Editor"})
    await add(ada, lying, role_claim="groups", rules="staff = editor")
    assert (await ada.post("/admin/roles/editor/delete")).status_code == 303
    assert await app.count("organization_roles") == 0


# Rights.


@pytest.mark.parametrize("last", ["", f"/{DOMAIN}", f"/{DOMAIN}/verify", f"/{DOMAIN}/remove"])
async def test_a_demoted_administrator_changes_nothing(app, ada, lying, last):
    await app.create("Bob", "admin")
    await add(ada, lying)
    await app.change("UPDATE users SET role = 'user' WHERE name = 'Ada'")
    changes = {"label": "Changed"} if last else {"domain": "example.net"}
    answer = await ada.post(f"/admin/organizations{last}", form_of(lying, **changes))
    assert answer.status_code == 403
    rows = await app.rows("SELECT domain, label, verified_at FROM organizations")
    assert rows == [(DOMAIN, "Example Corp", None)]


@pytest.mark.asvs("S28")
@pytest.mark.parametrize(
    ("last", "event"),
    [
        ("", "organization.add"),
        (f"/{DOMAIN}", "organization.change"),
        (f"/{DOMAIN}/verify", "organization.verify"),
        (f"/{DOMAIN}/remove", "organization.remove"),
    ],
)
async def test_a_change_waits_for_a_recent_confirmation(app, ada, lying, dns, clock, last, event):
    if last:
        await add(ada, lying)
        dns.records[f"_latchkey.{DOMAIN}"] = [await proof_of(app)]
    clock.move(minutes=11)
    answer = await ada.post(f"/admin/organizations{last}", form_of(lying))
    assert answer.status_code == 403
    assert await entries(app, event) == []
    form = read(answer).one(id="confirm-form")
    fields = {
        field.attrs["name"]: field.attrs["value"] for field in form.all("input", type="hidden")
    }
    await ada.confirm(**fields)
    assert [outcome for outcome, _ in await entries(app, event)] == ["done"]


async def test_the_pages_exist_only_with_the_setting(make_app, lying):
    app = await make_app(ORGANIZATIONS="off")
    ada = await app.admin()
    assert "/admin/organizations" not in (await ada.get("/admin/users")).text
    assert (await ada.get("/admin/organizations")).status_code == 404
    assert (await ada.post("/admin/organizations", form_of(lying))).status_code == 404
    assert await app.count("organizations") == 0
