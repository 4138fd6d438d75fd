"""The database connection, which stays closed until its schema was checked."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from databases import Database
from databases.core import Connection

from db.errors import Busy


class Door(Database):
    """Shut until `open_database` has seen that the schema behind it is ours: whoever asks before is
    told Busy.
    """

    def connection(self) -> Connection:
        if not self.is_connected:
            raise Busy
        return super().connection()

    async def fetch_one(self, query: Any, values: dict[str, Any] | None = None) -> Any:
        """Past the locks of a Connection, which a third of a statement's time goes into: outside a
        transaction our back ends hold nothing between two statements that they could protect."""
        if values is None and self.is_connected and self._connection is None:
            return await self._backend.connection().fetch_one(query)
        return await super().fetch_one(query, values)


@dataclass(slots=True)
class WriteCheck:
    """`succeeded_at` is the moment of the last success; the lock lets one task look at a time."""

    succeeded_at: datetime | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
