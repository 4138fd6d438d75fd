"""A Statement is built once and called like a function, and both databases understand it."""

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from databases.interfaces import Record
from sqlalchemy import (
    JSON,
    DateTime,
    Integer,
    Numeric,
    bindparam,
    case,
    cast,
    column,
    delete,
    func,
    literal,
    select,
    table,
    text,
    update,
)
from sqlalchemy.dialects.sqlite import pysqlite

from db.engine.statement import Conflict, Statement, insert

DIALECT = pysqlite.dialect(paramstyle="qmark")


@dataclass(frozen=True)
class Person:
    id: int
    email: str


@pytest.fixture
async def alice(database, people):
    await database.execute(
        insert(people).values(id=1, email="alice@example.org", name="Alice", age=30)
    )


def by_email(people):
    return Statement(
        select(people.c.id, people.c.email).where(people.c.email == bindparam("email"))
    )


# --- built once, called with values
# -----------------------------------------------------------------------------------


def test_a_plan_is_made_once_for_each_dialect(people):
    statement = by_email(people)
    assert statement.plan(DIALECT) is statement.plan(pysqlite.dialect(paramstyle="qmark"))


async def test_a_statement_keeps_its_one_plan_however_often_it_is_called(database, people, alice):
    statement = by_email(people)
    for address in ("alice@example.org", "bob@example.org", "alice@example.org"):
        await database.fetch_one(statement(email=address))
    assert len(statement._plans) == 1


async def test_the_same_statement_finds_each_of_its_values(database, people, alice):
    statement = by_email(people)
    assert (await database.fetch_one(statement(email="alice@example.org"))).id == 1
    assert await database.fetch_one(statement(email="bob@example.org")) is None


async def test_a_missing_value_is_a_type_error_that_names_it(database, people):
    with pytest.raises(TypeError, match="email"):
        await database.fetch_one(by_email(people)())


async def test_an_unknown_value_is_a_type_error_that_names_it(database, people):
    with pytest.raises(TypeError, match="emial"):
        await database.fetch_one(by_email(people)(email="x", emial="y"))


async def test_a_value_written_in_the_clause_cannot_be_replaced_by_a_caller(database, people):
    statement = Statement(select(people.c.id).where(people.c.age == 30))
    with pytest.raises(TypeError, match="age_1"):
        await database.fetch_one(statement(age_1=31))


async def test_values_written_in_the_clause_are_kept(database, people, alice):
    statement = Statement(
        select(people.c.email, literal("yes").label("answer"))
        .where(people.c.age == 30, people.c.email == bindparam("email"))
        .limit(1)
    )
    assert tuple(await database.fetch_one(statement(email="alice@example.org"))) == (
        "alice@example.org",
        "yes",
    )


async def test_a_bind_with_a_default_may_be_left_out(database, people, alice):
    statement = Statement(select(people.c.id).where(people.c.age >= bindparam("age", value=18)))
    assert await database.fetch_val(statement()) == 1
    assert await database.fetch_val(statement(age=31)) is None


async def test_a_bind_with_a_callable_asks_it_at_each_call(database):
    asked = iter([1, 2])
    statement = Statement(
        select((bindparam("n", callable_=lambda: next(asked), type_=Integer()) + 0).label("n"))
    )
    assert [await database.fetch_val(statement()), await database.fetch_val(statement())] == [1, 2]


async def test_a_bind_used_twice_is_given_once(database, people, alice):
    statement = Statement(
        select(people.c.id).where(
            (people.c.email == bindparam("who")) | (people.c.email == bindparam("who"))
        )
    )
    assert await database.fetch_val(statement(who="alice@example.org")) == 1


async def test_the_values_do_not_stay_in_the_statement(database, people, alice):
    statement = by_email(people)
    await database.fetch_one(statement(email="alice@example.org"))
    with pytest.raises(TypeError):
        await database.fetch_one(statement())


# --- types
# ------------------------------------------------------------------------------------------------------------


async def test_a_type_decorator_is_applied_on_the_way_in_and_on_the_way_out(database, people):
    put = Statement(
        insert(people).values(email="a", name=bindparam("name")).returning(people.c.name)
    )
    assert (await database.fetch_one(put(name="Alice"))).name == "ALICE"
    assert await database.fetch_val("SELECT name FROM people") == "alice"
    get = Statement(
        select(people.c.name).where(people.c.name == bindparam("name", type_=people.c.name.type))
    )
    assert await database.fetch_val(get(name="aLiCe")) == "ALICE"


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (DateTime(), datetime(2030, 1, 2, 3, 4, 5)),
        (JSON(), {"a": [1, None]}),
        (Numeric(10, 2), Decimal("12.50")),
    ],
)
async def test_what_goes_in_comes_out(database, type_, value):
    given = bindparam("value", type_=type_)
    statement = Statement(
        select(given.label("value") if isinstance(type_, DateTime | JSON) else cast(given, type_))
    )
    assert await database.fetch_val(statement(value=value)) == value


