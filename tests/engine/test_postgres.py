"""Tests the PostgreSQL back end with servers that are slow, read-only, restarted or unreachable."""

import asyncio
import time
from contextlib import asynccontextmanager

import asyncpg
import pytest
from databases import Database
from sqlalchemy import Integer, bindparam, column, func, select, table, update

from db.engine.postgres_pool import connect_options
from db.engine.postgres_session import Session
from db.engine.statement import Conflict, Statement, insert
from db.errors import Unavailable

activity = table("pg_stat_activity", column("pid"))
END_SESSION = Statement(
    select(func.pg_terminate_backend(activity.c.pid)).where(activity.c.pid == bindparam("pid"))
)
END_OWN_SESSION = Statement(select(func.pg_terminate_backend(func.pg_backend_pid())))
OWN_SESSION = Statement(select(func.pg_backend_pid()))
SLEEP = Statement(select(func.pg_sleep(bindparam("seconds"))))


@asynccontextmanager
async def opened(url, **options):
    async with Database(url, **options) as database:
        yield database


async def emails(database, users):
    return [
        row.email for row in await database.fetch_all(select(users.c.email).order_by(users.c.id))
    ]


async def add(database, users, email):
    return await database.execute(insert(users).values(email=email))


# --- the interface of `databases`


async def test_execute_returns_the_id_of_an_ordinary_insert(postgres, users):
    assert [await add(postgres, users, email) for email in "ab"] == [1, 2]
    assert await postgres.execute(update(users).values(age=4)) is None
    assert await postgres.execute("SELECT count(*) FROM users") == 2


async def test_execute_many_executes_each(postgres, users):
    await postgres.execute_many(users.insert(), [{"email": "a"}, {"email": "b"}])
    await postgres.execute_many(
        "INSERT INTO users (email) VALUES (:email)", [{"email": "c"}, {"email": "d"}]
    )
    assert await emails(postgres, users) == [*"abcd"]


async def test_a_clause_is_compiled_once_for_all_values(postgres, users):
    for email in "ab":
        await add(postgres, users, email)
    plans = postgres._backend.preparer._plans
    before = len(plans)
    found = [
        await postgres.fetch_val(select(users.c.id).where(users.c.email == email)) for email in "ab"
    ]
    assert (found, len(plans) - before) == ([1, 2], 1)


async def test_the_values_of_plain_text_have_the_types_that_the_server_infers(postgres):
    await postgres.execute("CREATE TABLE IF NOT EXISTS things (id uuid, at timestamptz, doc jsonb)")
    await postgres.execute(
        "INSERT INTO things (id, doc) VALUES (:id, :doc)",
        {"id": "6f1b2c7e-0000-4000-8000-000000000000", "doc": "{}"},
    )
    assert await postgres.fetch_val("SELECT doc FROM things") == "{}"


async def test_iterate_yields_every_row_and_releases_the_session(postgres_url, users):
    async with opened(postgres_url, max_size=1, wait=1) as database:
        for email in "abc":
            await add(database, users, email)
        assert [row.email async for row in database.iterate(select(users.c.email))] == [*"abc"]
        async for _row in database.iterate("SELECT * FROM users"):
            break
        assert await asyncio.create_task(add(database, users, "d")) == 4


async def test_inner_transactions_are_rolled_back_alone(postgres, users):
    async with postgres.transaction():
        await add(postgres, users, "a")
        with pytest.raises(Conflict):
            async with postgres.transaction():
                await add(postgres, users, "b")
                await add(postgres, users, "a")
        async with postgres.connection() as connection, connection.transaction():
            await add(connection, users, "c")
    assert await emails(postgres, users) == ["a", "c"]


async def test_an_error_rolls_the_transaction_back(postgres, users):
    with pytest.raises(ZeroDivisionError):
        async with postgres.transaction():
            await add(postgres, users, "a")
            assert await emails(postgres, users) == ["a"]
            assert await asyncio.create_task(emails(postgres, users)) == []
            raise ZeroDivisionError
    assert await emails(postgres, users) == []


