"""An HTTP client that can send malformed requests over one persistent connection."""

import contextlib
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.attack.program import LOOPBACK

TIMEOUT_SECONDS = 15  # seconds


@dataclass(frozen=True)
class Answer:
    """An answer, with header names in lower case.

    The status is 0 if the connection was closed without an answer.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_failure(self) -> bool:
        """Returns whether the answer is missing or a 5xx, except a 503 with Retry-After."""
        return self.status == 0 or (
            self.status >= 500 and not (self.status == 503 and "retry-after" in self.headers)
        )


class Wire:
    """A client with one connection, which it opens again when the server has closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket: socket.socket | None = None

    def ask(
        self,
        method: bytes,
        target: bytes,
        headers: Iterable[bytes] = (),
        body: bytes | None = None,
        hosts: Iterable[bytes] | None = None,
    ) -> Answer:
        """Returns the answer to one request.

        `headers` and `hosts` are whole lines. By default, `hosts` is the program's own Host header.
        """
        own = [b"Host: %s:%d" % (LOOPBACK.encode(), self.port)]
        lines = [b"%s %s HTTP/1.1" % (method, target), *(own if hosts is None else hosts), *headers]
        lines += [] if body is None else [b"Content-Length: %d" % len(body)]
        request = b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")
        is_new = self.socket is None
        answer = self._try(request, method)
        if answer.status == 0 and not is_new:  # The server closed the idle connection.
            answer = self._try(request, method)
        if answer.headers.get("connection") == "close" or answer.status in (0, 400):
            self.close()
        return answer

    def close(self) -> None:
        if self.socket:
            self.socket.close()
        self.socket = None

    def _try(self, request: bytes, method: bytes) -> Answer:
        try:
            wire = self.socket = self.socket or connect(self.port)
            # The server may refuse a request before the whole request is sent.
            with contextlib.suppress(ConnectionError):
                wire.sendall(request)
            return read_answer(wire, method == b"HEAD")
        except OSError:
            self.close()
            return Answer(0, {}, b"")


def exchange(port: int, raw: bytes, seconds: float) -> bytes:
    """Sends the bytes and returns the answer.

    The answer ends when the connection is closed or no data arrives for `seconds`.
    """
    received = b""
    with contextlib.suppress(OSError), connect(port) as wire:
        wire.sendall(raw)
        wire.settimeout(seconds)
        while piece := wire.recv(65536):
            received += piece
    return received


def connect(port: int) -> socket.socket:
    wire = socket.create_connection((LOOPBACK, port), timeout=TIMEOUT_SECONDS)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wire


def read_answer(wire: socket.socket, is_head: bool) -> Answer:
    head, _, body = read_until(wire, b"", lambda read: b"\r\n\r\n" in read).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    # This answers `Expect: 100-continue`, and the final answer follows.
    if int(first.split()[1]) == 100:
        head, _, body = read_until(wire, body, lambda read: b"\r\n\r\n" in read).partition(
            b"\r\n\r\n"
        )
        first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    status = int(first.split()[1])
    length = 0 if is_head or status in (204, 304) else int(headers.get("content-length", 0))
    return Answer(status, headers, read_until(wire, body, lambda read: len(read) >= length))


def read_until(wire: socket.socket, read: bytes, is_enough: Callable[[bytes], bool]) -> bytes:
    while not is_enough(read):
        if not (piece := wire.recv(65536)):
            raise ConnectionResetError
        read += piece
    return read