async def test_an_instant_goes_into_a_column_with_a_time_zone(postgres):
    await postgres.execute("CREATE TABLE moments (at timestamptz)")
    moments = table("moments", column("at", DateTime(timezone=True)))
    now = datetime.now(UTC)
    put = Statement(insert(moments).values(at=bindparam("at")).returning(moments.c.at))
    assert await postgres.fetch_val(put(at=now)) == now


async def test_a_number_may_be_chosen_by_a_case(database, people, alice):
    statement = Statement(
        select(
            case(
                (people.c.age > bindparam("age"), bindparam("old", type_=Integer())), else_=0
            ).label("n")
        )
    )
    assert await database.fetch_val(statement(age=18, old=7)) == 7


# --- every kind of statement
# ------------------------------------------------------------------------------------------


async def test_an_insert_returns_what_it_made(database, people):
    put = Statement(
        insert(people).values(email=bindparam("email")).returning(people.c.id, people.c.email)
    )
    row = await database.fetch_one(put(email="a"))
    assert (row.id, row.email) == (1, "a")


async def test_an_update_returns_the_rows_that_it_changed(database, people, alice):
    change = Statement(
        update(people)
        .where(people.c.id == bindparam("who"))
        .values(age=bindparam("years"))
        .returning(people.c.age)
    )
    assert [tuple(row) for row in await database.fetch_all(change(who=1, years=31))] == [(31,)]
    assert await database.fetch_all(change(who=2, years=31)) == []


async def test_a_delete_returns_the_rows_that_it_removed(database, people, alice):
    remove = Statement(delete(people).where(people.c.id == bindparam("who")).returning(people.c.id))
    assert await database.fetch_val(remove(who=1)) == 1
    assert await database.fetch_val(remove(who=1)) is None


async def test_execute_tells_how_many_rows_a_statement_changed(database, people):
    put = Statement(insert(people).values(email=bindparam("email")))
    grow = Statement(update(people).values(age=bindparam("years")))
    assert await database.execute(put(email="a")) == 1
    assert await database.execute(put(email="b")) == 1
    assert await database.execute(grow(years=3)) == 2
    assert (
        await database.execute(
            Statement(delete(people).where(people.c.id == bindparam("who")))(who=99)
        )
        == 0
    )


async def test_an_insert_without_returning_returns_nothing(database, people):
    assert await database.fetch_one(Statement(insert(people).values(email="a"))()) is None


async def test_an_insert_without_columns_asks_for_each(database, people):
    put = Statement(insert(people))
    await database.execute(put(id=4, email="a", name=None, age=None))
    with pytest.raises(TypeError, match="age"):
        await database.execute(put(id=5, email="b", name=None))


async def test_a_lost_race_returns_nothing_and_changes_nothing(database, people):
    put = Statement(
        insert(people)
        .values(email=bindparam("email"), age=5)
        .on_conflict_do_nothing()
        .returning(people.c.id)
    )
    assert await database.fetch_val(put(email="a")) == 1
    assert await database.fetch_val(put(email="a")) is None
    assert await database.execute(put(email="a")) == 0
    assert await database.fetch_val("SELECT count(*) FROM people") == 1


async def test_an_insert_may_become_an_update(database, people):
    new = insert(people).values(email=bindparam("email"), age=bindparam("years"))
    put = Statement(
        new.on_conflict_do_update(
            index_elements=[people.c.email], set_={"age": people.c.age + new.excluded.age}
        ).returning(people.c.age)
    )
    assert [await database.fetch_val(put(email="a", years=years)) for years in (2, 3)] == [2, 5]


async def test_an_in_takes_as_many_values_as_it_gets(database, people):
    for name in "abc":
        await database.execute(insert(people).values(email=name, name=name))
    some = Statement(
        select(people.c.name)
        .where(people.c.name.in_(bindparam("names", expanding=True)))
        .order_by(people.c.id)
    )
    assert [row.name for row in await database.fetch_all(some(names=["A", "C"]))] == ["A", "C"]
    assert await database.fetch_all(some(names=[])) == []
    with pytest.raises(TypeError, match="names"):
        await database.fetch_all(some())


async def test_a_default_in_python_is_computed(database, people, notes, alice):
    await database.execute(Statement(insert(notes).values(person_id=bindparam("who")))(who=1))
    await database.execute(insert(notes).values(person_id=1))
    assert [row.body for row in await database.fetch_all(select(notes.c.body))] == [
        "nothing yet"
    ] * 2