async def test_a_transaction_may_have_an_isolation_level(postgres):
    async with postgres.transaction(isolation="serializable"):
        assert await postgres.fetch_val("SHOW transaction_isolation") == "serializable"


async def test_the_driver_connection_is_accessible_within_a_transaction(postgres):
    async with postgres.connection() as connection:
        with pytest.raises(RuntimeError):
            _ = connection.raw_connection
        async with connection.transaction():
            assert await connection.raw_connection.fetchval("SELECT 1") == 1


async def test_force_rollback_stores_nothing(postgres, postgres_url, users):
    async with opened(postgres_url, force_rollback=True) as other:
        await add(other, users, "a")
        assert await emails(other, users) == ["a"]
    assert await emails(postgres, users) == []


async def test_statements_and_writes_are_counted_and_transactions_are_not(postgres, users):
    backend = postgres._backend
    async with postgres.transaction():
        await add(postgres, users, "a")
        await postgres.fetch_all(select(users))
    await postgres.fetch_val("SELECT 1")
    assert (backend.statements, backend.writes) == (3, 1)


async def test_a_programming_error_is_the_drivers_own_error(postgres, users):
    with pytest.raises(asyncpg.UndefinedTableError):
        await postgres.fetch_all("SELECT * FROM nowhere")
    with pytest.raises(asyncpg.DataError):
        await postgres.execute(Statement(insert(users).values(email=bindparam("email")))(email=7))


async def test_a_conflict_contains_the_constraint_but_no_value(postgres, users):
    await add(postgres, users, "alice@example.org")
    with pytest.raises(Conflict) as conflict:
        await add(postgres, users, "alice@example.org")
    assert str(conflict.value) == "users_email_key"


# --- concurrency


async def test_more_tasks_than_sessions_all_succeed(postgres_url, users):
    async with opened(postgres_url, max_size=3) as database:
        await database.execute(insert(users).values(id=1, email="a", age=0))
        read = Statement(select(users.c.age).where(users.c.id == 1).with_for_update())
        write = Statement(update(users).where(users.c.id == 1).values(age=bindparam("years")))

        async def increment_age():
            async with database.transaction():
                age = await database.fetch_val(read())
                await database.execute(write(years=age + 1))

        await asyncio.gather(*(increment_age() for _ in range(50)))
        assert await database.fetch_val("SELECT age FROM users") == 50


async def test_a_connection_holds_no_session_between_statements(postgres_url):
    async with (
        opened(postgres_url, max_size=1, wait=0.2) as database,
        database.connection() as connection,
    ):
        assert await connection.fetch_val("SELECT 1") == 1
        assert await asyncio.create_task(database.fetch_val("SELECT 2")) == 2


@pytest.mark.alone
async def test_an_exhausted_pool_is_unavailable_and_recovers(postgres_url):
    async with opened(postgres_url, max_size=1, wait=0.2) as database:
        async with database.transaction():
            await database.fetch_val("SELECT 1")
            started = time.monotonic()
            with pytest.raises(Unavailable):
                await asyncio.create_task(database.fetch_val("SELECT 1"))
            assert 0.15 < time.monotonic() - started < 1
        assert await asyncio.create_task(database.fetch_val("SELECT 1")) == 1


async def test_tasks_canceled_at_any_time_do_not_damage_the_pool(postgres_url, users):
    async with opened(postgres_url, max_size=2, ssl=False) as database:

        async def work(number):
            async with database.transaction():
                await add(database, users, f"a{number}")
                await database.fetch_val(SLEEP(seconds=0.01))
                await add(database, users, f"b{number}")

        tasks = []
        for number in range(40):
            tasks.append(asyncio.create_task(work(number)))
            await asyncio.sleep(0.002)
            tasks[number // 2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(
            *(asyncio.create_task(database.fetch_val("SELECT 1")) for _ in range(4))
        )
        stored = await emails(database, users)
        assert {e[1:] for e in stored if e[0] == "a"} == {e[1:] for e in stored if e[0] == "b"}


