"""Contains uvicorn's HTTP protocol with timeouts for clients that send or read too slowly."""

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

# Limits incomplete headers. `web.middleware.request_limits` limits complete headers exactly.
LARGEST_HEADERS: Final = 32 * 1024
# Limits requests queued on one connection. Browsers do not pipeline requests.
LONGEST_LINE: Final = 100
TOO_LATE: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
    b"content-length: 0\r\n\r\n"
)

WRITABLE: Final = asyncio.Event()
WRITABLE.set()
# Replaces completed cycles of idle connections, so that their memory is released.
ANSWERED: Final[Any] = SimpleNamespace(response_complete=True, message_event=asyncio.Event())


@dataclass(eq=False)
class Reception:
    """Creates the protocol of each connection, closes slow connections and limits work per turn.

    While many clients send at once, data beyond the limit of a turn of the event loop is queued.
    The first responses then leave earlier, and less memory is in use.
    """

    # Runs from the opening of the connection or from the first byte of a request, in seconds.
    headers_within: float = 10.0
    body_within: float = 20.0  # Runs from the end of the headers, in seconds.
    read_within: float = 30.0  # Runs from the last byte that the client has read, in seconds.
    end_within: float = 5.0  # Replaces read_timeout during shutdown.
    # Limits pieces of request data per turn of the event loop, so that responses start in between.
    at_once: int = 500
    _crowd: "deque[tuple[PromptProtocol, bytes]]" = field(default_factory=deque)
    _heard: int = 0  # Counts the pieces in the current turn.
    is_watching: bool = False

    def __call__(self, **options: Any) -> "PromptProtocol":
        return PromptProtocol(self, **options)

    def hears(self, connection: "PromptProtocol", data: bytes) -> bool:
        """Returns whether the data may be processed now. If not, queues it in order.

        The count is reset only when the limit is reached, because a reset in every turn of the
        event loop costs as much as parsing the headers.
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
        """Closes slow connections 20 times per header timeout, while there are connections.

        One timer per connection costs more than parsing its headers.
        """
        self.is_watching = bool(connections)
        if self.is_watching:
            loop.call_later(self.headers_within / 20, self.watch, connections, loop)
        now = loop.time()
        for connection in connections:
            connection.send_away_if_late(now)


class PromptProtocol(HttpToolsProtocol):
    """Closes connections that send headers too slowly (slowloris) or without end, or do not read.

    It also closes a connection that slowly sends a body that no endpoint reads, such as that of a
    GET. `web.middleware.request_limits.RequestLimits` limits the time of other bodies and responds.

    The class has slots because thousands of idle connections may stay open. With more than 30
    attributes, Python would store the attribute names once per connection, which takes 1 KB.
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
        # The cycle that is being answered. uvicorn's `cycle` is the last one in the queue.
        self._begun: RequestResponseCycle | None = None
        self._in_body = False
        self._due = self._unread_since = 0.0  # 0 means no deadline.
        # These count bytes of incomplete headers and of responses not yet read by the client.
        self._unfinished = self._unread = 0
        self._overhead = 0  # Counts bytes since the last piece of a body.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._expect_headers()
        if not self.reception.is_watching:
            self.reception.watch(self.connections, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._begun:
            # uvicorn marks only the last cycle in the queue. Without this mark, an endpoint that
            # continues to send would raise an exception.
            self._begun.disconnected = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.reception.hears(self, data):
            self.take_in(data)

    def take_in(self, data: bytes) -> None:
        # The connection may have been closed while the data was queued.
        if self.transport.is_closing():
            return
        if self._in_body:
            # `on_body` resets this count when the data contains a piece of the body.
            self._overhead += len(data)
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
            # Empty lines before a request start no request, so the header timeout applies to them.
            self._expect_headers()

    def _feed(self, data: bytes) -> None:
        """Parses the data like uvicorn, but keeps the body of a request that offers an upgrade."""
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
        """Returns whether the parser treats the data after the headers as another protocol.

        This is correct only after CONNECT, which is therefore excluded.
        """
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _parse_head_again(self) -> None:
        """Parses the headers without Upgrade, which a server may ignore (RFC 9110, section 7.8).

        curl and Java's HttpClient send `Upgrade: h2c` with a POST. The parser would drop its body
        or parse it as the next request.
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
        # uvicorn sets the same leniency.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"".join([*head, b"\r\n"]))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._due:
            self._expect_headers()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Drops trailers (RFC 9112, section 7.1.2), which uvicorn would append to the headers.

        A client could otherwise send an `X-Forwarded-For` trailer that looks like the proxy's
        header, or trailers without limit.
        """
        if not self._in_body:
            super().on_header(name, value)
            return
        self._overhead += len(name) + len(value) + 4  # The 4 are a colon, a space and the line end.
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
        # A request whose trailers exceed the limit must not be handled.
        if self._offers_upgrade() or self.transport.is_closing():
            return
        self._due = 0.0
        self._in_body = False
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._begun = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Releases the completed cycle, unless another request waits in the pipeline."""
        super().on_response_complete()
        if self.pipeline:
            # uvicorn resumes reading after each response, so a client could refill the queue
            # forever.
            self.flow.pause_reading()
        elif self.cycle.response_complete:
            self.cycle, self.scope, self.headers, self._begun = ANSWERED, ANSWERED, [], None

    def shutdown(self) -> None:
        self.reception.read_within = min(self.reception.read_within, self.reception.end_within)
        super().shutdown()

    def dismiss(self, answer: bytes) -> None:
        """Sends the given bytes and closes the connection."""
        self._due = 0.0
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def send_away_if_late(self, now: float) -> None:
        """Closes the connection if its client has missed the deadline to send or to read.

        A client that does not read gets a reset, because a normal close would wait for it.
        """
        if self._due and self._due <= now and not self.flow.read_paused:
            self.dismiss(b"" if self._in_body else TOO_LATE)
        left = self.transport.get_write_buffer_size()
        # The kernel holds megabytes more, and the client may read those long before asyncio's
        # buffer shrinks.
        if left:
            with contextlib.suppress(OSError, ValueError):  # The socket may be closed already.
                left += unpack(
                    "i", ioctl(self.transport.get_extra_info("socket"), TIOCOUTQ, bytes(4))
                )[0]
        if not self._unread or left < self._unread:
            self._unread_since = now
        elif self._unread_since + self.reception.read_within <= now:
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0)
            )
            # Without SO_LINGER, the kernel would keep megabytes of unsent data for minutes.
            self.transport.abort()
        self._unread = left

    def _expect_headers(self) -> None:
        self._unfinished = 0
        self._due = self.loop.time() + self.reception.headers_within


class Flow(FlowControl):
    """uvicorn's flow control, which creates its event only when the client reads too slowly.

    An event takes 1 KB.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = self.write_paused = False
        self._is_writable_event = WRITABLE

    def pause_writing(self) -> None:
        self._is_writable_event = asyncio.Event()
        super().pause_writing()


class Line(list[Any]):
    """A list with the methods of a deque. An empty list takes 56 bytes, and an empty deque 760."""

    __slots__ = ()

    def appendleft(self, item: Any) -> None:
        self.insert(0, item)
