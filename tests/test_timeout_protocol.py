"""Tests of the HTTP protocol with timeouts for clients that send or read too slowly."""

import asyncio
import gc
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from struct import pack

import pytest
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from tests.browser_client import Browser
from tests.conftest import TestApp
from web.middleware.error_handler import ErrorHandler
from web.middleware.request_limits import RequestLimits
from web.middleware.security_headers import SecurityHeaders
from web.server.timeout_protocol import MAX_PIPELINED_REQUESTS, LazyFlowControl, ProtocolFactory

MAX_PIECES = 5
READ_TIMEOUT = 0.5  # A client may read nothing for this time.
LARGE = 600_000  # This exceeds the buffers of both sides.


@pytest.fixture
async def port(app: TestApp) -> AsyncIterator[int]:
    """Serves the application on a free port with short timeouts and yields the port."""
    async with served(
        app.asgi_app,
        ProtocolFactory(headers_timeout=0.3, body_timeout=1.5, max_pieces_per_turn=MAX_PIECES),
    ) as server:
        yield port_of(server)


@asynccontextmanager
async def served(asgi_app: ASGIApp, factory: ProtocolFactory) -> AsyncIterator[uvicorn.Server]:
    config = uvicorn.Config(
        asgi_app,
        http=factory,
        ws="none",
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=3,
    )
    server, listening = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    # Without this, the kernel would buffer megabytes.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
    serving = asyncio.create_task(server.serve([listening]))
    while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
        await asyncio.sleep(0.01)
    yield server
    server.should_exit = True
    await serving


def port_of(server: uvicorn.Server) -> int:
    return server.servers[0].sockets[0].getsockname()[1]


async def answer_to(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Returns the bytes that the server sends until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionError:
        return b"closed"
    finally:
        writer.close()


HEALTH_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def test_headers_in_one_piece_are_answered(port: int) -> None:
    assert (await answer_to(port, HEALTH_REQUEST)).startswith(b"HTTP/1.1 200")


@pytest.mark.asvs("S83")
@pytest.mark.reliability("R10")
async def test_a_client_that_does_not_finish_its_headers_is_disconnected(port: int) -> None:
    assert (await answer_to(port, b"GET /healthz HTTP/1.1\r\nX: y\r\n")).startswith(b"HTTP/1.1 408")


@pytest.mark.reliability("R10")
async def test_single_bytes_do_not_extend_the_timeout(port: int) -> None:
    pieces = [bytes([byte]) for byte in HEALTH_REQUEST[:20]]
    assert b"200" not in await answer_to(port, *pieces, pause=0.05)


@pytest.mark.reliability("R10")
async def test_a_client_that_sends_nothing_is_disconnected(port: int) -> None:
    assert (await answer_to(port)).startswith(b"HTTP/1.1 408")


@pytest.mark.asvs("S83")
@pytest.mark.reliability("R11")
async def test_endless_headers_are_refused(port: int) -> None:
    endless = [b"GET /healthz HTTP/1.1\r\n", *[b"X: " + b"y" * 1000 + b"\r\n"] * 200]
    assert await answer_to(port, *endless) in (b"closed", b"") or b" 431 " in await answer_to(
        port, *endless
    )


async def test_the_timeout_starts_again_with_each_request(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(HEALTH_REQUEST.replace(b"Connection: close\r\n", b""))
        assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.2)
    writer.write(b"GET /heal")
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_the_timeout_of_the_headers_does_not_apply_to_the_body(port: int) -> None:
    head = b"POST /signup/check/name HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 10\r\n"
    content_type = b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    answer = await answer_to(port, head + content_type, b"name=", b"Alice", pause=0.4)
    assert answer.startswith(b"HTTP/1.1 200")


SLOW_BODIES = {
    "a GET": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
    "another origin": b"POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nContent-Length: 1000\r\n\r\n",
    "no page": b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
}


@pytest.mark.asvs("S83")
@pytest.mark.reliability("R10")
@pytest.mark.parametrize("request_", SLOW_BODIES)
async def test_a_body_that_is_not_read_does_not_extend_the_timeout(
    port: int, request_: str
) -> None:
    answer = await answer_to(port, SLOW_BODIES[request_], *[b"x"] * 12, pause=0.2)
    assert answer == b"closed" or answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.asvs("S83")
@pytest.mark.reliability("R10")
@pytest.mark.parametrize("before", [b"", b"Connection: upgrade\r\nUpgrade: websocket\r\n"])
async def test_empty_lines_after_an_answer_do_not_extend_the_timeout(
    port: int, before: bytes
) -> None:
    request = HEALTH_REQUEST.replace(b"Connection: close\r\n", before)
    answer = await answer_to(port, request, *[b"\r\n"] * 10, pause=0.1)
    assert answer == b"closed" or answer.count(b"HTTP/1.1 200") == 1


@pytest.mark.reliability("R10")
async def test_each_connection_has_its_own_timeout(port: int) -> None:
    began = asyncio.get_running_loop().time()

    async def measure_timeout(delay: float) -> float:
        await asyncio.sleep(delay)
        assert (await answer_to(port)).startswith(b"HTTP/1.1 408")
        return asyncio.get_running_loop().time() - began - delay

    durations = await asyncio.gather(*(measure_timeout(delay / 100) for delay in range(0, 60, 3)))
    assert min(durations) >= 0.29


@pytest.mark.reliability("R12")
async def test_a_burst_of_connections_is_answered_completely(port: int) -> None:
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(6 * MAX_PIECES)]
    for _, writer in connections:
        writer.write(HEALTH_REQUEST)
    answers = await asyncio.gather(
        *(asyncio.wait_for(reader.read(), 5) for reader, _ in connections)
    )
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 200"}
    for _, writer in connections:
        writer.close()


