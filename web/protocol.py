"""The protocol between a browser and the server: uvicorn's own, which does not wait for slow or endless headers."""

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any, Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEADERS: Final = 32 * 1024  # bytes that are kept while the headers go on; what is complete is measured exactly
TOO_LATE: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

WRITABLE: Final = asyncio.Event()
WRITABLE.set()
ANSWERED: Final[Any] = SimpleNamespace(response_complete=True, message_event=asyncio.Event())  # any request, when over


class Reception:
    """Makes the protocol of each connection; sends away who is late, by one timer for all; and lets a crowd in by and
    by, so that the first are answered before the last are heard, and no more is held in memory than need be.

    `headers_within`: seconds, from the first byte of a request, or from the connection. `body_within`: seconds, from
    the headers on. `at_once`: pieces of requests that are taken in before the loop has its turn.
    """

    def __init__(self, headers_within: float = 10.0, body_within: float = 20.0, at_once: int = 500) -> None:
        self.headers_within, self.body_within = headers_within, body_within
        self._at_once = at_once
        self._due: dict[PromptProtocol, tuple[float, bytes]] = {}  # until when, and what is said then
        self._is_watching = False
        self._crowd: deque[tuple[PromptProtocol, bytes]] = deque()
        self._heard = 0  # in this turn

    def __call__(self, **options: Any) -> "PromptProtocol":
        return PromptProtocol(self, **options)

    def hears(self, connection: "PromptProtocol", data: bytes) -> bool:
        """Whether the data may be taken in now. If not, it is handed over later, in the order of coming."""
        if not self._heard:
            connection.loop.call_soon(self._hear_more, connection.loop)
        self._heard += 1
        if self._heard <= self._at_once:
            return True
        self._crowd.append((connection, data))
        return False

    def _hear_more(self, loop: asyncio.AbstractEventLoop) -> None:
        self._heard = min(self._at_once, len(self._crowd))
        if self._heard:
            loop.call_soon(self._hear_more, loop)
        for _ in range(self._heard):
            connection, data = self._crowd.popleft()
            connection.take_in(data)

    def expect_more(self, connection: "PromptProtocol", within: float, answer: bytes) -> None:
        self._due[connection] = connection.loop.time() + within, answer
        if not self._is_watching:
            self._watch(connection.loop)

    def stop_waiting(self, connection: "PromptProtocol") -> None:
        self._due.pop(connection, None)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Twenty times while somebody may be late: a timer for each would cost more than reading their headers."""
        self._is_watching = bool(self._due)
        if self._is_watching:
            loop.call_later(self.headers_within / 20, self._watch, loop)
        now = loop.time()
        for connection, (due, answer) in [*self._due.items()]:
            if due <= now:
                connection.dismiss(answer)


class PromptProtocol(HttpToolsProtocol):
    """Closes who sends headers too slowly (slowloris) or without end, and who drips a body that nobody waits for any
    more, such as a GET's. A body that is read is `web.middleware.Limits`' to bound, which answers.

    Thousands of connections may stay and say nothing: each keeps as little as it can. Of more than thirty attributes
    Python would keep the names with each connection, a kilobyte: so ours have slots.
    """

    __slots__ = ("_in_body", "_is_awaited", "_unfinished", "reception")

    def __init__(self, reception: Reception, **options: Any) -> None:
        super().__init__(**options)
        self.reception = reception
        self.pipeline = Line()  # type: ignore[assignment]
        self._is_awaited = self._in_body = False
        self._unfinished = 0  # bytes of headers that have come, and are not complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.reception.hears(self, data):
            self.take_in(data)

    def take_in(self, data: bytes) -> None:
        if self.transport.is_closing():  # since the data came
            return
        super().data_received(data)
        if self._in_body:
            if not self._is_awaited:
                self._expect_more(self.reception.body_within, b"")
        elif self._is_awaited:
            self._unfinished += len(data)
            if self._unfinished > LARGEST_HEADERS:
                self.dismiss(TOO_LARGE)
        elif self.cycle is None or self.cycle.response_complete:
            self._expect_headers()  # empty lines before a request are no request yet, and have the same time

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._is_awaited:
            self._expect_headers()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_waiting()
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """What is over is let go, unless another request waits behind it in the pipeline."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self.cycle, self.scope, self.headers = ANSWERED, ANSWERED, []

    def dismiss(self, answer: bytes) -> None:
        """Close, and say why."""
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def _expect_headers(self) -> None:
        self._unfinished = 0
        self._expect_more(self.reception.headers_within, TOO_LATE)

    def _expect_more(self, within: float, answer: bytes) -> None:
        self._is_awaited = True
        self.reception.expect_more(self, within, answer)

    def _stop_waiting(self) -> None:
        if self._is_awaited:
            self._is_awaited = False
            self.reception.stop_waiting(self)


class Flow(FlowControl):
    """uvicorn's, whose event, a kilobyte, is made only for who does not take in what they are sent."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = self.write_paused = False
        self._is_writable_event = WRITABLE

    def pause_writing(self) -> None:
        if not self.write_paused:
            self._is_writable_event = asyncio.Event()
        super().pause_writing()


class Line(list[Any]):
    """A deque that is nearly always empty, and takes 56 bytes then, not 760."""

    __slots__ = ()

    def appendleft(self, item: Any) -> None:
        self.insert(0, item)
