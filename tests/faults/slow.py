"""R09, R10, R12: clients that read slowly, send slowly or keep connections open."""

import asyncio
import re
import resource
import socket
import time

from tests.faults.client import (
    Wire,
    eventually,
    logged_in_client,
    open_wires,
    repeat,
    request,
    require_quick,
)
from tests.faults.program import Program, Run
from tests.faults.verdict import NotRun, fault, main, require

IDLE_CONNECTIONS = 10_000
HALF_OPEN = 1_000
READERS = 200
FILES = 100  # per client; more than the two megabytes that the kernel buffers
PATIENT = "closed within 15 s; p99 of the dashboard under 50 ms in the meantime"


def raise_limits(files: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < files:
        raise NotRun(f"needs {files} open files (`ulimit -Hn`), here {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), hard))


async def drip(wires: list[Wire], piece: bytes, seconds: float) -> float | None:
    """Sends a piece on each connection every second.

    Returns the seconds until all connections are closed, or None.
    """
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        for start in range(50):
            for wire in wires[start::50]:
                wire.send(piece)
            await asyncio.sleep(0.02)
        if all(wire.closed for wire in wires):
            return time.monotonic() - began
    return None


async def besiege(program: Program, opening: bytes, piece: bytes) -> str:
    """Opens 1,000 connections that start a request and never complete it."""
    alice, before = await logged_in_client(program, "alice"), program.rss
    quiet = await repeat(lambda: alice.ask("/dashboard"), 4, 0.02)
    wires = await open_wires(program.port, HALF_OPEN)
    for wire in wires:
        wire.send(opening)
    dripping = asyncio.create_task(drip(wires, piece, 20))
    await asyncio.sleep(1)
    fresh = await repeat(lambda: alice.ask("/dashboard"), 6, 0.02)
    grown, shut = program.rss - before, await dripping
    left = sum(not wire.closed for wire in wires)
    for wire in wires:
        wire.transport.abort()
    told = f"RSS +{grown:.0f} MiB"
    require(shut, f"{left} of {HALF_OPEN:,} open after 20 s; {told}")
    require(shut < 16, f"last one closed after {shut:.0f} s; {told}")
    return f"all closed within {shut:.0f} s; dashboard {require_quick(fresh, quiet, 50)}; {told}"


@fault("R10", "1,000 connections that never complete their headers", PATIENT)
async def half_open(run: Run) -> str:
    raise_limits(HALF_OPEN + 200)
    program = run.program()
    program.start()
    return await besiege(program, b"GET /login HTTP/1.1\r\nHost: localhost\r\n", b"X-A: b\r\n")


@fault("R10", "1,000 connections that send a form byte by byte", PATIENT)
async def slow_bodies(run: Run) -> str:
    raise_limits(HALF_OPEN + 200)
    program = run.program()
    program.start()
    head = request("/login", {"email": "x" * 400}).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    return await besiege(program, head, b"x")


async def open_narrow(port: int) -> Wire:
    """Opens a connection with a small receive buffer that is not read."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    narrow.connect(("127.0.0.1", port))
    narrow.setblocking(False)
    _, wire = await asyncio.get_running_loop().create_connection(Wire, sock=narrow)
    wire.transport.pause_reading()
    return wire


async def settle(program: Program) -> None:
    """Waits until what there is room for has been answered: the program rests.

    20 seconds at most.
    """
    before = program.cpu
    for _ in range(10):
        await asyncio.sleep(2)
        used, before = program.cpu - before, program.cpu
        if used < 0.1:
            break


@fault(
    "R09",
    f"{READERS} clients request {FILES} files each and read nothing",
    "buffered; other requests work; all closed after 30 s, not before; no log message",
)
async def slow_readers(run: Run) -> str:
    program = run.program()
    program.start()
    alice = await logged_in_client(program, "alice")
    path = re.search(rb'/static/htmx[^"]*', (await alice.ask("/dashboard")).body)[0].decode()
    quiet, before, files = (
        await repeat(lambda: alice.ask("/dashboard"), 4, 0.02),
        program.rss,
        program.files,
    )
    wires = [await open_narrow(program.port) for _ in range(READERS)]
    for wire in wires:
        wire.send(request(path) * FILES)
    began = time.monotonic()
    await settle(program)
    fresh = await repeat(lambda: alice.ask("/dashboard"), 5, 0.02)
    grown = program.rss - before
    await asyncio.sleep(began + 25 - time.monotonic())
    patient = program.files - files
    await eventually(lambda: program.files - files < 1, 40)  # 30 s after the last byte was taken in
    closed, left = time.monotonic() - began, program.files - files
    for wire in wires:
        wire.transport.abort()
    told = f"dashboard {require_quick(fresh, quiet, 50)}; RSS +{grown:.0f} MiB"
    require(grown < 100, told)
    require(patient >= READERS, f"after 25 s only {patient} are open; {told}")
    require(left < 1, f"after {closed:.0f} s {left} are open; {told}")
    require(not program.logged(), f"{len(program.logged())} bytes were logged; {told}")
    return f"all open after 25 s, none after {closed:.0f} s; no log message; {told}"


@fault(
    "R12",
    f"{IDLE_CONNECTIONS:,} connections that stay open",
    "all accepted; one response each within 5 s; RSS at most 150 MiB",
)
async def idle_connections(run: Run) -> str:
    raise_limits(IDLE_CONNECTIONS + 500)
    program = run.program()
    program.start()
    alice = await logged_in_client(program, "alice")
    quiet, began = await repeat(lambda: alice.ask("/dashboard"), 4, 0.02), time.monotonic()
    wires = await open_wires(program.port, IDLE_CONNECTIONS)
    opened, open_rss = time.monotonic() - began, program.rss
    for wire in wires:
        wire.send(request("/healthz"))
    await eventually(lambda: all(wire.received or wire.closed for wire in wires), 60)
    answered = time.monotonic() - began - opened
    fresh, rss, held = (
        await repeat(lambda: alice.ask("/dashboard"), 4, 0.02),
        program.rss,
        program.files,
    )
    refused = sum(not wire.received.startswith(b"HTTP/1.1 200") for wire in wires)
    for wire in wires:
        wire.transport.abort()
    told = f"open in {opened:.1f} s ({held:,} files, RSS {open_rss:.0f} MiB), responses in {answered:.1f} s (RSS {rss:.0f} MiB)"
    require(not refused, f"{refused} got no response; {told}")
    require(answered < 5 and rss < 150, told)
    return f"{told}, dashboard {require_quick(fresh, quiet, 50)}"


if __name__ == "__main__":
    main(slow_readers, half_open, slow_bodies, idle_connections)
