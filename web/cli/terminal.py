"""Standard input and output of the command line."""

import io
import os
import sys
from getpass import getpass
from typing import TextIO


class PasswordInputError(Exception):
    """There is no password to go on with; the message says why."""


def set_encodings(stdin: TextIO) -> None:
    """Makes input UTF-8, as browsers send passwords, and escapes in output what PYTHONIOENCODING
    cannot show.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(stdin, io.TextIOWrapper):
        stdin.reconfigure(encoding="utf-8", errors="strict")


def read_password(stdin: TextIO) -> str:
    """Returns the first line without its line break.

    At a terminal it is typed twice, without echo. Raises PasswordInputError.
    """
    try:
        if stdin.isatty():
            return _typed_twice()
        return stdin.readline().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise PasswordInputError("The password is not UTF-8 text. Nothing was changed.") from None


def discard_output() -> None:
    """Stops Python from writing, when it ends, what could not be written: it would report the error
    once more.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _typed_twice() -> str:
    try:
        password, again = getpass("Password: "), getpass("Type the password again: ")
    except EOFError:
        raise PasswordInputError("No password was typed. Nothing was changed.") from None
    if password != again:
        raise PasswordInputError(
            "The two passwords differ. Nothing was changed: run the command again."
        )
    return password
