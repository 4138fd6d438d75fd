"""PostgreSQL for `databases`: an asyncpg pool whose connections are held for one statement or one
transaction.
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
    "default_transaction_isolation": "read committed",  # what every conditional statement relies on
    # s: a host that is gone keeps its connections for a minute, not for two hours
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",  # s
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60000",  # ms
}


class PostgresBackend(DatabaseBackend):
    """`wait`: seconds for a connection of the pool.

    `statement_timeout`, `lock_timeout`: the server's own, in ms. What takes longer is Unavailable.
    `idle_timeout`: ms after which the server ends a transaction whose process sends nothing more,
    as after a freeze, so that its locks do not stop every other host. Other options:
    `asyncpg.create_pool`.

    Connecting opens nothing (`min_size=0`): a program may start while the server is away,
    Unavailable until it is there. `statements` and `writes` count what was executed, transactions'
    own statements left out.
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

    # a server that cannot write says so to each statement, and reads no longer either
    is_broken = False

    def count(self, plan: Plan) -> None:
        self.statements += 1
        self.writes += plan.writes


class PostgresConnection(ConnectionBackend):
    """Holds nothing but a transaction's session: so there is nothing to acquire, and nothing that
    `databases` could forget to release."""

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
        """A Statement: the number of its rows.

        Any other clause: the first value it returns, as an INSERT its id.
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
        """Outside a transaction what was undone is tried again, and a read once more: nothing comes
        of it twice.
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
        """asyncpg's, within a transaction; there is none of one's own outside."""
        if self.session is None:
            raise RuntimeError("no transaction is open")
        self.session.touch()
        return self.session


class PostgresTransaction(TransactionBackend):
    """The root takes a session from the pool, the others are asyncpg's savepoints on it."""

    def __init__(self, connection: PostgresConnection, pool: Pool) -> None:
        self._connection = connection
        self._pool = pool

    async def start(self, is_root: bool, extra_options: dict[Any, Any]) -> None:
        """A failure leaves nothing held: `databases` would never give it back."""
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
        """However the root ends, its session goes back to the pool, which rolls back what is still
        open.
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
    """Of a command tag, as `INSERT 0 1`; 0 where there is none, as in `CREATE TABLE`."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
