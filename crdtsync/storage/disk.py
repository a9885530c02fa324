"""The Disk seam: the few things that the journal asks of a file system, and a disk that is only memory.

Everything that a store writes outside its row table goes through a `Disk`, so that a simulated disk (torn writes,
lost syncs, errors, no room) can stand in for the real one in `files.py`.
"""

from __future__ import annotations

import errno
from typing import Protocol

from crdtsync.errors import DiskFull

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Segment(Protocol):
    """One file of fixed size, open for writing.  Writes land at once for this process; `sync` makes them durable.

    One that is writable memory shows it as `memory`, and may then be written there.  One whose `write` lets no other
    thread run (the simulated one) says so by a true `alone`.
    """

    name: str
    size: int

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at `offset`, inside the file.  Raises DiskFull where space cannot be taken early, OSError."""

    def sync(self) -> None:
        """Everything written so far is durable when this returns.  Raises OSError: then nothing is known."""

    def close(self) -> None:
        """Let go of the file; nothing is synced."""


class Disk(Protocol):
    """A flat directory of files."""

    def list(self) -> list[str]:
        """Names of all files, sorted."""

    def create(self, name: str, size: int) -> Segment:
        """A new file of `size` zero bytes, its space taken, durable with its name.  Raises DiskFull (and leaves
        nothing), OSError."""

    def read(self, name: str) -> bytes:
        """The whole file.  Raises FileNotFoundError, OSError."""

    def write(self, name: str, data: bytes) -> None:
        """Put a whole file, all of it or nothing, durable on return.  Raises DiskFull, OSError."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name (replacing a file of that name), durable on return."""

    def remove(self, name: str) -> None:
        """Delete a file; absent is fine.  Durable with the next durable call."""

    def free(self) -> int:
        """Bytes of room left, as far as is known."""


class MemorySegment:
    """A segment of a MemoryDisk."""

    def __init__(self, name: str, content: bytearray) -> None:
        self.name, self.size, self.memory = name, len(content), content

    def write(self, offset: int, data: bytes) -> None:
        self.memory[offset : offset + len(data)] = data

    def sync(self) -> None:
        """Memory is as durable as it gets."""

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryDisk:
    """A disk for stores without a path.  `capacity` (bytes) is for tests of a full disk."""

    def __init__(self, capacity: int = 1 << 62) -> None:
        self.capacity = capacity
        self.files: dict[str, bytearray] = {}

    def list(self) -> list[str]:
        return sorted(self.files)

    def create(self, name: str, size: int) -> Segment:
        self._room(size)
        self.files[name] = bytearray(size)
        return MemorySegment(name, self.files[name])

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return bytes(self.files[name])

    def write(self, name: str, data: bytes) -> None:
        self._room(len(data))
        self.files[name] = bytearray(data)

    def rename(self, old: str, new: str) -> None:
        self.files[new] = self.files.pop(old)

    def remove(self, name: str) -> None:
        self.files.pop(name, None)

    def free(self) -> int:
        return self.capacity - sum(map(len, self.files.values()))

    def _room(self, size: int) -> None:
        if size > self.free():
            raise DiskFull(f"The disk has {self.free()} bytes of room; {size} are needed.")
