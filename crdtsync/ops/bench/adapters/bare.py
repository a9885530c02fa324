"""The disk alone: what no system that syncs every write can beat."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path

from crdtsync.ops.bench.adapters.base import Adapter

BLOCK = 4096  # bytes
BLOCKS = 4096  # of the file, taken before


class Fdatasync(Adapter):
    """Writes 4 KiB into a file whose space is taken, and fdatasync."""

    title = "bare fdatasync of 4 KiB"
    semantics = "none: bytes in a file"
    durability = "synced before a call returns"
    keeps = "disk"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.file = os.open(directory / "bare", os.O_RDWR | os.O_CREAT, 0o600)
        os.write(self.file, bytes(BLOCK * BLOCKS))
        os.fsync(self.file)
        self.count = 0

    @classmethod
    def version(cls) -> str:
        """The kernel's."""
        return platform.release()

    def committer(self, thread: int) -> Callable[[int], None]:
        """One block at a time, whatever it stands for."""
        block = bytes(range(256)) * (BLOCK // 256)

        def commit(writes: int) -> None:
            os.pwrite(self.file, block, BLOCK * (self.count % BLOCKS))
            os.fdatasync(self.file)
            self.count += writes

        return commit

    def committed(self) -> int:
        """What was counted; the file keeps no sum."""
        return self.count

    def close(self) -> None:
        """Close the file."""
        os.close(self.file)
