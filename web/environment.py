"""The environment: variables, one kind each, and secrets from files."""

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from db.secret import Secret

C = TypeVar("C", bound=str)


class BadSetting(Exception):
    """A variable has a value that the program cannot start with; the message names the variable."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")


class Environment:
    """Reads variables, one kind each, and collects what the start should tell."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.notices: list[str] = []

    def text(self, name: str, default: str) -> str:
        return self._environ.get(name, "").strip() or default

    def number(self, name: str, default: int, least: int, most: int) -> int:
        text = self.text(name, str(default))
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise BadSetting(name, f"must be a whole number from {least} to {most}, not {text[:40]!r}")
        return int(text)

    def choice(self, name: str, choices: tuple[C, ...]) -> C:
        text = self.text(name, choices[0])
        for choice in choices:
            if text == choice:
                return choice
        raise BadSetting(name, f"must be {' or '.join(choices)}, not {text[:40]!r}")

    def secret(self, name: str) -> Secret[str] | None:
        """The variable, or the content of the file that NAME_FILE names, without its last line break."""
        path = self.text(f"{name}_FILE", "")
        if path and self.text(name, ""):
            raise BadSetting(name, f"is set twice: as {name} and as {name}_FILE")
        if path:
            return Secret(self.read(f"{name}_FILE", Path(path)))
        return Secret(self._environ[name]) if self.text(name, "") else None

    def read(self, name: str, path: Path) -> str:
        try:
            mode, content = path.stat().st_mode, path.read_text("utf-8").rstrip("\r\n")
        except (OSError, ValueError):
            raise BadSetting(name, f"cannot read {path}") from None
        if mode & (stat.S_IRGRP | stat.S_IROTH):
            problem = f"{path} can be read by others: chmod 600 it"
            if not path.is_relative_to("/run/secrets"):
                raise BadSetting(name, problem)
            self.notices.append(f"warning: {name}: {problem}")
        if not content:
            raise BadSetting(name, f"{path} is empty")
        return content
