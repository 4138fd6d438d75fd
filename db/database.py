"""The database connection, which stays closed until its schema has been checked."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from databases import Database
from databases.core import Connection

from db.errors import Unavailable


class LazyDatabase(Database):
    """A Database that raises Unavailable until `open_database` has checked the schema and connected
    it.
    """

    def connection(self) -> Connection:
        if not self.is_connected:
            raise Unavailable
        return super().connection()

    async def fetch_one(self, query: Any, values: dict[str, Any] | None = None) -> Any:
        """Fetches one row without the locks of `Connection`, which take a third of a statement's
        time.

        Outside a transaction the back ends keep no state between two statements, so there is
        nothing to protect.
        """
        if values is None and self.is_connected and self._connection is None:
            return await self._backend.connection().fetch_one(query)
        return await super().fetch_one(query, values)


@dataclass(slots=True)
class WriteCheck:
    """The last write check of the health endpoint.

    `succeeded_at` is the time of the last success; `lock` lets only one task check at a time.
    """

    succeeded_at: datetime | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
