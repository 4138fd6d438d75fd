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
MAX_BUFFERED_HEADER_BYTES: Final = 32 * 1024
# Limits requests queued on one connection. Browsers do not pipeline requests.
MAX_PIPELINED_REQUESTS: Final = 100
TIMEOUT_RESPONSE: Final = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)
HEADERS_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
    b"content-length: 0\r\n\r\n"
)

ALWAYS_WRITABLE: Final = asyncio.Event()
ALWAYS_WRITABLE.set()
# Replaces completed cycles of idle connections, so that their memory is released.
COMPLETED_CYCLE: Final[Any] = SimpleNamespace(response_complete=True, message_event=asyncio.Event())


@dataclass(eq=False)
class ProtocolFactory:
    """Creates the protocol of each connection, closes slow connections and limits work per turn.

    While many clients send at once, data beyond the limit of a turn of the event loop is queued.
    The first responses then leave earlier, and less memory is in use.
    """

    # Runs from the opening of the connection or from the first byte of a request, in seconds.
    headers_timeout: float = 10.0
    body_timeout: float = 20.0  # Runs from the end of the headers, in seconds.
    read_timeout: float = 30.0  # Runs from the last byte of a response that was read, in seconds.
    shutdown_timeout: float = 5.0  # Replaces read_timeout during shutdown.
    # Limits pieces of request data per turn of the event loop, so that responses start in between.
    max_pieces_per_turn: int = 500
    _backlog: "deque[tuple[TimeoutProtocol, bytes]]" = field(default_factory=deque)
    _processed: int = 0  # Counts the pieces in the current turn.
    is_watching: bool = False

    def __call__(self, **options: Any) -> "TimeoutProtocol":
        return TimeoutProtocol(self, **options)

    def admit(self, connection: "TimeoutProtocol", data: bytes) -> bool:
        """Returns whether the data may be processed now. If not, queues it in order.

        The count is reset only when the limit is reached, because a reset in every turn of the
        event loop costs as much as parsing the headers.
        """
        if self._processed < self.max_pieces_per_turn:
            self._processed += 1
            return True
        if not self._backlog:
            connection.loop.call_soon(self._process_backlog, connection.loop)
        self._backlog.append((connection, data))
        return False

    def _process_backlog(self, loop: asyncio.AbstractEventLoop) -> None:
        self._processed = min(self.max_pieces_per_turn, len(self._backlog))
        for _ in range(self._processed):
            connection, data = self._backlog.popleft()
            connection.process(data)
        if self._backlog:
            loop.call_soon(self._process_backlog, loop)

    def watch(self, connections: set[Any], loop: asyncio.AbstractEventLoop) -> None:
        """Closes slow connections 20 times per header timeout, while there are connections.

        One timer per connection costs more than parsing its headers.
        """
        self.is_watching = bool(connections)
        if self.is_watching:
            loop.call_later(self.headers_timeout / 20, self.watch, connections, loop)
        now = loop.time()
        for connection in connections:
            connection.close_if_late(now)


