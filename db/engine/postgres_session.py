"""Contains the connection class of the asyncpg pool and the translation of the driver's errors."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import asyncpg  # type: ignore[import-untyped]

from db.engine.statement import Conflict
from db.errors import Unavailable

R = TypeVar("R")

MAX_ATTEMPTS: Final = 3
STATEMENT_TIMEOUT_SECONDS: Final = 4.0  # The server's own statement_timeout is shorter.
# These errors are temporary. They are classes 08, 40, 53, 57 and 58 of PostgreSQL's appendix A, and
# three more codes.
UNAVAILABLE = (
    OSError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
# asyncpg raises InternalClientError if the server has ended an idle session whose last message was
# not read.
BROKEN = (
    OSError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
# The server rolled back one of two transactions that waited for each other.
ROLLED_BACK = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


class Session(asyncpg.Connection):  # type: ignore[misc]
    """A connection that returns to the pool without the round trip of a RESET.

    `touch` marks a session whose state may have changed, so that it is reset.
    """

    touched = False

    def touch(self) -> None:
        self.touched = True

    def get_reset_query(self) -> str:
        query = super().get_reset_query() if self.touched else ""
        self.touched = False
        return query


async def run_with_timeout(session: Any, work: Awaitable[R]) -> R:
    """Awaits the work. Raises Unavailable after STATEMENT_TIMEOUT_SECONDS.

    Terminates the session on a timeout or a cancellation, because no statement can be canceled on a
    connection that no longer receives anything.
    """
    try:
        async with asyncio.timeout(STATEMENT_TIMEOUT_SECONDS):
            return await work
    except TimeoutError as error:
        session.terminate()
        raise Unavailable() from error
    except asyncio.CancelledError:
        session.terminate()
        raise


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raises Conflict or Unavailable in place of the driver's errors; other errors pass through."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        raise Conflict(error.constraint_name) from error
    except UNAVAILABLE as error:
        raise Unavailable() from error
    except asyncpg.InterfaceError as error:
        if is_broken(error):
            raise Unavailable() from error
        raise


async def retry_if_undone(attempt: Callable[[], Awaitable[R]]) -> R:
    """Runs a statement that is its own transaction, up to MAX_ATTEMPTS times.

    Retries it only if the server rolled it back.
    """
    for _ in range(MAX_ATTEMPTS - 1):
        try:
            return await attempt()
        except ROLLED_BACK:
            continue
    return await attempt()


def is_broken(error: Exception) -> bool:
    """Returns whether the connection is lost, which an InterfaceError shows only in its text."""
    return isinstance(error, BROKEN) or (
        isinstance(error, asyncpg.InterfaceError) and "closed" in str(error)
    )
