"""People, for administrators, asked for without any HTTP: only an Admin may ask, and each change is
one step.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import fields

import pytest

from db.access import admin
from db.crypto.passwords import Passwords
from db.errors import Forbidden, LastAdmin, NotFound, NotLoggedIn
from db.tables import users
from db.viewer import Admin, require_admin
from tests.conftest import House
from tests.databases import KINDS
from tests.people import Browser


@pytest.fixture
def passwords(cheap: Passwords) -> Passwords:
    return cheap


async def admin_of(house: House, person: Browser) -> Admin:
    return require_admin(await house.viewer_of(person))


async def id_of(house: House, name: str) -> str:
    return (await house.rows(f"SELECT id FROM users WHERE name = '{name}'"))[0][0]


@pytest.mark.guide("D21", "D30", "T2")
async def test_only_whose_row_says_admin_becomes_one(
    house: House, alice: Browser, ada: Browser
) -> None:
    with pytest.raises(Forbidden):
        await admin_of(house, alice)
    await house.change_role(alice, "admin")
    assert (await admin_of(house, alice)).name == "Alice"
    await house.change_role(ada, "user")
    with pytest.raises(Forbidden):
        await admin_of(house, ada)


@pytest.mark.guide("D23", "D25")
@pytest.mark.asvs("S88")
async def test_a_person_names_the_columns_and_the_private_ones_are_none_of_them(
    house: House, ada: Browser
) -> None:
    named = {field.name for field in fields(admin.Person)}
    assert not named & {"password_hash", "phone", "sessions_ended_at", "disabled_at"}
    assert named - {"disabled", "session_count"} < set(users.c.keys())
    (person,) = (await admin.list_people(await admin_of(house, ada))).people
    assert (person.name, person.role, person.disabled, person.session_count) == (
        "Ada",
        "admin",
        False,
        1,
    )


async def test_sessions_that_are_over_are_not_counted(
    house: House, ada: Browser, alice: Browser
) -> None:
    house.clock.move(days=4)
    await ada.get("/dashboard")
    house.clock.move(days=4)
    found = await admin.list_people(await admin_of(house, ada), sort="name")
    assert [(person.name, person.session_count) for person in found.people] == [
        ("Ada", 1),
        ("Alice", 0),
    ]


@pytest.mark.parametrize(("page", "shown"), [(-1, 1), (0, 1), (1, 1), (2, 1)])
async def test_a_page_is_never_past_the_last(
    house: House, ada: Browser, page: int, shown: int
) -> None:
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
    refusal = Forbidden if change == "demote" else NotLoggedIn
    assert {type(outcome) for outcome in outcomes} == {type(None), refusal}
    left = await house.rows("SELECT name FROM users WHERE role = 'admin' AND disabled_at IS NULL")
    assert len(left) == 1


@pytest.mark.asvs("S38")
async def test_the_last_administrator_keeps_role_account_and_sessions(
    house: House, ada: Browser
) -> None:
    asking = await admin_of(house, ada)
    for change in (admin.change_role(asking, asking.id, "user"), admin.disable(asking, asking.id)):
        with pytest.raises(LastAdmin):
            await change
    assert await house.rows("SELECT role, disabled_at FROM users") == [("admin", None)]
    assert await house.count("sessions") == 1
    await admin.change_role(asking, asking.id, "admin")  # which changes nothing, and is no harm


@pytest.mark.asvs("S05")
async def test_who_is_not_there_is_not_found_and_nothing_is_changed(
    house: House, ada: Browser
) -> None:
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


# The right of an administrator can end while a request waits for its transaction.

Change = Callable[[Admin, str], Awaitable[object]]
CHANGES: dict[str, Change] = {
    "role": lambda asking, user_id: admin.change_role(asking, user_id, "admin"),
    "team": lambda asking, user_id: admin.change_team(asking, user_id, "Harbour"),
    "disable": admin.disable,
    "enable": admin.enable,
    "end-sessions": admin.end_sessions,
}
EVERY_CHANGE = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
ENDINGS = {
    "demoted": ("UPDATE users SET role = 'user' WHERE name = 'Ada'", Forbidden),
    "disabled": ("UPDATE users SET disabled_at = created_at WHERE name = 'Ada'", NotLoggedIn),
    "logged out": (
        "DELETE FROM sessions WHERE user_id = (SELECT id FROM users WHERE name = 'Ada')",
        NotLoggedIn,
    ),
    "expired": (
        "UPDATE sessions SET expires_at = created_at WHERE user_id = (SELECT id FROM users WHERE name = 'Ada')",
        NotLoggedIn,
    ),
}
EVERY_ENDING = pytest.mark.parametrize(("ending", "refusal"), ENDINGS.values(), ids=ENDINGS)


async def everything(house: House) -> list[list[tuple]]:
    return [
        await house.rows(f"SELECT * FROM {table} ORDER BY id") for table in ("users", "sessions")
    ]


@pytest.mark.asvs("S37", "S01")
@EVERY_CHANGE
@EVERY_ENDING
async def test_an_admin_whose_right_has_ended_since_changes_nothing(
    house: House,
    ada: Browser,
    alice: Browser,
    change: Change,
    ending: str,
    refusal: type[Exception],
) -> None:
    asking = await admin_of(house, ada)
    await house.change(ending)
    before = await everything(house)
    for name in ("Alice", "Ada"):
        with pytest.raises(refusal):
            await change(asking, await id_of(house, name))
    assert await everything(house) == before
    assert (
        await house.rows(
            "SELECT event FROM audit WHERE event LIKE 'role%' OR event LIKE 'account.%able'"
        )
        == []
    )


@EVERY_CHANGE
@pytest.mark.parametrize("ending", ["demoted", "disabled", "logged out"])
async def test_without_session_rows_an_admins_right_ends_as_well(
    make_house: Callable, change: Change, ending: str
) -> None:
    house = await make_house(SESSION_STRATEGY="stateless")
    asking = await admin_of(house, await house.admin("Ada"))
    await house.member("Alice")
    everywhere = "UPDATE users SET sessions_ended_at = last_login_at WHERE name = 'Ada'"
    await house.change(everywhere if ending == "logged out" else ENDINGS[ending][0])
    before = await house.rows("SELECT * FROM users ORDER BY id")
    with pytest.raises(ENDINGS[ending][1]):
        await change(asking, await id_of(house, "Alice"))
    assert await house.rows("SELECT * FROM users ORDER BY id") == before


@pytest.mark.parametrize("kind", KINDS)
@EVERY_CHANGE
async def test_a_change_that_waited_for_the_demotion_is_refused(
    make_house: Callable, cheap: Passwords, change: Change
) -> None:
    """Another transaction has demoted the administrator and has not committed yet."""
    house, other = await make_house(hashing=cheap), await make_house(hashing=cheap)
    asking = await admin_of(house, await house.admin("Ada"))
    await house.member("Alice")
    alice = await id_of(house, "Alice")
    before = await house.rows("SELECT * FROM users WHERE name = 'Alice'")
    async with other.store.transaction():
        await other.change(ENDINGS["demoted"][0])
        waiting = asyncio.ensure_future(change(asking, alice))
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done
    with pytest.raises(Forbidden):
        await waiting
    assert await house.rows("SELECT * FROM users WHERE name = 'Alice'") == before


async def test_a_change_refused_for_the_role_is_in_the_audit_log(
    house: House, ada: Browser, alice: Browser
) -> None:
    asking = await admin_of(house, ada)
    await house.admin("Grace")
    await house.change_role(ada, "user")
    with pytest.raises(Forbidden):
        await admin.change_role(asking, await id_of(house, "Alice"), "admin")
    (entry,) = await house.rows("SELECT outcome, actor_id FROM audit WHERE event = 'admin'")
    assert entry == ("refused", asking.id)