async def test_a_hundred_transactions_that_cannot_start_leak_nothing(postgres_url, users):
    async with opened(postgres_url, max_size=2, wait=0.5) as database:
        for _ in range(100):
            with pytest.raises(ValueError, match="isolation"):
                async with database.transaction(isolation="nonsense"):
                    raise AssertionError
        async with database.transaction():
            await add(database, users, "a")
        rows = (asyncio.create_task(emails(database, users)) for _ in range(4))
        assert await asyncio.gather(*rows) == [["a"]] * 4


# --- unavailability


async def test_a_read_is_retried_if_its_session_was_terminated(postgres_url):
    async with opened(postgres_url, max_size=1) as database:
        pid = await database.fetch_val(OWN_SESSION())
        # There is no such session at the second attempt.
        assert await database.fetch_val(END_SESSION(pid=pid)) is None
        assert await database.fetch_val(OWN_SESSION()) != pid


async def test_a_read_is_retried_only_once(postgres_url):
    async with opened(postgres_url, max_size=1) as database:
        with pytest.raises(Unavailable) as raised:
            await database.fetch_val(END_OWN_SESSION())
        assert isinstance(raised.value.__cause__, asyncpg.PostgresError)
        assert await database.fetch_val("SELECT 1") == 1


async def test_reads_succeed_after_all_pooled_sessions_were_terminated(postgres_url, server_url):
    async with opened(postgres_url, max_size=4) as database:
        await asyncio.gather(*(database.fetch_val(SLEEP(seconds=0.05)) for _ in range(4)))
        pids = [holder._con.get_server_pid() for holder in database._backend.pool._pool._holders]
        other = await asyncpg.connect(server_url)
        for pid in pids:
            await other.execute(f"SELECT pg_terminate_backend({pid})")
        assert await asyncio.gather(*(database.fetch_val("SELECT 1") for _ in range(8))) == [1] * 8
        await other.close()


async def test_a_write_and_a_transaction_are_not_retried(postgres_url, users):
    ending = Statement(
        update(users).where(func.pg_terminate_backend(bindparam("pid"))).values(age=1)
    )
    async with opened(postgres_url, max_size=1) as database:
        await add(database, users, "a")
        # A second attempt would find no such session and succeed.
        with pytest.raises(Unavailable):
            await database.execute(ending(pid=await database.fetch_val(OWN_SESSION())))
        with pytest.raises(Unavailable):
            async with database.transaction():
                await add(database, users, "b")
                await database.fetch_val(END_SESSION(pid=await database.fetch_val(OWN_SESSION())))
        assert await emails(database, users) == ["a"]


@asynccontextmanager
async def prepared_deadlock(postgres, postgres_url, users):
    """Holds a lock on the second of two rows. Yields a coroutine that locks the first one.

    A statement that locks both rows in the meantime gets into a deadlock.
    """
    await postgres.execute_many(
        users.insert(), [{"email": "a", "age": 0}, {"email": "b", "age": 0}]
    )
    other = await asyncpg.connect(postgres_url)
    async with other.transaction():
        await other.execute("UPDATE users SET age = 10 WHERE email = 'b'")

        async def lock_first_row():
            await asyncio.sleep(0.3)
            await other.execute("UPDATE users SET age = 10 WHERE email = 'a'")

        yield lock_first_row()
    await other.close()


INCREMENT_AGES = "UPDATE users SET age = age + 1"


async def test_a_write_rolled_back_by_a_deadlock_is_retried(postgres, postgres_url, users):
    async with prepared_deadlock(postgres, postgres_url, users) as locking:
        writing = asyncio.create_task(postgres.execute(INCREMENT_AGES))
        await locking
        assert not writing.done()
    await writing
    assert [row.age for row in await postgres.fetch_all(select(users.c.age))] == [11, 11]


