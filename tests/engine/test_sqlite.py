"""Tests the SQLite back end: concurrency, cancellation and recovery from failures."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager, closing

import pytest
from databases import Database
from sqlalchemy import Integer, bindparam, func, select, text, update

from db.engine.statement import Conflict, Statement, insert
from db.errors import Unavailable

SLOW = "(WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM n LIMIT {}) SELECT x FROM n)"
SLOW_READ = f"SELECT count(*) FROM {SLOW.format(1_000_000_000)}"
# about 0.5 s
SLOW_WRITE = f"INSERT INTO users (email) SELECT 'slow ' || count(*) FROM {SLOW.format(3_000_000)}"


@asynccontextmanager
async def opened(url, **options):
    async with Database(url, **options) as database:
        yield database


def exclusive_lock(path):
    """Opens another connection, which holds an exclusive lock."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return closing(connection)


async def emails(database, users):
    return [
        row.email for row in await database.fetch_all(select(users.c.email).order_by(users.c.id))
    ]


async def add(database, users, email):
    return await database.execute(insert(users).values(email=email))


# --- connections


async def pragmas(database):
    names = ["journal_mode", "foreign_keys", "synchronous", "query_only"]
    rows = [await database.fetch_val(f"SELECT {name} FROM pragma_{name}") for name in names]
    return [*rows, await database.fetch_val("SELECT timeout FROM pragma_busy_timeout")]


async def test_the_pragmas_are_set_on_every_connection(sqlite_url):
    async with opened(sqlite_url, readers=3, busy_timeout=1234) as database:
        async with database.transaction():
            assert await pragmas(database) == ["wal", 1, 2, 0, 1234]
        workers = database._backend.readers
        together = threading.Barrier(3)

        def settings(handle):
            together.wait(5)  # No thread can then run two of the jobs.
            names = ["journal_mode", "foreign_keys", "synchronous", "query_only", "busy_timeout"]
            return [handle.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

        found = await asyncio.gather(*(workers.do(settings) for _ in range(3)))
        assert found == [["wal", 1, 2, 1, 1234]] * 3


async def test_a_memory_database_is_rejected():
    for url in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ValueError, match="file"):
            Database(url)


async def test_the_path_may_be_absolute_encoded_and_followed_by_options(tmp_path):
    async with opened(f"sqlite:///{tmp_path}/a%20b.db?cache=shared") as database:
        assert await database.fetch_val("SELECT 1") == 1
    assert (tmp_path / "a b.db").exists()


async def test_an_invalid_path_is_unavailable_and_leaves_no_thread(tmp_path):
    with pytest.raises(Unavailable) as raised:
        await Database(f"sqlite:///{tmp_path}/missing/a.db").connect()
    assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
    assert engine_threads() == 0


def test_an_invalid_path_leaves_no_callback_for_a_closed_event_loop(tmp_path):
    program = f"""
import asyncio, db.engine
from databases import Database
asyncio.run(Database("sqlite:///{tmp_path}/missing/a.db").connect())
"""
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", program], timeout=20, capture_output=True, text=True
        )
        assert "Unavailable" in done.stderr
        assert "Event loop is closed" not in done.stderr


async def test_pending_statements_complete_before_disconnecting(sqlite_url):
    database = Database(sqlite_url)
    await database.connect()
    pending = [asyncio.create_task(database.fetch_val("SELECT 1")) for _ in range(3)]
    await asyncio.sleep(0)
    await database.disconnect()
    assert await asyncio.wait_for(asyncio.gather(*pending), 5) == [1, 1, 1]


async def test_a_fast_read_returns_before_a_slow_read_of_the_same_batch(sqlite):
    async with opened(str(sqlite.url), readers=1, deadline=0.5) as database:
        fast, slow = [
            asyncio.create_task(database.fetch_val(query)) for query in ("SELECT 1", SLOW_READ)
        ]
        assert await asyncio.wait([fast, slow], return_when=asyncio.FIRST_COMPLETED) == (
            {fast},
            {slow},
        )
        with pytest.raises(Unavailable):
            await slow


def engine_threads():
    """Returns the number of the back end's threads, after waiting for those that are stopping."""
    threads = [
        thread for thread in threading.enumerate() if "_connection_worker_thread" in thread.name
    ]
    for thread in threads:
        thread.join(0.1)
    assert all(thread.daemon for thread in threads)
    return sum(thread.is_alive() for thread in threads)


