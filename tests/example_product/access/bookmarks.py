"""The bookmarks of the viewer's account: every statement names the viewer's user id."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, func, select, update

from db.audit import log as audit_log
from db.audit.log import viewer_actor
from db.engine.statement import Conflict, Statement, insert
from db.errors import NotFound
from db.rate_limits import limiter
from db.rate_limits.limits import MINUTE, RateLimit
from db.sessions.lifecycle import require_right
from db.store import pick
from db.tables import Instant
from db.viewer import Admin, Viewer
from tests.example_product.events import ADDED, CHANGED, DELETED
from tests.example_product.tables import bookmarks

BOOKMARK_CHANGES: Final = RateLimit("bookmark-changes", 60, MINUTE)  # Counts per user.
MAX_LISTED: Final = 500
MAX_ON_CARD: Final = 3


@dataclass(frozen=True, slots=True)
class Bookmark:
    """The columns of a bookmark that its user sees. `pick` selects exactly these."""

    id: str
    url: str
    title: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class BookmarkTotals:
    """The figures on the dashboard of administrators."""

    bookmarks: int
    users: int


_own = bookmarks.c.user_id == bindparam("user_id")
_own_one = (_own, bookmarks.c.id == bindparam("bookmark_id"))
_newest = pick(Bookmark, bookmarks).where(_own).order_by(bookmarks.c.created_at.desc())
LIST = Statement(_newest.limit(MAX_LISTED))
NEWEST = Statement(_newest.limit(MAX_ON_CARD))
GET = Statement(pick(Bookmark, bookmarks).where(*_own_one))
FIND_URL = Statement(select(bookmarks.c.id).where(_own, bookmarks.c.url == bindparam("url")))
TOTALS = Statement(
    select(func.count(), func.count(bookmarks.c.user_id.distinct()))
    .select_from(bookmarks)
    .execution_options(into=BookmarkTotals)
)
ADD = Statement(
    insert(bookmarks)
    .values(
        id=bindparam("bookmark_id"),
        user_id=bindparam("user_id"),
        url=bindparam("url"),
        title=bindparam("title"),
        created_at=bindparam("now", type_=Instant),
    )
    # A second request with the same URL inserts nothing.
    .on_conflict_do_nothing()
    .returning(bookmarks.c.id)
)
CHANGE = Statement(
    update(bookmarks)
    .where(*_own_one)
    .values(url=bindparam("new_url"), title=bindparam("new_title"))
    .returning(bookmarks.c.id)
)
DELETE = Statement(delete(bookmarks).where(*_own_one).returning(bookmarks.c.title))


async def list_bookmarks(viewer: Viewer) -> list[Bookmark]:
    """Returns the viewer's bookmarks, newest first."""
    return await viewer.store.all(LIST(user_id=viewer.id))


async def list_newest(viewer: Viewer) -> list[Bookmark]:
    """Returns the bookmarks of the card on the viewer's dashboard."""
    return await viewer.store.all(NEWEST(user_id=viewer.id))


async def get_bookmark(viewer: Viewer, bookmark_id: str) -> Bookmark:
    """Raises NotFound, also if the bookmark belongs to another user."""
    found: Bookmark | None = await viewer.store.one(GET(user_id=viewer.id, bookmark_id=bookmark_id))
    if found is None:
        raise NotFound
    return found


async def is_saved(viewer: Viewer, url: str, *, except_id: str = "") -> bool:
    """Returns whether the viewer has another bookmark with this URL."""
    found = await viewer.store.value(FIND_URL(user_id=viewer.id, url=url))
    return found not in (None, except_id)


async def count_bookmarks(admin: Admin) -> BookmarkTotals:
    """Returns the figures for administrators."""
    return await admin.store.one(TOTALS()) or BookmarkTotals(0, 0)


async def add_bookmark(viewer: Viewer, *, url: str, title: str) -> bool:
    """Returns False and changes nothing if the viewer has this URL. Raises RateLimited."""
    store = viewer.store
    await _take_token(viewer)
    values = {"bookmark_id": store.token(16), "user_id": viewer.id, "url": url, "title": title}
    async with store.transaction():
        # The session may have ended since the request was verified.
        await require_right(viewer)
        if await store.value(ADD(**values, now=store.now())) is None:
            return False
        await audit_log.record(store, ADDED, viewer_actor(viewer), {"title": title})
    return True


async def change_bookmark(viewer: Viewer, bookmark_id: str, *, url: str, title: str) -> bool:
    """Returns False and changes nothing if another bookmark of the viewer has this URL.

    Raises NotFound and RateLimited.
    """
    store = viewer.store
    await _take_token(viewer)
    change = CHANGE(user_id=viewer.id, bookmark_id=bookmark_id, new_url=url, new_title=title)
    try:
        async with store.transaction():
            await require_right(viewer)
            if await store.value(change) is None:
                raise NotFound
            await audit_log.record(store, CHANGED, viewer_actor(viewer), {"title": title})
    except Conflict:  # The unique constraint of user and URL rolled the transaction back.
        return False
    return True


async def delete_bookmark(viewer: Viewer, bookmark_id: str) -> None:
    """Raises NotFound, also if the bookmark belongs to another user, and RateLimited."""
    store = viewer.store
    await _take_token(viewer)
    async with store.transaction():
        await require_right(viewer)
        title = await store.value(DELETE(user_id=viewer.id, bookmark_id=bookmark_id))
        if title is None:
            raise NotFound
        await audit_log.record(store, DELETED, viewer_actor(viewer), {"title": title})


async def _take_token(viewer: Viewer) -> None:
    """Raises RateLimited. Runs outside of the transaction, so that a refusal counts too."""
    await limiter.take_tokens(viewer.store, viewer_actor(viewer), (BOOKMARK_CHANGES, viewer.id))
