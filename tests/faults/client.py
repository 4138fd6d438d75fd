"""HTTP clients with little overhead, so that the measured times are those of the server."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from urllib.parse import urlencode

from tests.faults.program import Program
from tests.faults.verdict import require

PASSWORD = "engine-No.9 to the sea"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def cookie(self) -> str:
        return self.headers.get("set-cookie", "").partition(";")[0]

    @property
    def sends_back(self) -> bool:
        """Returns whether the answer is a 429 or a 503 with Retry-After."""
        return self.status in (429, 503) and "retry-after" in self.headers


@dataclass
class Client:
    """A client with one persistent connection. Its methods raise OSError and EOFError."""

    port: int
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    wire: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str, fields: dict[str, str] | None = None) -> Answer:
        """Sends a POST if there are fields, and a GET otherwise."""
        began = time.perf_counter()
        is_new = self.wire is None
        if self.wire is None:
            self.wire = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.wire
        try:
            writer.write(request(path, fields, self.cookie, self.headers))
            status, headers = read_head(await reader.readuntil(b"\r\n\r\n"))
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        except BaseException as error:
            self.close()
            if is_new or fields is not None or not isinstance(error, OSError | EOFError):
                raise
            # The server closed the idle connection, and browsers retry then too.
            return await self.ask(path)
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, headers, body, time.perf_counter() - began)

    async def sign_up(self, name: str) -> Answer:
        answer = await self.ask(
            "/signup", {"name": name, "email": f"{name}@example.com", "password": PASSWORD}
        )
        self.cookie = answer.cookie if answer.status == 303 else self.cookie
        return answer

    async def log_in(self, name: str, password: str = PASSWORD) -> Answer:
        """Logs in without keeping the session cookie."""
        return await self.ask("/login", {"email": f"{name}@example.com", "password": password})

    def close(self) -> None:
        if self.wire:
            self.wire[1].close()
        self.wire = None


class Wire(asyncio.Protocol):
    """A connection that sends bytes and records what it receives and whether it is closed."""

    transport: asyncio.Transport
    received = b""
    closed = False

    @classmethod
    async def open(cls, port: int) -> "Wire":
        return (await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port))[1]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True

    def send(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)


async def open_wires(port: int, number: int) -> list[Wire]:
    """Opens connections, a hundred at a time."""
    wires: list[Wire] = []
    while len(wires) < number:
        wires += await asyncio.gather(
            *(Wire.open(port) for _ in range(min(100, number - len(wires))))
        )
    return wires


async def eventually(is_so: Callable[[], object], seconds: float) -> bool:
    """Returns whether the condition becomes true within `seconds`."""
    until = time.monotonic() + seconds
    for _ in range(int(seconds / 0.002)):
        if is_so() or time.monotonic() > until:
            break
        await asyncio.sleep(0.002)
    return bool(is_so())


def request(
    path: str,
    fields: dict[str, str] | None = None,
    cookie: str = "",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    body = urlencode(fields or {}).encode()
    head = [f"{'GET' if fields is None else 'POST'} {path} HTTP/1.1", "Host: localhost"]
    head += [f"Cookie: {cookie}"] * bool(cookie) + [
        f"{name}: {value}" for name, value in (headers or {}).items()
    ]
    if fields is not None:
        head += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def read_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    # The first of several cookies is the session cookie.
    pairs = (line.partition(":") for line in reversed(lines))
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}


async def logged_in_client(program: Program, name: str) -> Client:
    client = Client(program.port)
    answer = await client.sign_up(name)
    require(answer.status == 303, f"{name} could not sign up: {answer.status}")
    return client


async def repeat(
    ask: Callable[[], Awaitable[Answer]], seconds: float, pause: float = 0
) -> list[Answer]:
    """Repeats the request one after the other for `seconds`."""
    until, answers = time.monotonic() + seconds, []
    while time.monotonic() < until:
        answers.append(await ask())
        await asyncio.sleep(pause)
    return answers


async def at_once(*asks: Awaitable[list[Answer]]) -> list[Answer]:
    return list(chain(*await asyncio.gather(*asks)))


def p99(answers: list[Answer]) -> float:
    """Returns the 99th percentile of the times in milliseconds."""
    return 1000 * sorted(answer.seconds for answer in answers)[int(len(answers) * 0.99)]


def require_quick(fresh: list[Answer], quiet: list[Answer], limit: float) -> str:
    """Requires that the p99 is below `limit` in milliseconds.

    On a slow machine, the limit is twice the p99 of `quiet`.
    """
    told = f"p99 {p99(fresh):.0f} ms (idle {p99(quiet):.0f})"
    require(p99(fresh) < max(limit, 2 * p99(quiet)), f"dashboard {told}, limit {limit:.0f} ms")
    return told


def statuses(answers: list[Answer]) -> str:
    found = [answer.status for answer in answers]
    return ", ".join(f"{found.count(status)} × {status}" for status in sorted(set(found)))
