"""Contains the SQLite back end for `databases`: a few connections that read and one that writes."""

import math
from collections.abc import AsyncGenerator
from functools import partial
from time import monotonic
from typing import Any, NoReturn

from databases import DatabaseURL
from databases.interfaces import ConnectionBackend, DatabaseBackend, TransactionBackend
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.engine import Dialect

from db.engine.plan import Plan
from db.engine.prepare import Preparer, Query
from db.engine.sqlite_workers import Handle, Result, Workers, open_handle
from db.engine.sqlite_writer import Writer
from db.engine.statement import Bound


class SQLiteBackend(DatabaseBackend):
    """The SQLite back end. Its statements raise Unavailable if a timeout expires.

    `busy_timeout` is the time that SQLite waits for other processes, in milliseconds. `wait` is the
    time to wait for the writer, in seconds. `deadline` is the time that a read may take in total,
    in seconds, including the time in the queue.

    `statements` and `writes` count the executed statements, without those that begin or end a
    transaction.
    """

    def __init__(
        self,
        database_url: DatabaseURL | str,
        *,
        readers: int = 2,
        busy_timeout: int = 3000,
        wait: float = 3.0,
        deadline: float = 3.0,
    ) -> None:
        self._path = DatabaseURL(database_url).database
        if self._path in ("", ":memory:"):
            raise ValueError(
                "an SQLite database must be a file: each connection would have another :memory:"
            )
        self._readers = readers
        self._busy_timeout = busy_timeout
        self._wait = wait
        self.deadline = deadline
        self.preparer = Preparer(sqlite_dialect())
        self.statements = self.writes = 0

    async def connect(self) -> None:
        self.writer = Writer(
            self._workers(1, query_only=False), self._wait, self._busy_timeout / 1000
        )
        self.readers = self._workers(self._readers, query_only=True)
        try:
            await self.writer.open()
            await self.readers.open()
        except BaseException:
            await self.disconnect()
            raise

    def _workers(self, size: int, *, query_only: bool) -> Workers:
        return Workers(partial(open_handle, self._path, self._busy_timeout, query_only), size)

    async def disconnect(self) -> None:
        await self.readers.close()
        await self.writer.close()

    def connection(self) -> "SQLiteConnection":
        return SQLiteConnection(self)

    @property
    def is_broken(self) -> bool:
        """Returns whether writes currently fail because of the disk."""
        return self.writer.is_broken

    def count(self, plan: Plan) -> None:
        self.statements += 1
        self.writes += plan.writes


class SQLiteConnection(ConnectionBackend):
    """A connection that holds the writer only during a transaction.

    `acquire` therefore does nothing, and `databases` cannot leak the writer.
    """

    def __init__(self, backend: SQLiteBackend) -> None:
        self._backend = backend
        self.writing = False

    async def acquire(self) -> None: ...

    async def release(self) -> None: ...

    async def fetch_all(self, query: Query) -> list[Any]:
        plan, result = await self._run(query)
        return plan.records(result.rows, result.keys)

    async def fetch_one(self, query: Query) -> Any:
        plan, result = await self._run(query)
        return plan.records(result.rows[:1], result.keys)[0] if result.rows else None

    async def execute(self, query: Query) -> int | None:
        """Returns the number of rows of a Statement.

        Returns the id of the inserted row, or the number of rows, of any other clause.
        """
        plan, result = await self._run(query)
        if isinstance(query, Bound):
            return result.rowcount if plan.writes else len(result.rows)
        return result.lastrowid if plan.inserts and result.rowcount > 0 else result.rowcount

    async def execute_many(self, queries: list[Any]) -> None:
        for query in queries:
            await self.execute(query)

    async def iterate(self, query: Query) -> AsyncGenerator[Any, None]:
        """Yields the rows after fetching all. An unfinished read would delay the checkpoint."""
        for record in await self.fetch_all(query):
            yield record

    async def _run(self, query: Query) -> tuple[Plan, Result]:
        """Runs the query and returns its plan and result.

        Within a transaction, the writer runs the reads too, because they must see its changes.
        """
        backend = self._backend
        plan, (sql, arguments) = backend.preparer.prepare(query)
        until = math.inf if plan.writes else monotonic() + backend.deadline
        backend.count(plan)
        if self.writing:
            return plan, await backend.writer.do(Handle.fetch, sql, arguments, until, True)
        do = backend.writer.once if plan.writes else backend.readers.do
        return plan, await do(Handle.fetch, sql, arguments, until, False)

    def transaction(self) -> "SQLiteTransaction":
        return SQLiteTransaction(self, self._backend.writer)

    @property
    def raw_connection(self) -> NoReturn:
        raise NotImplementedError("the driver's connection cannot be used outside of its thread")


class SQLiteTransaction(TransactionBackend):
    """A transaction of the writer, which starts with BEGIN IMMEDIATE.

    Nested transactions are savepoints of the same name, which refers to the innermost one.
    """

    def __init__(self, connection: SQLiteConnection, writer: Writer) -> None:
        self._connection = connection
        self._writer = writer

    async def start(self, is_root: bool, extra_options: dict[Any, Any]) -> None:
        self._is_root = is_root
        if is_root:
            await self._writer.begin()
            self._connection.writing = True
        else:
            await self._writer.do(Handle.run, "SAVEPOINT inner")

    async def commit(self) -> None:
        if self._is_root:
            self._connection.writing = False
            await self._writer.finish(Handle.run, "COMMIT")
        else:
            await self._writer.do(Handle.run, "RELEASE inner")

    async def rollback(self) -> None:
        if self._is_root:
            self._connection.writing = False
            await self._writer.finish(Handle.rollback)
        else:
            await self._writer.do(Handle.undo_inner)


def sqlite_dialect() -> Dialect:
    dialect = pysqlite.dialect(paramstyle="qmark")
    dialect.supports_native_decimal = False
    return dialect
