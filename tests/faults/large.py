"""Sends bodies, headers and trailers that are too large."""

import asyncio
from collections.abc import Iterable

from tests.faults.client import Wire, eventually, read_head
from tests.faults.program import Program, Run
from tests.faults.verdict import fault, main, require

BIG = 20 * 2**20  # bytes
POST = b"POST /login HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /login HTTP/1.1\r\nHost: localhost\r\n"
KINDS = {
    "10 MB declared": ([POST + b"Content-Length: 10000000\r\n\r\n", bytes(65536)], 413),
    "20 MiB in chunks": (
        [
            POST + b"Transfer-Encoding: chunked\r\n\r\n",
            *[b"10000\r\n" + bytes(65536) + b"\r\n"] * (BIG // 65536),
        ],
        413,
    ),
    "20 KiB of headers": ([GET, b"X-A: " + b"a" * 20480 + b"\r\n\r\n"], 431),
    "200 headers": ([GET, b"X-A: b\r\n" * 200, b"\r\n"], 431),
}


async def send(program: Program, pieces: Iterable[bytes]) -> tuple[int, int]:
    """Sends the pieces until there is an answer. Returns its status and the number of bytes sent.

    The status is negative if the connection stays open.
    """
    wire, sent = await Wire.open(program.port), 0
    for piece in pieces:
        wire.send(piece)
        sent += len(piece)
        await asyncio.sleep(0.001)
        await eventually(lambda: wire.closed or not wire.transport.get_write_buffer_size(), 10)
        if wire.received or wire.closed:
            break
    shut = await eventually(lambda: wire.closed, 3)
    wire.transport.abort()
    status = read_head(wire.received)[0] if wire.received else 0
    return (status if shut else -status), sent


@fault(
    "R11",
    "bodies and headers that are too large",
    "413 or 431, connection closed, at most 1 MiB more memory",
)
async def too_large(run: Run) -> str:
    program = run.program()
    program.start()
    for name, (pieces, status) in KINDS.items():
        seen, _ = await send(program, pieces)
        require(seen == status, f"{name}: {seen or 'no status'}{', connection open' * (seen < 0)}")
    before = program.rss
    for pieces, _ in KINDS.values():
        for _ in range(25):
            await send(program, pieces)
    grown = program.rss - before
    told = f"{', '.join(f'{name}: {status}' for name, (_, status) in KINDS.items())}; after 100 more: RSS +{grown:.1f} MiB"
    require(grown <= 1, told)
    return told


@fault("R11", "20 MiB of headers", "431 or connection closed, at most 1 MiB more memory")
async def endless_headers(run: Run) -> str:
    program = run.program()
    program.start()
    await send(program, KINDS["20 KiB of headers"][0])
    before = program.rss
    piece = b"X-" + b"a" * 30 + b": " + b"b" * 8192 + b"\r\n"
    status, sent = await send(program, [GET, *[piece] * (BIG // len(piece))])
    grown = program.rss - before
    told = f"{status}" if status else "no response"
    told += f" after {sent / 2**20:.2f} MiB; RSS +{grown:.1f} MiB"
    require(sent < BIG / 2 and grown <= 1, told)
    return told


@fault("R11", "20 MiB of trailers", "connection closed, at most 1 MiB more memory")
async def endless_trailers(run: Run) -> str:
    program = run.program()
    program.start()
    await send(program, KINDS["20 KiB of headers"][0])
    before = program.rss
    opening = POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nx=123\r\n0\r\n"
    pieces = [b"X-" + b"a" * 30 + b": " + b"b" * 8192 + b"\r\n", b"X-A: b\r\n" * 1024]
    found = [await send(program, [opening, *[piece] * (BIG // len(piece))]) for piece in pieces]
    grown = program.rss - before
    told = f"closed after {' and '.join(f'{sent / 2**20:.2f}' for _, sent in found)} MiB; RSS +{grown:.1f} MiB"
    require(all(status >= 0 for status, _ in found), f"connection open; {told}")
    require(max(sent for _, sent in found) < BIG / 2 and grown <= 1, told)
    return told


if __name__ == "__main__":
    main(too_large, endless_headers, endless_trailers)
