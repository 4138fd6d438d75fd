"""What a process remembers of its last look whether the database can be written to."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(slots=True)
class WriteCheck:
    """`succeeded_at` is the moment of the last success; the lock lets one task look at a time."""

    succeeded_at: datetime | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
