"""Tests that a Statement is compiled once, called with values and executed on both databases."""

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
class User:
    id: int
    email: str


@pytest.fixture
async def alice(database, users):
    await database.execute(
        insert(users).values(id=1, email="alice@example.org", name="Alice", age=30)
    )


def by_email(users):
    return Statement(select(users.c.id, users.c.email).where(users.c.email == bindparam("email")))


# --- compilation and values


def test_a_plan_is_compiled_once_for_each_dialect(users):
    statement = by_email(users)
    assert statement.plan(DIALECT) is statement.plan(pysqlite.dialect(paramstyle="qmark"))


async def test_repeated_calls_use_the_same_plan(database, users, alice):
    statement = by_email(users)
    for email in ("alice@example.org", "bob@example.org", "alice@example.org"):
        await database.fetch_one(statement(email=email))
    assert len(statement._plans) == 1


async def test_a_statement_uses_the_values_of_each_call(database, users, alice):
    statement = by_email(users)
    assert (await database.fetch_one(statement(email="alice@example.org"))).id == 1
    assert await database.fetch_one(statement(email="bob@example.org")) is None


async def test_a_missing_value_is_a_type_error_that_names_it(database, users):
    with pytest.raises(TypeError, match="email"):
        await database.fetch_one(by_email(users)())


async def test_an_unknown_value_is_a_type_error_that_names_it(database, users):
    with pytest.raises(TypeError, match="emial"):
        await database.fetch_one(by_email(users)(email="x", emial="y"))


async def test_a_value_written_in_the_clause_cannot_be_replaced_by_a_caller(database, users):
    statement = Statement(select(users.c.id).where(users.c.age == 30))
    with pytest.raises(TypeError, match="age_1"):
        await database.fetch_one(statement(age_1=31))


async def test_values_written_in_the_clause_are_kept(database, users, alice):
    statement = Statement(
        select(users.c.email, literal("yes").label("answer"))
        .where(users.c.age == 30, users.c.email == bindparam("email"))
        .limit(1)
    )
    assert tuple(await database.fetch_one(statement(email="alice@example.org"))) == (
        "alice@example.org",
        "yes",
    )


async def test_a_bind_with_a_default_may_be_left_out(database, users, alice):
    statement = Statement(select(users.c.id).where(users.c.age >= bindparam("age", value=18)))
    assert await database.fetch_val(statement()) == 1
    assert await database.fetch_val(statement(age=31)) is None


async def test_a_bind_with_a_callable_calls_it_at_each_execution(database):
    values = iter([1, 2])
    statement = Statement(
        select((bindparam("n", callable_=lambda: next(values), type_=Integer()) + 0).label("n"))
    )
    assert [await database.fetch_val(statement()), await database.fetch_val(statement())] == [1, 2]


async def test_a_bind_used_twice_is_passed_once(database, users, alice):
    statement = Statement(
        select(users.c.id).where(
            (users.c.email == bindparam("text")) | (users.c.email == bindparam("text"))
        )
    )
    assert await database.fetch_val(statement(text="alice@example.org")) == 1


async def test_the_values_do_not_stay_in_the_statement(database, users, alice):
    statement = by_email(users)
    await database.fetch_one(statement(email="alice@example.org"))
    with pytest.raises(TypeError):
        await database.fetch_one(statement())


# --- types of values


