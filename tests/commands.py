"""The command line in this process, where a process of its own is not what is tested."""

import io
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from web.cli.main import main


@dataclass
class Told:
    """The exit code of a command, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def run_command(*arguments: str, environ: Mapping[str, str], stdin: str = "") -> Told:
    """Runs `latchkey …` with these settings alone."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(list(arguments), environ, io.StringIO(stdin))
        except SystemExit as stop:  # argparse's own way out
            code = int(stop.code or 0)
    return Told(code, out.getvalue(), err.getvalue())
