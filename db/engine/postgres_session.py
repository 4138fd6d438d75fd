"""One connection of the asyncpg pool, and what its errors mean."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import asyncpg  # type: ignore[import-untyped]

from db.engine.statement import Conflict
from db.errors import Unavailable

R = TypeVar("R")

MAX_ATTEMPTS: Final = 3
STATEMENT_TIMEOUT_SECONDS: Final = 4.0  # seconds; the server's own statement_timeout is shorter
# Not wrong, but not to be had now. Classes 08, 40, 53, 57 and 58 of PostgreSQL's appendix A, and
# three codes more.
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
# An InternalClientError is a session that was ended while nobody used it, and whose last word
# nobody has read.
BROKEN = (
    OSError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
# Two have waited for each other, and the server has undone what one of them did.
ROLLED_BACK = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


class Session(asyncpg.Connection):  # type: ignore[misc]
    """Goes back to the pool without the round trip of a RESET, unless `touch` was called: it may
    have to be undone.
    """

    touched = False

    def touch(self) -> None:
        self.touched = True

    def get_reset_query(self) -> str:
        query = super().get_reset_query() if self.touched else ""
        self.touched = False
        return query


async def run_with_timeout(session: Any, work: Awaitable[R]) -> R:
    """The work, or Unavailable: a connection through which nothing comes any more is cut, as none
    can be cancelled there.
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
    """Once more, and again, where the server has undone a statement that is a transaction of its
    own.
    """
    for _ in range(MAX_ATTEMPTS - 1):
        try:
            return await attempt()
        except ROLLED_BACK:
            continue
    return await attempt()


def is_broken(error: Exception) -> bool:
    """Whether the connection is gone. Of the InterfaceErrors only the text tells."""
    return isinstance(error, BROKEN) or (
        isinstance(error, asyncpg.InterfaceError) and "closed" in str(error)
    )
