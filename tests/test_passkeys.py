"""Tests of the page of passkeys: adding, renaming and removing them."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from db.access import passkeys
from db.errors import LastWayIn, NotFound, NotLoggedIn
from db.factors.changes import FactorChange
from db.factors.passkey_names import NAMES
from db.sessions.claims import decode_claims
from db.sessions.lifecycle import get_viewer
from db.sessions.sudo import require_sudo
from tests.access.test_passkey_ceremonies import GARBAGE, WRONG
from tests.browser_client import HTMX, IPHONE, PASSWORD, Browser, Element, read
from tests.conftest import TestApp
from tests.databases import DATABASE_TYPES
from tests.passkeys import PAGE, add_passkey, creation_fields, hidden_fields, passkey_form
from tests.soft_authenticator import SoftAuthenticator, encode

YUBIKEY = "2fc0579f-8113-47ea-b116-bb5a8db9202a"
SAVE_FIRST = "Save the codes, then tick this box. You need them if you lose your second step."
LAST_WAY_IN = "This is the last way into your account"


async def items(user: Browser) -> list[Element]:
    return read(await user.get(PAGE)).all(data_passkey=True)


async def path_of_passkey(user: Browser, action: str = "", number: int = 0) -> str:
    listed = await items(user)
    return f"{PAGE}/{listed[number].attrs['data-passkey']}{action}"


async def test_a_passkey_is_added_and_listed(app: TestApp, alice: Browser) -> None:
    assert await items(alice) == []
    await add_passkey(alice)
    (item,) = await items(alice)
    assert item.one("h2").text == "iCloud Keychain"
    assert "Synced to your other devices" in item.text
    assert "Never used" in item.text
    assert await app.count("passkeys") == 1
    entries = await app.rows("SELECT outcome, detail FROM audit WHERE event = 'factor.add'")
    detail = {"factor": "passkey", "label": "iCloud Keychain"}
    assert [(outcome, json.loads(text)) for outcome, text in entries] == [("done", detail)]


async def test_the_next_page_says_that_the_passkey_was_added(alice: Browser) -> None:
    await add_passkey(alice)
    texts = [line.text for line in read(await alice.get(PAGE)).all("p", role="status")]
    assert "Passkey added." in texts
    assert "Passkey added." not in read(await alice.get(PAGE)).text


async def test_htmx_is_redirected_after_a_passkey_was_added(app: TestApp, alice: Browser) -> None:
    fields = await creation_fields(alice, SoftAuthenticator())
    answer = await alice.post_fragment(PAGE, fields)
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, PAGE)
    assert await app.count("passkeys") == 1


async def test_a_passkey_without_backup_is_on_one_device(alice: Browser) -> None:
    await add_passkey(alice, SoftAuthenticator(is_synced=False, aaguid=YUBIKEY))
    (item,) = await items(alice)
    assert item.one("h2").text == "YubiKey 5 NFC"
    assert "On one device only" in item.text


async def test_an_unknown_authenticator_is_named_by_browser_and_system(alice: Browser) -> None:
    await add_passkey(alice, SoftAuthenticator(aaguid="00000000-0000-0000-0000-000000000000"))
    (item,) = await items(alice)
    assert item.one("h2").text == "Firefox on Linux"


async def test_a_passkey_can_be_named_when_it_is_added(alice: Browser) -> None:
    await add_passkey(alice, name="  My laptop ")
    (item,) = await items(alice)
    assert item.one("h2").text == "My laptop"


def test_the_table_of_authenticators_is_canonical() -> None:
    assert all(len(aaguid) == 36 and aaguid == aaguid.lower() for aaguid in NAMES)


# The recovery codes of the first second step


async def test_the_first_passkey_stores_the_codes_of_its_page(app: TestApp, alice: Browser) -> None:
    page = read(await alice.get(PAGE))
    codes = page.all(data_code=True)
    assert len({code.attrs["data-code"] for code in codes}) == 10
    assert await app.count("recovery_codes") == 0
    await add_passkey(alice)
    assert await app.count("recovery_codes") == 10
    assert read(await alice.get(PAGE)).all(data_code=True) == []
    assert await app.rows("SELECT has_factor FROM users") in ([(1,)], [(True,)])


async def test_the_second_passkey_keeps_the_codes(app: TestApp, alice: Browser) -> None:
    await add_passkey(alice)
    before = await app.rows("SELECT code_hash FROM recovery_codes ORDER BY code_hash")
    await add_passkey(alice)
    after = await app.rows("SELECT code_hash FROM recovery_codes ORDER BY code_hash")
    assert (len(before), after) == (10, before)


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
async def test_the_first_passkey_needs_saved_codes(
    app: TestApp, alice: Browser, headers: dict
) -> None:
    fields = await creation_fields(alice, SoftAuthenticator(), saved="")
    answer = await alice.post(PAGE, fields, **headers)
    assert answer.status_code == 422
    assert SAVE_FIRST in read(answer).one(id="saved-message").text
    assert (await app.count("passkeys"), await app.count("recovery_codes")) == (0, 0)
    if headers:  # The codes of the page stay valid.
        assert hidden_fields(passkey_form(answer))["enrolment"] == fields["enrolment"]
        assert (await alice.post(PAGE, fields | {"saved": "on"})).status_code == 303


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
@pytest.mark.parametrize("enrolment", ["", "garbage", "\x00"])
async def test_a_first_passkey_without_valid_codes_is_refused(
    app: TestApp, alice: Browser, enrolment: str, headers: dict
) -> None:
    fields = await creation_fields(alice, SoftAuthenticator(), enrolment=enrolment)
    answer = await alice.post(PAGE, fields, **headers)
    page = read(answer)
    assert answer.status_code == 409
    assert "these are new recovery codes" in page.one(id="error-summary").text
    assert len(page.all(data_code=True)) == 10
    assert "checked" not in page.one(id="saved").attrs
    assert await app.count("passkeys") == 0


async def test_codes_of_a_page_expire(app: TestApp, alice: Browser) -> None:
    fields = await creation_fields(alice, SoftAuthenticator())
    app.clock.move(minutes=9)
    fresh = await creation_fields(alice, SoftAuthenticator())
    app.clock.move(seconds=30)
    kept = {name: fresh[name] for name in ("credential", "challenge")}
    assert (await alice.post(PAGE, fields | kept)).status_code == 303
    assert await app.count("recovery_codes") == 10


async def test_codes_of_another_session_are_refused(
    app: TestApp, alice: Browser, alices_phone: Browser
) -> None:
    phone = await creation_fields(alices_phone, SoftAuthenticator())
    fields = await creation_fields(alice, SoftAuthenticator(), enrolment=phone["enrolment"])
    assert (await alice.post(PAGE, fields)).status_code == 409
    assert await app.count("passkeys") == 0


# Refusals


@pytest.mark.asvs("S25")
@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
async def test_a_wrong_answer_of_the_browser_adds_nothing(
    app: TestApp, alice: Browser, case: str, headers: dict
) -> None:
    fields = await creation_fields(alice, SoftAuthenticator(**WRONG[case]))
    answer = await alice.post(PAGE, fields, **headers)
    assert answer.status_code == 422
    assert "The passkey could not be added." in read(answer).one(id="error-summary").text
    assert (await app.count("passkeys"), await app.count("recovery_codes")) == (0, 0)
    assert await alice.is_logged_in()


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_adds_nothing(app: TestApp, alice: Browser, garbage: str) -> None:
    fields = await creation_fields(alice, SoftAuthenticator())
    for change in ({"credential": garbage}, {"challenge": garbage}):
        assert (await alice.post(PAGE, fields | change)).status_code == 422
    assert await app.count("passkeys") == 0


@pytest.mark.asvs("S12")
async def test_a_creation_cannot_be_sent_twice(app: TestApp, alice: Browser) -> None:
    await add_passkey(alice)
    fields = await creation_fields(alice, SoftAuthenticator())
    assert (await alice.post(PAGE, fields)).status_code == 303
    await app.change("DELETE FROM passkeys WHERE last_used_at IS NULL")
    # The session was replaced, and the challenge belongs to the former one.
    assert (await alice.post(PAGE, fields)).status_code == 422
    assert await app.count("passkeys") == 0


@pytest.mark.asvs("S11")
async def test_a_challenge_of_another_session_is_refused(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    fields = await creation_fields(alice, SoftAuthenticator())
    bobs = await creation_fields(bob, SoftAuthenticator())
    stolen = bobs | {name: fields[name] for name in ("credential", "challenge")}
    assert (await bob.post(PAGE, stolen | {"viewer": bobs["viewer"]})).status_code == 422
    assert await app.count("passkeys") == 0


@pytest.mark.asvs("S26")
async def test_a_passkey_belongs_to_one_account(app: TestApp, alice: Browser, bob: Browser) -> None:
    authenticator = await add_passkey(alice)
    answer = await bob.post(PAGE, await creation_fields(bob, authenticator))
    assert answer.status_code == 422
    assert "already belongs to an account" in read(answer).one(id="error-summary").text
    assert await app.count("passkeys") == 1
    assert await app.count("recovery_codes") == 10
    ((has_factor,),) = await app.rows("SELECT has_factor FROM users WHERE name = 'Bob'")
    assert not has_factor


async def test_own_passkeys_are_excluded_from_creation(alice: Browser) -> None:
    authenticator = await add_passkey(alice)
    options = json.loads(passkey_form(await alice.get(PAGE)).attrs["data-options"])
    excluded = [item["id"] for item in options["excludeCredentials"]]
    assert excluded == [encode(authenticator.credential_id)]
    assert options["user"]["name"] == "alice@example.com"


async def test_an_account_has_at_most_twenty_passkeys(app: TestApp, alice: Browser) -> None:
    await add_passkey(alice)
    fields = await creation_fields(alice, SoftAuthenticator())
    columns = "public_key, rp_id, 0, aaguid, transports, backed_up, name, created_at, NULL"
    for number in range(19):
        await app.change(
            f"INSERT INTO passkeys SELECT '{number}', user_id, 'c{number}', {columns}"
            " FROM passkeys WHERE length(id) > 2"
        )
    answer = await alice.post(PAGE, fields)
    assert answer.status_code == 422
    assert await app.count("passkeys") == 20
    assert "You have too many passkeys." in read(await alice.get(PAGE)).text


@pytest.mark.parametrize(
    "name", ["x" * 61, "two\nlines", "\x00", "a" + "\u0301" * 40], ids=range(4)
)
async def test_an_invalid_name_adds_nothing(app: TestApp, alice: Browser, name: str) -> None:
    fields = await creation_fields(alice, SoftAuthenticator(), name=name)
    answer = await alice.post(PAGE, fields)
    assert answer.status_code == 422
    assert read(answer).one(id="name").attrs["aria-invalid"] == "true"
    assert await app.count("passkeys") == 0


async def test_changes_are_limited_per_account(make_app: Callable) -> None:
    app = await make_app(RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    fields = await creation_fields(alice, SoftAuthenticator())
    for _ in range(10):
        answer = await alice.post(PAGE, fields | {"credential": "{}"})
        assert answer.status_code == 422
    answer = await alice.post(PAGE, fields)
    assert (answer.status_code, "retry-after" in answer.headers) == (429, True)
    assert await app.count("passkeys") == 0


async def test_a_site_at_an_ip_address_offers_no_passkeys(make_app: Callable) -> None:
    app = await make_app(BASE_URL="http://127.0.0.1:8000")
    alice = await app.sign_up_user("Alice")
    answer = await alice.get(PAGE)
    assert (answer.status_code, "passkey-form" in answer.text) == (200, False)
    assert "this site has only an IP address" in answer.text
    assert (await alice.post(PAGE, {"saved": "on", "credential": "{}"})).status_code in (409, 422)


# Sessions


@pytest.mark.asvs("S16")
@pytest.mark.parametrize("strategy", ["database", "stateless"])
async def test_a_new_passkey_ends_the_other_sessions(make_app: Callable, strategy: str) -> None:
    app = await make_app(SESSION_STRATEGY=strategy)
    alice = await app.sign_up_user("Alice")
    phone = replace(await app.browser("Alice"), user_agent=IPHONE)
    assert (await phone.log_in()).status_code == 303
    before = alice.cookie
    app.clock.move(seconds=1)
    await add_passkey(alice)
    assert alice.cookie != before
    assert (await alice.is_logged_in(), await phone.is_logged_in()) == (True, False)
    thief = await app.browser("Charlie")
    thief.cookie = before
    assert not await thief.is_logged_in()


@pytest.mark.asvs("S26")
@pytest.mark.parametrize("action", ["add", "remove"])
async def test_a_change_needs_a_recent_confirmation(
    app: TestApp, alice: Browser, action: str
) -> None:
    await add_passkey(alice)
    fields = await creation_fields(alice, SoftAuthenticator())
    path = await path_of_passkey(alice, "/remove")
    app.clock.move(minutes=11)
    answer = await (
        alice.post(PAGE, fields) if action == "add" else alice.post(path, {"sure": "yes"})
    )
    assert answer.status_code != 200
    assert "location" not in answer.headers or "/confirm" in answer.headers["location"]
    assert await app.count("passkeys") == 1
    assert (await alice.get(PAGE)).status_code != 200


async def test_adding_a_passkey_runs_few_statements(app: TestApp, alice: Browser) -> None:
    counts = []
    for _ in range(2):
        fields = await creation_fields(alice, SoftAuthenticator())
        before = app.statements
        assert (await alice.post(PAGE, fields)).status_code == 303
        counts.append(app.statements - before)
    assert counts == [17, 15]  # the first with recovery codes


# Names


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
async def test_a_passkey_is_renamed(app: TestApp, alice: Browser, headers: dict) -> None:
    await add_passkey(alice)
    answer = await alice.post(await path_of_passkey(alice), {"name": "My <b>key</b>"}, **headers)
    assert answer.status_code == (200 if headers else 303)
    (item,) = await items(alice)
    assert item.one("h2").text == "My <b>key</b>"
    assert await alice.is_logged_in()


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
@pytest.mark.parametrize("name", ["", "   ", "x" * 61, "\x00"], ids=range(4))
async def test_an_invalid_new_name_changes_nothing(
    alice: Browser, name: str, headers: dict
) -> None:
    await add_passkey(alice)
    answer = await alice.post(await path_of_passkey(alice), {"name": name}, **headers)
    assert answer.status_code == 422
    (field,) = [field for field in read(answer).all("input", name="name") if "id" in field.attrs]
    assert field.attrs["aria-invalid"] == "true"
    (item,) = await items(alice)
    assert item.one("h2").text == "iCloud Keychain"


@pytest.mark.asvs("S05")
async def test_a_user_cannot_change_another_users_passkey(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    await add_passkey(alice)
    for path in (await path_of_passkey(alice), f"{PAGE}/unknown"):
        assert (await bob.post(path, {"name": "Mine"})).status_code == 404
        assert (await bob.post(f"{path}/remove")).status_code == 404
    assert await app.rows("SELECT name FROM passkeys") == [("iCloud Keychain",)]
    assert await bob.is_logged_in()


# Removal


async def test_a_passkey_is_removed(app: TestApp, alice: Browser, alices_phone: Browser) -> None:
    authenticator = await add_passkey(alice)
    await add_passkey(alice)
    before = alice.cookie
    names = [item.attrs["data-passkey"] for item in await items(alice)]
    answer = await alice.post(f"{PAGE}/{names[0]}/remove")
    assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
    assert [item.attrs["data-passkey"] for item in await items(alice)] == names[1:]
    assert await app.count("recovery_codes") == 10
    assert alice.cookie != before
    assert authenticator is not None


async def test_the_response_to_a_removal_has_forms_that_work(app: TestApp, alice: Browser) -> None:
    await add_passkey(alice)
    answer = await alice.post_fragment(await path_of_passkey(alice, "/remove"))
    page = read(answer)
    assert (answer.status_code, page.all(data_passkey=True)) == (200, [])
    assert page.one(id="passkey-list").attrs["data-accepted"] == ""
    assert "Passkey removed." in answer.text
    form = page.one("form", id="passkey-form")
    authenticator = SoftAuthenticator()
    credential = authenticator.create(form.attrs["data-options"])
    sent = hidden_fields(form) | {"credential": credential, "saved": "on"}
    assert (await alice.post(PAGE, sent)).status_code == 303
    assert await app.count("recovery_codes") == 10


async def test_the_codes_are_deleted_with_the_last_factor(app: TestApp, alice: Browser) -> None:
    await add_passkey(alice)
    assert (await alice.post(await path_of_passkey(alice, "/remove"))).status_code == 303
    assert (await app.count("passkeys"), await app.count("recovery_codes")) == (0, 0)
    ((has_factor,),) = await app.rows("SELECT has_factor FROM users")
    assert not has_factor
    assert (await (await app.browser("Alice")).log_in()).headers["location"] == "/dashboard"


@pytest.mark.asvs("S101")
@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
async def test_the_last_way_into_an_account_is_kept(
    app: TestApp, alice: Browser, headers: dict
) -> None:
    await add_passkey(alice)
    await app.change("UPDATE users SET password_hash = '!'")
    answer = await alice.post(await path_of_passkey(alice, "/remove"), **headers)
    assert answer.status_code == 409
    assert LAST_WAY_IN in answer.text
    assert "Go to the security page" in answer.text
    assert await app.count("passkeys") == 1
    assert await alice.is_logged_in()


async def test_a_passkey_of_another_domain_is_no_way_into_an_account(
    app: TestApp, alice: Browser
) -> None:
    await add_passkey(alice)
    app.clock.move(seconds=1)
    await add_passkey(alice)
    newest, oldest = [item.attrs["data-passkey"] for item in await items(alice)]
    await app.change(
        "UPDATE users SET password_hash = '!'",
        f"UPDATE passkeys SET rp_id = 'old.example.com' WHERE id = '{oldest}'",
    )
    assert (await alice.post(f"{PAGE}/{newest}/remove")).status_code == 409
    removal = await alice.post(f"{PAGE}/{oldest}/remove")
    assert removal.status_code == 303, read(removal).one("main").text
    assert await app.count("passkeys") == 1


async def test_an_administrator_keeps_the_last_required_factor(make_app: Callable) -> None:
    app = await make_app(REQUIRE_FACTOR="admins")
    ada = await app.admin("Ada")
    await add_passkey(ada)
    page = read(await ada.get(PAGE)).one(id="passkeys")
    assert page.all("button", **{"class": "danger"}) == []
    assert "Add another before you remove this one." in page.text
    answer = await ada.post(await path_of_passkey(ada, "/remove"))
    assert (answer.status_code, await app.count("passkeys")) == (409, 1)
    assert (
        read(answer)
        .one("main")
        .one("a", **{"href": "/account/security", "class": "button primary"})
    )
    await add_passkey(ada)
    assert (
        len(read(await ada.get(PAGE)).one(id="passkeys").all("button", **{"class": "danger"})) == 2
    )
    assert (await ada.post(await path_of_passkey(ada, "/remove"))).status_code == 303


@pytest.mark.parametrize("strategy", ["database", "stateless"])
@pytest.mark.parametrize("database_type", DATABASE_TYPES)
async def test_fifty_removals_of_ten_passkeys_keep_one(make_app: Callable, strategy: str) -> None:
    app = await make_app(SESSION_STRATEGY=strategy)
    alice = await app.sign_up_user("Alice")
    for _ in range(10):
        await add_passkey(alice)
        app.clock.move(seconds=1)
    await app.change("UPDATE users SET password_hash = '!'")
    ids = [item.attrs["data-passkey"] for item in await items(alice)]
    session, confirmation = alice.cookie, alice.client.cookies.get("sudo")
    results: list[object] = []
    while len(results) < 50 or await app.count("passkeys") > 1:
        claims = decode_claims(app.store, session)
        sudo = require_sudo(await get_viewer(app.store, claims), claims, confirmation)
        removals = (passkeys.remove_passkey(sudo, id) for id in ids)
        results += await asyncio.gather(*removals, return_exceptions=True)
        # A removal ends the session, and starts another one.
        for change in results[-10:]:
            if isinstance(change, FactorChange) and change.session.sudo:
                session = change.session.session.value.reveal()
                confirmation = change.session.sudo.value.reveal()
    types = {type(result) for result in results}
    assert types <= {FactorChange, LastWayIn, NotFound, NotLoggedIn}
    removed = [result for result in results if isinstance(result, FactorChange)]
    assert len(removed) == 9
    assert await app.count("passkeys") == 1
    assert await app.count("recovery_codes") == 10


@pytest.mark.asvs("S114")
async def test_the_well_known_url_names_the_page(make_app: Callable) -> None:
    app = await make_app(BASE_URL="https://example.com", BASE_PATH="/auth")
    anonymous = await app.browser("Charlie")
    answer = await anonymous.get("/.well-known/passkey-endpoints")
    page = "https://example.com/auth/account/passkeys"
    assert (answer.status_code, answer.json()) == (200, {"enroll": page, "manage": page})
    assert answer.headers["content-type"] == "application/json"


async def test_the_page_shows_no_secret_of_a_passkey(app: TestApp, alice: Browser) -> None:
    await add_passkey(alice)
    ((public_key,),) = await app.rows("SELECT public_key FROM passkeys")
    assert public_key not in (await alice.get(PAGE)).text
    assert passkeys.Passkey.__dataclass_fields__.keys().isdisjoint({"public_key", "sign_count"})
    assert PASSWORD not in (await alice.get(PAGE)).text