async def test_a_type_decorator_is_applied_to_arguments_and_to_results(database, users):
    put = Statement(insert(users).values(email="a", name=bindparam("name")).returning(users.c.name))
    assert (await database.fetch_one(put(name="Alice"))).name == "ALICE"
    assert await database.fetch_val("SELECT name FROM users") == "alice"
    get = Statement(
        select(users.c.name).where(users.c.name == bindparam("name", type_=users.c.name.type))
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
async def test_a_value_is_returned_unchanged(database, type_, value):
    given = bindparam("value", type_=type_)
    statement = Statement(
        select(given.label("value") if isinstance(type_, DateTime | JSON) else cast(given, type_))
    )
    assert await database.fetch_val(statement(value=value)) == value


async def test_an_instant_is_stored_in_a_column_with_a_time_zone(postgres):
    await postgres.execute("CREATE TABLE moments (at timestamptz)")
    moments = table("moments", column("at", DateTime(timezone=True)))
    now = datetime.now(UTC)
    put = Statement(insert(moments).values(at=bindparam("at")).returning(moments.c.at))
    assert await postgres.fetch_val(put(at=now)) == now


async def test_a_number_may_be_chosen_by_a_case(database, users, alice):
    statement = Statement(
        select(
            case(
                (users.c.age > bindparam("age"), bindparam("old", type_=Integer())), else_=0
            ).label("n")
        )
    )
    assert await database.fetch_val(statement(age=18, old=7)) == 7


# --- types of statements


async def test_an_insert_returns_the_new_row(database, users):
    put = Statement(
        insert(users).values(email=bindparam("email")).returning(users.c.id, users.c.email)
    )
    row = await database.fetch_one(put(email="a"))
    assert (row.id, row.email) == (1, "a")


async def test_an_update_returns_the_rows_that_it_changed(database, users, alice):
    change = Statement(
        update(users)
        .where(users.c.id == bindparam("user_id"))
        .values(age=bindparam("years"))
        .returning(users.c.age)
    )
    assert [tuple(row) for row in await database.fetch_all(change(user_id=1, years=31))] == [(31,)]
    assert await database.fetch_all(change(user_id=2, years=31)) == []


async def test_a_delete_returns_the_rows_that_it_removed(database, users, alice):
    remove = Statement(
        delete(users).where(users.c.id == bindparam("user_id")).returning(users.c.id)
    )
    assert await database.fetch_val(remove(user_id=1)) == 1
    assert await database.fetch_val(remove(user_id=1)) is None


async def test_execute_returns_the_number_of_changed_rows(database, users):
    put = Statement(insert(users).values(email=bindparam("email")))
    grow = Statement(update(users).values(age=bindparam("years")))
    assert await database.execute(put(email="a")) == 1
    assert await database.execute(put(email="b")) == 1
    assert await database.execute(grow(years=3)) == 2
    assert (
        await database.execute(
            Statement(delete(users).where(users.c.id == bindparam("user_id")))(user_id=99)
        )
        == 0
    )


async def test_an_insert_without_returning_returns_nothing(database, users):
    assert await database.fetch_one(Statement(insert(users).values(email="a"))()) is None


async def test_an_insert_without_columns_requires_every_column(database, users):
    put = Statement(insert(users))
    await database.execute(put(id=4, email="a", name=None, age=None))
    with pytest.raises(TypeError, match="age"):
        await database.execute(put(id=5, email="b", name=None))


async def test_on_conflict_do_nothing_returns_and_changes_nothing(database, users):
    put = Statement(
        insert(users)
        .values(email=bindparam("email"), age=5)
        .on_conflict_do_nothing()
        .returning(users.c.id)
    )
    assert await database.fetch_val(put(email="a")) == 1
    assert await database.fetch_val(put(email="a")) is None
    assert await database.execute(put(email="a")) == 0
    assert await database.fetch_val("SELECT count(*) FROM users") == 1


async def test_an_insert_may_become_an_update(database, users):
    new = insert(users).values(email=bindparam("email"), age=bindparam("years"))
    put = Statement(
        new.on_conflict_do_update(
            index_elements=[users.c.email], set_={"age": users.c.age + new.excluded.age}
        ).returning(users.c.age)
    )
    assert [await database.fetch_val(put(email="a", years=years)) for years in (2, 3)] == [2, 5]


async def test_an_in_clause_takes_any_number_of_values(database, users):
    for name in "abc":
        await database.execute(insert(users).values(email=name, name=name))
    some = Statement(
        select(users.c.name)
        .where(users.c.name.in_(bindparam("names", expanding=True)))
        .order_by(users.c.id)
    )
    assert [row.name for row in await database.fetch_all(some(names=["A", "C"]))] == ["A", "C"]
    assert await database.fetch_all(some(names=[])) == []
    with pytest.raises(TypeError, match="names"):
        await database.fetch_all(some())


async def test_a_default_in_python_is_computed(database, users, notes, alice):
    await database.execute(Statement(insert(notes).values(user_id=bindparam("user_id")))(user_id=1))
    await database.execute(insert(notes).values(user_id=1))
    assert [row.body for row in await database.fetch_all(select(notes.c.body))] == [
        "nothing yet"
    ] * 2


async def test_a_constraint_violation_is_a_conflict(database, users, notes, alice):
    forbidden = [
        Statement(insert(users).values(email="alice@example.org"))(),
        Statement(insert(users).values(email="b", age=-1))(),
        Statement(insert(users).values(email=bindparam("email")))(email=None),
        Statement(insert(notes).values(user_id=99))(),
        insert(users).values(email="alice@example.org"),
    ]
    for query in forbidden:
        with pytest.raises(Conflict) as conflict:
            await database.execute(query)
        classes = type(conflict.value.__cause__).__mro__
        assert any("Integrity" in error_class.__name__ for error_class in classes)
    assert await database.fetch_val("SELECT count(*) FROM users") == 1


def test_only_a_plain_select_is_not_a_write(users):
    reads = [
        select(users),
        select(users).union(select(users)),
        text("select 1"),
        text("VALUES (1)"),
        text("SELECT 1 AS id").columns(users.c.id),
    ]
    made = insert(users).values(email="a").returning(users.c.id).cte("made")
    writes = [
        insert(users),
        update(users),
        delete(users),
        select(users).with_for_update(),
        select(made.c.id),
        text("WITH x AS (SELECT 1) DELETE FROM users"),
        text("PRAGMA user_version"),
    ]
    assert [Statement(clause).plan(DIALECT).writes for clause in reads] == [False] * len(reads)
    assert [Statement(clause).plan(DIALECT).writes for clause in writes] == [True] * len(writes)


# --- rows


async def test_a_row_is_found_by_position_by_name_by_column_and_as_an_attribute(
    database, users, alice
):
    row = await database.fetch_one(
        Statement(select(users, func.length(users.c.email).label("length")))()
    )
    assert row[1] == row["email"] == row[users.c.email] == row.email == "alice@example.org"
    assert row[2] == row["name"] == row[users.c.name] == "ALICE"
    assert row["length"] == row.length == row[-1] == 17


async def test_a_row_has_a_mapping_keys_values_and_a_length(database, users, alice):
    row = await database.fetch_one(select(users.c.id, users.c.email))
    assert dict(row._mapping) == {"id": 1, "email": "alice@example.org"}
    assert (list(row.keys()), list(row.values()), len(row)) == (
        ["id", "email"],
        [1, "alice@example.org"],
        2,
    )
    assert isinstance(row, Record)


async def test_a_row_iterates_over_its_values(database, users, alice):
    assert [*(await database.fetch_one(select(users.c.id, users.c.name)))] == [1, "ALICE"]


async def test_a_column_of_an_equal_clause_is_found_by_its_full_name(database, users, alice):
    first, second = users.alias("p"), users.alias("p")
    assert (await database.fetch_one(select(first.c.id)))[second.c.id] == 1


async def test_a_name_that_is_not_in_the_row_is_an_error(database, users, alice):
    row = await database.fetch_one(select(users.c.id))
    with pytest.raises(KeyError):
        row["email"]
    with pytest.raises(KeyError):
        row[users.c.email]
    with pytest.raises(AttributeError):
        row.email  # noqa: B018
    with pytest.raises(IndexError):
        row[1]


async def test_columns_may_be_named_like_methods_of_a_tuple(database, users, alice):
    row = await database.fetch_one(
        select(func.count().label("count"), literal(5).label("index")).select_from(users)
    )
    assert (row.count, row.index) == (1, 5)


async def test_columns_of_the_same_name_are_distinguished_by_their_table(
    database, users, notes, alice
):
    await database.execute(insert(notes).values(id=8, user_id=1))
    row = await database.fetch_one(select(users.c.id, notes.c.id).join_from(users, notes))
    assert (row[users.c.id], row[notes.c.id]) == (1, 8)


async def test_rows_of_plain_text_have_the_drivers_column_names(database, users, alice):
    row = await database.fetch_one(
        "SELECT id AS number, email FROM users WHERE id = :id", {"id": 1}
    )
    assert (row.number, row["email"]) == (1, "alice@example.org")


async def test_rows_of_plain_text_include_new_columns(database, alice):
    assert "extra" not in (await database.fetch_one("SELECT * FROM users")).keys()  # noqa: SIM118
    await database.execute("ALTER TABLE users ADD COLUMN extra text DEFAULT 'x'")
    assert (await database.fetch_one("SELECT * FROM users")).extra == "x"


async def test_a_row_does_not_print_its_values(database, users, alice):
    row = await database.fetch_one(select(users.c.id, users.c.email))
    assert repr(row) == "Record(id, email)"


async def test_a_statement_with_into_has_the_class_of_its_rows(database, users, alice):
    statement = Statement(select(users.c.id, users.c.email).execution_options(into=User))
    bound = statement()
    assert bound.statement.into(*(await database.fetch_one(bound))) == User(1, "alice@example.org")


def test_a_statement_without_into_keeps_the_record(users):
    assert by_email(users).into is None


# --- imports


def test_importing_the_engine_does_not_import_the_postgresql_driver():
    program = "import sys, db.engine, db.engine.sqlite, db.engine.statement; sys.exit('asyncpg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=20).returncode == 0