async def test_a_transaction_rolled_back_by_a_deadlock_is_unavailable(
    postgres, postgres_url, users
):
    async def work():
        async with postgres.transaction():
            await postgres.execute(INCREMENT_AGES)

    async with prepared_deadlock(postgres, postgres_url, users) as locking:
        writing = asyncio.create_task(work())
        await locking
    with pytest.raises(Unavailable) as raised:
        await writing
    assert isinstance(raised.value.__cause__, asyncpg.DeadlockDetectedError)
    assert [row.age for row in await postgres.fetch_all(select(users.c.age))] == [10, 10]


async def test_statements_are_read_committed_despite_the_database_default(postgres, postgres_url):
    name = postgres_url.rpartition("/")[2]
    await postgres.execute(
        f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"
    )
    async with opened(postgres_url) as database:
        assert await database.fetch_val("SHOW transaction_isolation") == "read committed"
    await postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_isolation")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", {}),
        ("?ssl=true", {"ssl": True}),
        ("?ssl=false&max_size=3", {"ssl": False}),
        ("?ssl=require", {"ssl": "require"}),
    ],
)
def test_the_url_options_of_databases_are_parsed(options, expected):
    found = connect_options(f"postgres://u:p%40ss@host:6432/db{options}")
    assert found == {"dsn": "postgresql://u:p%40ss@host:6432/db", "timeout": 10.0, **expected}


async def test_the_url_options_of_postgresql_are_applied(postgres_url):
    async with opened(
        f"{postgres_url}?application_name=test&sslmode=disable&max_size=1"
    ) as database:
        assert await database.fetch_val("SHOW application_name") == "test"
    # The server of the tests has no certificate.
    async with opened(f"{postgres_url}?sslmode=require") as database:
        with pytest.raises(Unavailable):
            await database.fetch_val("SELECT 1")


async def test_a_transaction_replaces_a_terminated_session(postgres_url, server_url, users):
    async with opened(postgres_url, max_size=1) as database:
        pid = await database.fetch_val(OWN_SESSION())
        other = await asyncpg.connect(server_url)
        await other.execute(f"SELECT pg_terminate_backend({pid})")
        async with database.transaction():
            await add(database, users, "a")
        assert await emails(database, users) == ["a"]
        await other.close()


async def test_connecting_to_an_unreachable_server_succeeds():
    async with opened("postgresql://postgres@127.0.0.1:1/test") as database:
        with pytest.raises(Unavailable) as raised:
            await database.fetch_val("SELECT 1")
        assert isinstance(raised.value.__cause__, OSError)
        with pytest.raises(Unavailable):
            async with database.transaction():
                raise AssertionError


async def test_a_statement_that_takes_too_long_is_unavailable(postgres_url):
    async with opened(postgres_url, statement_timeout=100) as database:
        with pytest.raises(Unavailable) as raised:
            await database.fetch_val(SLEEP(seconds=5))
        assert isinstance(raised.value.__cause__, asyncpg.QueryCanceledError)


async def test_a_lock_held_by_another_session_is_unavailable(postgres_url, users):
    async with opened(postgres_url, lock_timeout=100) as database:
        await add(database, users, "a")
        async with database.transaction():
            await database.execute(update(users).values(age=1))
            with pytest.raises(Unavailable) as raised:
                await asyncio.create_task(database.execute(update(users).values(age=2)))
            assert isinstance(raised.value.__cause__, asyncpg.LockNotAvailableError)
        assert await database.fetch_val(select(users.c.age)) == 1


async def test_a_write_to_a_read_only_server_is_unavailable(postgres, users):
    with pytest.raises(Unavailable):
        async with postgres.transaction(readonly=True):
            await add(postgres, users, "a")
    assert await emails(postgres, users) == []


