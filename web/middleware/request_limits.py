"""Limits the size of headers and body, and the time of each request."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.http.methods import SAFE_METHODS

LARGEST_BODY: Final = 64 * 1024  # bytes
LARGEST_HEADERS: Final = 16 * 1024  # bytes
MOST_HEADERS: Final = 100
BODY_DEADLINE: Final = 10  # seconds
HANDLER_DEADLINE: Final = 7  # seconds; htmx gives up after eight


class Limits:
    """Header sizes (431), then the whole body, declared or chunked, read before anybody looks at it
    (413).

    The work has its time until its answer begins, and an answer is whole by then: how long it is
    read is `web.server.timeout_protocol`'s to bound.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_within: float = BODY_DEADLINE,
        work_within: float = HANDLER_DEADLINE,
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
        if (
            len(headers) > MOST_HEADERS
            or sum([len(key) + len(value) for key, value in headers]) > LARGEST_HEADERS
        ):
            raise HTTPException(431, headers={"Connection": "close"})
        if scope["method"] not in SAFE_METHODS:
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
        """Cancels requests past their deadline.

        One timer for all: one per request costs more than a statement.
        """
        self._is_watching = bool(self._deadlines)
        if self._is_watching:
            loop.call_later(self.work_within / 20, self._watch, loop)
        for task, (due, scope) in self._deadlines.items():
            if due > loop.time():
                break
            # no response has begun
            if "status" not in scope["state"] and task not in self._canceled:
                self._canceled.add(task)
                task.cancel()


async def _read_body(scope: Scope, receive: Receive, within: float) -> bytes:
    """The whole body.

    Raises HTTPException 413 where it is too large, and 408 where it does not come.
    """
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
