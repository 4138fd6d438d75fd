"""Opens connections of clients that read slowly, send slowly or are idle (R09, R10, R12)."""

import asyncio
import re
import resource
import socket
import time

from tests.faults.client import (
    Connection,
    encode_request,
    open_connections,
    repeat,
    require_low_p99,
    sign_up_client,
    wait_until,
)
from tests.faults.program import Program, Run
from tests.faults.result import NotRun, fault, main, require

IDLE_CONNECTIONS = 10_000
SLOW_CONNECTIONS = 1_000
READERS = 200
FILES_PER_READER = 100  # These are more than the two megabytes that the kernel buffers.
REQUIREMENT = "closed within 15 s; p99 of the dashboard under 50 ms in the meantime"


def raise_file_limit(files: int) -> None:
    """Raises the limit of open files. Raises NotRun if the hard limit is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < files:
        raise NotRun(f"needs {files} open files (`ulimit -Hn`), here {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), hard))


async def send_slowly(connections: list[Connection], piece: bytes, seconds: float) -> float | None:
    """Sends a piece on each connection every second, for at most `seconds`.

    Returns the seconds until all connections are closed, or None if one stays open.
    """
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        for start in range(50):
            for connection in connections[start::50]:
                connection.send(piece)
            await asyncio.sleep(0.02)
        if all(connection.is_closed for connection in connections):
            return time.monotonic() - started
    return None


async def measure_slow_requests(program: Program, head: bytes, piece: bytes) -> str:
    """Opens 1,000 connections that start a request and never complete it. Returns the figures."""
    alice = await sign_up_client(program, "alice")
    before = program.rss_mib
    idle = await repeat(lambda: alice.request("/dashboard"), 4, 0.02)
    connections = await open_connections(program.port, SLOW_CONNECTIONS)
    for connection in connections:
        connection.send(head)
    sending = asyncio.create_task(send_slowly(connections, piece, 20))
    await asyncio.sleep(1)
    loaded = await repeat(lambda: alice.request("/dashboard"), 6, 0.02)
    growth = program.rss_mib - before
    closed_after = await sending
    remaining = sum(not connection.is_closed for connection in connections)
    for connection in connections:
        connection.transport.abort()
    memory = f"RSS +{growth:.0f} MiB"
    require(closed_after, f"{remaining} of {SLOW_CONNECTIONS:,} open after 20 s; {memory}")
    require(closed_after < 16, f"last one closed after {closed_after:.0f} s; {memory}")
    dashboard = f"dashboard {require_low_p99(loaded, idle, 50)}"
    return f"all closed within {closed_after:.0f} s; {dashboard}; {memory}"


@fault("R10", "1,000 connections that never complete their headers", REQUIREMENT)
async def slow_headers(run: Run) -> str:
    raise_file_limit(SLOW_CONNECTIONS + 200)
    program = run.program()
    program.start()
    head = b"GET /login HTTP/1.1\r\nHost: localhost\r\n"
    return await measure_slow_requests(program, head, b"X-A: b\r\n")


@fault("R10", "1,000 connections that send a form byte by byte", REQUIREMENT)
async def slow_bodies(run: Run) -> str:
    raise_file_limit(SLOW_CONNECTIONS + 200)
    program = run.program()
    program.start()
    head = encode_request("/login", {"email": "x" * 400}).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    return await measure_slow_requests(program, head, b"x")


async def open_slow_reader(port: int) -> Connection:
    """Opens a connection with a small receive buffer, and does not read from it."""
    raw_socket = socket.socket()
    raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    raw_socket.connect(("127.0.0.1", port))
    raw_socket.setblocking(False)
    _, connection = await asyncio.get_running_loop().create_connection(Connection, sock=raw_socket)
    connection.transport.pause_reading()
    return connection


async def wait_until_idle(program: Program) -> None:
    """Waits until the program uses less than 0.1 s of CPU time in 2 s, for at most 20 seconds.

    It is idle when all buffers for the responses are full.
    """
    before = program.cpu_seconds
    for _ in range(10):
        await asyncio.sleep(2)
        used, before = program.cpu_seconds - before, program.cpu_seconds
        if used < 0.1:
            break


@fault(
    "R09",
    f"{READERS} clients request {FILES_PER_READER} files each and read nothing",
    "buffered; other requests work; all closed after 30 s, not before; no log message",
)
async def slow_readers(run: Run) -> str:
    program = run.program()
    program.start()
    alice = await sign_up_client(program, "alice")
    path = re.search(rb'/static/htmx[^"]*', (await alice.request("/dashboard")).body)[0].decode()
    idle = await repeat(lambda: alice.request("/dashboard"), 4, 0.02)
    before = program.rss_mib
    files = program.open_files
    connections = [await open_slow_reader(program.port) for _ in range(READERS)]
    for connection in connections:
        connection.send(encode_request(path) * FILES_PER_READER)
    started = time.monotonic()
    await wait_until_idle(program)
    loaded = await repeat(lambda: alice.request("/dashboard"), 5, 0.02)
    growth = program.rss_mib - before
    await asyncio.sleep(started + 25 - time.monotonic())
    still_open = program.open_files - files
    # The program closes a connection 30 s after its client has read the last byte.
    await wait_until(lambda: program.open_files - files < 1, 40)
    closed_after = time.monotonic() - started
    remaining = program.open_files - files
    for connection in connections:
        connection.transport.abort()
    measured = f"dashboard {require_low_p99(loaded, idle, 50)}; RSS +{growth:.0f} MiB"
    require(growth < 100, measured)
    require(still_open >= READERS, f"after 25 s only {still_open} are open; {measured}")
    require(remaining < 1, f"after {closed_after:.0f} s {remaining} are open; {measured}")
    require(not program.read_log(), f"{len(program.read_log())} bytes were logged; {measured}")
    return f"all open after 25 s, none after {closed_after:.0f} s; no log message; {measured}"


@fault(
    "R12",
    f"{IDLE_CONNECTIONS:,} connections that stay open",
    "all accepted; one response each within 5 s; RSS at most 150 MiB",
)
async def idle_connections(run: Run) -> str:
    raise_file_limit(IDLE_CONNECTIONS + 500)
    program = run.program()
    program.start()
    alice = await sign_up_client(program, "alice")
    idle = await repeat(lambda: alice.request("/dashboard"), 4, 0.02)
    started = time.monotonic()
    connections = await open_connections(program.port, IDLE_CONNECTIONS)
    open_seconds = time.monotonic() - started
    open_rss = program.rss_mib
    for connection in connections:
        connection.send(encode_request("/healthz"))
    await wait_until(lambda: all(one.received or one.is_closed for one in connections), 60)
    response_seconds = time.monotonic() - started - open_seconds
    loaded = await repeat(lambda: alice.request("/dashboard"), 4, 0.02)
    rss = program.rss_mib
    open_files = program.open_files
    refused = sum(not connection.received.startswith(b"HTTP/1.1 200") for connection in connections)
    for connection in connections:
        connection.transport.abort()
    measured = (
        f"open in {open_seconds:.1f} s ({open_files:,} files, RSS {open_rss:.0f} MiB), "
        f"responses in {response_seconds:.1f} s (RSS {rss:.0f} MiB)"
    )
    require(not refused, f"{refused} got no response; {measured}")
    require(response_seconds < 5 and rss < 150, measured)
    return f"{measured}, dashboard {require_low_p99(loaded, idle, 50)}"


if __name__ == "__main__":
    main(slow_readers, slow_headers, slow_bodies, idle_connections)
