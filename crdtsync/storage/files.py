"""The real disks: memory-mapped segments, and plain pwrite where mapped files cannot be trusted."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from crdtsync.errors import DiskFull
from crdtsync.storage.disk import NO_ROOM, Segment

ZEROS = bytes(1 << 20)
# File systems where a mapped page can fail to find its space after fallocate (copy on write, quotas), or where the
# server may go away under the mapping: both would be a SIGBUS instead of an error.
UNTRUSTED = frozenset(("tmpfs", "ramfs", "btrfs", "zfs", "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph"))


class FileSegment:
    """A segment written by pwrite: one system call a write."""

    def __init__(self, name: str, size: int, fd: int) -> None:
        self.name, self.size, self._fd = name, size, fd

    def write(self, offset: int, data: bytes) -> None:
        with full_disk(self.name):
            done = os.pwrite(self._fd, data, offset)
            while done < len(data):
                done += os.pwrite(self._fd, memoryview(data)[done:], offset + done)

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class MappedSegment(FileSegment):
    """A segment written by copying into a mapping: the bytes survive `kill -9` without a system call."""

    def __init__(self, name: str, size: int, fd: int) -> None:
        super().__init__(name, size, fd)
        self.memory = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    def write(self, offset: int, data: bytes) -> None:
        self.memory[offset : offset + len(data)] = data

    def close(self) -> None:
        self.memory.close()
        super().close()


class PlainDisk:
    """A directory, written with pwrite and fdatasync."""

    segment: type[FileSegment] = FileSegment

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            self.path.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.path.parent)

    def list(self) -> list[str]:
        return sorted(entry.name for entry in os.scandir(self.path) if entry.is_file(follow_symlinks=False))

    def create(self, name: str, size: int) -> Segment:
        path = self.path / name
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with full_disk(name):
                _take_space(fd, size)
                sync_directory(self.path)
            return self.segment(name, size, fd)
        except BaseException:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        temporary = self.path / f"{name}.new"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with full_disk(name), os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self.rename(temporary.name, name)

    def rename(self, old: str, new: str) -> None:
        os.replace(self.path / old, self.path / new)
        sync_directory(self.path)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def free(self) -> int:
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize


class MappedDisk(PlainDisk):
    """A directory whose segments are memory-mapped."""

    segment = MappedSegment


def open_disk(path: str | os.PathLike[str], mapped: bool | None, each: bool = False) -> PlainDisk:
    """The disk for a directory: mapped or plain as told, or by what is written to it when `mapped` is None.

    Mapped where the file system is good at it, unless each write is synced: a page that was synced is write-protected,
    and the fault at the next write costs more than a system call (2,800 against 6,100 synced writes a second).
    """
    if mapped is None:
        mapped = not each and file_system(path) not in UNTRUSTED
    return MappedDisk(path) if mapped else PlainDisk(path)


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Make names that were given, changed or removed in a directory durable.  Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def file_system(path: str | os.PathLike[str]) -> str:
    """Type of the file system that holds `path` ("ext4"), or "" where that cannot be told."""
    real, best, kind = os.path.realpath(path), "", ""
    with contextlib.suppress(OSError), open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            point, what = line.split(" ", 3)[1:3]
            point = point.replace("\\040", " ")
            inside = real == point or real.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, what
    return kind


@contextlib.contextmanager
def full_disk(name: str) -> Iterator[None]:
    """Turn "no space left" and "quota exceeded" into DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise DiskFull(f"There is no room on the disk for {name}.") from error
        raise


def _take_space(fd: int, size: int) -> None:
    """Allocate, then write real zeros: a sync of data alone is then enough, with no extents left to convert."""
    os.posix_fallocate(fd, 0, size)
    offset = 0
    while offset < size:
        offset += os.pwrite(fd, memoryview(ZEROS)[: size - offset], offset)
    os.fsync(fd)
