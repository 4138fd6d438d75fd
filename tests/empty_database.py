"""Contains an empty database, on which the commands of `latchkey` run."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.commands import run_command
from tests.databases import PostgresServer
from tests.environment import ENVIRON

LATCHKEY = Path(sys.executable).parent / "latchkey"
LOCK = "SELECT pg_advisory_xact_lock(hashtext('latchkey migrate'))"


@dataclass
class EmptyDatabase:
    """An empty database, with methods that run commands on it and read its content."""

    url: str
    server: PostgresServer | None

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Starts the command in its own process."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [LATCHKEY, *command], env=self.environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, *command: str, typed: str = "") -> tuple[int, str]:
        """Returns the exit code and the output."""
        result = run_command(*command, environ=self.environ, stdin=typed)
        return result.returncode, result.stdout + result.stderr

    @property
    def environ(self) -> dict[str, str]:
        return {**ENVIRON, "PATH": os.environ["PATH"], "DATABASE_URL": self.url}

    def rows(self, *statements: str) -> list[tuple]:
        if self.server:
            return self.server.do(self.server.fetch(self.url.rpartition("/")[2], *statements))
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return [connection.execute(statement).fetchall() for statement in statements][-1]

    @property
    def path(self) -> str:
        return self.url.removeprefix("sqlite:///")

    @property
    def tables(self) -> set[str]:
        catalog = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        return {
            name
            for (name,) in self.rows(catalog if self.server else "SELECT name FROM sqlite_master")
        }

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock of another migration while the body runs."""
        if self.server:
            with self.server.opened(self.url.rpartition("/")[2], "BEGIN", LOCK):
                yield
        else:
            with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                yield