@pytest.mark.reliability("R12")
async def test_a_burst_of_requests_keeps_its_order_and_yields_to_the_event_loop() -> None:
    factory, processed, turns = ProtocolFactory(max_pieces_per_turn=2), [], []

    class Connection:
        loop = asyncio.get_running_loop()
        process = staticmethod(processed.append)

    for number in range(20):
        if factory.admit(Connection, number):  # type: ignore[arg-type]
            processed.append(number)
        if number >= 10:
            await asyncio.sleep(0)
            turns.append(len(processed))
    await asyncio.sleep(0.05)
    assert processed == [*range(20)]
    assert max(later - before for before, later in pairwise(turns)) == 2


async def test_the_server_answers_after_clients_disconnect_during_a_burst(port: int) -> None:
    for _ in range(6 * MAX_PIECES):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEALTH_REQUEST)
        writer.transport.abort()
    assert (await answer_to(port, HEALTH_REQUEST)).startswith(b"HTTP/1.1 200")


@pytest.mark.reliability("R12")
async def test_an_idle_connection_keeps_no_object_of_its_last_request(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(HEALTH_REQUEST.replace(b"Connection: close\r\n", b""))
        assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
    await asyncio.sleep(0.05)
    gc.collect()
    assert [found for found in gc.get_objects() if isinstance(found, RequestResponseCycle)] == []
    writer.close()


async def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    paths = [b"/healthz", b"/nowhere", b"/healthz", b"/login"]
    lines = [b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path for path in paths]
    lines[-1] = lines[-1].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answer = await answer_to(port, b"".join(lines))
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"404", b"200", b"200"]


@pytest.mark.reliability("R09")
async def test_a_client_that_resumes_reading_does_not_resume_other_connections() -> None:
    slow, slower = LazyFlowControl(None), LazyFlowControl(None)  # type: ignore[arg-type]
    for flow in (slow, slower):
        flow.pause_writing()
    slow.resume_writing()
    await asyncio.wait_for(slow.drain(), 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(slower.drain(), 0.01)


def make_responder(size: int = LARGE, seconds: float = 0.0) -> Starlette:
    """Returns an application that answers with `size` bytes after `seconds`."""

    async def show(request: Request) -> Response:
        await asyncio.sleep(seconds)
        return Response(bytes(size))

    middleware = [
        Middleware(SecurityHeaders, hsts="off"),
        Middleware(ErrorHandler),
        Middleware(RequestLimits, handler_timeout=READ_TIMEOUT / 2),
    ]
    asgi_app = Starlette(routes=[Route("/", show)], middleware=middleware)
    asgi_app.state.draining = False
    return asgi_app


GET_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def send_requests(
    server: uvicorn.Server, requests: bytes, buffer_bytes: int = 4096
) -> socket.socket:
    """Connects with a receive buffer of `buffer_bytes`, sends requests and reads no response."""
    client_socket = socket.socket()
    client_socket.setblocking(False)
    client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client_socket, ("127.0.0.1", port_of(server)))
    await loop.sock_sendall(client_socket, requests)
    return client_socket


