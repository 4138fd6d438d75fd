"""The bookmarks of a user."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, insert

from db.engine.statement import Statement
from db.sessions.lifecycle import require_right
from db.store import pick
from db.viewer import Viewer

from ..tables import bookmarks


@dataclass(frozen=True, slots=True)
class Bookmark:
    id: str
    url: str
    created_at: datetime


OWN_BOOKMARKS = Statement(
    pick(Bookmark, bookmarks)
    .where(bookmarks.c.user_id == bindparam("user_id"))
    .order_by(bookmarks.c.created_at, bookmarks.c.id)
)
INSERT_BOOKMARK = Statement(insert(bookmarks))


async def list_bookmarks(viewer: Viewer) -> list[Bookmark]:
    return await viewer.store.all(OWN_BOOKMARKS(user_id=viewer.id))


async def add_bookmark(viewer: Viewer, url: str) -> None:
    store = viewer.store
    async with store.transaction():
        await require_right(viewer)
        await store.count(
            INSERT_BOOKMARK(id=store.token(16), user_id=viewer.id, url=url, created_at=store.now())
        )
