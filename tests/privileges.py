"""Contains helpers for commands with fewer rights than the tests, which often run as root."""

import os
import platform
import shutil
from typing import Final

import pytest

IS_ROOT: Final = os.geteuid() == 0
SETPRIV: Final = shutil.which("setpriv")
# The numbers of the system calls link and linkat.
LINK_CALLS: Final = {"x86_64": (86, 265), "aarch64": (37,)}.get(platform.machine(), ())

needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can make files of another user")
needs_setpriv = pytest.mark.skipif(
    IS_ROOT and SETPRIV is None, reason="root needs setpriv to give up its rights"
)

# Makes hard links fail in this process with a seccomp filter (BPF), as on exFAT and CIFS.
REFUSE_LINKS: Final = f"""
import ctypes, struct
calls = {LINK_CALLS!r}
code = [(0x20, 0, 0, 0)]
code += [(0x15, len(calls) - number, 0, call) for number, call in enumerate(calls)]
code += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050001)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
filter = Filter(len(code), ctypes.addressof(program))
assert libc.prctl(22, 2, ctypes.byref(filter), 0, 0) == 0
"""


def without(*capabilities: str) -> list[str]:
    """Returns the start of a command that runs without these capabilities of root.

    Returns an empty list if the tests do not run as root.
    """
    dropped = ",".join(f"-{name}" for name in capabilities)
    return [str(SETPRIV), f"--bounding-set={dropped}"] if IS_ROOT else []
