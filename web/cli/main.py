"""Runs the command `latchkey`: prints errors and returns exit codes."""

import argparse
import io
import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final, TextIO

from db.errors import (
    LastAdmin,
    NotFound,
    Refused,
    RoleInUse,
    TooManyRoles,
    Unavailable,
    UnknownRole,
)
from db.maintenance.atomic_files import BackupError
from db.maintenance.revisions import WrongSchema
from db.maintenance.schema import NO_ANSWER
from web.cli.commands import CommandError
from web.cli.mail_commands import protect_ids
from web.cli.parser import make_parser
from web.cli.terminal import PasswordInputError, discard_output, set_encodings
from web.observability.logs import printable
from web.product import FOLDER
from web.product_checks import ProductError
from web.settings.env_file import load_env_file
from web.settings.environment import InvalidSetting

COMMAND_ERROR_TEXTS: Final[Mapping[type[Exception], str]] = {
    NotFound: "no user with this email",
    LastAdmin: (
        "the last administrator can't be demoted, disabled or deleted: "
        "make someone else an administrator first"
    ),
    UnknownRole: "no role with this name: see `latchkey roles list`",
    RoleInUse: "a user or an invitation has this role",
    TooManyRoles: "there are too many roles",
}


def main(
    arguments: list[str] | None = None,
    environ: MutableMapping[str, str] = os.environ,
    stdin: TextIO | None = sys.stdin,
    env_file: Path | None = None,
) -> int:
    """Runs a command and returns the exit code. Prints one line about an error.

    The variables of `env_file` are added to `environ`, so that worker processes inherit them. The
    code is 0 for success, 1 for a failure or wrong arguments, and 2 for an invalid setting.
    """
    os.umask(0o077)  # Other users of the machine must not read created files.
    stdin = stdin or io.StringIO()  # sys.stdin is None if it was closed.
    set_encodings(stdin)
    arguments = protect_ids(sys.argv[1:] if arguments is None else arguments)
    options = make_parser().parse_args(
        arguments, argparse.Namespace(environ=environ, stdin=stdin, env_file=env_file)
    )
    try:
        if env_file is not None:
            load_env_file(env_file, environ)
        code = options.run(options) or 0
        sys.stdout.flush()
        return code
    except (InvalidSetting, WrongSchema, BackupError, CommandError, PasswordInputError) as problem:
        return _print_error(str(problem), 2 if isinstance(problem, InvalidSetting) else 1)
    except Unavailable as error:
        return _print_error(f"DATABASE_URL: {error.reason or NO_ANSWER}", 1)
    except ProductError as problem:
        _print_traceback(problem.__cause__)
        return _print_error(str(problem), 2)
    except tuple(COMMAND_ERROR_TEXTS) as error:
        return _print_error(COMMAND_ERROR_TEXTS[type(error)], 1)
    except Refused as refused:
        return _print_error(f"nothing was changed: {printable(refused.message)}", 1)
    except KeyboardInterrupt:
        return 1
    except OSError as error:
        return _print_os_error(error)


def _print_os_error(error: OSError) -> int:
    """Prints an error about a file or about standard output. Returns the exit code.

    Prints nothing if the reader of standard output has ended (EPIPE).
    """
    if error.filename is None:
        discard_output()
    if isinstance(error, BrokenPipeError):
        return 1
    return _print_error(f"{error.filename or 'output'}: {error.strerror}", 1)


def _print_traceback(error: BaseException | None) -> None:
    """Prints the traceback of the product's code, without the frames of the import system."""
    if error is None:
        return
    frames = error.__traceback__
    while frames is not None and not _is_in_product(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    traceback.print_exception(error.with_traceback(frames))


def _is_in_product(path: str) -> bool:
    return Path(path).is_relative_to(FOLDER)


def _print_error(line: str, code: int) -> int:
    print(f"latchkey: {line}", file=sys.stderr)
    return code
