"""Tests the creation of users with a unique slug, which sign-up and the operator share."""

import re

import pytest

from db import accounts
from db.access import operator
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.viewer import Operator
from tests.browser_client import PASSWORD, Browser
from tests.conftest import TestApp


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Alice Liddell", "alice-liddell"),
        ("  Ångström & Söhne  ", "angstrom-sohne"),
        ("--a--1--", "a-1"),
        ("ﬁne", "fine"),
        ("../../admin", "admin"),
        ("x" * 60, "x" * 40),
        ("a" * 39 + " b", "a" * 39),
        ("A", ""),
        ("愛麗絲", ""),
        ("<>", ""),
    ],
)
def test_a_slug_contains_the_letters_of_the_name(name: str, slug: str) -> None:
    assert accounts.make_slug(name) == slug
    assert slug == "" or re.fullmatch(r"[a-z0-9-]{2,40}", slug)


@pytest.mark.parametrize(
    ("name", "start"), [("Alice", "alice-"), ("愛麗絲", "user-"), ("x" * 60, "x" * 33 + "-")]
)
async def test_a_taken_or_empty_slug_gets_a_random_suffix(
    app: TestApp, name: str, start: str
) -> None:
    for number in range(2):
        await app.sign_up_user(name, email=f"user{number}@example.com")
    ((slug,),) = await app.rows("SELECT slug FROM users WHERE email = 'user1@example.com'")
    assert re.fullmatch(re.escape(start) + "[a-z0-9]{1,6}", slug)
    assert len(slug) <= 40


async def test_an_email_creates_one_user_with_an_unguessable_id(
    app: TestApp,
) -> None:
    caller = Operator(app.store)
    made = {
        "name": "Alice",
        "email": "alice@example.com",
        "password": Secret(PASSWORD),
        "role": "user",
    }
    assert len(await operator.create_user(caller, **made)) >= 22
    assert await operator.create_user(caller, **made | {"name": "Bob", "role": "admin"}) is None
    assert await app.rows("SELECT name, role FROM users") == [("Alice", "user")]


@pytest.mark.asvs("S16", "S37")
async def test_setting_a_password_ends_only_that_users_sessions(
    app: TestApp, alice: Browser, alices_phone: Browser, bob: Browser
) -> None:
    new = "from-the-shell-No.5"
    assert await operator.set_user_password(Operator(app.store), alice.email, Secret(new)) == 2
    assert [await user.is_logged_in() for user in (alice, alices_phone, bob)] == [
        False,
        False,
        True,
    ]
    assert [(await alice.log_in(password)).status_code for password in (PASSWORD, new)] == [
        422,
        303,
    ]