class TimeoutProtocol(HttpToolsProtocol):
    """Closes connections that send headers too slowly (slowloris) or without end, or do not read.

    It also closes a connection that slowly sends a body that no endpoint reads, such as that of a
    GET. `web.middleware.request_limits.RequestLimits` limits the time of other bodies and responds.

    The class has slots because thousands of idle connections may stay open. With more than 30
    attributes, Python would store the attribute names once per connection, which takes 1 KB.
    """

    __slots__ = (
        "_active_cycle",
        "_deadline",
        "_header_bytes",
        "_in_body",
        "_overhead",
        "_unsent_bytes",
        "_unsent_since",
        "factory",
    )

    def __init__(self, factory: ProtocolFactory, **options: Any) -> None:
        super().__init__(**options)
        self.factory = factory
        self.pipeline = RequestQueue()  # type: ignore[assignment]
        # The cycle that is being answered. uvicorn's `cycle` is the last one in the queue.
        self._active_cycle: RequestResponseCycle | None = None
        self._in_body = False
        self._deadline = self._unsent_since = 0.0  # 0 means no deadline.
        # These count bytes of incomplete headers and of responses not yet read by the client.
        self._header_bytes = self._unsent_bytes = 0
        self._overhead = 0  # Counts bytes since the last piece of a body.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = LazyFlowControl(transport)
        self._expect_headers()
        if not self.factory.is_watching:
            self.factory.watch(self.connections, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._active_cycle:
            # uvicorn marks only the last cycle in the queue. Without this mark, an endpoint that
            # continues to send would raise an exception.
            self._active_cycle.disconnected = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.factory.admit(self, data):
            self.process(data)

    def process(self, data: bytes) -> None:
        # The connection may have been closed while the data was queued.
        if self.transport.is_closing():
            return
        if self._in_body:
            # `on_body` resets this count when the data contains a piece of the body.
            self._overhead += len(data)
        self._feed(data)
        if self._in_body:
            self._deadline = self._deadline or self.loop.time() + self.factory.body_timeout
            if self._overhead > MAX_BUFFERED_HEADER_BYTES:
                self.close(b"")
        elif self._deadline:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_BUFFERED_HEADER_BYTES:
                self.close(HEADERS_TOO_LARGE)
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
        if not self._deadline:
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
        if self._overhead > MAX_BUFFERED_HEADER_BYTES:
            self.close(b"")

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        if self._offers_upgrade():
            return
        self._deadline = self._overhead = 0
        self._in_body = True
        if len(self.pipeline) < MAX_PIPELINED_REQUESTS:
            super().on_headers_complete()
        else:
            self.close(b"")

    def on_message_complete(self) -> None:
        # A request whose trailers exceed the limit must not be handled.
        if self._offers_upgrade() or self.transport.is_closing():
            return
        self._deadline = 0.0
        self._in_body = False
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active_cycle = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Releases the completed cycle, unless another request waits in the pipeline."""
        super().on_response_complete()
        if self.pipeline:
            # uvicorn resumes reading after each response, so a client could refill the queue
            # forever.
            self.flow.pause_reading()
        elif self.cycle.response_complete:
            self.cycle = COMPLETED_CYCLE
            self.scope = COMPLETED_CYCLE
            self.headers = []
            self._active_cycle = None

    def shutdown(self) -> None:
        self.factory.read_timeout = min(self.factory.read_timeout, self.factory.shutdown_timeout)
        super().shutdown()

    def close(self, answer: bytes) -> None:
        """Sends the given bytes and closes the connection."""
        self._deadline = 0.0
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def close_if_late(self, now: float) -> None:
        """Closes the connection if its client has missed the deadline to send or to read.

        A client that does not read gets a reset, because a normal close would wait for it.
        """
        if self._deadline and self._deadline <= now and not self.flow.read_paused:
            self.close(b"" if self._in_body else TIMEOUT_RESPONSE)
        left = self.transport.get_write_buffer_size()
        # The kernel holds megabytes more, and the client may read those long before asyncio's
        # buffer shrinks.
        if left:
            with contextlib.suppress(OSError, ValueError):  # The socket may be closed already.
                left += unpack(
                    "i", ioctl(self.transport.get_extra_info("socket"), TIOCOUTQ, bytes(4))
                )[0]
        if not self._unsent_bytes or left < self._unsent_bytes:
            self._unsent_since = now
        elif self._unsent_since + self.factory.read_timeout <= now:
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0)
            )
            # Without SO_LINGER, the kernel would keep megabytes of unsent data for minutes.
            self.transport.abort()
        self._unsent_bytes = left

    def _expect_headers(self) -> None:
        self._header_bytes = 0
        self._deadline = self.loop.time() + self.factory.headers_timeout


class LazyFlowControl(FlowControl):
    """uvicorn's flow control, which creates its event only when the client reads too slowly.

    An event takes 1 KB.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = self.write_paused = False
        self._is_writable_event = ALWAYS_WRITABLE

    def pause_writing(self) -> None:
        self._is_writable_event = asyncio.Event()
        super().pause_writing()


class RequestQueue(list[Any]):
    """A list with the methods of a deque. An empty list takes 56 bytes, and an empty deque 760."""

    __slots__ = ()

    def appendleft(self, item: Any) -> None:
        self.insert(0, item)
