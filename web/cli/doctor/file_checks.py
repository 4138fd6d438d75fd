"""Contains the checks of files: the secret, the data directory and free disk space."""

import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from db.maintenance.database_files import find_file_problem, path_of
from web.cli.doctor.findings import Finding, error, ok, warning
from web.settings.settings import Settings

DAY_SECONDS: Final = 86_400
MAX_SECRET_DAYS: Final = 400
# After this time no session and no remembered browser needs the old secret.
ROTATION_DAYS: Final = 60
MIN_FREE_BYTES: Final = 100_000_000  # Below this, SQLite soon refuses each change.
LOW_FREE_BYTES: Final = 1_000_000_000


def check_secret(
    settings: Settings, environ: Mapping[str, str], data: Path, now: float | None = None
) -> Iterator[Finding]:
    """Yields the findings about SESSION_SECRET: its number, its file, its age and its mode."""
    count = len(settings.session_secrets)
    name = environ.get("SESSION_SECRET_FILE", "").strip()
    if environ.get("SESSION_SECRET", "").strip():
        yield ok("secret", f"{count} in the environment; its age is unknown")
        return
    path = Path(name) if name else data / "session_secret"
    if not path.exists():  # It is created by the first start, on loopback only.
        yield ok("secret", f"{path} is created by the first start")
        return
    found = path.stat()
    days = int(((now or time.time()) - found.st_mtime) / DAY_SECONDS)
    mode = stat.S_IMODE(found.st_mode)
    if mode & stat.S_IRWXO:
        yield warning(
            "secret", f"other users can read {path} (mode {mode:04o}): run chmod 600 {path}"
        )
    if count > 1 and days > ROTATION_DAYS:
        yield warning(
            "secret",
            f"{path} contains {count} secrets and was changed {days} days ago: remove the old "
            "ones, but keep them elsewhere for the audit log",
        )
    elif days > MAX_SECRET_DAYS:
        yield warning(
            "secret",
            f"{path} was changed {days} days ago: make a new secret with `latchkey secret` and set "
            "`new,old` (docs/deployment.md, Secrets)",
        )
    elif not mode & stat.S_IRWXO:
        yield ok("secret", f"{path}, mode {mode:04o}, changed {days} days ago")


def check_files(settings: Settings, data: Path) -> Iterator[Finding]:
    """Yields the findings about the directory and the files of an SQLite database."""
    path = path_of(settings.database_url)
    if path is None:
        return
    if problem := find_file_problem(path):
        yield error("files", f"{problem}: run this command and the service as the same user")
        return
    open_paths = [
        item
        for item in (data if path.parent == data else path, path)
        if item.exists() and item.stat().st_mode & stat.S_IRWXO
    ]
    for item in dict.fromkeys(open_paths):
        yield warning("files", f"other users have access to {item}: run chmod go= {item}")
    if not open_paths:
        yield ok("files", f"{path} is private")


def check_environment_file(path: Path) -> Iterator[Finding]:
    """Yields a warning if other users can read a file with settings, which can contain secrets."""
    if path.is_file() and path.stat().st_mode & stat.S_IRWXO:
        yield warning("settings", f"other users can read {path}: run chmod 600 {path}")


def check_disk(settings: Settings, data: Path) -> Iterator[Finding]:
    path = path_of(settings.database_url)
    folder = data if path is None else path.parent
    if folder.is_dir():
        yield describe_disk(folder, shutil.disk_usage(folder).free)


def describe_disk(folder: Path, free: int) -> Finding:
    text = f"{free / 1e9:.1f} GB are free in {folder}"
    if free < MIN_FREE_BYTES:
        return error("disk", f"only {free // 1_000_000} MB are free in {folder}: free some space")
    if free < LOW_FREE_BYTES:
        return warning("disk", f"only {free // 1_000_000} MB are free in {folder}")
    return ok("disk", text)
