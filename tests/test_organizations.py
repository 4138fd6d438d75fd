"""Tests of the pages on which administrators bind the domain of an organization to its provider."""

import json
import logging
from collections.abc import Iterator

import pytest

from db.access import organizations
from db.crypto.secret import Secret
from db.errors import Forbidden, StateChanged
from db.organizations import changes
from db.organizations.changes import MAX_ORGANIZATIONS
from db.organizations.lookup import OrganizationData
from db.viewer import Operator
from tests.browser_client import HTMX, Browser, read
from tests.confirmations import confirmed
from tests.conftest import Clock, TestApp
from tests.dns_server import DnsServer, serving_dns
from tests.environment import SECRET
from tests.lying_provider import CLIENT_ID, CLIENT_SECRET, LyingProvider, serving
from tests.organizations import bind

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


async def secret_of(app: TestApp) -> str:
    """Returns the client secret of the only organization, decrypted."""
    ((encrypted, kid),) = await app.rows("SELECT client_secret, kid FROM organizations")
    secret = app.store.client_secrets.decrypt(DOMAIN, encrypted, kid)
    assert secret is not None
    return secret.reveal().decode()


async def connect_identities(app: TestApp, name: str, issuer: str) -> None:
    """Gives a user two identities that the provider of the organization has asserted."""
    for subject in (f"{name}-1", f"{name}-2"):
        await app.change(
            "INSERT INTO identities (id, user_id, provider, issuer, subject, label, created_at) "
            f"SELECT '{subject}', id, '{DOMAIN}', '{issuer}', '{subject}', '', created_at "
            f"FROM users WHERE name = '{name}'"
        )


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


async def test_the_uris_to_register_are_shown(ada, lying):
    text = read(await ada.get("/admin/organizations")).one("main").text
    assert "http://localhost:8000/login/with/example.com/callback" in text
    await add(ada, lying)
    page = read(await ada.get(PAGE))
    values = [value.text.strip() for value in page.all("dd")]
    assert f"http://localhost:8000/login/with/{DOMAIN}/callback" in values
    assert f"http://localhost:8000/login/with/{DOMAIN}/logout" in values
    assert page.one("input", name="issuer").attrs["dir"] == "ltr"


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
        ({"rules": "= user"}, "“= user” is not a rule."),
        (
            {"rules": "\n".join(f"group-{number} = user" for number in range(51))},
            "An organization can have at most 50 rules.",
        ),
        ({"client_secret": "x" * 2001}, "This is too long for a client secret."),
        ({"client_id": "schlüssel"}, "Type the client ID that your provider has given you."),
        ({"role_claim": "x" * 201}, "This is too long for the name of a claim."),
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


async def test_an_address_without_a_server_adds_nothing(app, ada, lying):
    answer = await ada.post("/admin/organizations", form_of(lying, issuer="http://127.0.0.1:9"))
    assert answer.status_code == 422
    sentence = "We couldn't connect to this address. Check it for typing errors."
    assert sentence in read(answer).one(id="organization-issuer-message").text
    assert await app.count("organizations") == 0


async def test_the_form_keeps_what_was_typed_except_the_secret(app, ada, lying):
    fields = form_of(lying, domain="", rules="staff = user", role_claim="groups")
    for headers in ({}, HTMX):
        answer = await ada.post("/admin/organizations", fields, **headers)
        assert answer.status_code == 422
        form = read(answer).one(id="organization-form")
        for name in ("label", "issuer", "client_id", "scopes", "role_claim"):
            assert form.one("input", name=name).attrs["value"] == fields[name]
        assert form.one("textarea").text.strip() == "staff = user"
        assert "checked" in form.one("input", name="allows_sign_up").attrs
        assert form.one("input", name="client_secret").attrs["value"] == ""
    assert await app.count("organizations") == 0


async def test_an_organization_beyond_the_limit_is_not_added(app, ada, lying):
    for number in range(MAX_ORGANIZATIONS):
        await bind(app.store, lying, domain=f"number-{number}.example.org")
    answer = await ada.post("/admin/organizations", form_of(lying))
    assert answer.status_code == 422
    assert "There are too many organizations." in read(answer).one("main").text
    assert await app.count("organizations") == MAX_ORGANIZATIONS


async def test_people_link_to_the_page(ada):
    links = read(await ada.get("/admin/users")).all("a", href="/admin/organizations")
    assert [link.text.strip() for link in links] == ["Log-in"]


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


# The client secret.


async def test_the_stored_secret_is_the_typed_one(app, ada, lying):
    await add(ada, lying)
    assert await secret_of(app) == CLIENT_SECRET
    await ada.post(PAGE, form_of(lying, client_secret="another-secret"))
    assert await secret_of(app) == "another-secret"
    await ada.post(PAGE, form_of(lying, client_secret=""))
    assert await secret_of(app) == "another-secret"


async def test_a_new_issuer_does_not_get_the_secret_of_the_former(app, ada, lying, clock):
    await add(ada, lying)
    with serving(LyingProvider(now=clock)) as other:
        answer = await ada.post(PAGE, form_of(other, client_secret=""))
    assert answer.status_code == 422
    assert "Type the client secret that your provider has given you." in answer.text
    assert await app.rows("SELECT issuer FROM organizations") == [(lying.issuer,)]
    assert await secret_of(app) == CLIENT_SECRET


