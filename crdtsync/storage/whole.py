"""Files that get their name when they are whole: until then what is written stands beside it, as NAME.partial."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from crdtsync.errors import FileThere
from crdtsync.storage.files import full_disk, sync_directory

Write = Callable[[BinaryIO], object]


def write_whole(
    target: Path, force: bool, write: Write, check: Callable[[Path], None] = lambda partial: None, rights: int = 0o600
) -> None:
    """Have `write` fill a file that is then named `target`: whole, durable and under that name, or not at all.

    `check` may refuse the complete file, under its temporary name, by raising.  Raises FileThere without `force`,
    DiskFull, OSError.
    """
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with opened(partial, target, rights, os.O_EXCL) as file:
            write(file)
        check(partial)
        give_name(partial, target, force)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
    sync_directory(target.parent)


@contextlib.contextmanager
def opened(partial: Path, target: Path, rights: int, flags: int = 0) -> Iterator[BinaryIO]:
    """The file to write to until it is named `target`; on the disk at the end."""
    with full_disk(str(target)):
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | flags, rights)
        with open(fd, "r+b") as file:
            yield file
            file.flush()
            os.fsync(fd)


def check_free(target: Path, force: bool) -> None:
    """Raise FileThere when something is at `target`, which `force` does not overwrite or may not."""
    if target.exists() and not target.is_file():  # a device or pipe is no file to be replaced by another
        raise FileThere(f"{target} is {'a directory' if target.is_dir() else 'no file'}.", hint="Choose another place.")
    if os.path.lexists(target) and not force:
        raise FileThere(f"{target} is there already.")


def give_name(partial: Path, target: Path, force: bool) -> None:
    """Give the complete file its name; a file that has come there meanwhile is not overwritten either."""
    if force:
        os.replace(partial, target)
        return
    try:
        os.link(partial, target)
    except FileExistsError:
        raise FileThere(f"{target} is there already.") from None
    except OSError:  # a file system without links
        check_free(target, force)
        os.replace(partial, target)
