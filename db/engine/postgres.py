"""Contains the PostgreSQL back end for `databases`: an asyncpg pool whose connections are held for
one statement or one transaction.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any, Final

from databases import DatabaseURL
from databases.interfaces import ConnectionBackend, DatabaseBackend, TransactionBackend

from db.engine.plan import Call, Plan
from db.engine.postgres_dialect import Dialect
from db.engine.postgres_pool import Pool
from db.engine.postgres_session import retry_if_undone, run_with_timeout, translate_errors
from db.engine.prepare import Preparer, Query
from db.engine.statement import Bound

SETTINGS: Final = {
    # Every conditional statement relies on this isolation level.
    "default_transaction_isolation": "read committed",
    # The server keeps the connections of a failed host for one minute instead of two hours.
    "tcp_keepalives_idle": "30",  # seconds
    "tcp_keepalives_interval": "10",  # seconds
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60000",  # milliseconds
}


class PostgresBackend(DatabaseBackend):
    """The PostgreSQL back end. Its statements raise Unavailable if a timeout expires.

    `wait` is the time for a connection of the pool, in seconds. `statement_timeout` and
    `lock_timeout` are the server's settings, in milliseconds. `idle_timeout` is the time in
    milliseconds after which the server ends a transaction whose client sends nothing. The locks of
    a frozen process would otherwise block every other host. Other options are passed to
    `asyncpg.create_pool`.

    `connect` opens no connection (`min_size=0`), so a program can start while the server cannot be
    reached. Its statements raise Unavailable until then. `statements` and `writes` count the
    executed statements, without those that begin or end a transaction.
    """

    def __init__(
        self,
        database_url: DatabaseURL | str,
        *,
        wait: float = 2.0,
        statement_timeout: int = 3000,
        lock_timeout: int = 3000,
        idle_timeout: int = 5000,
        **options: Any,
    ) -> None:
        timeouts = {"statement_timeout": str(statement_timeout), "lock_timeout": str(lock_timeout)}
        timeouts["idle_in_transaction_session_timeout"] = str(idle_timeout)
        self.pool = Pool(
            DatabaseURL(database_url), wait, {"server_settings": SETTINGS | timeouts, **options}
        )
        self.preparer = Preparer(Dialect())  # type: ignore[no-untyped-call]
        self.statements = self.writes = 0

    async def connect(self) -> None:
        await self.pool.open()

    async def disconnect(self) -> None:
        await self.pool.close()

    def connection(self) -> "PostgresConnection":
        return PostgresConnection(self)

    # A server that cannot write fails every statement, reads included, so no state is kept here.
    is_broken = False

    def count(self, plan: Plan) -> None:
        self.statements += 1
        self.writes += plan.writes


class PostgresConnection(ConnectionBackend):
    """A connection that holds a session only during a transaction.

    `acquire` therefore does nothing, and `databases` cannot leak a session.
    """

    def __init__(self, backend: PostgresBackend) -> None:
        self._backend = backend
        self.session: Any = None

    async def acquire(self) -> None: ...

    async def release(self) -> None: ...

    async def fetch_all(self, query: Query) -> list[Any]:
        plan, rows = await self._run(query, "fetch")
        return plan.records(rows, lambda: rows[0].keys() if rows else ())

    async def fetch_one(self, query: Query) -> Any:
        plan, row = await self._run(query, "fetchrow")
        return None if row is None else plan.records([row], row.keys)[0]

    async def execute(self, query: Query) -> Any:
        """Returns the number of rows of a Statement.

        Returns the first value that any other clause returns, for example the id of an INSERT.
        """
        if not isinstance(query, Bound):
            return (await self._run(query, "fetchval"))[1]
        _, status = await self._run(query, "execute")
        return parse_row_count(status)

    async def execute_many(self, queries: list[Any]) -> None:
        for query in queries:
            await self._run(query, "execute")

    async def iterate(self, query: Query) -> AsyncGenerator[Any, None]:
        plan, (sql, arguments) = self._prepare(query)
        with translate_errors():
            async for row in self.session.cursor(sql, *arguments):
                yield plan.records([row], row.keys)[0]

    async def _run(self, query: Query, method: str) -> tuple[Plan, Any]:
        """Runs the query and returns its plan and result.

        Outside a transaction, retries a statement that the server rolled back, and a read whose
        connection was broken. Neither can take effect twice.
        """
        plan, call = self._prepare(query)

        async def attempt() -> Any:
            return await self._perform(plan, method, call)

        with translate_errors():
            if self.session is not None:
                return plan, await attempt()
            done = partial(retry_if_undone, attempt)
            return plan, await (done() if plan.writes else self._backend.pool.retry_if_broken(done))

    def _prepare(self, query: Query) -> tuple[Plan, Call]:
        plan, call = self._backend.preparer.prepare(query)
        self._backend.count(plan)
        return plan, call

    async def _perform(self, plan: Plan, method: str, call: Call) -> Any:
        if self.session is not None:
            return await perform(self.session, plan, method, call)
        session = await self._backend.pool.acquire()
        try:
            return await perform(session, plan, method, call)
        finally:
            await self._backend.pool.release(session)

    def transaction(self) -> "PostgresTransaction":
        return PostgresTransaction(self, self._backend.pool)

    @property
    def raw_connection(self) -> Any:
        """Returns asyncpg's connection. Raises RuntimeError outside a transaction."""
        if self.session is None:
            raise RuntimeError("no transaction is open")
        self.session.touch()
        return self.session


class PostgresTransaction(TransactionBackend):
    """A transaction on a session of the pool. Nested transactions are asyncpg's savepoints."""

    def __init__(self, connection: PostgresConnection, pool: Pool) -> None:
        self._connection = connection
        self._pool = pool

    async def start(self, is_root: bool, extra_options: dict[Any, Any]) -> None:
        """Starts the transaction. Releases its session on failure, which `databases` would not."""
        self._is_root = is_root
        with translate_errors():
            if is_root:
                self._connection.session = await self._pool.retry_if_broken(
                    partial(self._begin, extra_options)
                )
            else:
                await self._start(self._connection.session, extra_options)

    async def _begin(self, options: dict[Any, Any]) -> Any:
        session = await self._pool.acquire()
        try:
            await self._start(session, options)
        except BaseException:
            await self._pool.release(session)
            raise
        return session

    async def _start(self, session: Any, options: dict[Any, Any]) -> None:
        self._transaction = session.transaction(**options)
        await run_with_timeout(session, self._transaction.start())

    async def commit(self) -> None:
        await self._end(self._transaction.commit)

    async def rollback(self) -> None:
        await self._end(self._transaction.rollback)

    async def _end(self, end: Callable[[], Awaitable[None]]) -> None:
        """Ends the transaction.

        The session of a root transaction returns to the pool in every case. The pool rolls back a
        transaction that is still open.
        """
        try:
            with translate_errors():
                await run_with_timeout(self._connection.session, end())
        finally:
            if self._is_root:
                session, self._connection.session = self._connection.session, None
                await self._pool.release(session)


async def perform(session: Any, plan: Plan, method: str, call: Call) -> Any:
    if plan.leaves_state:
        session.touch()
    sql, arguments = call
    return await run_with_timeout(session, getattr(session, method)(sql, *arguments))


def parse_row_count(status: str) -> int:
    """Returns the row count of a command tag such as `INSERT 0 1`, or 0 for `CREATE TABLE`."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
