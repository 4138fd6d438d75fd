"""The protocol between a browser and the server: uvicorn's own, which waits for nobody who sends or
reads slowly.
"""

import asyncio
import contextlib
import socket
from collections import deque
from dataclasses import dataclass, field
from fcntl import ioctl
from struct import pack, unpack
from termios import TIOCOUTQ
from types import SimpleNamespace
from typing import Any, Final

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

# bytes that are kept while the headers go on; what is complete is measured exactly
LARGEST_HEADERS: Final = 32 * 1024
# requests that wait for the answers before theirs; browsers send none ahead
LONGEST_LINE: Final = 100
TOO_LATE: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
    b"content-length: 0\r\n\r\n"
)

WRITABLE: Final = asyncio.Event()
WRITABLE.set()
# any request, when over
ANSWERED: Final[Any] = SimpleNamespace(response_complete=True, message_event=asyncio.Event())


@dataclass(eq=False)
class Reception:
    """Makes the protocol of each connection, sends away who is late, and lets a crowd in by and by,
    to hold less.
    """

    # seconds, from the first byte of a request, or from the connection
    headers_within: float = 10.0
    body_within: float = 20.0  # seconds, from the headers on
    read_within: float = 30.0  # seconds, from the last byte that was taken in of an answer
    end_within: float = 5.0  # the same, once the program ends, which gives ten to what is in flight
    # pieces of requests that are taken in before the loop has its turn, and the first are answered
    at_once: int = 500
    _crowd: "deque[tuple[PromptProtocol, bytes]]" = field(default_factory=deque)
    _heard: int = 0  # in this turn
    is_watching: bool = False

    def __call__(self, **options: Any) -> "PromptProtocol":
        return PromptProtocol(self, **options)

    def hears(self, connection: "PromptProtocol", data: bytes) -> bool:
        """Returns whether the data may be processed now. If not, it is processed later, in order.

        The count starts again only when it is full: to start it again in every turn of the loop
        costs as much as reading the headers.
        """
        if self._heard < self.at_once:
            self._heard += 1
            return True
        if not self._crowd:
            connection.loop.call_soon(self._hear_more, connection.loop)
        self._crowd.append((connection, data))
        return False

    def _hear_more(self, loop: asyncio.AbstractEventLoop) -> None:
        self._heard = min(self.at_once, len(self._crowd))
        for _ in range(self._heard):
            connection, data = self._crowd.popleft()
            connection.take_in(data)
        if self._crowd:
            loop.call_soon(self._hear_more, loop)

    def watch(self, connections: set[Any], loop: asyncio.AbstractEventLoop) -> None:
        """Twenty times while somebody may be late: a timer for each would cost more than reading
        their headers.
        """
        self.is_watching = bool(connections)
        if self.is_watching:
            loop.call_later(self.headers_within / 20, self.watch, connections, loop)
        now = loop.time()
        for connection in connections:
            connection.send_away_if_late(now)


