"""The simulated disk: what was synced stays, what was not may stay, go, or tear when the power goes.

A process that dies loses nothing that it wrote, since the bytes are the kernel's by then; only the write that it was in
may be half done.  When the power goes, every 512-byte sector of an unsynced file is independently found at some moment
between its last sync and its last write.
"""

from __future__ import annotations

import errno
import random

from sortedcontainers import SortedDict

from crdtsync.errors import DiskFull, StoreDamaged
from crdtsync.storage.checkpointing import IDENTITY, POSITION
from crdtsync.storage.disk import Segment
from crdtsync.storage.maps import Changes, MemoryMap
from crdtsync.storage.records import Position, decode_header, segment_number
from crdtsync.storage.replay import replay
from crdtsync.storage.table import ACTORS, BUCKETS, LOG, META, REQUESTS, ROWS, decode_meta

SECTOR = 512  # bytes that a disk writes whole
ROOM = 1 << 40  # bytes free on a disk that is not full
FLIPPED = {ROWS: 30, LOG: 5, META: 1, ACTORS: 1, BUCKETS: 1, REQUESTS: 2}  # weights: where a bit is turned over


class Gone(BaseException):
    """The process ended in the middle of a disk operation.  Not an Exception: no code under test may survive it."""

    def __init__(self, power: bool) -> None:
        super().__init__("power cut" if power else "killed")
        self.power = power