async def wait_until_disconnected(server: uvicorn.Server, longest: float) -> float:
    """Returns the seconds until the server has no connection left, at most about `longest`."""
    began = time.monotonic()
    while server.server_state.connections and time.monotonic() - began < longest:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return time.monotonic() - began


SHORT_TIMEOUTS = {"headers_timeout": 0.3, "read_timeout": READ_TIMEOUT}


@pytest.mark.alone
@pytest.mark.reliability("R09")
@pytest.mark.parametrize(
    "requests", [GET_REQUEST, LAST_REQUEST, GET_REQUEST * 20], ids=["one", "the last", "many"]
)
def test_a_client_that_does_not_read_is_disconnected_without_a_log_line(
    requests: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with served(make_responder(), ProtocolFactory(**SHORT_TIMEOUTS)) as server:
            with await send_requests(server, requests) as client_socket:
                assert (
                    READ_TIMEOUT - 0.1 < await wait_until_disconnected(server, 3) < 3 * READ_TIMEOUT
                )
                with pytest.raises(ConnectionError):
                    while await asyncio.get_running_loop().sock_recv(client_socket, 65536):
                        pass
                assert server.server_state.tasks == set()

    uvloop.run(scenario())
    assert caplog.records == []


@pytest.mark.alone
@pytest.mark.reliability("R09")
def test_a_client_that_reads_slowly_and_steadily_gets_everything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        loop, read, began = asyncio.get_running_loop(), b"", time.monotonic()
        async with served(
            make_responder(), ProtocolFactory(headers_timeout=0.3, read_timeout=READ_TIMEOUT / 2)
        ) as server:
            with await send_requests(server, LAST_REQUEST, buffer_bytes=10_000) as client_socket:
                while part := await loop.sock_recv(client_socket, 5000):
                    read += part
                    await asyncio.sleep(0.02)
        assert (read.count(b"HTTP/1.1 200"), read.count(b"\0")) == (1, LARGE)
        assert time.monotonic() - began > 3 * READ_TIMEOUT

    uvloop.run(scenario())
    assert caplog.records == []


@pytest.mark.alone
@pytest.mark.reliability("R09")
def test_a_client_that_does_not_read_does_not_delay_the_shutdown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with served(
            make_responder(), ProtocolFactory(headers_timeout=0.3, shutdown_timeout=READ_TIMEOUT)
        ) as server:
            client_socket = await send_requests(server, GET_REQUEST * 20)
            assert await wait_until_disconnected(server, READ_TIMEOUT) >= READ_TIMEOUT
            began = time.monotonic()
        assert time.monotonic() - began < 3 * READ_TIMEOUT
        client_socket.close()

    uvloop.run(scenario())
    assert caplog.records == []


@pytest.mark.alone
@pytest.mark.reliability("R09")
def test_a_client_that_pipelines_and_disconnects_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with served(
            make_responder(10, seconds=0.1), ProtocolFactory(**SHORT_TIMEOUTS)
        ) as server:
            client_socket = await send_requests(server, GET_REQUEST * 20)
            await asyncio.sleep(0.15)  # The second request is in progress by then.
            client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
            client_socket.close()
            assert await wait_until_disconnected(server, 3) < 3
            await asyncio.sleep(0.2)
            assert server.server_state.tasks == set()

    uvloop.run(scenario())
    assert caplog.records == []


def count_requests() -> int:
    """Returns the number of requests that the server holds in memory."""
    gc.collect()
    return sum(isinstance(one, RequestResponseCycle) for one in gc.get_objects())


@pytest.mark.alone
@pytest.mark.reliability("R09")
async def test_a_client_that_pipelines_hundreds_of_requests_is_disconnected() -> None:
    async with served(make_responder(), ProtocolFactory(**SHORT_TIMEOUTS)) as server:
        with await send_requests(server, GET_REQUEST * 10 * MAX_PIPELINED_REQUESTS):
            await asyncio.sleep(0.1)
            assert count_requests() <= MAX_PIPELINED_REQUESTS + 1
            assert await wait_until_disconnected(server, 3) < 3


@pytest.mark.reliability("R09")
async def test_no_more_requests_are_read_while_pipelined_ones_wait() -> None:
    async with served(
        make_responder(10, seconds=0.05), ProtocolFactory(**SHORT_TIMEOUTS)
    ) as server:
        with await send_requests(server, GET_REQUEST * 10) as client_socket:
            for _ in range(5):
                await asyncio.sleep(0.05)
                await asyncio.get_running_loop().sock_sendall(client_socket, GET_REQUEST * 10)
            assert 0 < count_requests() <= 10


POST = (
    b"POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: %s\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n%s\r\n"
)
FORM = b"email=alice%40example.com&password=engine-No.9+to+the+sea"


def post_in_chunks(trailers: bytes, connection: bytes = b"close") -> bytes:
    head = POST % (connection, b"Transfer-Encoding: chunked\r\n")
    return head + b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(FORM), FORM, trailers)


