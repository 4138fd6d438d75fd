"""Tests of the download of everything that is stored about an account."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from db.access import data_export
from db.product import ProductData
from db.tables import metadata
from tests.browser_client import Browser, read
from tests.confirmations import confirmed
from tests.conftest import TestApp
from tests.mail import deliver, enabled_outbox, main_text, receive

BOTH_REQUEST_TYPES = pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
HASH = "it would help to guess the password, or to use a link or a session"
OWN_ID = "it is the id of the profile"
# Every column about a user that the file does not contain, with the reason.
LEFT_OUT = {
    "users.password_hash": HASH,
    "users.search_key": "it is derived from the name and the email",
    "sessions.user_id": OWN_ID,
    "sessions.token_hash": HASH,
    "tokens.hash": HASH,
    "tokens.user_id": OWN_ID,
    "outbox.id": "the link of the mail is derived from it",
    "outbox.kid": "it names a key of the program",
    "outbox.user_id": OWN_ID,
    "outbox.facts": "it is the content of a mail that waits to be sent",
    "outbox.due_at": "it is a state of the delivery",
    "outbox.expires_at": "it is a state of the delivery",
    "outbox.attempts": "it is a state of the delivery",
    "outbox.error": "it is a state of the delivery",
    "access_tokens.id": "it has no meaning outside of the database",
    "access_tokens.user_id": OWN_ID,
    "access_tokens.token_hash": HASH,
    "passkeys.id": "it has no meaning outside of the database",
    "passkeys.user_id": OWN_ID,
    "passkeys.credential_id": "it is a part of the key that only the user's device has",
    "passkeys.public_key": "it is a part of the key that only the user's device has",
    "passkeys.sign_count": "it is a state of the verification",
    "totp.user_id": OWN_ID,
    "totp.secret": "it makes the codes of the second step",
    "totp.kid": "it names a key of the program",
    "totp.last_step": "it is a state of the verification",
    "recovery_codes.code_hash": HASH,
    "recovery_codes.user_id": OWN_ID,
    "identities.id": "it has no meaning outside of the database",
    "identities.user_id": OWN_ID,
    "sessions.provider_subject_hash": "it marks the log-in at a provider, which identities names",
    "sessions.provider_sid_hash": "it marks a session at the provider",
    "invitations.id": "the link is derived from it",
    "invitations.token_hash": HASH,
    "invitations.mail_token_hash": HASH,
    "invitations.kid": "it names a key of the program",
    "invitations.invited_by": OWN_ID,
    "audit.kid": "it names a key of the program",
    "audit.mac": "it proves the order of the log, and says nothing about the user",
}
# The tables without a column about a user.
OTHER_TABLES = {
    *("roles", "role_permissions", "buckets"),  # The keys of buckets are MACs.
    *("organizations", "organization_roles"),
    *("trail_anchor", "trail_head"),
    "used_tokens",  # Their ids are random.
}
LISTS_BY_TABLE = {
    "users": data_export.PROFILE,
    "sessions": data_export.LISTS["sessions"],
    "tokens": data_export.LISTS["links"],
    "outbox": data_export.LISTS["mails"],
    "access_tokens": data_export.LISTS["access_tokens"],
    "passkeys": data_export.LISTS["passkeys"],
    "totp": data_export.LISTS["authenticator_apps"],
    "recovery_codes": data_export.LISTS["recovery_codes"],
    "identities": data_export.LISTS["identities"],
    "invitations": data_export.LISTS["invitations"],
    "audit": data_export.ENTRIES,
}


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app(mail=enabled_outbox())


async def id_of(app: TestApp, name: str) -> str:
    return (await app.rows(f"SELECT id FROM users WHERE name = '{name}'"))[0][0]


async def downloads(app: TestApp) -> list[tuple]:
    return await app.rows("SELECT outcome FROM audit WHERE event = 'data.download'")


def content(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    return json.loads(answer.text)


def test_every_column_about_a_user_is_exported_or_left_out_for_a_reason() -> None:
    assert {*metadata.tables} == {*LISTS_BY_TABLE, *OTHER_TABLES}
    for name, statement in LISTS_BY_TABLE.items():
        exported = {column.key for column in statement.clause.selected_columns}
        left_out = {
            column.partition(".")[2] for column in LEFT_OUT if column.startswith(f"{name}.")
        }
        columns = {column.key for column in metadata.tables[name].columns}
        assert exported | left_out == columns, name
        assert not exported & left_out, name


@pytest.mark.parametrize("strategy", ["database", "stateless"])
async def test_users_download_everything_about_their_account(
    make_app: Callable, strategy: str
) -> None:
    app = await make_app(mail=enabled_outbox(), SESSION_STRATEGY=strategy)
    alice = await app.sign_up_user("Alice")
    await alice.post("/account", {"name": "Alice Ä", "phone": "+1 555"})
    await alice.post("/account/email", {"email": "new@example.com"})
    await deliver(app)
    answer = await alice.post("/account/data")
    disposition = answer.headers["content-disposition"]
    assert disposition == 'attachment; filename="alice-data.json"'
    data = content(answer)
    assert data["profile"]["name"] == "Alice Ä"
    assert data["profile"]["phone"] == "+1 555"
    assert data["profile"]["created_at"] == "2026-11-24T09:12:00+00:00"
    sessions = [(one["browser"], one["ip_address"]) for one in data["sessions"]]
    assert sessions == ([("Firefox", "192.0.2.14")] if strategy == "database" else [])
    waiting = {(link["purpose"], link["email"]) for link in data["links"]}
    assert waiting == {("verify", alice.email), ("change", "new@example.com")}
    assert {mail["message_type"] for mail in data["mails"]} == {"verify", "change"}
    events = [(entry["event"], entry["ip_address"]) for entry in data["audit_log"]]
    assert events[0] == ("data.download", "192.0.2.14")
    assert {"signup", "profile.change", "email.ask"} <= {event for event, _ in events}
    assert data["audit_log_entries_left_out"] == 0
    assert "product" not in data
    assert await downloads(app) == [("done",)]
    assert "You downloaded the data of your account" in main_text(
        await alice.get("/account/activity")
    )


async def test_the_file_has_no_secret_and_nothing_about_others(
    app: TestApp, alice: Browser, bob: Browser, ada: Browser
) -> None:
    await ada.post(f"/admin/users/{await id_of(app, 'Alice')}/team", {"team": "Navy"})
    mail = await receive(app, "verify", alice.email)
    answer = await alice.post("/account/data")
    entry = next(one for one in content(answer)["audit_log"] if one["event"] == "team.change")
    assert entry["detail"] == {"from": "", "to": "Navy"}
    assert (entry["actor_id"], entry["ip_address"], entry["browser"]) == (None, "", "")
    secrets = [mail.id, mail.token.reveal(), alice.cookie, bob.email, await id_of(app, "Ada")]
    for table, column in (
        ("users", "password_hash"),
        ("sessions", "token_hash"),
        ("audit", "seal"),
    ):
        secrets += [row[0] for row in await app.rows(f"SELECT {column} FROM {table}")]
    assert [secret for secret in secrets if secret in answer.text] == []


async def test_the_file_has_the_invitations_and_access_tokens(app: TestApp, ada: Browser) -> None:
    await ada.post("/admin/invitations", {"email": "grace@example.com", "role": "user"})
    await app.change(
        "INSERT INTO access_tokens (id, user_id, name, token_hash, scopes, created_at, expires_at)"
        " SELECT 'a', id, 'backup', 'a', 'read', created_at, created_at FROM users"
    )
    data = content(await ada.post("/account/data"))
    assert [one["email"] for one in data["invitations"]] == ["grace@example.com"]
    assert [(one["name"], one["scopes"]) for one in data["access_tokens"]] == [("backup", "read")]


async def test_a_get_request_downloads_and_records_nothing(app: TestApp, alice: Browser) -> None:
    page = await alice.get("/account/data")
    form = read(page).one("form", id="data-form")
    assert form.attrs["method"] == "post"
    assert not [name for name in form.attrs if name.startswith("data-hx")]
    assert "content-disposition" not in page.headers
    assert await downloads(app) == []


async def test_downloads_are_rate_limited(make_app: Callable) -> None:
    app = await make_app(RATE_LIMITS="enforce")
    ada, alice = await app.admin(), await app.sign_up_user("Alice")
    path = f"/admin/users/{await id_of(app, 'Alice')}/data"
    for user, url in ((alice, "/account/data"), (ada, path)):
        for _ in range(5):
            content(await user.post(url))
        answer = await user.post(url)
        assert (answer.status_code, "Too many downloads" in answer.text) == (429, True)
        assert int(answer.headers["retry-after"]) > 0
    assert await downloads(app) == [("done",)] * 10


async def test_the_newest_audit_entries_come_first_and_the_others_are_counted(
    app: TestApp, alice: Browser
) -> None:
    await alice.post("/account", {"phone": "1"})
    alice_id = await id_of(app, "Alice")
    newest = await app.store.all(data_export.ENTRIES(user_id=alice_id, max_entries=1))
    assert [entry["event"] for entry in newest] == ["profile.change"]
    assert await app.store.value(data_export.COUNT_ENTRIES(user_id=alice_id)) == 2


# Administrators


async def test_an_administrator_downloads_the_data_of_a_user(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    path = f"/admin/users/{await id_of(app, 'Alice')}"
    form = read(await ada.get(path)).one("form", id="user-data")
    assert (form.attrs["method"], form.attrs["action"]) == ("post", f"{path}/data")
    assert not [name for name in form.attrs if name.startswith("data-hx")]
    data = content(await ada.post(f"{path}/data"))
    assert data["profile"]["email"] == alice.email
    assert data["audit_log"][0]["event"] == "data.download"
    text = main_text(await alice.get("/account/activity"))
    assert "An administrator downloaded the data of your account" in text
    assert "You downloaded the data of Alice's account" in main_text(
        await ada.get("/account/activity")
    )


async def test_a_user_cannot_download_the_data_of_another(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    path = f"/admin/users/{await id_of(app, 'Bob')}/data"
    answer = await alice.post(path)
    assert (answer.status_code, bob.email in answer.text) == (403, False)
    assert await downloads(app) == []


async def test_a_demoted_administrator_downloads_nothing(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    await app.create("Bob", "admin")
    await app.change_role(ada, "user")
    answer = await ada.post(f"/admin/users/{await id_of(app, 'Alice')}/data")
    assert (answer.status_code, alice.email in answer.text) == (403, False)
    assert await downloads(app) == []


async def test_the_data_of_an_unknown_user_is_not_found(app: TestApp, ada: Browser) -> None:
    assert (await ada.post("/admin/users/unknown/data")).status_code == 404
    assert await downloads(app) == []


# Products


async def test_a_product_adds_its_own_rows(app: TestApp, alice: Browser) -> None:
    viewer = await app.viewer_of(alice)

    async def export(caller: object, user_id: str) -> dict[str, Any]:
        assert caller is viewer_with_product
        return {"bookmarks": [{"url": "https://example.com", "user": user_id}]}

    store = replace(app.store, product=ProductData(export=export))
    viewer_with_product = replace(viewer, store=store)
    data = await data_export.download_own(confirmed(viewer_with_product))
    assert data is not None
    assert data["product"]["bookmarks"][0]["user"] == viewer.id
