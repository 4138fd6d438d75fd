"""Contains the functions that read typed variables and secret files from the environment."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

from db.crypto.secret import Secret

C = TypeVar("C", bound=str)
MOUNTED_SECRETS: Final = Path("/run/secrets")


class InvalidSetting(Exception):
    """Raised when the program cannot start with the value of a variable.

    The message contains the variable's name.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")


class Environment:
    """Reads variables of each type, and collects notices for the log of the start."""

    def __init__(
        self, environ: Mapping[str, str], *, mounted_secrets: Path = MOUNTED_SECRETS
    ) -> None:
        self._environ = environ
        self._mounted_secrets = mounted_secrets
        self.notices: list[str] = []

    def text(self, name: str, default: str) -> str:
        return self._environ.get(name, "").strip() or default

    def names(self, prefix: str) -> list[str]:
        """Returns the names of the variables with this prefix that are not empty."""
        return [
            name
            for name in sorted(self._environ)
            if name.startswith(prefix) and self.text(name, "")
        ]

    def number(self, name: str, default: int, minimum: int, maximum: int) -> int:
        text = self.text(name, str(default))
        if not re.fullmatch(r"[0-9]{1,9}", text) or not minimum <= int(text) <= maximum:
            raise InvalidSetting(
                name, f"must be a whole number from {minimum} to {maximum}, not {text[:40]!r}"
            )
        return int(text)

    def choice(self, name: str, choices: tuple[C, ...]) -> C:
        text = self.text(name, choices[0])
        for choice in choices:
            if text == choice:
                return choice
        raise InvalidSetting(name, f"must be {' or '.join(choices)}, not {text[:40]!r}")

    def secret(self, name: str) -> Secret[str] | None:
        """Returns the variable, or the content of the file in NAME_FILE, without outer whitespace.

        Returns None if neither is set. Raises InvalidSetting.
        """
        path = self.text(f"{name}_FILE", "")
        value = self.text(name, "")
        if path and value:
            raise InvalidSetting(name, f"is set twice, as {name} and as {name}_FILE: remove one")
        if path:
            return Secret(self.read(f"{name}_FILE", Path(path)))
        return Secret(value) if value else None

    def read(self, name: str, path: Path) -> str:
        """Returns the content of a file with a secret. Raises InvalidSetting.

        The file's group may read it, because systemd and Kubernetes grant access that way.
        """
        try:
            with path.open(encoding="utf-8") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read().strip()
        except OSError as error:
            raise InvalidSetting(name, f"cannot read {path}: {error.strerror}") from None
        except ValueError:
            raise InvalidSetting(name, f"{path} is not UTF-8 text") from None
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise InvalidSetting(name, f"other users can write {path}: run chmod 600 {path}")
        if mode & stat.S_IROTH:
            self._refuse_readable(name, path)
        if not content:
            raise InvalidSetting(name, f"{path} is empty")
        return content

    def _refuse_readable(self, name: str, path: Path) -> None:
        """Raises InvalidSetting for a file that all users can read.

        Adds only a warning under /run/secrets, because containers mount secrets there with this
        mode. `..` and links are resolved first.
        """
        problem = f"other users can read {path}: run chmod 600 {path}"
        if not path.resolve().is_relative_to(self._mounted_secrets.resolve()):
            raise InvalidSetting(name, problem)
        self.notices.append(f"warning: {name}: {problem}")
