"""The directory of a store: what it is, whether it is ours, and that nobody else has it open."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from pathlib import Path

from crdtsync.errors import ConfigError, ForeignDirectory, StoreDamaged, StoreInUse, UnsupportedFormat
from crdtsync.storage.files import full_disk, sync_directory

MARKER, LOCK, TABLE, JOURNAL = "CRDTSYNC", "lock", "table.mdb", "journal"
MAJOR, MINOR = 1, 3
TEXT = "crdtsync store, format {}.{}; see crdtsync/storage/FORMAT.md\n"

_open: dict[tuple[int, int], Directory] = {}  # by (device, inode): the directories that this process has open
_guard = threading.Lock()


class Directory:
    """An existing or new store directory, held by this handle until `close`."""

    def __init__(self, path: str | os.PathLike[str], create: bool = True) -> None:
        """Without `create`, a directory without a store is refused, too.

        Raises StoreInUse, ForeignDirectory, UnsupportedFormat, StoreDamaged, DiskFull, ConfigError, OSError.
        """
        self.path = check_path(path)
        if create:
            make_directory(self.path)
        if not self.path.is_dir():
            raise FileNotFoundError(f"{self.path} is not a directory")
        if not check_marker(self.path) and not create:
            raise ForeignDirectory(f"{self.path} is empty: there is no crdtsync store in it.")
        stat = os.stat(self.path)
        self._identity = (stat.st_dev, stat.st_ino)
        with _guard:
            if self._identity in _open:
                raise StoreInUse(f"{self.path} is already open in this process (pid {os.getpid()}).")
            self._fd = lock_file(self.path / LOCK)
            _open[self._identity] = self
        try:
            if not (self.path / MARKER).exists():
                write_marker(self.path)
        except BaseException:
            self.close()
            raise

    @property
    def table(self) -> Path:
        """The LMDB file."""
        return self.path / TABLE

    @property
    def journal(self) -> Path:
        """The directory of journal segments."""
        return self.path / JOURNAL

    def close(self) -> None:
        """Let others open it."""
        with _guard:
            if _open.get(self._identity) is self:
                del _open[self._identity]
                fcntl.flock(self._fd, fcntl.LOCK_UN)  # closing is not enough while a child is between fork and exec
                os.close(self._fd)


def _let_go_in_child() -> None:
    """A lock lives until its last copy is closed: a forked child would hold it after its parent has gone."""
    global _guard
    _guard = threading.Lock()  # some thread of the parent may have held it
    for directory in _open.values():
        with contextlib.suppress(OSError):
            os.close(directory._fd)
    _open.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


def check_path(path: str | os.PathLike[str]) -> Path:
    """The path of a directory.  Raises ConfigError for what is none; "" would be the current directory."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise ConfigError(f"The path is of type {type(path).__name__}; it must be a str, a pathlib.Path or None.")
    if not os.fspath(path) or "\0" in os.fspath(path):
        raise ConfigError(f"The path is {os.fspath(path)!r}; it must name a directory.")
    return Path(path)


def make_directory(path: Path) -> None:
    """Make it if it is not there.  Raises ForeignDirectory where a file is in the way, DiskFull, OSError."""
    try:
        with full_disk(str(path)):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        taken = next(place for place in (path, *path.parents) if os.path.lexists(place))
        raise ForeignDirectory(
            f"{path} cannot be a directory: {taken} is something else.",
            hint="Give the path of a directory, or of none yet.",
        ) from None


MARKER_HINT = (
    "Where the rest is whole (`crdtsync check DIR` tells), copy this one file from another store that the same version "
    "of crdtsync has written; else start from a peer or a backup."
)


def check_marker(path: Path) -> bool:
    """Whether there is a store; refuse a directory that holds something else, or a format that is not known here."""
    try:
        text = (path / MARKER).read_bytes()
    except IsADirectoryError:
        raise ForeignDirectory(f"{path / MARKER} is a directory: {path} is not a crdtsync store.") from None
    except FileNotFoundError:
        others = sorted(entry.name for entry in os.scandir(path) if entry.name != LOCK)
        if others == [f"{MARKER}.new"] or not others:
            return False
        raise ForeignDirectory(
            f"{path} holds {others[0]!r} but no {MARKER} file: it is not a crdtsync store."
        ) from None
    words = text.decode("ascii", "replace").removeprefix("crdtsync store, format ").partition(";")[0]
    major, dot, minor = words.partition(".")
    if not (text.startswith(b"crdtsync store, format ") and dot and major.isdigit() and minor.isdigit()):
        raise StoreDamaged(f"{path / MARKER} does not name a format: {text[:60]!r}.", hint=MARKER_HINT)
    if int(major) > MAJOR:
        raise UnsupportedFormat(f"{path} has format {words}; this crdtsync reads up to {MAJOR}.")
    return True


def write_marker(path: Path) -> None:
    """Make the directory ours; atomic, so that a crash leaves an empty directory or a marked one."""
    temporary = path / f"{MARKER}.new"
    with full_disk(MARKER), open(temporary, "w", encoding="ascii") as file:
        file.write(TEXT.format(MAJOR, MINOR))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path / MARKER)
    for directory in (path, path.parent):
        sync_directory(directory)


def lock_file(path: Path) -> int:
    """Take the lock and leave our pid in the file; the kernel lets go of it when the process ends, however it ends."""
    if path.is_dir():
        raise ForeignDirectory(f"{path} is a directory: {path.parent} is not a crdtsync store.")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise StoreInUse(f"{path.parent} is open in another process (pid {holder}).") from None
    with contextlib.suppress(OSError):  # a full disk: the pid is for people only
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    return fd