@pytest.mark.asvs("S84")
async def test_a_trailer_is_not_used_as_a_header(make_app: Callable, anonymous: Browser) -> None:
    app = await make_app(TRUSTED_PROXIES="127.0.0.1")
    alice = await app.browser("Alice")
    await alice.sign_up()
    async with served(app.asgi_app, ProtocolFactory()) as server:
        request = post_in_chunks(b"X-Forwarded-For: 203.0.113.66\r\nCookie: session=x\r\n")
        answer = await answer_to(port_of(server), request)
    assert answer.startswith(b"HTTP/1.1 303")
    ip_addresses = await app.rows("SELECT address FROM sessions ORDER BY created_at DESC, id")
    assert ("203.0.113.66",) not in ip_addresses


@pytest.mark.asvs("S83", "S84")
@pytest.mark.parametrize(
    "trailer", [b"X-Trailer: " + b"y" * 90 + b"\r\n", b"y"], ids=["many", "one without end"]
)
async def test_endless_trailers_are_refused(trailer: bytes) -> None:
    async def read_all(request: Request) -> Response:
        return Response(await request.body())

    start = post_in_chunks(b"").removesuffix(b"\r\n") + (b"X-Trailer: " if trailer == b"y" else b"")
    asgi_app = Starlette(routes=[Route("/login", read_all, methods=["POST"])])
    async with served(asgi_app, ProtocolFactory(body_timeout=60)) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        writer.write(start)
        with pytest.raises(ConnectionError):
            for _ in range(1_000):  # This is 16 MB, which is more than the kernel's buffers hold.
                writer.write(trailer * (16_384 // len(trailer)))
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.2"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_form_with_an_upgrade_header_keeps_its_body(
    app: TestApp, alice: Browser, port: int, protocol: bytes, chunked: bool
) -> None:
    offer = b"Upgrade: %s\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n" % protocol
    connection = b"Upgrade, HTTP2-Settings, close"
    if chunked:
        request = post_in_chunks(b"", connection).replace(b"\r\n\r\n", b"\r\n" + offer + b"\r\n", 1)
    else:
        request = POST % (connection, offer + b"Content-Length: %d\r\n" % len(FORM)) + FORM
    for parts in ([request], [request[:40], request[40:-20], request[-20:]]):
        answer = await answer_to(port, *parts, pause=0.02)
        assert answer.startswith(b"HTTP/1.1 303"), answer


@pytest.mark.asvs("S83", "S84")
async def test_trailers_in_one_piece_with_the_body_are_limited(
    app: TestApp, alice: Browser, port: int
) -> None:
    before = await app.count("sessions")
    assert b"303" not in await answer_to(
        port, post_in_chunks(b"X-Trailer: yyyyyyyyyyyyyyyyyyyy\r\n" * 4_000)
    )
    assert await app.count("sessions") == before


@pytest.mark.asvs("S84")
async def test_many_pipelined_upgrade_requests_raise_no_error(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await answer_to(
        port,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" * 3_000,
    )
    assert answer == b"closed" or 0 < answer.count(b"HTTP/1.1 200") <= 100
    assert caplog.records == []


@pytest.mark.asvs("S84")
async def test_the_body_of_an_upgrade_request_is_not_read_as_a_request(port: int) -> None:
    inner = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    offer = b"Upgrade: h2c\r\nContent-Length: %d\r\n" % len(inner)
    for parts in (
        [POST % (b"upgrade, close", offer) + inner],
        [POST % (b"upgrade, close", offer), inner],
    ):
        assert (await answer_to(port, *parts, pause=0.02)).count(b"HTTP/1.1 ") == 1
