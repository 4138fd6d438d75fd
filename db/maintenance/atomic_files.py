"""Files that are written under a temporary name and renamed when they are complete."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from db.maintenance.database_files import (
    SUFFIXES,
    give_to_owner_of,
    keep_owner_and_mode,
    owner_and_mode,
)

# The errors of file systems without hard links (exFAT, CIFS), or without flushing of directories.
NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
NO_FOLDER_SYNC: Final = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


class BackupError(Exception):
    """A backup or restore failed and changed nothing. The message gives the reason."""


@contextmanager
def temporary_file_beside(target: Path, *, replaces: bool = False) -> Iterator[Path]:
    """Yields an empty file of mode 0600 in the directory of `target`, and deletes it at the end
    unless it was renamed.

    With `replaces`, the file gets the owner and mode of the target; if the target does not exist,
    the owner of the directory. Raises BackupError.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        raise BackupError(f"{target.parent} cannot be written to: {error.strerror}") from error
    try:
        with open(handle, "wb"):
            if replaces:
                _take_owner(handle, target)
        yield Path(name)
    except OSError as error:
        raise BackupError(f"it could not be written: {error.strerror}") from error
    finally:
        for suffix in SUFFIXES:
            Path(name + suffix).unlink(missing_ok=True)


def copy_to_temporary(temporary: Path, source: Path) -> None:
    """Copies a file into the temporary file.

    Raises OSError if a symbolic link has replaced the temporary file. The owner of the directory
    could create such a link, and root would then overwrite the link's target.
    """
    with source.open("rb") as copied, open(temporary, "r+b", opener=_open_without_links) as copy:
        shutil.copyfileobj(copied, copy)


def rename_without_replacing(temporary: Path, target: Path) -> None:
    """Renames a complete file to `target`, without replacing an existing file.

    Raises BackupError. Without hard links, an empty file reserves the name first, because a rename
    alone would replace an existing file.
    """
    sync(temporary)
    try:
        try:
            os.link(temporary, target)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            target.open("xb").close()
            os.rename(temporary, target)
    except FileExistsError:
        raise BackupError(f"{target} already exists, and was not overwritten") from None
    sync_folder(target.parent)


def replace_file(temporary: Path, target: Path) -> None:
    """Renames a complete file to `target` and replaces an existing file."""
    os.rename(temporary, target)
    sync_folder(target.parent)


def sync(path: Path) -> None:
    """Flushes a file, or the entries of a directory, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Flushes a directory to disk if the file system supports it."""
    try:
        sync(path)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise


def _take_owner(handle: int, target: Path) -> None:
    """Gives the file the owner and mode of the target, so that the service can open the new
    database.

    Raises BackupError if that is not permitted.
    """
    if not target.exists():
        give_to_owner_of(target.parent, handle)
        return
    try:
        keep_owner_and_mode(target, handle)
    except PermissionError:
        problem = (
            f"{target} belongs to another user ({owner_and_mode(target)}): run this "
            "as that user, or as root"
        )
        raise BackupError(problem) from None


def _open_without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)
