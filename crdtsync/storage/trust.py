"""Whether LMDB may be let near the table: how the last process left the file, and what LMDB's own verifier says of it.

LMDB follows what stands on its pages without a doubt, and takes the whole process down over a page that something else
has overwritten.  Its verifier walks every page and takes seconds for a million rows; so a note beside the table tells
when that can be spared: the file is as a clean close left it, or only the process ended and the machine ran on, and it
did so once: should the table itself be what kills the process, the second start finds that out.
"""

from __future__ import annotations

import contextlib
import logging
import os
import zlib
from pathlib import Path

import msgspec

from crdtsync.errors import StoreDamaged

log = logging.getLogger("crdtsync.storage")
NOTE = "table.state"
HEAD = 16 * 1024  # bytes at the beginning of the table that the note knows by their checksum: LMDB's meta pages
BOOT = Path("/proc/sys/kernel/random/boot_id")


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """How a process left the table; without `closed` it is open, or its process ended in the middle."""

    closed: bool
    boot: str = ""  # which start of the machine the process ran in; empty: nobody can tell
    inode: int = 0  # of the open file: a copy that was made meanwhile may be torn
    crashes: int = 0  # processes before this one that did not close the table, since it was last closed or verified
    size: int = 0  # bytes of the closed file, when it was last written (ns), and the checksum of its head
    modified: int = 0
    head: int = 0


def find_problem(table: Path, when: str) -> tuple[bool, str]:
    """(whether the table was verified, what is wrong with it or ""); `when` is the setting verify_on_open."""
    if when == "never" or not table.exists() or not table.stat().st_size:
        return False, ""
    if when == "unclean" and _is_as_it_was_left(table):
        return False, ""
    log.info("%s: verifying %d bytes, since it was not left in good order", table, table.stat().st_size)
    return True, first_problem(table)


def first_problem(table: Path) -> str:
    """The first thing that LMDB's verifier, which does not trust the file, finds wrong; "" for a sound one."""
    found = problems(table)
    return found[0] if found else ""


def problems(table: Path) -> list[str]:
    """Everything that LMDB's verifier finds wrong with the structure of a table."""
    from lmdb import verify

    try:
        return [str(problem) for problem in verify.verify(str(table), subdir=False)]  # type: ignore[no-untyped-call]
    except OSError:
        raise
    except Exception as error:  # a VerifyError, or what such a file does to a program that reads it
        return [f"the verifier gives up: {error}"]


def refuse(table: Path, problem: str) -> StoreDamaged:
    """The error for a table that is not sound."""
    return StoreDamaged(f"{table} is damaged, and LMDB would not survive it: {problem}.")


def _is_as_it_was_left(table: Path) -> bool:
    note = read_note(table)
    if note is None:
        return False
    if note.closed:
        return note == _closed(table)
    return bool(note.boot) and note == Note(closed=False, boot=_boot(), inode=table.stat().st_ino)


def read_note(table: Path) -> Note | None:
    """The note beside a table; None when there is none that can be read."""
    try:
        return msgspec.json.decode((table.parent / NOTE).read_bytes(), type=Note)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def note_open(table: Path, verified: bool) -> None:
    """The table is being opened."""
    before = read_note(table)
    crashes = 0 if verified or before is None or before.closed else before.crashes + 1
    _write(table, Note(closed=False, boot=_boot(), inode=table.stat().st_ino, crashes=crashes))


def note_closed(table: Path) -> None:
    """The table was closed in good order."""
    with contextlib.suppress(FileNotFoundError):
        _write(table, _closed(table))


def _closed(table: Path) -> Note:
    with open(table, "rb") as file:
        stat, head = os.fstat(file.fileno()), file.read(HEAD)
    return Note(closed=True, size=stat.st_size, modified=stat.st_mtime_ns, head=zlib.crc32(head))


def _write(table: Path, note: Note) -> None:
    """By rename.  Not synced: a note that a power cut takes, or an old one, only has the table verified."""
    target = table.parent / NOTE
    try:
        temporary = target.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(note))
        os.replace(temporary, target)
    except OSError as error:
        log.warning("%s cannot be written, so the next start verifies the table: %s", target, error)
        with contextlib.suppress(OSError):
            target.unlink()


def _boot() -> str:
    try:
        return BOOT.read_text().strip()
    except OSError:
        return ""
