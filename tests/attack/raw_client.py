"""Contains an HTTP client that can send malformed requests over one persistent connection."""

import contextlib
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.attack.program import LOOPBACK

TIMEOUT_SECONDS = 15
CHUNK_BYTES = 65_536


@dataclass(frozen=True)
class Response:
    """A response, with header names in lower case.

    The status is 0 if the connection was closed without a response.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_failure(self) -> bool:
        """Returns whether the response is missing or a 5xx, except a 503 with Retry-After."""
        return self.status == 0 or (
            self.status >= 500 and not (self.status == 503 and "retry-after" in self.headers)
        )


class RawClient:
    """A client with one connection, which it opens again when the server has closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket: socket.socket | None = None

    def request(
        self,
        method: bytes,
        target: bytes,
        headers: Iterable[bytes] = (),
        body: bytes | None = None,
        hosts: Iterable[bytes] | None = None,
    ) -> Response:
        """Returns the response to one request.

        `headers` and `hosts` are whole lines. By default, `hosts` is the program's own Host header.
        """
        if hosts is None:
            hosts = [b"Host: %s:%d" % (LOOPBACK.encode(), self.port)]
        lines = [b"%s %s HTTP/1.1" % (method, target), *hosts, *headers]
        if body is not None:
            lines.append(b"Content-Length: %d" % len(body))
        request = b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")
        is_new = self.socket is None
        response = self._exchange(request, method)
        if response.status == 0 and not is_new:  # The server closed the idle connection.
            response = self._exchange(request, method)
        if response.headers.get("connection") == "close" or response.status in (0, 400):
            self.close()
        return response

    def close(self) -> None:
        if self.socket:
            self.socket.close()
        self.socket = None

    def _exchange(self, request: bytes, method: bytes) -> Response:
        try:
            self.socket = self.socket or connect(self.port)
            # The server may refuse a request before the whole request is sent.
            with contextlib.suppress(ConnectionError):
                self.socket.sendall(request)
            return read_response(self.socket, method == b"HEAD")
        except OSError:
            self.close()
            return Response(0, {}, b"")


def exchange(port: int, raw: bytes, seconds: float) -> bytes:
    """Sends the bytes over a new connection and returns the received bytes.

    Receiving ends when the connection is closed or no data arrives for `seconds`.
    """
    received = b""
    with contextlib.suppress(OSError), connect(port) as connection:
        connection.sendall(raw)
        connection.settimeout(seconds)
        while data := connection.recv(CHUNK_BYTES):
            received += data
    return received


def connect(port: int) -> socket.socket:
    connection = socket.create_connection((LOOPBACK, port), timeout=TIMEOUT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_response(connection: socket.socket, is_head: bool) -> Response:
    status, headers, body = read_head(connection, b"")
    # The interim response to `Expect: 100-continue` precedes the final response.
    if status == 100:
        status, headers, body = read_head(connection, body)
    has_body = not is_head and status not in (204, 304)
    length = int(headers.get("content-length", 0)) if has_body else 0
    body = read_until(connection, body, lambda received: len(received) >= length)
    return Response(status, headers, body)


def read_head(connection: socket.socket, received: bytes) -> tuple[int, dict[str, str], bytes]:
    """Returns the status, the headers and the bytes that were received after them."""
    received = read_until(connection, received, lambda data: b"\r\n\r\n" in data)
    head, _, rest = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return int(status_line.split()[1]), headers, rest


def read_until(
    connection: socket.socket, received: bytes, is_complete: Callable[[bytes], bool]
) -> bytes:
    """Receives data until it is complete. Raises ConnectionResetError if the connection ends."""
    while not is_complete(received):
        data = connection.recv(CHUNK_BYTES)
        if not data:
            raise ConnectionResetError
        received += data
    return received
