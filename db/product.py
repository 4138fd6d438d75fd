"""The data part of a product: what the folder `product/` adds to the layers of `db`.

`web.product` loads it; `db` only receives it, as a field of the Store.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData

from db.audit.events import EVENT_TEXTS, EventTexts
from db.hooks import Hooks


@dataclass(frozen=True, slots=True)
class ProductData:
    """The tables, migrations, audit events, hooks and permissions of a product. All are empty
    without one.

    `migrations` is the folder of its Alembic revisions, which have a version table of their own.
    `permissions` maps names such as `articles:write` to what each allows.
    `export` is the function `export(viewer, user_id)` of `product/data.py`. It returns what the
    product stores about a user, as a part of their data download: see `db.access.data_export`.
    """

    tables: MetaData | None = None
    migrations: Path | None = None
    events: Mapping[str, EventTexts] = field(default_factory=dict)
    hooks: Hooks = field(default_factory=Hooks)
    permissions: Mapping[str, str] = field(default_factory=dict)

    @property
    def known_events(self) -> frozenset[str]:
        """Returns the names of all events, those of the program and of the product."""
        return frozenset((*EVENT_TEXTS, *self.events))

    @property
    def unknown_hook_events(self) -> list[str]:
        """Returns the events of hooks that do not exist, which are probably typing errors."""
        return sorted(self.hooks.events - self.known_events)

    export: Callable[..., Awaitable[Mapping[str, Any]]] | None = None
