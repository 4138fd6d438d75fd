"""The entry point of the command `latchkey`."""

import gc
import os
import signal
from typing import NoReturn


def main() -> int:
    """Imports the program with the garbage collector off: its passes would take a tenth of the
    start.
    """
    signal.signal(signal.SIGTERM, _exit)
    gc.disable()
    from web.cli import main as cli

    gc.freeze()  # what is imported stays, so that no later pass walks it
    gc.enable()
    return cli.main()


def _exit(number: int, frame: object) -> NoReturn:
    """Ends a start that is not complete: process 1 of a container ignores a SIGTERM that it does
    not handle.
    """
    os._exit(128 + number)  # an exception could be lost in a callback of the import
