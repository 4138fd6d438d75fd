"""What the person at the shell may do."""

import pytest

from db.access import operator as shell
from db.crypto.secret import Secret
from db.errors import LastAdmin, NotFound
from db.viewer import Operator
from tests.conftest import House
from tests.people import PASSWORD, Browser


@pytest.mark.asvs("S38")
async def test_a_fresh_house_has_nobody_in_it(house: House) -> None:
    assert await shell.list_people(Operator(house.store)) == []


@pytest.mark.asvs("S38")
async def test_the_last_administrator_stays_one(house: House, ada: Browser) -> None:
    with pytest.raises(LastAdmin):
        await house.change_role(ada, "user")
    await house.create("Agnes", "admin")
    await house.change_role(ada, "user")
    assert await house.rows("SELECT name FROM users WHERE role = 'admin'") == [("Agnes",)]


async def test_a_disabled_administrator_keeps_nobodys_keys(house: House, ada: Browser) -> None:
    await house.create("Agnes", "admin")
    await house.change("UPDATE users SET disabled_at = created_at WHERE name = 'Agnes'")
    with pytest.raises(LastAdmin):
        await house.change_role(ada, "user")


async def test_nobody_has_no_role_and_no_password(house: House) -> None:
    operator = Operator(house.store)
    with pytest.raises(NotFound):
        await shell.change_role(operator, "joe@example.com", "admin")
    with pytest.raises(NotFound):
        await shell.set_password(operator, "joe@example.com", Secret(PASSWORD))


async def test_a_new_password_ends_every_session_of_that_person(
    house: House, alice: Browser, alices_phone: Browser, bob: Browser
) -> None:
    await shell.set_password(Operator(house.store), alice.email, Secret("another-No.1 door"))
    assert [await person.is_in() for person in (alice, alices_phone, bob)] == [False, False, True]
    laptop = await house.browser("Alice")
    assert (await laptop.log_in()).status_code == 422
    assert (await laptop.log_in("another-No.1 door")).status_code == 303


async def test_a_taken_address_makes_no_second_account(house: House, alice: Browser) -> None:
    operator = Operator(house.store)
    taken = await shell.create_user(
        operator, name="Charlie", email=alice.email, password=Secret(PASSWORD), role="admin"
    )
    assert taken is None
    assert await house.rows("SELECT name, role FROM users") == [("Alice", "user")]