@pytest.mark.asvs("S52")
async def test_no_log_line_and_no_entry_has_the_secret(app, ada, lying, caplog):
    caplog.set_level(logging.DEBUG)
    await add(ada, lying)
    await ada.post(PAGE, form_of(lying, issuer="http://127.0.0.1:9"))
    await ada.post(PAGE, form_of(lying, rules="x = nobody"))
    await ada.post(f"{PAGE}/remove")
    assert CLIENT_SECRET not in caplog.text
    assert await app.rows(f"SELECT 1 FROM audit WHERE detail LIKE '%{CLIENT_SECRET}%'") == []
    export = await ada.get("/admin/audit/export?format=csv")
    assert export.status_code == 200
    assert CLIENT_SECRET not in export.text


def test_the_secret_has_no_representation():
    data = OrganizationData("Example", "", "", Secret(CLIENT_SECRET), "openid", False, "", ())
    assert CLIENT_SECRET not in repr(data)


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


async def test_a_proof_that_was_replaced_verifies_nothing(app, ada, lying):
    """Another administrator has changed the issuer while the record was looked up."""
    await add(ada, lying)
    operator = Operator(app.store)
    with pytest.raises(StateChanged):
        await changes.verify(operator, DOMAIN, "latchkey-verification=another")
    assert not await is_verified(app)
    assert await entries(app, "organization.verify") == []
    await changes.verify(operator, DOMAIN, await proof_of(app))
    assert await is_verified(app)


async def test_a_verified_page_has_no_record_and_no_button(app, ada, lying):
    await bind(app.store, lying, domain=DOMAIN)
    section = read(await ada.get(PAGE)).one(id="organization-verification")
    assert "Verified" in section.text
    assert section.all("form") == []
    assert "proof" not in section.text


@pytest.mark.parametrize("language", ["en", "de", "ar"])
@pytest.mark.parametrize("users", [0, 1, 2])
async def test_the_page_counts_the_users_in_every_language(app, ada, lying, language, users):
    await bind(app.store, lying, domain=DOMAIN, is_verified=False)
    for name in ("Grace", "Charlie")[:users]:
        await app.create(name)
        await connect_identities(app, name, lying.issuer)
    await ada.post("/language", {"language": language})
    for path in (PAGE, "/admin/organizations"):
        answer = await ada.get(path)
        assert answer.status_code == 200
        assert f'lang="{language}"' in answer.text
    if language == "en":
        words = ["0 users have", "1 user has", "2 users have"][users]
        lead = read(await ada.get(PAGE)).one("p", **{"class": "lead"}).text
        assert lead == f"{words} logged in with {DOMAIN}."
        row = read(await ada.get("/admin/organizations")).one("tr", data_organization=DOMAIN)
        assert row.one("td", data_label="Users").text.strip() == str(users)


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


async def test_an_organization_is_removed_and_its_users_stay(app, ada, alice, lying):
    await add(ada, lying, role_claim="groups", rules="staff = user")
    await connect_identities(app, "Alice", lying.issuer)
    tables = ("users", "identities", "sessions")
    before = [await app.count(table) for table in tables]
    assert (await ada.post(f"{PAGE}/remove")).status_code == 303
    assert [await app.count(table) for table in ("organizations", "organization_roles")] == [0, 0]
    assert [await app.count(table) for table in tables] == before
    assert await alice.is_logged_in()
    assert await entries(app, "organization.remove") == [
        ("done", {"domain": DOMAIN, "issuer": lying.issuer})
    ]
    assert "No longer offered here" in (await alice.get("/account/security")).text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"label": ""}, "Please enter a name."),
        ({"issuer": "http://127.0.0.1:9"}, "We couldn't connect to this address."),
        ({"rules": "x = nobody"}, "That role doesn't exist anymore. Choose another."),
    ],
)
async def test_a_refused_change_changes_nothing(app, ada, lying, changes, sentence):
    await add(ada, lying, role_claim="groups", rules="staff = user")
    columns = "label, issuer, client_secret, role_claim, proof"
    before = await app.rows(f"SELECT {columns} FROM organizations")
    fields = form_of(lying, **{"label": "Changed", "client_secret": "x", **changes})
    for headers in ({}, HTMX):
        answer = await ada.post(PAGE, fields, **headers)
        assert answer.status_code == 422
        assert sentence in read(answer).one(id="organization").text
    assert await app.rows(f"SELECT {columns} FROM organizations") == before
    assert await app.count("organization_roles") == 1
    assert await entries(app, "organization.change") == []


async def test_too_many_changes_are_refused(make_app, lying):
    app = await make_app(RATE_LIMITS="enforce", LIMIT_ADMIN_CHANGE="1/1m")
    ada = await app.admin()
    await add(ada, lying)
    answer = await ada.post("/admin/organizations", form_of(lying, domain="example.net"))
    assert answer.status_code == 429
    assert "Nothing was changed." in answer.text
    for last in ("/verify", "/remove"):
        assert (await ada.post(f"{PAGE}{last}")).status_code == 429
    assert await app.rows("SELECT domain FROM organizations") == [(DOMAIN,)]
    assert not await is_verified(app)


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


@pytest.mark.asvs("S37")
async def test_a_demoted_administrator_is_refused_in_the_transaction(app, ada, admin, lying, dns):
    await add(ada, lying)
    dns.records[f"_latchkey.{DOMAIN}"] = [await proof_of(app)]
    await app.create("Bob", "admin")
    await app.change("UPDATE users SET role = 'user' WHERE name = 'Ada'")
    data = OrganizationData("Changed", lying.issuer, "id", None, "openid", True, "", ())
    sudo = confirmed(admin)
    for change in (
        organizations.create(sudo, "example.net", data),
        organizations.change(sudo, DOMAIN, data),
        organizations.verify(sudo, DOMAIN),
        organizations.remove(sudo, DOMAIN),
    ):
        with pytest.raises(Forbidden):
            await change
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
