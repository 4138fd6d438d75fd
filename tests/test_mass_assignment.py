"""Tests that every form and every live check reads only its own fields."""

from collections.abc import Callable

import pytest

from db.crypto.passwords import Passwords
from tests.browser_client import HTMX, PASSWORD, Browser, read
from tests.conftest import TestApp

EXTRA_FIELDS = {
    "id": "intruder",
    "user_id": "intruder",
    "email": "intruder@example.com",
    "email_verified": "1",
    "role": "admin",
    "is_admin": "true",
    "admin": "1",
    "team": "Intruder",
    "name": "Intruder",
    "slug": "intruder",
    "phone": "intruder",
    "password": "intruder-No.9",
    "password_hash": "intruder",
    "created_at": "1970-01-01T00:00:00.000000+00:00",
    "disabled_at": "1970-01-01T00:00:00.000000+00:00",
    "last_login_at": "1970-01-01T00:00:00.000000+00:00",
    "sessions_ended_at": "2999-01-01T00:00:00.000000+00:00",
    "session_id": "intruder",
    "sid": "intruder",
    "sub": "intruder",
    "token_hash": "intruder",
    "totp_secret": "intruder",
    "_method": "DELETE",
    "__class__": "intruder",
}
FORM_FIELDS = {
    "/signup": ["name", "email", "password"],
    "/account": ["name", "slug", "phone"],
    "/account/password": ["password", "current_password"],
}
FIELD_SPELLINGS = {
    "name[]": "Intruder",
    "user[role]": "admin",
    "user.role": "admin",
    "ROLE": "admin",
    "role ": "admin",
}
PRIVATE_COLUMNS = "id, email, team, role, created_at, disabled_at, last_login_at, sessions_ended_at"

pytestmark = pytest.mark.asvs("S36")


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


def make_fields(path: str = "", **own: str) -> dict[str, str]:
    """Returns every field that the form does not have, and the fields `own`."""
    return (
        {
            name: value
            for name, value in EXTRA_FIELDS.items()
            if name not in FORM_FIELDS.get(path, ())
        }
        | FIELD_SPELLINGS
        | own
    )


async def rows(app: TestApp, columns: str = "*", table: str = "users") -> list[tuple]:
    return await app.rows(f"SELECT {columns} FROM {table} ORDER BY id")


async def is_unchanged(app: TestApp) -> bool:
    """Returns whether neither table contains a value of an extra field."""
    stored = str([await rows(app, table=table) for table in ("users", "sessions")])
    return not any(word in stored.lower() for word in ("intruder", "1970-01-01", "2999-01-01"))


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_sign_up_reads_only_name_email_and_password(
    app: TestApp, anonymous: Browser, headers: dict
) -> None:
    fields = make_fields("/signup", name="Charlie", email=anonymous.email, password=PASSWORD)
    assert (await anonymous.post("/signup", fields, **headers)).status_code in (303, 204)
    assert await rows(
        app, "name, email, slug, phone, team, role, disabled_at, sessions_ended_at"
    ) == [("Charlie", anonymous.email, "charlie", "", "", "user", None, None)]
    assert await is_unchanged(app)
    assert (await anonymous.get("/admin/users")).status_code == 403


async def test_log_in_reads_only_email_and_password(app: TestApp, alice: Browser) -> None:
    before, laptop = (
        await rows(app, "id, email, name, role, team, password_hash, disabled_at"),
        await app.browser("A"),
    )
    answer = await laptop.post("/login", make_fields(email=alice.email, password=PASSWORD))
    assert answer.status_code == 303
    assert await rows(app, "id, email, name, role, team, password_hash, disabled_at") == before
    assert await is_unchanged(app)
    assert (await laptop.get("/admin/users")).status_code == 403


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_the_profile_form_reads_only_name_slug_and_phone(
    app: TestApp, alice: Browser, bob: Browser, headers: dict
) -> None:
    hashes, private = await rows(app, "password_hash"), await rows(app, PRIVATE_COLUMNS)
    await alice.post(
        "/account", make_fields("/account", name="Alice L", slug="alice-l", phone="1"), **headers
    )
    assert await app.rows("SELECT name, slug, phone FROM users ORDER BY email") == [
        ("Alice L", "alice-l", "1"),
        ("Bob", "bob", ""),
    ]
    assert (await rows(app, PRIVATE_COLUMNS), await rows(app, "password_hash")) == (private, hashes)
    assert await is_unchanged(app)


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_the_password_form_reads_only_the_two_passwords(
    app: TestApp, alice: Browser, bob: Browser, headers: dict
) -> None:
    columns = "id, email, name, slug, phone, team, role, disabled_at, last_login_at"
    before = await rows(app, columns)
    fields = make_fields("/account/password", current_password=PASSWORD, password="another-No.7")
    assert (await alice.post("/account/password", fields, **headers)).status_code in (303, 200)
    assert await rows(app, columns) == before
    assert await is_unchanged(app)
    assert [
        (await user.log_in(word)).status_code
        for user, word in ((alice, "another-No.7"), (bob, PASSWORD))
    ] == [
        303,
        303,
    ]


