"""What stands before the endpoints, each a small ASGI class that reads `scope` and nothing that a header can bend."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Final, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db.errors import NotLoggedIn
from web.http.session import is_live, peek, require_own_document
from web.observability.logs import warn_of_foreign_origin
from web.rendering.error_pages import ForeignOrigin, answer
from web.rendering.responses import leave, path_of

SAFE: Final = ("GET", "HEAD", "OPTIONS", "TRACE")  # RFC 9110, section 9.2.1
LARGEST_BODY: Final = 64 * 1024  # bytes
LARGEST_HEADERS: Final = 16 * 1024  # bytes
MOST_HEADERS: Final = 100
BODY_DEADLINE: Final = 10  # seconds
HANDLER_DEADLINE: Final = 7  # seconds; htmx gives up after eight


class Kind(Enum):
    """Who may ask for a URL."""

    ANYONE = "anyone"
    GUESTS = "guests"
    MEMBERS = "members"
    ADMINS = "admins"
    OPERATORS = "operators"  # of this machine, or with a token: the endpoint decides


class Guard:
    """Turns strangers away from members' pages and members from guests', by the cookie alone, with no query.

    It never refuses by role: who was promoted a minute ago still carries the old cookie. Data access decides. Of a form
    for guests that was sent the database is asked: what was typed is not thrown away for a session that is over.
    """

    def __init__(self, app: ASGIApp, kind: Kind) -> None:
        self.app = app
        self.for_members = kind in (Kind.MEMBERS, Kind.ADMINS)
        self.for_guests = kind is Kind.GUESTS

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        claims = peek(scope)
        if claims is not None:
            require_own_document(scope, claims)
        elif self.for_members:
            raise NotLoggedIn
        app = self._redirect_to_dashboard if self.for_guests and claims is not None else self.app
        return app(scope, receive, send)

    async def _redirect_to_dashboard(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in SAFE or await is_live(Request(scope, receive)):
            request = Request(scope)
            await leave(request, to=path_of(request, "dashboard"))(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class LastResort:
    """Whatever is raised becomes an answer, and whatever takes too long ends: its transaction is rolled back."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            if "status" in scope["state"]:  # an answer has begun: `web.middleware.security_headers.Headers` saw it
                raise
            response = await answer(Request(scope, receive), error)
            await response(scope, receive, send)


class Limits:
    """Header sizes (431), then the whole body, declared or chunked, read before anybody looks at it (413).

    The work has its time until its answer begins, and an answer is whole by then: how long it is read is
    `web.server.timeout_protocol`'s to bound.
    """

    def __init__(
        self, app: ASGIApp, *, body_within: float = BODY_DEADLINE, work_within: float = HANDLER_DEADLINE
    ) -> None:
        self.app = app
        self.body_within, self.work_within = body_within, work_within
        self._deadlines: dict[asyncio.Task[Any], tuple[float, Scope]] = {}  # the earliest first
        self._canceled: set[asyncio.Task[Any]] = set()
        self._is_watching = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = scope["headers"]
        if len(headers) > MOST_HEADERS or sum([len(key) + len(value) for key, value in headers]) > LARGEST_HEADERS:
            raise HTTPException(431, headers={"Connection": "close"})
        if scope["method"] not in SAFE:
            receive = _replay(await _read_body(scope, receive, self.body_within), receive)
        task, loop = cast("asyncio.Task[Any]", asyncio.current_task()), asyncio.get_running_loop()
        self._deadlines[task] = loop.time() + self.work_within, scope
        if not self._is_watching:
            self._watch(loop)
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            if task in self._canceled and task.cancelling() == 1:  # nobody else has canceled it
                raise TimeoutError from None
            raise
        finally:
            del self._deadlines[task]
            if task in self._canceled:
                self._canceled.remove(task)
                task.uncancel()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancels requests past their deadline. One timer for all: one per request costs more than a statement."""
        self._is_watching = bool(self._deadlines)
        if self._is_watching:
            loop.call_later(self.work_within / 20, self._watch, loop)
        for task, (due, scope) in self._deadlines.items():
            if due > loop.time():
                break
            if "status" not in scope["state"] and task not in self._canceled:  # no response has begun
                self._canceled.add(task)
                task.cancel()


class CrossOrigin:
    """Refuses unsafe requests that a page of another site sent (CSRF), by Fetch Metadata and by Origin.

    Each of the two headers that is present must say that the page was this site's. A client that sends neither is no
    browser.
    """

    def __init__(self, app: ASGIApp, *, base_url: str) -> None:
        self.app = app
        self.base_url = base_url.encode()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and scope["method"] not in SAFE:
            for name, value in scope["headers"]:
                if name == b"sec-fetch-site" and value not in (b"same-origin", b"none"):
                    raise ForeignOrigin
                if name == b"origin" and value != self.base_url:
                    warn_of_foreign_origin(scope["app"].state, value.decode("latin-1"))
                    raise ForeignOrigin
        return self.app(scope, receive, send)


async def _read_body(scope: Scope, receive: Receive, within: float) -> bytes:
    """The whole body. Raises HTTPException 413 where it is too large, and 408 where it does not come."""
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if not declared.isdigit() or len(declared) > 9 or int(declared) > LARGEST_BODY:
        raise HTTPException(413, headers={"Connection": "close"})
    try:
        async with asyncio.timeout(within):
            return await _collect(receive)
    except TimeoutError:
        raise HTTPException(408, headers={"Connection": "close"}) from None


async def _collect(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(400)
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, headers={"Connection": "close"})
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """The body once more, in one piece; after it, whatever the server has to say."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
