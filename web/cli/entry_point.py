"""Contains the entry point of the command `latchkey`."""

import gc
import os
import signal
from typing import NoReturn


def main() -> int:
    """Imports the program and runs it. Returns the exit code.

    The garbage collector is off during the import, because it would take a tenth of the start.
    """
    signal.signal(signal.SIGTERM, _exit)
    gc.disable()
    from web.cli import main as cli
    from web.settings.env_file import find_env_file

    gc.freeze()  # Imported objects live until the end, so later collections skip them.
    gc.enable()
    return cli.main(env_file=find_env_file(os.environ))


def _exit(number: int, frame: object) -> NoReturn:
    """Ends the program during its start.

    Process 1 of a container would ignore a SIGTERM without a handler.
    """
    # A callback of the import could suppress an exception.
    os._exit(128 + number)