class SimFile:
    """A file as the process sees it, and as the platter has it."""

    __slots__ = ("content", "pending", "platter")

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        self.platter = bytearray(content)
        self.pending: list[tuple[int, bytes]] = []  # writes since the last sync

    def write(self, offset: int, data: bytes) -> None:
        if offset < 0 or offset + len(data) > len(self.content):
            raise AssertionError(f"write of {len(data)} bytes at {offset} beyond {len(self.content)}")
        self.content[offset : offset + len(data)] = data
        self.pending.append((offset, bytes(data)))

    def sync(self) -> None:
        for offset, data in self.pending:
            self.platter[offset : offset + len(data)] = data
        self.pending.clear()

    def crash(self, rng: random.Random) -> None:
        """Sector by sector, the first few of the pending writes have reached the platter; the last may be torn."""
        touched: dict[int, list[tuple[int, bytes]]] = {}
        for offset, data in self.pending:
            for sector in range(offset // SECTOR, (offset + len(data) - 1) // SECTOR + 1):
                touched.setdefault(sector, []).append((offset, data))
        mode = rng.choice(("none", "all", "prefix", "sectors"))
        kept = rng.randint(0, len(self.pending))
        for sector, writes in touched.items():
            count = {"none": 0, "all": len(writes), "prefix": -1, "sectors": rng.randint(0, len(writes))}[mode]
            chosen = [write for write in self.pending[:kept] if write in writes] if count < 0 else writes[:count]
            for offset, data in chosen:
                start, end = max(offset, sector * SECTOR), min(offset + len(data), (sector + 1) * SECTOR)
                self.platter[start:end] = data[start - offset : end - offset]
        self.content = bytearray(self.platter)
        self.pending.clear()

    def tear(self, rng: random.Random) -> None:
        """The last write was under way when the process ended: only its first bytes were copied."""
        offset, data = self.pending.pop()
        whole = self.content[offset : offset + len(data)]
        self.content = bytearray(self.platter)
        for start, earlier in self.pending:
            self.content[start : start + len(earlier)] = earlier
        self.write(offset, bytes(whole[: rng.randint(0, len(data))]))


class SimSegment:
    """A segment of a SimDisk, open in one process."""

    alone = True  # the simulator has one thread

    def __init__(self, disk: SimDisk, name: str, file: SimFile) -> None:
        self.name, self.size = name, len(file.content)
        self._disk, self._file, self._life = disk, file, disk.life

    def write(self, offset: int, data: bytes) -> None:
        self._alive()
        if self._disk.fail_next_write:
            self._disk.fail_next_write = False
            short = data[: self._disk.rng.randrange(len(data) // 2 + 1)]
            if short:
                self._file.write(offset, short)
            raise OSError(errno.EIO, "simulated: the disk took less than it was given", self.name)
        self._file.write(offset, data)
        self._disk.step(self._file)

    def sync(self) -> None:
        self._alive()
        self._disk.step()
        if self._disk.fail_next_sync:
            self._disk.fail_next_sync = False
            self._disk.failed_syncs += 1
            raise OSError(errno.EIO, "simulated: the disk refused to sync", self.name)
        self._file.sync()
        self._disk.step()

    def close(self) -> None:
        """Nothing is synced."""

    def _alive(self) -> None:
        if self._life != self._disk.life:
            raise AssertionError(f"a process that is gone writes to {self.name}")


class SimDisk:
    """One machine's disk: a flat directory, and the ordered map beside it.  Outlives the processes that use it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.files: dict[str, SimFile] = {}
        self.map = SimMap(self)
        self.full = False
        self.fail_next_sync = self.fail_next_write = False
        self.failed_syncs = 0
        self.flipped: list[tuple[str, int | bytes]] = []  # other bits than were written: file, offset; database, key
        self.life = 0  # counts the processes that have used it
        self._ghosts: dict[str, SimFile] = {}  # removed, but not yet durably
        self._steps_left = 0  # disk operations until the process ends; 0: it lives
        self._power = False  # whether the power goes with it

    # -- faults
    def end_after(self, steps: int, power: bool) -> None:
        """Raise Gone within the `steps`-th operation from now; 0: never."""
        self._steps_left, self._power = steps, power

    def step(self, written: SimFile | None = None) -> None:
        """One more operation was done: is it the one in which the process ends?"""
        if self._steps_left:
            self._steps_left -= 1
            if not self._steps_left:
                if written is not None and self.rng.random() < 0.5:
                    written.tear(self.rng)
                raise Gone(self._power)

    def crash(self) -> None:
        """The power is gone: unsynced bytes and removals are in doubt."""
        self.next_life()
        for name, file in self._ghosts.items():
            if name not in self.files and self.rng.random() < 0.5:
                self.files[name] = file
        self._ghosts.clear()
        for name in sorted(self.files):
            self.files[name].crash(self.rng)

    def next_life(self) -> None:
        """The process is gone, and with it what it held open."""
        self.life += 1
        self._steps_left = 0
        self.map.release()

    def copy_from(self, other: SimDisk) -> None:
        """Become a copy of another disk as it is now: a backup, a clone."""
        self.files = {name: SimFile(bytes(file.content)) for name, file in other.files.items()}
        self.flipped = list(other.flipped)
        self.map.copy_from(other.map)
        self._ghosts.clear()

    def flip_in_files(self) -> bool:
        """Turn one bit of the journal over, on the platter and in what is read; False when there is none."""
        used = [name for name, file in sorted(self.files.items()) if segment_number(name) is not None]
        if not used:
            return False
        name = self.rng.choice(used)
        file = self.files[name]
        written = len(file.content.rstrip(b"\0"))
        if not written:
            return False
        at, bit = self.rng.randrange(written), 1 << self.rng.randrange(8)
        file.content[at] ^= bit
        file.platter[at] ^= bit
        self.flipped.append((name, at))
        return True

    def flip_in_table(self) -> bool:
        """Turn one bit of a value of the table over; False when it is empty."""
        databases = self.map.databases()
        names = [name for name in FLIPPED if databases.get(name)]
        if not names:
            return False
        name = self.rng.choices(names, [FLIPPED[name] for name in names])[0]
        held = databases[name]
        key = held.keys()[self.rng.randrange(len(held))]
        value = bytearray(held[key])
        value[self.rng.randrange(len(value))] ^= 1 << self.rng.randrange(8)
        held[key] = bytes(value)
        self.flipped.append((name, key))
        return True

    def ends_at_a_flip(self) -> bool:
        """Whether the journal ends at a flipped bit, and nothing on the disk says that what was there had been synced.

        A flipped bit cannot be told from a torn tail then, and a start takes it for one.
        """
        snapshot = self.map.snapshot()
        identity, position = (snapshot.get(META, key) for key in (IDENTITY, POSITION))
        snapshot.close()
        flips = [(segment_number(name), at) for name, at in self.flipped if isinstance(at, int)]
        if not flips or identity is None or position is None:
            return False
        try:
            store = decode_meta(IDENTITY, identity, "identity")[1]
            start = Position(*decode_meta(POSITION, position, "position"))
        except StoreDamaged:  # refused by the start, too
            return False
        end = replay(self, store, start, lambda data: None).bad
        headers = [decode_header(self.read(name)) for name in self.files if segment_number(name) is not None]
        marked = max((header.synced for header in headers if header is not None), default=0)
        return marked < end.record and any(name == end.segment and at >= end.offset for name, at in flips)

    # -- Disk
    def list(self) -> list[str]:
        return sorted(self.files)

    def create(self, name: str, size: int) -> Segment:
        if name in self.files:
            raise FileExistsError(errno.EEXIST, "file exists", name)
        self._room(name)
        self.step()
        self._durable()
        file = self.files[name] = SimFile(bytes(size))
        self.step()
        return SimSegment(self, name, file)

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return bytes(self.files[name].content)

    def write(self, name: str, data: bytes) -> None:
        self._room(name)
        self.step()
        self._durable()
        self.files[name] = SimFile(data)
        self.step()

    def rename(self, old: str, new: str) -> None:
        self.step()
        self._durable()
        self.files[new] = self.files.pop(old)
        self.step()

    def remove(self, name: str) -> None:
        file = self.files.pop(name, None)
        if file is not None:
            self._ghosts[name] = file
        self.step()

    def free(self) -> int:
        return 0 if self.full else ROOM

    def _durable(self) -> None:
        self._ghosts.clear()

    def _room(self, name: str) -> None:
        if self.full:
            raise DiskFull(f"simulated: no room for {name}.")


class SimMap(MemoryMap):
    """The row table of a SimDisk: commits are atomic and durable, as LMDB's are, and fail when the disk is full."""

    def __init__(self, disk: SimDisk) -> None:
        super().__init__()
        self._disk = disk

    def commit(self, changes: Changes) -> None:
        if self._disk.full:
            raise DiskFull("simulated: no room for a commit.")
        self._disk.step()
        super().commit(changes)
        self._disk.step()

    def release(self) -> None:
        """Snapshots of a process that is gone hold nothing back."""
        self._snapshots.clear()

    def databases(self) -> dict[str, SortedDict[bytes, bytes]]:
        """What it holds, by name."""
        return self._databases

    def copy_from(self, other: MemoryMap) -> None:
        """Take over another map's content."""
        self._databases = {name: held.copy() for name, held in other._databases.items()}