async def test_the_default_timeouts_are_set(postgres):
    assert await postgres.fetch_val("SHOW statement_timeout") == "3s"
    assert await postgres.fetch_val("SHOW lock_timeout") == "3s"
    assert await postgres.fetch_val("SHOW idle_in_transaction_session_timeout") == "5s"


async def test_the_server_detects_a_lost_client_within_a_minute(postgres):
    names = (
        "tcp_keepalives_idle",
        "tcp_keepalives_interval",
        "tcp_keepalives_count",
        "tcp_user_timeout",
    )
    shown = [await postgres.fetch_val(f"SHOW {name}") for name in names]
    assert shown == ["30", "10", "3", "60000"]


async def test_a_frozen_transaction_loses_its_locks(postgres_url, users):
    """The transaction sends nothing, like a paused host."""
    async with opened(postgres_url, idle_timeout=100) as frozen, opened(postgres_url) as other:
        await add(other, users, "a")
        with pytest.raises(Unavailable):
            async with frozen.transaction():
                await frozen.fetch_val(select(func.pg_advisory_xact_lock(7)))
                await frozen.execute(update(users).values(age=1))
                writing = asyncio.create_task(other.execute(update(users).values(age=2)))
                locking = asyncio.create_task(
                    other.fetch_val(select(func.pg_advisory_xact_lock(7)))
                )
                await asyncio.gather(writing, locking)
                await frozen.execute(update(users).values(age=3))
        assert await other.fetch_val(select(users.c.age)) == 2
        assert await frozen.fetch_val("SELECT 1") == 1


async def test_an_advisory_lock_held_by_another_session_is_unavailable(postgres_url):
    lock = select(func.pg_advisory_xact_lock(7))
    async with opened(postgres_url, lock_timeout=100) as database, database.transaction():
        await database.fetch_val(lock)
        with pytest.raises(Unavailable):
            await asyncio.create_task(database.fetch_val(lock))


async def test_a_wrong_database_name_is_not_reported_as_unavailable(server_url):
    async with opened(server_url.rpartition("/")[0] + "/there_is_no_such_database") as database:
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await database.fetch_val("SELECT 1")


# --- the state of a session


async def test_a_session_is_reset_only_if_it_was_touched(server_url):
    session = await asyncpg.connect(server_url, connection_class=Session)
    assert session.get_reset_query() == ""
    session.touch()
    assert "RESET ALL" in session.get_reset_query()
    assert session.get_reset_query() == ""
    await session.close()


@pytest.mark.parametrize(
    "change",
    [
        "SET application_name = 'left'",
        Statement(select(func.set_config("application_name", "left", False)))(),
    ],
)
async def test_a_setting_does_not_affect_the_next_statement(postgres_url, change):
    async with opened(postgres_url, max_size=1) as database:
        await database.execute(change)
        assert (
            await database.fetch_val(Statement(select(func.current_setting("application_name")))())
            == ""
        )


async def test_a_session_advisory_lock_is_released_after_its_statement(postgres_url):
    async with opened(postgres_url, max_size=1) as database:
        await database.fetch_val(Statement(select(func.pg_advisory_lock(7)))())
        here = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        assert (
            await database.fetch_val(
                f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND {here}"
            )
            == 0
        )


async def test_a_statement_is_prepared_once_per_connection(postgres_url):
    add_one = Statement(select((bindparam("number", type_=Integer) + 1).label("more")))
    async with opened(postgres_url, max_size=1) as database:
        assert (await database.fetch_one(add_one(number=1))).more == 2
        session = database._backend.pool._pool._holders[0]._con
        prepared, sent = len(session._stmt_cache._entries), session._protocol.queries_count
        assert [(await database.fetch_one(add_one(number=n))).more for n in range(3)] == [1, 2, 3]
        assert (len(session._stmt_cache._entries), session._protocol.queries_count) == (
            prepared,
            sent + 3,
        )
