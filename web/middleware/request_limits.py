"""Contains the middleware that limits request size and processing time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.http.methods import SAFE_METHODS
from web.settings.response_settings import DEFAULT_BODY_BYTES
from web.state import request_state

MAX_HEADER_BYTES: Final = 16 * 1024
MAX_HEADERS: Final = 100
BODY_TIMEOUT_SECONDS: Final = 10
HANDLER_TIMEOUT_SECONDS: Final = 7  # htmx aborts a request after 8 seconds.


class RequestLimits:
    """Refuses large headers (431) and bodies (413), slow bodies (408), and cancels slow handlers.

    The body is read completely before the endpoint runs, with or without Content-Length. The
    handler timeout ends when the response starts, because the body of a response is complete by
    then. `web.server.timeout_protocol` limits how long a client may take to read it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body: int = DEFAULT_BODY_BYTES,
        body_timeout: float = BODY_TIMEOUT_SECONDS,
        handler_timeout: float = HANDLER_TIMEOUT_SECONDS,
    ) -> None:
        self.app = app
        self.max_body = max_body
        self.body_timeout = body_timeout
        self.handler_timeout = handler_timeout
        # The dictionary is in the order of the deadlines, the earliest first.
        self._deadlines: dict[asyncio.Task[Any], tuple[float, Scope]] = {}
        self._canceled: set[asyncio.Task[Any]] = set()
        self._is_watching = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = scope["headers"]
        if (
            len(headers) > MAX_HEADERS
            or sum([len(key) + len(value) for key, value in headers]) > MAX_HEADER_BYTES
        ):
            raise HTTPException(431, headers={"Connection": "close"})
        if scope["method"] not in SAFE_METHODS:
            body = await _read_body(scope, receive, self.max_body, self.body_timeout)
            receive = _replay(body, receive)
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        loop = asyncio.get_running_loop()
        self._deadlines[task] = loop.time() + self.handler_timeout, scope
        if not self._is_watching:
            self._watch(loop)
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            # If another caller has canceled the task too, the cancellation must continue.
            if task in self._canceled and task.cancelling() == 1:
                raise TimeoutError from None
            raise
        finally:
            del self._deadlines[task]
            if task in self._canceled:
                self._canceled.remove(task)
                task.uncancel()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancels requests past their deadline.

        All requests share one timer, because a timer per request costs more than an SQL statement.
        """
        self._is_watching = bool(self._deadlines)
        if self._is_watching:
            loop.call_later(self.handler_timeout / 20, self._watch, loop)
        for task, (due, scope) in self._deadlines.items():
            if due > loop.time():
                break
            # A response that has started can no longer become an error page.
            if "status" not in request_state(scope) and task not in self._canceled:
                self._canceled.add(task)
                task.cancel()


async def _read_body(scope: Scope, receive: Receive, max_body: int, within: float) -> bytes:
    """Returns the whole body.

    Raises HTTPException 413 if it is too large, and 408 if it is too slow.
    """
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if not declared.isdigit() or len(declared) > 9 or int(declared) > max_body:
        raise HTTPException(413, headers={"Connection": "close"})
    try:
        async with asyncio.timeout(within):
            return await _collect(receive, max_body)
    except TimeoutError:
        raise HTTPException(408, headers={"Connection": "close"}) from None


async def _collect(receive: Receive, max_body: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(400)
        body += message.get("body", b"")
        if len(body) > max_body:
            raise HTTPException(413, headers={"Connection": "close"})
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """Returns a receive function that yields the body in one piece, then the server's messages."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
