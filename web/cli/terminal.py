"""Contains functions for standard input and output of the command line."""

import io
import os
import sys
from getpass import getpass
from typing import TextIO


class PasswordInputError(Exception):
    """Raised when no password can be read. The message has the reason."""


def set_encodings(stdin: TextIO) -> None:
    """Reads input as UTF-8, and escapes characters that the output encoding does not have.

    Browsers send passwords as UTF-8, so the hashes must be of the same bytes.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(stdin, io.TextIOWrapper):
        stdin.reconfigure(encoding="utf-8", errors="strict")


def read_password(stdin: TextIO) -> str:
    """Returns the first line without its line break. Raises PasswordInputError.

    At a terminal, reads the password twice without echo.
    """
    try:
        if stdin.isatty():
            return _read_twice()
        return stdin.readline().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise PasswordInputError("The password is not UTF-8 text. Nothing was changed.") from None


def discard_output() -> None:
    """Redirects standard output to /dev/null.

    At its exit, Python would try to write the buffered output again and report the error again.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _read_twice() -> str:
    try:
        password = getpass("Password: ")
        again = getpass("Type the password again: ")
    except EOFError:
        raise PasswordInputError("No password was typed. Nothing was changed.") from None
    if password != again:
        raise PasswordInputError(
            "The two passwords differ. Nothing was changed: run the command again."
        )
    return password
