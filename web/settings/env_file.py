"""Contains the function that reads the settings in the file `.env`."""

import os
import re
import stat
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from web.settings.environment import InvalidSetting
from web.settings.paths import ROOT

DEFAULT_PATH: Final = ROOT / ".env"
LINE: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
# A value without quotes has no character that a shell would treat as special in an assignment.
PLAIN: Final = re.compile(r"([^\s'\"\\$`;&|<>()~#][^\s'\"\\$`;&|<>()~]*)?")
SINGLE_QUOTED: Final = re.compile(r"'([^']*)'")
DOUBLE_QUOTED: Final = re.compile(r"\"((?:[^\"\\$`]|\\[\"\\$`])*)\"")
ESCAPE: Final = re.compile(r"\\(.)")
COMMENT: Final = re.compile(r"\s+#.*")
# The path of WEBHOOK_URL may be a secret.
SECRET_NAME: Final = re.compile(r"(SECRET|TOKEN|PASSWORD|KEY)S?$|^WEBHOOK_URL$")


def find_env_file(environ: Mapping[str, str]) -> Path | None:
    """Returns the file in ENV_FILE, or `.env` in the checkout if it exists, or None for `off`."""
    text = environ.get("ENV_FILE", "").strip()
    if text == "off":
        return None
    if text:
        return Path(text)
    return DEFAULT_PATH if DEFAULT_PATH.exists() else None


def load_env_file(path: Path, environ: MutableMapping[str, str]) -> None:
    """Adds the variables of the file to the environment, and keeps those that it has.

    NAME and NAME_FILE are the same setting: one in the environment replaces the other in the file.
    Raises InvalidSetting, with the file and the line, for a line that a shell would read otherwise
    or for a file that others can read or write.
    """
    variables = _read(path)
    present = {name.removesuffix("_FILE") for name in environ}
    for name, value in variables.items():
        if name.removesuffix("_FILE") not in present:
            environ[name] = value


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read()
    except OSError as error:
        raise InvalidSetting(str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidSetting(str(path), "is not UTF-8 text") from None
    variables: dict[str, str] = {}
    for place, name, value in _parse(path, text):
        if name in variables:
            raise InvalidSetting(place, f"{name} is set twice: remove one line")
        variables[name] = value
    _require_private(path, mode, any(_is_secret(*variable) for variable in variables.items()))
    return variables


def _parse(path: Path, text: str) -> Iterator[tuple[str, str, str]]:
    """Yields the place, the name and the value of each line. Never includes a value in an error."""
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        place = f"{path}, line {number}"
        found = LINE.fullmatch(line)
        if found is None:
            raise InvalidSetting(place, "must be NAME=value or begin with #")
        name, rest = found.groups()
        value = _unquote(rest)
        if value is None or not value.isprintable():
            raise InvalidSetting(
                place,
                f"write the value of {name} in single quotes on one line, as a shell reads it",
            )
        yield place, name, value


def _unquote(text: str) -> str | None:
    """Returns the value as a shell reads it, without a comment; None if it is not plain."""
    for pattern in (SINGLE_QUOTED, DOUBLE_QUOTED, PLAIN):
        found = pattern.match(text)
        if found is None:
            continue
        rest = text[found.end() :]
        if not rest.strip() or COMMENT.fullmatch(rest):
            value = found[1] or ""
            return ESCAPE.sub(r"\1", value) if pattern is DOUBLE_QUOTED else value
    return None


def _is_secret(name: str, value: str) -> bool:
    """Returns whether the variable is a secret: by its name, or a URL with a password."""
    try:
        return bool(SECRET_NAME.search(name) or urlsplit(value).password)
    except ValueError:
        return True


def _require_private(path: Path, mode: int, has_secret: bool) -> None:
    """Raises InvalidSetting if others can write the file, or read or write a file with secrets."""
    refused = stat.S_IWOTH | (stat.S_IWGRP | stat.S_IROTH if has_secret else 0)
    if mode & refused:
        action = "read" if mode & refused == stat.S_IROTH else "write"
        raise InvalidSetting(str(path), f"other users can {action} it: run chmod 600 {path}")
