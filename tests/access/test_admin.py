"""People, for administrators, asked for without any HTTP: only an Admin may ask, and each change is one step."""

import asyncio
from dataclasses import fields

import pytest

from db.access import admin
from db.passwords import Passwords
from db.refusals import Forbidden, LastAdmin, NotFound
from db.tables import users
from db.viewer import Admin, require_admin
from tests.conftest import House
from tests.people import Browser


@pytest.fixture
def passwords(cheap: Passwords) -> Passwords:
    return cheap


async def admin_of(house: House, person: Browser) -> Admin:
    return require_admin(await house.viewer_of(person))


async def id_of(house: House, name: str) -> str:
    return (await house.rows(f"SELECT id FROM users WHERE name = '{name}'"))[0][0]


@pytest.mark.guide("D21", "D30", "T2")
async def test_only_whose_row_says_admin_becomes_one(house: House, alice: Browser, ada: Browser) -> None:
    with pytest.raises(Forbidden):
        await admin_of(house, alice)
    await house.change_role(alice, "admin")
    assert (await admin_of(house, alice)).name == "Alice"
    await house.change_role(ada, "user")
    with pytest.raises(Forbidden):
        await admin_of(house, ada)


@pytest.mark.guide("D23", "D25")
@pytest.mark.asvs("S88")
async def test_a_person_names_the_columns_and_the_private_ones_are_none_of_them(house: House, ada: Browser) -> None:
    named = {field.name for field in fields(admin.Person)}
    assert not named & {"password_hash", "phone", "sessions_ended_at", "disabled_at"}
    assert named - {"disabled", "session_count"} < set(users.c.keys())
    (person,) = (await admin.list_people(await admin_of(house, ada))).people
    assert (person.name, person.role, person.disabled, person.session_count) == ("Ada", "admin", False, 1)


async def test_sessions_that_are_over_are_not_counted(house: House, ada: Browser, alice: Browser) -> None:
    house.clock.move(days=4)
    await ada.get("/dashboard")
    house.clock.move(days=4)
    found = await admin.list_people(await admin_of(house, ada), sort="name")
    assert [(person.name, person.session_count) for person in found.people] == [("Ada", 1), ("Alice", 0)]


@pytest.mark.parametrize(("page", "shown"), [(-1, 1), (0, 1), (1, 1), (2, 1)])
async def test_a_page_is_never_past_the_last(house: House, ada: Browser, page: int, shown: int) -> None:
    asking = await admin_of(house, ada)
    for q, total in (("", 1), ("nobody", 0)):
        found = await admin.list_people(asking, q=q, page=page)
        assert (found.page, found.pages, found.total, len(found.people)) == (shown, 1, total, total)


@pytest.mark.asvs("S38", "S102")
@pytest.mark.parametrize("change", ["demote", "disable"])
async def test_of_two_administrators_who_turn_on_each_other_at_once_one_is_told_no(
    house: House, ada: Browser, change: str
) -> None:
    grace = await house.admin("Grace")
    pairs = [(await admin_of(house, ada), "Grace"), (await admin_of(house, grace), "Ada")]

    async def turn(asking: Admin, name: str) -> None:
        if change == "demote":
            return await admin.change_role(asking, await id_of(house, name), "user")
        return await admin.disable(asking, await id_of(house, name))

    outcomes = await asyncio.gather(*[turn(*pair) for pair in pairs], return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["LastAdmin", "NoneType"]
    left = await house.rows("SELECT name FROM users WHERE role = 'admin' AND disabled_at IS NULL")
    assert len(left) == 1


@pytest.mark.asvs("S38")
async def test_the_last_administrator_keeps_role_account_and_sessions(house: House, ada: Browser) -> None:
    asking = await admin_of(house, ada)
    for change in (admin.change_role(asking, asking.id, "user"), admin.disable(asking, asking.id)):
        with pytest.raises(LastAdmin):
            await change
    assert await house.rows("SELECT role, disabled_at FROM users") == [("admin", None)]
    assert await house.count("sessions") == 1
    await admin.change_role(asking, asking.id, "admin")  # which changes nothing, and is no harm


@pytest.mark.asvs("S05")
async def test_who_is_not_there_is_not_found_and_nothing_is_changed(house: House, ada: Browser) -> None:
    asking = await admin_of(house, ada)
    before = await house.rows("SELECT * FROM users")
    for change in (
        admin.change_role(asking, "nobody", "user"),
        admin.change_role(asking, "nobody", "admin"),
        admin.change_team(asking, "nobody", "Harbour"),
        admin.disable(asking, "nobody"),
        admin.enable(asking, "nobody"),
        admin.end_sessions(asking, "nobody"),
    ):
        with pytest.raises(NotFound):
            await change
    assert await house.rows("SELECT * FROM users") == before
    assert await house.count("sessions") == 1


@pytest.mark.asvs("S66")
async def test_ending_sessions_says_how_many_there_were(
    house: House, ada: Browser, alice: Browser, alices_phone: Browser
) -> None:
    assert await admin.end_sessions(await admin_of(house, ada), await id_of(house, "Alice")) == 2
    assert await house.count("sessions") == 1
