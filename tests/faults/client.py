"""Contains HTTP clients with little overhead, so that the measured times are the server's."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from urllib.parse import urlencode

from tests.faults.program import Program
from tests.faults.result import require

PASSWORD = "engine-No.9 to the sea"


@dataclass
class Response:
    """A response. `seconds` is the time from the request until the end of the response."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def cookie(self) -> str:
        return self.headers.get("set-cookie", "").partition(";")[0]

    @property
    def has_retry_after(self) -> bool:
        """Returns whether the response is a 429 or a 503 with Retry-After."""
        return self.status in (429, 503) and "retry-after" in self.headers


@dataclass
class Client:
    """A client with one persistent connection. Its methods raise OSError and EOFError."""

    port: int
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, path: str, fields: dict[str, str] | None = None) -> Response:
        """Sends a POST if there are fields, and a GET otherwise. Repeats only a GET."""
        started = time.perf_counter()
        is_new = self.connection is None
        if self.connection is None:
            self.connection = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.connection
        try:
            writer.write(encode_request(path, fields, self.cookie, self.headers))
            status, headers = read_head(await reader.readuntil(b"\r\n\r\n"))
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        except BaseException as error:
            self.close()
            if is_new or fields is not None or not isinstance(error, OSError | EOFError):
                raise
            # The server closed the idle connection. Browsers retry in this case too.
            return await self.request(path)
        if headers.get("connection") == "close":
            self.close()
        return Response(status, headers, body, time.perf_counter() - started)

    async def sign_up(self, name: str) -> Response:
        """Signs up and stores the session cookie."""
        response = await self.request(
            "/signup", {"name": name, "email": f"{name}@example.com", "password": PASSWORD}
        )
        if response.status == 303:
            self.cookie = response.cookie
        return response

    async def log_in(self, name: str, password: str = PASSWORD) -> Response:
        """Logs in without storing the session cookie."""
        return await self.request("/login", {"email": f"{name}@example.com", "password": password})

    def close(self) -> None:
        if self.connection:
            self.connection[1].close()
        self.connection = None


class Connection(asyncio.Protocol):
    """A connection that sends raw bytes and records the received bytes and the closing."""

    transport: asyncio.Transport
    received = b""
    is_closed = False

    @classmethod
    async def open(cls, port: int) -> "Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, "127.0.0.1", port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True

    def send(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)


async def open_connections(port: int, number: int) -> list[Connection]:
    """Opens `number` connections, in groups of a hundred."""
    connections: list[Connection] = []
    while len(connections) < number:
        connections += await asyncio.gather(
            *(Connection.open(port) for _ in range(min(100, number - len(connections))))
        )
    return connections


async def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    """Returns whether the condition becomes true within `seconds`."""
    deadline = time.monotonic() + seconds
    for _ in range(int(seconds / 0.002)):
        if condition() or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.002)
    return bool(condition())


def encode_request(
    path: str,
    fields: dict[str, str] | None = None,
    cookie: str = "",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Returns the bytes of a POST if there are fields, and of a GET otherwise."""
    body = urlencode(fields or {}).encode()
    method = "GET" if fields is None else "POST"
    head = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    if cookie:
        head.append(f"Cookie: {cookie}")
    head += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if fields is not None:
        head += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def read_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Returns the status and the headers. A repeated header has its first value."""
    status_line, *lines = head.decode("latin-1").strip().split("\r\n")
    # The first of several Set-Cookie headers contains the session cookie.
    pairs = (line.partition(":") for line in reversed(lines))
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return int(status_line.split()[1]), headers


async def sign_up_client(program: Program, name: str) -> Client:
    """Signs up a user and returns a client with the session. Raises RequirementFailed."""
    client = Client(program.port)
    response = await client.sign_up(name)
    require(response.status == 303, f"{name} could not sign up: {response.status}")
    return client


async def repeat(
    send: Callable[[], Awaitable[Response]], seconds: float, pause: float = 0
) -> list[Response]:
    """Sends requests one after the other for `seconds`. Returns the responses.

    `pause` is the time in seconds between a response and the next request.
    """
    deadline = time.monotonic() + seconds
    responses = []
    while time.monotonic() < deadline:
        responses.append(await send())
        await asyncio.sleep(pause)
    return responses


async def run_concurrently(*tasks: Awaitable[list[Response]]) -> list[Response]:
    """Returns the responses of all tasks."""
    return list(chain(*await asyncio.gather(*tasks)))


def p99(responses: list[Response]) -> float:
    """Returns the 99th percentile of the times in milliseconds."""
    times = sorted(response.seconds for response in responses)
    return 1000 * times[int(len(times) * 0.99)]


def require_low_p99(loaded: list[Response], idle: list[Response], limit: float) -> str:
    """Requires that the p99 of `loaded` is below `limit` in milliseconds. Returns it as text.

    On a slow machine, the limit is twice the p99 of `idle`.
    """
    measured = f"p99 {p99(loaded):.0f} ms (idle {p99(idle):.0f})"
    is_low = p99(loaded) < max(limit, 2 * p99(idle))
    require(is_low, f"dashboard {measured}, limit {limit:.0f} ms")
    return measured


def format_statuses(responses: list[Response]) -> str:
    """Returns the numbers by status, such as `12 × 200, 3 × 503`."""
    statuses = [response.status for response in responses]
    return ", ".join(f"{statuses.count(status)} × {status}" for status in sorted(set(statuses)))