class PromptProtocol(HttpToolsProtocol):
    """Closes who sends headers too slowly (slowloris) or without end, who drips a body that nobody
    waits for any more, such as a GET's, and who does not read. A body that is read is bounded by
    `web.middleware.request_limits.Limits`, which answers.

    Thousands of connections may stay and say nothing: each keeps as little as it can. Of more than
    thirty attributes Python would keep the names with each connection, a kilobyte: so ours have
    slots.
    """

    __slots__ = (
        "_begun",
        "_due",
        "_in_body",
        "_overhead",
        "_unfinished",
        "_unread",
        "_unread_since",
        "reception",
    )

    def __init__(self, reception: Reception, **options: Any) -> None:
        super().__init__(**options)
        self.reception = reception
        self.pipeline = Line()  # type: ignore[assignment]
        # while it is answered; `cycle` is the last in line
        self._begun: RequestResponseCycle | None = None
        self._in_body = False
        self._due = self._unread_since = 0.0  # when more has to be here, if that is awaited
        # bytes of headers that are not complete, and of answers
        self._unfinished = self._unread = 0
        self._overhead = 0  # bytes since the last piece of a body: chunk extensions and trailers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._expect_headers()
        if not self.reception.is_watching:
            self.reception.watch(self.connections, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._begun:
            # uvicorn tells the last in line alone, and whoever sends on would raise
            self._begun.disconnected = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.reception.hears(self, data):
            self.take_in(data)

    def take_in(self, data: bytes) -> None:
        if self.transport.is_closing():  # since the data came
            return
        if self._in_body:
            self._overhead += len(data)  # until `on_body` sees that it was a body
        self._feed(data)
        if self._in_body:
            self._due = self._due or self.loop.time() + self.reception.body_within
            if self._overhead > LARGEST_HEADERS:
                self.dismiss(b"")
        elif self._due:
            self._unfinished += len(data)
            if self._unfinished > LARGEST_HEADERS:
                self.dismiss(TOO_LARGE)
        elif self.cycle is None or self.cycle.response_complete:
            # empty lines before a request are no request yet, and have the same time
            self._expect_headers()

    def _feed(self, data: bytes) -> None:
        """Parses the data as uvicorn does, but keeps the body of a request that offers to change
        the protocol.
        """
        self._unset_keepalive_if_required()
        rest = memoryview(data)
        try:
            while rest and not self.transport.is_closing():
                try:
                    self.parser.feed_data(rest)
                    return
                except httptools.HttpParserUpgrade as upgrade:
                    if not self._offers_upgrade():
                        return
                    rest = rest[upgrade.args[0] :]
                    self._parse_head_again()
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _offers_upgrade(self) -> bool:
        """Whether the parser takes what follows the headers for another protocol.

        After CONNECT it is right to.
        """
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _parse_head_again(self) -> None:
        """Parses the headers without Upgrade, which a server may ignore (RFC 9110, section 7.8).

        The parser would drop the body of a POST with `Upgrade: h2c`, as curl and Java's HttpClient
        send it, or take it for the next request.
        """
        head = [
            self.parser.get_method(),
            b" ",
            self.url,
            b" HTTP/",
            self.parser.get_http_version().encode(),
            b"\r\n",
        ]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it
        self.parser.feed_data(b"".join([*head, b"\r\n"]))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._due:
            self._expect_headers()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Drops trailers (RFC 9112, section 7.1.2): uvicorn would append them to the headers,
        without limit.

        One of them could otherwise pass for an `X-Forwarded-For` of the proxy.
        """
        if not self._in_body:
            super().on_header(name, value)
            return
        self._overhead += len(name) + len(value) + 4  # a colon, a space and the end of the line
        if self._overhead > LARGEST_HEADERS:
            self.dismiss(b"")

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        if self._offers_upgrade():
            return
        self._due = self._overhead = 0
        self._in_body = True
        if len(self.pipeline) < LONGEST_LINE:
            super().on_headers_complete()
        else:
            self.dismiss(b"")

    def on_message_complete(self) -> None:
        # a request with endless trailers is not handled
        if self._offers_upgrade() or self.transport.is_closing():
            return
        self._due = 0.0
        self._in_body = False
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._begun = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """What is over is let go, unless another request waits behind it in the pipeline."""
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()  # uvicorn would let in as much again for each that it answers
        elif self.cycle.response_complete:
            self.cycle, self.scope, self.headers, self._begun = ANSWERED, ANSWERED, [], None

    def shutdown(self) -> None:
        self.reception.read_within = min(self.reception.read_within, self.reception.end_within)
        super().shutdown()

    def dismiss(self, answer: bytes) -> None:
        """Close, and say why."""
        self._due = 0.0
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def send_away_if_late(self, now: float) -> None:
        """Late with what they send, or with reading: whoever has not read is not waited for, as
        closing would.
        """
        if self._due and self._due <= now and not self.flow.read_paused:
            self.dismiss(b"" if self._in_body else TOO_LATE)
        left = self.transport.get_write_buffer_size()
        # and the kernel has megabytes more, which the other side may take in long before it asks us
        # for any
        if left:
            with contextlib.suppress(OSError, ValueError):  # closed meanwhile
                left += unpack(
                    "i", ioctl(self.transport.get_extra_info("socket"), TIOCOUTQ, bytes(4))
                )[0]
        if not self._unread or left < self._unread:
            self._unread_since = now
        elif self._unread_since + self.reception.read_within <= now:
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0)
            )
            # which without SO_LINGER would leave megabytes to the kernel, for minutes
            self.transport.abort()
        self._unread = left

    def _expect_headers(self) -> None:
        self._unfinished = 0
        self._due = self.loop.time() + self.reception.headers_within


class Flow(FlowControl):
    """uvicorn's, whose event, a kilobyte, is made only for who does not take in what
    they are sent.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = self.write_paused = False
        self._is_writable_event = WRITABLE

    def pause_writing(self) -> None:
        self._is_writable_event = asyncio.Event()
        super().pause_writing()


class Line(list[Any]):
    """A deque that is nearly always empty, and takes 56 bytes then, not 760."""

    __slots__ = ()

    def appendleft(self, item: Any) -> None:
        self.insert(0, item)