async def test_the_threads_end_when_the_database_is_disconnected(sqlite_url):
    async with opened(sqlite_url, readers=3):
        assert engine_threads() == 4
    assert engine_threads() == 0


def test_a_program_that_does_not_disconnect_exits(sqlite_path):
    program = f"""
import asyncio, db.engine
from databases import Database
async def main():
    database = Database("sqlite:///{sqlite_path}")
    await database.connect()
    print(await database.fetch_val("SELECT 1"))
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], timeout=20, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


async def test_disconnecting_leaves_no_wal_file(sqlite_url, sqlite_path):
    async with opened(sqlite_url) as database:
        await database.execute("CREATE TABLE a (id)")
        assert sqlite_path.with_name("test.db-wal").exists()
    assert [path.name for path in sqlite_path.parent.iterdir()] == ["test.db"]


async def test_a_database_may_be_connected_again(sqlite_url):
    database = Database(sqlite_url)
    for _ in range(2):
        await database.connect()
        assert await database.fetch_val("SELECT 1") == 1
        await database.disconnect()


# --- the interface of `databases`


async def test_execute_returns_the_inserted_id_or_the_number_of_updated_rows(sqlite, users):
    assert [await add(sqlite, users, email) for email in "ab"] == [1, 2]
    assert await sqlite.execute(update(users).values(age=4)) == 2
    assert await sqlite.execute("UPDATE users SET age = 5 WHERE id = :id", {"id": 9}) == 0
    assert await sqlite.execute("INSERT INTO users (email) VALUES (:email)", {"email": "c"}) == 3


async def test_execute_many_executes_each(sqlite, users):
    await sqlite.execute_many(users.insert(), [{"email": "a"}, {"email": "b"}])
    await sqlite.execute_many(
        "INSERT INTO users (email) VALUES (:email)", [{"email": "c"}, {"email": "d"}]
    )
    assert await emails(sqlite, users) == [*"abcd"]


async def test_a_clause_is_compiled_once_for_all_values(sqlite, users):
    for email in "ab":
        await add(sqlite, users, email)
    plans = sqlite._backend.preparer._plans
    before = len(plans)
    found = [
        await sqlite.fetch_val(select(users.c.id).where(users.c.email == email)) for email in "ab"
    ]
    assert (found, len(plans) - before) == ([1, 2], 1)


async def test_an_in_clause_has_the_values_of_its_own_call(sqlite, users):
    for email in "abc":
        await add(sqlite, users, email)
    for wanted in (["a"], ["b", "c"], []):
        query = select(users.c.email).where(users.c.email.in_(wanted)).order_by(users.c.id)
        assert [row.email for row in await sqlite.fetch_all(query)] == wanted


async def test_params_of_equal_clauses_are_not_confused(sqlite):
    query = select((bindparam("n", type_=Integer()) + 0).label("n"))
    assert [await sqlite.fetch_val(query.params(n=n)) for n in (1, 2)] == [1, 2]


async def test_iterate_yields_every_row_and_releases_the_writer(sqlite, users):
    for email in "abc":
        await add(sqlite, users, email)
    assert [row.email async for row in sqlite.iterate(select(users.c.email))] == [*"abc"]
    async for _row in sqlite.iterate("SELECT * FROM users"):
        break
    assert await asyncio.wait_for(asyncio.create_task(add(sqlite, users, "d")), 1) == 4


async def test_a_connection_runs_the_statements_of_its_block(sqlite, users):
    async with sqlite.connection() as connection:
        await connection.execute(insert(users).values(email="a"))
        assert await connection.fetch_val(select(func.count()).select_from(users)) == 1
        async with connection.transaction(force_rollback=True):
            await connection.execute(insert(users).values(email="b"))
        assert await emails(connection, users) == ["a"]


async def test_force_rollback_stores_nothing(sqlite, sqlite_url, users):
    async with opened(sqlite_url, force_rollback=True) as other:
        await add(other, users, "a")
        assert await emails(other, users) == ["a"]
    assert await emails(sqlite, users) == []


async def test_statements_and_writes_are_counted_and_transactions_are_not(sqlite, users):
    backend = sqlite._backend
    statements, writes = backend.statements, backend.writes
    async with sqlite.transaction():
        await add(sqlite, users, "a")
        async with sqlite.transaction():
            await sqlite.fetch_all(select(users))
    await sqlite.fetch_val("SELECT 1")
    assert (backend.statements - statements, backend.writes - writes) == (3, 1)


async def test_a_programming_error_is_sqlites_own_error(sqlite):
    for wrong in ("SELECT * FROM nowhere", "SELEC 1", "INSERT INTO nowhere VALUES (1)"):
        with pytest.raises(sqlite3.OperationalError):
            await sqlite.fetch_all(wrong)


# --- transactions


async def test_a_hundred_transactions_that_read_and_then_write_all_succeed(sqlite, users):
    await sqlite.execute(insert(users).values(id=1, email="a", age=0))
    read = Statement(select(users.c.age).where(users.c.id == 1))
    write = Statement(update(users).where(users.c.id == 1).values(age=bindparam("years")))

    async def increment_age():
        async with sqlite.transaction():
            age = await sqlite.fetch_val(read())
            await asyncio.sleep(0)
            await sqlite.execute(write(years=age + 1))

    await asyncio.gather(*(increment_age() for _ in range(100)))
    assert await sqlite.fetch_val(read()) == 100


async def test_a_transaction_sees_what_it_wrote_and_others_do_not(sqlite, users):
    async with sqlite.transaction():
        await add(sqlite, users, "a")
        assert await emails(sqlite, users) == ["a"]
        assert await asyncio.create_task(emails(sqlite, users)) == []
    assert await asyncio.create_task(emails(sqlite, users)) == ["a"]


async def test_an_error_rolls_the_transaction_back(sqlite, users):
    with pytest.raises(ZeroDivisionError):
        async with sqlite.transaction():
            await add(sqlite, users, "a")
            raise ZeroDivisionError
    assert await emails(sqlite, users) == []
    assert await add(sqlite, users, "b") == 1


async def test_an_inner_transaction_is_rolled_back_alone(sqlite, users):
    async with sqlite.transaction():
        await add(sqlite, users, "a")
        with pytest.raises(Conflict):
            async with sqlite.transaction():
                await add(sqlite, users, "b")
                await add(sqlite, users, "a")
        async with sqlite.transaction():
            await add(sqlite, users, "c")
    assert await emails(sqlite, users) == ["a", "c"]


async def test_the_outer_rollback_includes_inner_transactions(sqlite, users):
    with pytest.raises(ZeroDivisionError):
        async with sqlite.transaction():
            async with sqlite.transaction():
                await add(sqlite, users, "a")
            raise ZeroDivisionError
    assert await emails(sqlite, users) == []


async def test_a_failed_commit_is_rolled_back_and_releases_the_writer(sqlite, users):
    await sqlite.execute(
        "CREATE TABLE late (id INTEGER REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)"
    )
    with pytest.raises(Conflict):
        async with sqlite.transaction():
            await sqlite.execute("INSERT INTO late VALUES (99)")
    assert await sqlite.fetch_val("SELECT count(*) FROM late") == 0
    assert await asyncio.wait_for(add(sqlite, users, "a"), 1) == 1


async def test_a_transaction_that_sqlite_rolled_back_is_not_continued(sqlite, users):
    await sqlite.execute("CREATE TABLE strict (id INTEGER PRIMARY KEY ON CONFLICT ROLLBACK)")
    with pytest.raises(sqlite3.OperationalError, match="rolled"):
        async with sqlite.transaction():
            await sqlite.execute("INSERT INTO strict VALUES (1)")
            with pytest.raises(Conflict):
                await sqlite.execute("INSERT INTO strict VALUES (1)")
            await add(sqlite, users, "a")
    assert await emails(sqlite, users) == []
    assert await add(sqlite, users, "b") == 1


async def test_an_inner_transaction_that_sqlite_rolled_back_raises_its_error(sqlite):
    await sqlite.execute("CREATE TABLE strict (id INTEGER PRIMARY KEY ON CONFLICT ROLLBACK)")
    with pytest.raises(Conflict):
        async with sqlite.transaction(), sqlite.transaction():
            for _ in range(2):
                await sqlite.execute("INSERT INTO strict VALUES (1)")
    assert await sqlite.fetch_val("SELECT count(*) FROM strict") == 0


async def test_inner_transactions_may_be_nested_three_deep(sqlite, users):
    async with sqlite.transaction():
        async with sqlite.transaction():
            await add(sqlite, users, "a")
            async with sqlite.transaction(force_rollback=True):
                await add(sqlite, users, "b")
            await add(sqlite, users, "c")
        await add(sqlite, users, "d")
    assert await emails(sqlite, users) == ["a", "c", "d"]


async def test_a_transaction_begins_after_another_was_left_open(sqlite, users):
    await sqlite._backend.writer.do(
        lambda handle: handle.run("BEGIN", "INSERT INTO users (email) VALUES ('never')")
    )
    async with sqlite.transaction():
        await add(sqlite, users, "a")
    assert await emails(sqlite, users) == ["a"]


async def test_a_transaction_begun_by_a_statement_is_rejected_and_rolled_back(sqlite, users):
    with pytest.raises(sqlite3.ProgrammingError):
        await sqlite.execute("BEGIN IMMEDIATE")
    assert await add(sqlite, users, "a") == 1
    with closing(sqlite3.connect(sqlite._backend._path)) as other:
        assert other.execute("SELECT count(*) FROM users").fetchone() == (1,)


# --- cancellation


async def test_the_writer_works_after_a_task_is_canceled_within_a_statement(sqlite, users):
    task = asyncio.create_task(sqlite.execute(SLOW_WRITE))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(add(sqlite, users, "after"), 60)
    # The statement completed before the lock was released.
    assert await emails(sqlite, users) == ["slow 3000000", "after"]


async def test_a_canceled_transaction_is_rolled_back_before_the_next_begins(sqlite, users):
    async def work():
        async with sqlite.transaction():
            await add(sqlite, users, "never")
            await sqlite.execute(SLOW_WRITE)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.1)
    task.cancel()
    async with asyncio.timeout(60), sqlite.transaction():
        await add(sqlite, users, "after")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await emails(sqlite, users) == ["after"]


async def test_a_task_canceled_twice_still_rolls_back(sqlite, users):
    async def work():
        async with sqlite.transaction():
            await add(sqlite, users, "never")
            await sqlite.execute(SLOW_WRITE)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.1)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
    assert task.done()
    await asyncio.wait_for(add(sqlite, users, "after"), 60)
    assert await emails(sqlite, users) == ["after"]


async def test_a_task_canceled_while_waiting_does_not_block_the_writer(sqlite, users):
    async with sqlite.transaction():
        waiting = [asyncio.create_task(add(sqlite, users, email)) for email in "abc"]
        await asyncio.sleep(0.05)
        waiting[0].cancel()
        waiting[1].cancel()
    assert await asyncio.wait_for(waiting[2], 1) == 1
    assert await emails(sqlite, users) == ["c"]


async def test_tasks_canceled_at_any_time_leave_no_partial_transaction(sqlite, users):
    async def work(number):
        async with sqlite.transaction():
            await add(sqlite, users, f"a{number}")
            async with sqlite.transaction():
                await add(sqlite, users, f"b{number}")

    tasks = []
    for number in range(60):
        tasks.append(asyncio.create_task(work(number)))
        await asyncio.sleep(0.0005)
        tasks[number // 2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await asyncio.wait_for(add(sqlite, users, "after"), 2)
    stored = await emails(sqlite, users)
    assert {email[1:] for email in stored if email[0] == "a"} - {"fter"} == {
        e[1:] for e in stored if e[0] == "b"
    }


@pytest.mark.alone
async def test_canceled_reads_do_not_delay_other_reads(sqlite):
    async with opened(str(sqlite.url), readers=1, deadline=0.3) as database:
        tasks = [asyncio.create_task(database.fetch_val(SLOW_READ)) for _ in range(20)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        started = time.monotonic()
        # The canceled read that had started runs until its deadline.
        with pytest.raises(Unavailable):
            await asyncio.wait_for(database.fetch_val(SLOW_READ), 5)
        assert time.monotonic() - started < 1
        assert await database.fetch_val("SELECT 1") == 1


# --- unavailability


async def test_a_locked_database_is_unavailable_for_writes_but_readable(sqlite, sqlite_path, users):
    await add(sqlite, users, "a")
    async with opened(str(sqlite.url), busy_timeout=50) as database:
        with exclusive_lock(sqlite_path):
            with pytest.raises(Unavailable) as raised:
                await add(database, users, "b")
            assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
            with pytest.raises(Unavailable):
                async with database.transaction():
                    raise AssertionError
            assert await emails(database, users) == ["a"]
        await add(database, users, "c")
        assert await emails(database, users) == ["a", "c"]


async def test_a_hundred_transactions_that_cannot_start_leak_nothing(sqlite, sqlite_path, users):
    async with opened(str(sqlite.url), busy_timeout=0) as database:
        threads = engine_threads()
        with exclusive_lock(sqlite_path):
            for _ in range(100):
                with pytest.raises(Unavailable):
                    async with database.transaction():
                        raise AssertionError
        assert engine_threads() == threads
        async with database.transaction():
            await add(database, users, "a")
        await asyncio.wait_for(asyncio.create_task(add(database, users, "b")), 1)
        assert await emails(database, users) == ["a", "b"]


@pytest.mark.alone
async def test_waiting_too_long_for_the_writer_is_unavailable(sqlite, users):
    async with opened(str(sqlite.url), wait=0.1) as database:
        async with database.transaction():
            started = time.monotonic()
            with pytest.raises(Unavailable):
                await asyncio.create_task(add(database, users, "a"))
            assert 0.05 < time.monotonic() - started < 1
        assert await asyncio.create_task(add(database, users, "b")) == 1


@pytest.mark.alone
async def test_a_slow_read_ends_at_its_deadline_and_delays_no_other_read(sqlite):
    async with opened(str(sqlite.url), deadline=0.5) as database:
        slow = asyncio.create_task(database.fetch_val(SLOW_READ))
        await asyncio.sleep(0.05)
        started = time.monotonic()
        await asyncio.gather(*(database.fetch_val("SELECT 1") for _ in range(50)))
        assert time.monotonic() - started < 0.4
        with pytest.raises(Unavailable) as raised:
            await slow
        assert raised.value.__cause__.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT
        assert await database.fetch_val("SELECT 1") == 1


async def test_a_slow_read_within_a_transaction_is_unavailable_too(sqlite, users):
    async with opened(str(sqlite.url), deadline=0.2) as database:
        with pytest.raises(Unavailable):
            async with database.transaction():
                await database.fetch_val(SLOW_READ)
        assert await add(database, users, "a") == 1


@pytest.mark.alone
async def test_a_read_that_waits_past_its_deadline_is_not_started(sqlite):
    async with opened(str(sqlite.url), readers=1, deadline=0.3) as database:
        slow = [asyncio.create_task(database.fetch_val(SLOW_READ)) for _ in range(10)]
        started = time.monotonic()
        outcomes = await asyncio.gather(*slow, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Unavailable] * 10
        assert time.monotonic() - started < 1


async def test_a_fast_read_is_not_started_after_its_deadline(sqlite):
    async with opened(str(sqlite.url), readers=1, deadline=0.1) as database:
        blocking = asyncio.ensure_future(
            database._backend.readers.do(lambda handle: time.sleep(0.3))
        )
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await database.fetch_val("SELECT 1")
        await blocking


async def test_a_job_canceled_before_its_turn_does_not_run(sqlite):
    done = []
    blocking = asyncio.create_task(sqlite._backend.writer.do(lambda handle: time.sleep(0.1)))
    waiting = asyncio.create_task(sqlite._backend.writer.do(lambda handle: done.append("never")))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await blocking
    await sqlite._backend.writer.do(lambda handle: done.append("after"))
    assert done == ["after"]


@pytest.mark.alone
async def test_slow_reads_do_not_block_the_writer(sqlite, users):
    async with opened(str(sqlite.url), deadline=0.5) as database:
        slow = [asyncio.create_task(database.fetch_val(SLOW_READ)) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert await asyncio.wait_for(add(database, users, "a"), 0.3) == 1
        assert [
            type(outcome) for outcome in await asyncio.gather(*slow, return_exceptions=True)
        ] == [Unavailable] * 2


async def test_a_full_database_is_unavailable_and_recovers(sqlite, users):
    await sqlite._backend.writer.do(lambda handle: handle.run("PRAGMA max_page_count=1"))
    with pytest.raises(Unavailable) as raised:
        await sqlite.execute("INSERT INTO users (email) SELECT hex(randomblob(100000))")
    assert raised.value.__cause__.sqlite_errorcode == sqlite3.SQLITE_FULL
    await sqlite._backend.writer.do(lambda handle: handle.run("PRAGMA max_page_count=100000"))
    assert await add(sqlite, users, "a") == 1


async def test_a_reader_cannot_write(sqlite, users):
    with pytest.raises(Unavailable) as raised:
        await sqlite._backend.readers.do(
            lambda handle: handle.run("INSERT INTO users (email) VALUES ('a')")
        )
    assert raised.value.__cause__.sqlite_errorcode == sqlite3.SQLITE_READONLY
    assert await emails(sqlite, users) == []


async def test_a_read_does_not_delay_the_checkpoint(sqlite, users):
    for number in range(20):
        await add(sqlite, users, f"{number}")
    await sqlite.fetch_one(select(users))
    assert tuple(await sqlite.fetch_one(text("PRAGMA wal_checkpoint(TRUNCATE)"))) == (0, 0, 0)
