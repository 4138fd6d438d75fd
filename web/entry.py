"""The entry point of the command `latchkey`."""

import gc


def main() -> int:
    """Imports the program with the garbage collector off: its passes would take a tenth of the start."""
    gc.disable()
    from web import cli

    gc.freeze()  # what is imported stays, so that no later pass walks it
    gc.enable()
    return cli.main()
