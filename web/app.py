"""create_app(): settings in, application out. The only place where things are wired."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from db.housekeeping import keep_pruning, make_store, require_schema
from db.refusals import Busy, Refusal
from db.store import Store
from web.assets import Assets
from web.device import parse_user_agent
from web.errors import answer
from web.middleware import CrossOrigin, Headers, LastResort, Limits
from web.policy import POLICIES
from web.routes import member_pages, routes_for
from web.settings import Settings
from web.templates import make_environment

logger = logging.getLogger("latchkey")

SMALLEST_WORTH_PACKING = 1024  # bytes


def create_app(
    settings: Settings, store: Store | None = None, clock: Callable[[], datetime] | None = None
) -> Starlette:
    """The application. A test hands in a store of its own, with its own clock."""
    store = store or open_store(settings)
    rows = routes_for(settings)
    app = Starlette(
        routes=rows,
        lifespan=_lifespan,
        middleware=[
            Middleware(GZipMiddleware, minimum_size=SMALLEST_WORTH_PACKING, compresslevel=5),
            Middleware(Headers, https=settings.https),
            Middleware(LastResort),
            Middleware(CrossOrigin, base_url=settings.base_url),
            Middleware(Limits),
        ],
        exception_handlers={Refusal: answer, HTTPException: answer},
    )
    app.router.redirect_slashes = False  # its redirect is built from the Host header
    app.state.settings = settings
    app.state.store = store
    app.state.clock = clock or store.now
    app.state.policy = POLICIES[settings.password_policy]
    app.state.member_pages = member_pages(rows)
    app.state.assets = Assets()
    app.state.drawn = {}
    app.state.environment = make_environment(app.router, app.state.assets)
    return app


def open_store(settings: Settings, **options: Any) -> Store:
    """The store that the settings describe, not yet connected."""
    return make_store(
        settings.database_url,
        settings.session_secrets,
        strategy=settings.strategy,
        encrypted=settings.encrypted,
        **options,
    )


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    store: Store = app.state.store
    await _open(store)
    parse_user_agent("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")  # the first takes 130 ms
    gc.collect()
    gc.freeze()  # what is imported stays: p99 falls from 13 to 4 ms (collections no longer walk it)
    gc.set_threshold(10_000)
    broom = asyncio.create_task(keep_pruning(store))
    try:
        yield
    finally:
        broom.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await broom
        await store.database.disconnect()
        store.passwords.close()


async def _open(store: Store) -> None:
    """Connect, and look whether the tables are ours. A database that is away answers 503 until it is back."""
    try:
        await store.database.connect()
        await require_schema(store)
    except Busy:
        logger.warning("the database does not answer yet; every page that needs it says 503 until it does")
