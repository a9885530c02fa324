"""Files that get their name when they are whole: until then what is written stands beside it, as NAME.partial."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from crdtsync.backup.writing import give_name, sync_directory
from crdtsync.errors import FileThere, InvalidValue
from crdtsync.ops.files.position import ExportPosition
from crdtsync.storage.files import full_disk

Write = Callable[[BinaryIO], None]


def is_stream(target: Path) -> bool:
    """Whether it is a device, a pipe or the like, which is written as it stands: it has no name to be replaced."""
    return target.exists() and not target.is_file()


def partial_of(target: Path) -> Path:
    """Where the bytes of an export that can be gone on with are until it is whole."""
    return target.with_name(f"{target.name}.partial")


def write_whole(target: Path, force: bool, write: Write) -> None:
    """Have `write` fill a file that is then named `target`; nothing stays when it raises.

    Raises FileThere without `force`, DiskFull, OSError.
    """
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with opened(partial, target, os.O_EXCL) as file:
            write(file)
        give_name(partial, target, force)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
    sync_directory(target.parent)


def go_on(
    target: Path, force: bool, position: ExportPosition, begun: bool, save: Callable[[ExportPosition], None],
    write: Write,
) -> None:  # fmt: skip
    """The same, going on behind a position; what has been written stays when `write` raises.

    Raises FileThere without `force`, InvalidValue when the bytes that the position tells of are not there, DiskFull.
    """
    partial = partial_of(target)
    if not begun and not force and os.path.lexists(partial):
        raise FileThere(f"{partial} is there, of an export without this position.", hint="Remove it, or give --force.")
    if not position.done:
        save(position)  # before there is a file: whatever is found later belongs to a position
        with opened(partial, target) as file:
            if file.seek(0, os.SEEK_END) < position.end:
                raise InvalidValue(
                    f"{partial} has fewer bytes than the position tells of.", hint="Remove both, and begin anew."
                )
            file.seek(position.end)
            file.truncate()
            write(file)
        position.done = True
        save(position)
    if partial.exists():  # else it has been named before, and only the position was left
        if target.exists() and target.samefile(partial):
            partial.unlink()
        else:
            give_name(partial, target, force)
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()
    sync_directory(target.parent)


@contextlib.contextmanager
def opened(partial: Path, target: Path, flags: int = 0) -> Iterator[BinaryIO]:
    """The file to write to, with the rights of the one that it will replace; on the disk at the end."""
    with full_disk(str(target)):
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | flags, 0o666)
        with open(fd, "r+b") as file:
            if target.is_file():
                os.fchmod(fd, target.stat().st_mode & 0o777)
            yield file
            file.flush()
            os.fsync(fd)
