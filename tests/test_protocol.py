"""The protocol: who is too slow or too long-winded with their headers is sent away, and nobody else."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn

from tests.conftest import House
from web.protocol import PromptProtocol


class Impatient(PromptProtocol):
    headers_within = 0.3


@pytest.fixture
async def port(house: House) -> AsyncIterator[int]:
    """The house, served by the real server on a port that is free."""
    config = uvicorn.Config(house.app, port=0, http=Impatient, ws="none", log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def answer_to(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What the server says, to the end of the connection."""
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


GOOD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def test_who_sends_their_headers_in_one_piece_is_answered(port: int) -> None:
    assert (await answer_to(port, GOOD)).startswith(b"HTTP/1.1 200")


@pytest.mark.asvs("S83")
@pytest.mark.reliability("R10")
async def test_who_never_finishes_their_headers_is_closed(port: int) -> None:
    assert (await answer_to(port, b"GET /healthz HTTP/1.1\r\nX: y\r\n")).startswith(b"HTTP/1.1 408")


@pytest.mark.reliability("R10")
async def test_a_byte_now_and_then_buys_no_more_time(port: int) -> None:
    drops = [bytes([byte]) for byte in GOOD[:20]]
    assert b"200" not in await answer_to(port, *drops, pause=0.05)


@pytest.mark.reliability("R10")
async def test_who_says_nothing_at_all_is_closed(port: int) -> None:
    assert (await answer_to(port)).startswith(b"HTTP/1.1 408")


@pytest.mark.asvs("S83")
@pytest.mark.reliability("R11")
async def test_headers_without_end_are_cut_off(port: int) -> None:
    endless = [b"GET /healthz HTTP/1.1\r\n", *[b"X: " + b"y" * 1000 + b"\r\n"] * 200]
    assert await answer_to(port, *endless) in (b"closed", b"") or b" 431 " in await answer_to(port, *endless)


async def test_a_second_request_has_the_same_time_again(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(GOOD.replace(b"Connection: close\r\n", b""))
        assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.2)
    writer.write(b"GET /heal")
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_a_slow_body_is_not_the_headers_concern(port: int) -> None:
    head = b"POST /signup/check/name HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 10\r\n"
    kind = b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    answer = await answer_to(port, head + kind, b"name=", b"Alice", pause=0.4)
    assert answer.startswith(b"HTTP/1.1 200")
