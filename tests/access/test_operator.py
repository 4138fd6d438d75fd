"""Tests what the operator may do at the command line."""

import pytest

from db.access import operator
from db.crypto.secret import Secret
from db.errors import LastAdmin, NotFound
from db.viewer import Operator
from tests.browser_client import PASSWORD, Browser
from tests.conftest import TestApp


@pytest.mark.asvs("S38")
async def test_a_new_database_has_no_users(app: TestApp) -> None:
    assert await operator.list_users(Operator(app.store)) == []


@pytest.mark.asvs("S38")
async def test_the_last_administrator_cannot_be_demoted(app: TestApp, ada: Browser) -> None:
    with pytest.raises(LastAdmin):
        await app.change_role(ada, "user")
    await app.create("Agnes", "admin")
    await app.change_role(ada, "user")
    assert await app.rows("SELECT name FROM users WHERE role = 'admin'") == [("Agnes",)]


async def test_a_disabled_admin_does_not_replace_the_last_admin(app: TestApp, ada: Browser) -> None:
    await app.create("Agnes", "admin")
    await app.change("UPDATE users SET disabled_at = created_at WHERE name = 'Agnes'")
    with pytest.raises(LastAdmin):
        await app.change_role(ada, "user")


async def test_role_and_password_of_an_unknown_user_are_not_found(app: TestApp) -> None:
    caller = Operator(app.store)
    with pytest.raises(NotFound):
        await operator.set_user_role(caller, "joe@example.com", "admin")
    with pytest.raises(NotFound):
        await operator.set_user_password(caller, "joe@example.com", Secret(PASSWORD))


async def test_a_new_password_ends_every_session_of_that_user(
    app: TestApp, alice: Browser, alices_phone: Browser, bob: Browser
) -> None:
    await operator.set_user_password(Operator(app.store), alice.email, Secret("another-No.1 word"))
    assert [await user.is_logged_in() for user in (alice, alices_phone, bob)] == [
        False,
        False,
        True,
    ]
    laptop = await app.browser("Alice")
    assert (await laptop.log_in()).status_code == 422
    assert (await laptop.log_in("another-No.1 word")).status_code == 303


async def test_a_taken_email_creates_no_second_account(app: TestApp, alice: Browser) -> None:
    caller = Operator(app.store)
    taken = await operator.create_user(
        caller, name="Charlie", email=alice.email, password=Secret(PASSWORD), role="admin"
    )
    assert taken is None
    assert await app.rows("SELECT name, role FROM users") == [("Alice", "user")]
