"""HTTP by hand over one kept connection, so that a request may be as wrong as an attacker likes."""

import contextlib
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.attack.house import LOOPBACK

PATIENCE = 15  # seconds


@dataclass(frozen=True)
class Answer:
    """Status 0 where the connection was closed without a word.

    Names of headers are in lower case.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_failure(self) -> bool:
        """A 5xx, or no answer at all, but for the 503 that says when to come again."""
        return self.status == 0 or (
            self.status >= 500 and not (self.status == 503 and "retry-after" in self.headers)
        )


class Wire:
    """One client. Its connection is opened anew where the server has closed it."""

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
        """Returns the answer to one request. `headers` are whole lines; so are `hosts`, by default the site's own."""
        own = [b"Host: %s:%d" % (LOOPBACK.encode(), self.port)]
        lines = [b"%s %s HTTP/1.1" % (method, target), *(own if hosts is None else hosts), *headers]
        lines += [] if body is None else [b"Content-Length: %d" % len(body)]
        request = b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")
        is_new = self.socket is None
        answer = self._try(request, method)
        if answer.status == 0 and not is_new:  # it was closed while nobody used it
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
            # a refusal may come before everything is sent
            with contextlib.suppress(ConnectionError):
                wire.sendall(request)
            return read_answer(wire, method == b"HEAD")
        except OSError:
            self.close()
            return Answer(0, {}, b"")


def exchange(port: int, raw: bytes, seconds: float) -> bytes:
    """Returns all that comes back to the bytes until the connection is closed, or nothing comes for so long."""
    received = b""
    with contextlib.suppress(OSError), connect(port) as wire:
        wire.sendall(raw)
        wire.settimeout(seconds)
        while piece := wire.recv(65536):
            received += piece
    return received


def connect(port: int) -> socket.socket:
    wire = socket.create_connection((LOOPBACK, port), timeout=PATIENCE)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wire


def read_answer(wire: socket.socket, is_head: bool) -> Answer:
    head, _, body = read_until(wire, b"", lambda read: b"\r\n\r\n" in read).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    if int(first.split()[1]) == 100:  # to `Expect: 100-continue`; the answer itself follows
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
