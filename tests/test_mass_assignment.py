"""Tests that every form and every live check reads only its own fields."""

from collections.abc import Callable

import pytest

from db.crypto.passwords import Passwords
from tests.conftest import House
from tests.people import HTMX, PASSWORD, Browser, read

INTRUDERS = {
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
OWN = {
    "/signup": ["name", "email", "password"],
    "/account": ["name", "slug", "phone"],
    "/account/password": ["password", "current_password"],
}
ALSO = {
    "name[]": "Intruder",
    "user[role]": "admin",
    "user.role": "admin",
    "ROLE": "admin",
    "role ": "admin",
}
PRIVATE = "id, email, team, role, created_at, disabled_at, last_login_at, sessions_ended_at"

pytestmark = pytest.mark.asvs("S36")


@pytest.fixture
def passwords(cheap: Passwords) -> Passwords:
    return cheap


def intruders(path: str = "", **own: str) -> dict[str, str]:
    """Returns every field that the form does not have, and the fields `own`."""
    return (
        {name: value for name, value in INTRUDERS.items() if name not in OWN.get(path, ())}
        | ALSO
        | own
    )


async def rows(house: House, columns: str = "*", table: str = "users") -> list[tuple]:
    return await house.rows(f"SELECT {columns} FROM {table} ORDER BY id")


async def is_untouched(house: House) -> bool:
    """Returns whether neither table contains a value of an extra field."""
    stored = str([await rows(house, table=table) for table in ("users", "sessions")])
    return not any(word in stored.lower() for word in ("intruder", "1970-01-01", "2999-01-01"))


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_sign_up_takes_name_address_and_password(
    house: House, stranger: Browser, headers: dict
) -> None:
    fields = intruders("/signup", name="Charlie", email=stranger.email, password=PASSWORD)
    assert (await stranger.post("/signup", fields, **headers)).status_code in (303, 204)
    assert await rows(
        house, "name, email, slug, phone, team, role, disabled_at, sessions_ended_at"
    ) == [("Charlie", stranger.email, "charlie", "", "", "user", None, None)]
    assert await is_untouched(house)
    assert (await stranger.get("/admin/users")).status_code == 403


async def test_log_in_takes_address_and_password(house: House, alice: Browser) -> None:
    before, laptop = (
        await rows(house, "id, email, name, role, team, password_hash, disabled_at"),
        await house.browser("A"),
    )
    answer = await laptop.post("/login", intruders(email=alice.email, password=PASSWORD))
    assert answer.status_code == 303
    assert await rows(house, "id, email, name, role, team, password_hash, disabled_at") == before
    assert await is_untouched(house)
    assert (await laptop.get("/admin/users")).status_code == 403


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_the_profile_takes_name_page_address_and_phone(
    house: House, alice: Browser, bob: Browser, headers: dict
) -> None:
    hashes, private = await rows(house, "password_hash"), await rows(house, PRIVATE)
    await alice.post(
        "/account", intruders("/account", name="Alice L", slug="alice-l", phone="1"), **headers
    )
    assert await house.rows("SELECT name, slug, phone FROM users ORDER BY email") == [
        ("Alice L", "alice-l", "1"),
        ("Bob", "bob", ""),
    ]
    assert (await rows(house, PRIVATE), await rows(house, "password_hash")) == (private, hashes)
    assert await is_untouched(house)


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_the_password_form_takes_the_two_passwords(
    house: House, alice: Browser, bob: Browser, headers: dict
) -> None:
    columns = "id, email, name, slug, phone, team, role, disabled_at, last_login_at"
    before = await rows(house, columns)
    fields = intruders("/account/password", current_password=PASSWORD, password="another-No.7")
    assert (await alice.post("/account/password", fields, **headers)).status_code in (303, 200)
    assert await rows(house, columns) == before
    assert await is_untouched(house)
    assert [
        (await person.log_in(word)).status_code
        for person, word in ((alice, "another-No.7"), (bob, PASSWORD))
    ] == [
        303,
        303,
    ]


async def test_a_live_check_of_sign_up_changes_nothing(
    house: House, alice: Browser, stranger: Browser
) -> None:
    before = await rows(house)
    for field in ("name", "email", "password"):
        answer = await stranger.post(f"/signup/check/{field}", intruders() | {field: "intruder"})
        assert (answer.status_code, read(answer).one(data_field=True).attrs["data-field"]) == (
            200,
            field,
        )
        assert "set-cookie" not in answer.headers
    assert await rows(house) == before


async def test_a_live_check_of_the_profile_changes_nothing(house: House, alice: Browser) -> None:
    before = await rows(house)
    for field in ("name", "slug", "phone"):
        answer = await alice.post(f"/account/check/{field}", intruders())
        assert (answer.status_code, read(answer).one(data_field=True).attrs["data-field"]) == (
            200,
            field,
        )
    assert await rows(house) == before


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/logout", "/login"),
        ("/devices/revoke-others", "/devices"),
        ("/devices/revoke-all", "/login"),
    ],
)
async def test_a_form_without_fields_looks_at_none(
    house: House, alice: Browser, bob: Browser, path: str, target: str
) -> None:
    before = await rows(house, "id, email, name, role, team, password_hash, disabled_at")
    answer = await alice.post(path, intruders())
    assert answer.headers["location"] == target
    assert await rows(house, "id, email, name, role, team, password_hash, disabled_at") == before
    assert await bob.is_in()


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
async def test_an_action_of_an_administrator_changes_one_thing_of_one_person(
    house: House,
    alice: Browser,
    bob: Browser,
    ada: Browser,
    action: str,
    own: dict[str, str],
    column: str,
) -> None:
    ((alice_id,),) = await house.rows("SELECT id FROM users WHERE name = 'Alice'")
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
    untouched = ", ".join(others - {column})
    before, theirs = (
        await rows(house, untouched),
        await house.rows("SELECT * FROM users WHERE name <> 'Alice'"),
    )
    fields = {name: value for name, value in intruders().items() if name != action} | own
    assert (await ada.post(f"/admin/users/{alice_id}/{action}", fields)).status_code == 303
    assert await rows(house, untouched) == before
    assert await house.rows("SELECT * FROM users WHERE name <> 'Alice'") == theirs
    assert await is_untouched(house)


async def test_the_address_line_is_no_form(house: House, alice: Browser, stranger: Browser) -> None:
    before = await rows(house)
    await alice.post("/account?name=Intruder&slug=intruder&role=admin")
    await alice.post("/account/password?current_password=x&password=intruder-No.9")
    await stranger.post("/signup?name=Intruder&email=intruder@example.com&password=intruder-No.9")
    assert await rows(house) == before


@pytest.mark.parametrize("ask", [Browser.get, Browser.get_fragment])
async def test_a_get_takes_no_form_at_all(house: House, alice: Browser, ask: Callable) -> None:
    before = await rows(house)
    for path in (
        "/account?name=Intruder&role=admin",
        "/devices?id=x",
        "/logout",
        "/devices/revoke-all",
    ):
        await ask(alice, path)
    assert await rows(house) == before
    assert await alice.is_in()