async def test_a_live_check_of_sign_up_changes_nothing(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    before = await rows(app)
    for field in ("name", "email", "password"):
        answer = await anonymous.post(f"/signup/check/{field}", make_fields() | {field: "intruder"})
        assert (answer.status_code, read(answer).one(data_field=True).attrs["data-field"]) == (
            200,
            field,
        )
        assert "set-cookie" not in answer.headers
    assert await rows(app) == before


async def test_a_live_check_of_the_profile_changes_nothing(app: TestApp, alice: Browser) -> None:
    before = await rows(app)
    for field in ("name", "slug", "phone"):
        answer = await alice.post(f"/account/check/{field}", make_fields())
        assert (answer.status_code, read(answer).one(data_field=True).attrs["data-field"]) == (
            200,
            field,
        )
    assert await rows(app) == before


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/logout", "/login"),
        ("/devices/revoke-others", "/devices"),
        ("/devices/revoke-all", "/login"),
    ],
)
async def test_a_form_without_fields_reads_no_fields(
    app: TestApp, alice: Browser, bob: Browser, path: str, target: str
) -> None:
    before = await rows(app, "id, email, name, role, team, password_hash, disabled_at")
    answer = await alice.post(path, make_fields())
    assert answer.headers["location"] == target
    assert await rows(app, "id, email, name, role, team, password_hash, disabled_at") == before
    assert await bob.is_logged_in()


@pytest.mark.parametrize(
    ("action", "own", "column"),
    [
        ("role", {"role": "admin"}, "role"),
        ("team", {"team": "Harbour"}, "team"),
        ("disable", {}, "disabled_at"),
        ("enable", {}, "disabled_at"),
        ("end-sessions", {}, "sessions_ended_at"),
    ],
)
async def test_an_administrators_action_changes_one_column_of_one_user(
    app: TestApp,
    alice: Browser,
    bob: Browser,
    ada: Browser,
    action: str,
    own: dict[str, str],
    column: str,
) -> None:
    ((alice_id,),) = await app.rows("SELECT id FROM users WHERE name = 'Alice'")
    others = {
        "id",
        "email",
        "name",
        "slug",
        "phone",
        "team",
        "role",
        "password_hash",
        "created_at",
        "disabled_at",
    }
    other_columns = ", ".join(others - {column})
    before, other_users = (
        await rows(app, other_columns),
        await app.rows("SELECT * FROM users WHERE name <> 'Alice'"),
    )
    fields = {name: value for name, value in make_fields().items() if name != action} | own
    assert (await ada.post(f"/admin/users/{alice_id}/{action}", fields)).status_code == 303
    assert await rows(app, other_columns) == before
    assert await app.rows("SELECT * FROM users WHERE name <> 'Alice'") == other_users
    assert await is_unchanged(app)


async def test_fields_in_the_query_string_are_ignored(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    before = await rows(app)
    await alice.post("/account?name=Intruder&slug=intruder&role=admin")
    await alice.post("/account/password?current_password=x&password=intruder-No.9")
    await anonymous.post("/signup?name=Intruder&email=intruder@example.com&password=intruder-No.9")
    assert await rows(app) == before


@pytest.mark.parametrize("send", [Browser.get, Browser.get_fragment])
async def test_get_requests_change_nothing(app: TestApp, alice: Browser, send: Callable) -> None:
    before = await rows(app)
    for path in (
        "/account?name=Intruder&role=admin",
        "/devices?id=x",
        "/logout",
        "/devices/revoke-all",
    ):
        await send(alice, path)
    assert await rows(app) == before
    assert await alice.is_logged_in()
