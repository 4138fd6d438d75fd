"""Causes cold starts, with and without a network."""

import ctypes
import fcntl
import socket
import statistics
import struct

from tests.faults.program import Run, needs_root
from tests.faults.verdict import NotRun, fault, main, require

STARTS = 7
PROMISE = "ready after less than 1 s of CPU time, RSS under 80 MiB"
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


async def start_again_and_again(run: Run) -> str:
    program = run.program()
    found = []
    for _ in range(STARTS):
        found.append((program.start(), program.cpu, program.rss))
        program.end()
    seconds, cpu, rss = (statistics.median(column) for column in zip(*found, strict=True))
    told = f"{STARTS} starts: median {seconds:.2f} s, fastest {min(found)[0]:.2f} s, CPU time {cpu:.2f} s"
    require(cpu < 1 and rss < 80, f"{told}; RSS {rss:.0f} MiB")
    return f"{told}; RSS {rss:.0f} MiB"


@fault("R22", "cold start", PROMISE)
async def cold_start(run: Run) -> str:
    return await start_again_and_again(run)


@fault("R22", "cold start in an empty network namespace", f"{PROMISE}, without a network")
async def without_network(run: Run) -> str:
    leave_network()
    require(len(socket.if_nameindex()) == 1, "there is a network here")
    return await start_again_and_again(run)


def leave_network() -> None:
    """Moves this process into a network namespace with only a loopback interface.

    Raises NotRun.
    """
    needs_root()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise NotRun("needs the permission to create a network namespace")
    raise_loopback()


def raise_loopback() -> None:
    with socket.socket() as any_socket:
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


if __name__ == "__main__":
    main(cold_start, without_network)