async def test_what_the_constraints_forbid_is_a_conflict(database, people, notes, alice):
    forbidden = [
        Statement(insert(people).values(email="alice@example.org"))(),
        Statement(insert(people).values(email="b", age=-1))(),
        Statement(insert(people).values(email=bindparam("email")))(email=None),
        Statement(insert(notes).values(person_id=99))(),
        insert(people).values(email="alice@example.org"),
    ]
    for query in forbidden:
        with pytest.raises(Conflict) as conflict:
            await database.execute(query)
        assert any("Integrity" in kind.__name__ for kind in type(conflict.value.__cause__).__mro__)
    assert await database.fetch_val("SELECT count(*) FROM people") == 1


def test_only_a_plain_select_is_no_write(people):
    reads = [
        select(people),
        select(people).union(select(people)),
        text("select 1"),
        text("VALUES (1)"),
        text("SELECT 1 AS id").columns(people.c.id),
    ]
    made = insert(people).values(email="a").returning(people.c.id).cte("made")
    writes = [
        insert(people),
        update(people),
        delete(people),
        select(people).with_for_update(),
        select(made.c.id),
        text("WITH x AS (SELECT 1) DELETE FROM people"),
        text("PRAGMA user_version"),
    ]
    assert [Statement(clause).plan(DIALECT).writes for clause in reads] == [False] * len(reads)
    assert [Statement(clause).plan(DIALECT).writes for clause in writes] == [True] * len(writes)


# --- rows
# -------------------------------------------------------------------------------------------------------------


async def test_a_row_is_found_by_position_by_name_by_column_and_as_an_attribute(
    database, people, alice
):
    row = await database.fetch_one(
        Statement(select(people, func.length(people.c.email).label("length")))()
    )
    assert row[1] == row["email"] == row[people.c.email] == row.email == "alice@example.org"
    assert row[2] == row["name"] == row[people.c.name] == "ALICE"
    assert row["length"] == row.length == row[-1] == 17


async def test_a_row_has_a_mapping_keys_values_and_a_length(database, people, alice):
    row = await database.fetch_one(select(people.c.id, people.c.email))
    assert dict(row._mapping) == {"id": 1, "email": "alice@example.org"}
    assert (list(row.keys()), list(row.values()), len(row)) == (
        ["id", "email"],
        [1, "alice@example.org"],
        2,
    )
    assert isinstance(row, Record)


async def test_a_row_iterates_over_its_values(database, people, alice):
    assert [*(await database.fetch_one(select(people.c.id, people.c.name)))] == [1, "ALICE"]


async def test_a_column_of_an_equal_clause_is_found_by_its_full_name(database, people, alice):
    first, second = people.alias("p"), people.alias("p")
    assert (await database.fetch_one(select(first.c.id)))[second.c.id] == 1


async def test_a_name_that_is_not_in_the_row_is_an_error(database, people, alice):
    row = await database.fetch_one(select(people.c.id))
    with pytest.raises(KeyError):
        row["email"]
    with pytest.raises(KeyError):
        row[people.c.email]
    with pytest.raises(AttributeError):
        row.email  # noqa: B018
    with pytest.raises(IndexError):
        row[1]


async def test_columns_may_be_called_as_a_tuples_methods_are(database, people, alice):
    row = await database.fetch_one(
        select(func.count().label("count"), literal(5).label("index")).select_from(people)
    )
    assert (row.count, row.index) == (1, 5)


async def test_columns_of_one_name_are_told_apart_by_their_table(database, people, notes, alice):
    await database.execute(insert(notes).values(id=8, person_id=1))
    row = await database.fetch_one(select(people.c.id, notes.c.id).join_from(people, notes))
    assert (row[people.c.id], row[notes.c.id]) == (1, 8)


async def test_the_rows_of_plain_text_have_the_names_that_come_with_them(database, people, alice):
    row = await database.fetch_one(
        "SELECT id AS number, email FROM people WHERE id = :id", {"id": 1}
    )
    assert (row.number, row["email"]) == (1, "alice@example.org")


async def test_the_rows_of_plain_text_follow_the_table(database, alice):
    assert "extra" not in (await database.fetch_one("SELECT * FROM people")).keys()  # noqa: SIM118
    await database.execute("ALTER TABLE people ADD COLUMN extra text DEFAULT 'x'")
    assert (await database.fetch_one("SELECT * FROM people")).extra == "x"


async def test_a_row_does_not_print_its_values(database, people, alice):
    row = await database.fetch_one(select(people.c.id, people.c.email))
    assert repr(row) == "Record(id, email)"


async def test_a_statement_knows_what_its_rows_become(database, people, alice):
    statement = Statement(select(people.c.id, people.c.email).execution_options(into=Person))
    bound = statement()
    assert bound.statement.into(*(await database.fetch_one(bound))) == Person(
        1, "alice@example.org"
    )


def test_a_statement_without_into_keeps_the_record(people):
    assert by_email(people).into is None


# --- the program's statements
# --------------------------------------------------------------------------------------------------------


def test_importing_the_engine_does_not_import_the_postgresql_driver():
    program = "import sys, db.engine, db.engine.sqlite, db.engine.statement; sys.exit('asyncpg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=20).returncode == 0
