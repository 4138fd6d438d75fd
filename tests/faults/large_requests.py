"""Sends bodies, headers and trailers that are too large."""

import asyncio
from collections.abc import Iterable

from tests.faults.client import Connection, read_head, wait_until
from tests.faults.program import Program, Run
from tests.faults.result import fault, main, require

LARGE_BYTES = 20 * 2**20
POST = b"POST /login HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /login HTTP/1.1\r\nHost: localhost\r\n"
CASES = {
    "10 MB declared": ([POST + b"Content-Length: 10000000\r\n\r\n", bytes(65536)], 413),
    "20 MiB in chunks": (
        [
            POST + b"Transfer-Encoding: chunked\r\n\r\n",
            *[b"10000\r\n" + bytes(65536) + b"\r\n"] * (LARGE_BYTES // 65536),
        ],
        413,
    ),
    "20 KiB of headers": ([GET, b"X-A: " + b"a" * 20480 + b"\r\n\r\n"], 431),
    "200 headers": ([GET, b"X-A: b\r\n" * 200, b"\r\n"], 431),
}


async def send_until_response(program: Program, pieces: Iterable[bytes]) -> tuple[int, int]:
    """Sends the pieces until there is a response. Returns its status and the number of bytes sent.

    The status is 0 without a response, and negative if the connection stays open.
    """
    connection = await Connection.open(program.port)
    transport = connection.transport
    sent = 0
    for piece in pieces:
        connection.send(piece)
        sent += len(piece)
        await asyncio.sleep(0.001)
        await wait_until(lambda: connection.is_closed or not transport.get_write_buffer_size(), 10)
        if connection.received or connection.is_closed:
            break
    is_closed = await wait_until(lambda: connection.is_closed, 3)
    transport.abort()
    status = read_head(connection.received)[0] if connection.received else 0
    return (status if is_closed else -status), sent


@fault(
    "R11",
    "bodies and headers that are too large",
    "413 or 431, connection closed, at most 1 MiB more memory",
)
async def too_large(run: Run) -> str:
    program = run.program()
    program.start()
    for name, (pieces, status) in CASES.items():
        received_status, _ = await send_until_response(program, pieces)
        problem = ", connection open" if received_status < 0 else ""
        require(received_status == status, f"{name}: {received_status or 'no status'}{problem}")
    before = program.rss_mib
    for pieces, _ in CASES.values():
        for _ in range(25):
            await send_until_response(program, pieces)
    growth = program.rss_mib - before
    statuses = ", ".join(f"{name}: {status}" for name, (_, status) in CASES.items())
    measured = f"{statuses}; after 100 more: RSS +{growth:.1f} MiB"
    require(growth <= 1, measured)
    return measured


@fault("R11", "20 MiB of headers", "431 or connection closed, at most 1 MiB more memory")
async def too_many_headers(run: Run) -> str:
    program = run.program()
    program.start()
    await send_until_response(program, CASES["20 KiB of headers"][0])
    before = program.rss_mib
    piece = b"X-" + b"a" * 30 + b": " + b"b" * 8192 + b"\r\n"
    status, sent = await send_until_response(program, [GET, *[piece] * (LARGE_BYTES // len(piece))])
    growth = program.rss_mib - before
    measured = f"{status}" if status else "no response"
    measured += f" after {sent / 2**20:.2f} MiB; RSS +{growth:.1f} MiB"
    require(sent < LARGE_BYTES / 2 and growth <= 1, measured)
    return measured


@fault("R11", "20 MiB of trailers", "connection closed, at most 1 MiB more memory")
async def too_many_trailers(run: Run) -> str:
    program = run.program()
    program.start()
    await send_until_response(program, CASES["20 KiB of headers"][0])
    before = program.rss_mib
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nx=123\r\n0\r\n"
    trailers = [b"X-" + b"a" * 30 + b": " + b"b" * 8192 + b"\r\n", b"X-A: b\r\n" * 1024]
    results = []
    for trailer in trailers:
        pieces = [head, *[trailer] * (LARGE_BYTES // len(trailer))]
        results.append(await send_until_response(program, pieces))
    growth = program.rss_mib - before
    sizes = " and ".join(f"{sent / 2**20:.2f}" for _, sent in results)
    measured = f"closed after {sizes} MiB; RSS +{growth:.1f} MiB"
    require(all(status >= 0 for status, _ in results), f"connection open; {measured}")
    require(max(sent for _, sent in results) < LARGE_BYTES / 2 and growth <= 1, measured)
    return measured


if __name__ == "__main__":
    main(too_large, too_many_headers, too_many_trailers)
