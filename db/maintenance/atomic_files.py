"""Files that are written under another name and put in place once they are complete."""

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

# What a file system answers that has no hard links (exFAT, CIFS), or cannot flush a directory.
NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
NO_FOLDER_SYNC: Final = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


class NotDone(Exception):
    """A backup or restore that was not done, and nothing touched; the message says why."""


@contextmanager
def draft_beside(target: Path, *, replaces: bool = False) -> Iterator[Path]:
    """Yields an empty file on the same disk, of mode 0600, that is gone afterwards unless it was
    renamed.

    One that `replaces` the target has the owner and the mode of the target or, where there is none
    yet, the owner of the directory. Raises NotDone.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        raise NotDone(f"{target.parent} cannot be written to: {error.strerror}") from error
    try:
        with open(handle, "wb"):
            if replaces:
                _take_owner(handle, target)
        yield Path(name)
    except OSError as error:
        raise NotDone(f"it could not be written: {error.strerror}") from error
    finally:
        for suffix in SUFFIXES:
            Path(name + suffix).unlink(missing_ok=True)


def fill_draft(draft: Path, source: Path) -> None:
    """Copies a file into a draft. Raises OSError where a symbolic link has taken the draft's place.

    The owner of the directory could put one there, and root would write to the link's target.
    """
    with source.open("rb") as copied, open(draft, "r+b", opener=_without_links) as filled:
        shutil.copyfileobj(copied, filled)


def name_draft(draft: Path, target: Path) -> None:
    """Gives a complete file its name, without replacing a file that is there. Raises NotDone.

    Without hard links an empty file takes the name first, because a rename alone replaces what it
    finds.
    """
    sync(draft)
    try:
        try:
            os.link(draft, target)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            target.open("xb").close()
            os.rename(draft, target)
    except FileExistsError:
        raise NotDone(f"{target} is there already: nothing is overwritten") from None
    sync_folder(target.parent)


def replace_by_draft(draft: Path, target: Path) -> None:
    """Puts a complete file in place, whose name is free or holds what is to be replaced."""
    os.rename(draft, target)
    sync_folder(target.parent)


def sync(path: Path) -> None:
    """Writes a file, or the names in a directory, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """The same for a directory, where the file system can."""
    try:
        sync(path)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise


def _take_owner(handle: int, target: Path) -> None:
    """Raises NotDone where the program could not open the file that is put in place of its
    database.
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
        raise NotDone(problem) from None


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)
