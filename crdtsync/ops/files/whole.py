"""Exports as files: named when they are whole, and gone on with when they were cut off."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from crdtsync.errors import FileThere, InvalidValue
from crdtsync.ops.files.position import ExportPosition
from crdtsync.storage.files import sync_directory
from crdtsync.storage.whole import Write, give_name, opened, write_whole

RIGHTS = 0o666  # less the umask, as of any file that a command writes


def is_stream(target: Path) -> bool:
    """Whether it is a device, a pipe or the like, which is written as it stands: it has no name to be replaced."""
    return target.exists() and not target.is_file()


def partial_of(target: Path) -> Path:
    """Where the bytes of an export that can be gone on with are until it is whole."""
    return target.with_name(f"{target.name}.partial")


def write_export(target: Path, force: bool, write: Write) -> None:
    """Have `write` fill a file that is then named `target`; nothing stays when it raises.

    Raises FileThere without `force`, DiskFull, OSError.
    """
    write_whole(target, force, keeping_rights(target, write), rights=RIGHTS)


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
        with opened(partial, target, RIGHTS) as file:
            if file.seek(0, os.SEEK_END) < position.end:
                raise InvalidValue(
                    f"{partial} has fewer bytes than the position tells of.", hint="Remove both, and begin anew."
                )
            file.seek(position.end)
            file.truncate()
            keeping_rights(target, write)(file)
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


def keeping_rights(target: Path, write: Write) -> Write:
    """`write`, with the rights of the file that is replaced."""

    def begin(file: BinaryIO) -> object:
        if target.is_file():
            os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
        return write(file)

    return begin
