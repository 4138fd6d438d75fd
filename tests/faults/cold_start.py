"""Measures cold starts with and without a network."""

import ctypes
import fcntl
import socket
import statistics
import struct

from tests.faults.program import Run, require_root
from tests.faults.result import NotRun, fault, main, require

STARTS = 7
REQUIREMENT = "ready after less than 1 s of CPU time, RSS under 80 MiB"
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


async def measure_starts(run: Run) -> str:
    """Requires a CPU time under 1 s and an RSS under 80 MiB. Returns the figures."""
    program = run.program()
    starts = []
    for _ in range(STARTS):
        starts.append((program.start(), program.cpu_seconds, program.rss_mib))
        program.stop()
    seconds, cpu, rss = (statistics.median(column) for column in zip(*starts, strict=True))
    measured = f"{STARTS} starts: median {seconds:.2f} s, fastest {min(starts)[0]:.2f} s, CPU time {cpu:.2f} s"
    require(cpu < 1 and rss < 80, f"{measured}; RSS {rss:.0f} MiB")
    return f"{measured}; RSS {rss:.0f} MiB"


@fault("R22", "cold start", REQUIREMENT)
async def cold_start(run: Run) -> str:
    return await measure_starts(run)


@fault("R22", "cold start in an empty network namespace", f"{REQUIREMENT}, without a network")
async def without_network(run: Run) -> str:
    leave_network()
    require(len(socket.if_nameindex()) == 1, "the namespace has a network")
    return await measure_starts(run)


def leave_network() -> None:
    """Moves this process into a network namespace with only a loopback interface.

    Raises NotRun.
    """
    require_root()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise NotRun("needs the permission to create a network namespace")
    enable_loopback()


def enable_loopback() -> None:
    with socket.socket() as any_socket:
        interface_request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, interface_request))[
            1
        ]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


if __name__ == "__main__":
    main(cold_start, without_network)
