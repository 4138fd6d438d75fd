"""Tests signing up, without HTTP: the account, its slug and its first session."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy.dialects import sqlite

from db import accounts
from db.access.signup import sign_up
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.viewer import ClientInfo
from tests.conftest import TestApp

CLIENT = ClientInfo("Firefox", "Linux", "computer", "Mozilla/5.0", "192.0.2.14")
PASSWORD = "engine-No.9 to the sea"


async def sign_up_as(app: TestApp, name: str, email: str, password: str = PASSWORD) -> object:
    return await sign_up(
        app.store, name=name, email=email, password=Secret(password), client=CLIENT
    )


@pytest.mark.guide("A18")
def test_the_insert_returns_the_id_and_nothing_else() -> None:
    sql = str(accounts.INSERT_USER.clause.compile(dialect=sqlite.dialect()))
    assert sql.partition("RETURNING ")[2].split() == ["id"]


@pytest.mark.guide("A20", "C4")
async def test_an_account_and_its_first_session_are_made_together(app: TestApp) -> None:
    session = await sign_up_as(app, "Alice", "alice@example.com")
    assert session.session.max_age == 7 * 86_400
    assert (await app.count("users"), await app.count("sessions")) == (1, 1)


async def test_a_taken_email_creates_nothing(app: TestApp) -> None:
    await sign_up_as(app, "Alice", "alice@example.com")
    assert await sign_up_as(app, "Charlie", "alice@example.com", "another-No.7") is None
    assert await app.rows("SELECT name FROM users") == [("Alice",)]
    assert await app.count("sessions") == 1


async def test_a_taken_name_gets_a_slug_with_a_suffix(app: TestApp) -> None:
    for number in range(3):
        await sign_up_as(app, "Alice Liddell", f"alice{number}@example.com")
    slugs = [slug for (slug,) in await app.rows("SELECT slug FROM users ORDER BY length(slug)")]
    assert slugs[0] == "alice-liddell"
    assert len(set(slugs)) == 3
    assert all(slug.startswith("alice-liddell-") for slug in slugs[1:])


SLUGS = {
    "Alice Liddell": "alice-liddell",
    "  --Ada--  ": "ada",
    "José Ñandú": "jose-nandu",
    "O'Brien, Jr.": "o-brien-jr",
    "x" * 90: "x" * 40,
    "y" * 39 + " y": "y" * 39,
    "<script>": "script",
}


async def test_a_slug_is_made_of_the_name(make_app: Callable, fast_passwords: Passwords) -> None:
    app = await make_app(hashing=fast_passwords)
    for number, name in enumerate(SLUGS):
        await sign_up_as(app, name, f"user{number}@example.com")
    assert dict(await app.rows("SELECT name, slug FROM users")) == SLUGS


async def test_a_name_without_latin_letters_gets_a_slug(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    app = await make_app(hashing=fast_passwords)
    for number, name in enumerate(("李小龍", "éé", "--", "İ")):
        await sign_up_as(app, name, f"user{number}@example.com")
    slugs = [slug for (slug,) in await app.rows("SELECT slug FROM users")]
    assert len(set(slugs)) == 4
    assert all(re.fullmatch("[a-z0-9-]{2,40}", slug) for slug in slugs)
