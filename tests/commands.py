"""Contains a function that runs a command of `latchkey` within the test process."""

import io
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from web.cli.main import main


@dataclass
class CommandResult:
    """The exit code and the output of a command."""

    returncode: int
    stdout: str
    stderr: str


def run_command(
    *arguments: str, environ: Mapping[str, str], stdin: str = "", env_file: Path | None = None
) -> CommandResult:
    """Runs `latchkey …` with these environment variables only, and those of `env_file`.

    The product is not loaded.
    """
    out, err = io.StringIO(), io.StringIO()
    environ = {"PRODUCT": "off", **environ}
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(list(arguments), environ, io.StringIO(stdin), env_file)
        except SystemExit as stop:  # argparse raises it for --help and for invalid arguments.
            code = int(stop.code or 0)
    return CommandResult(code, out.getvalue(), err.getvalue())
