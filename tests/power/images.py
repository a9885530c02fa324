"""The disk of a machine whose power may go at any moment: what of unsynced work is found afterwards is up to chance.

The rules are those of POSIX, not of one file system:
- of what was not synced, every 512-byte sector is found by itself as it was at some moment since the last sync;
- a synced file holds all that was written before the sync began; a write through (O_DSYNC) is safe when it returns;
- a name that was given, changed or removed is safe once its directory has been synced; before, each such step is there
  or not, and those of one directory in any selection that keeps their order.
What a sync was under way for may be there or not, so a cut in the middle of one is a cut like any other.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .recording import CREATE, MKDIR, RENAME, SYNC_BEGIN, SYNC_END, TRUNCATE, UNLINK, WRITE, WRITE_THROUGH, Step

SECTOR = 512


class Change(NamedTuple):
    """One step that changed a file, not safe yet."""

    offset: int  # of a write; the new size when there is no data
    data: bytes | None
    through: bool  # safe already, whatever becomes of the steps before it


class File:
    """One file: what is safe, and the changes since."""

    def __init__(self) -> None:
        self.safe = bytearray()
        self.pending: list[Change] = []

    def add(self, step: Step) -> None:
        """One more step."""
        data = None if step.kind == TRUNCATE else step.data
        self.pending.append(Change(step.offset, data, step.kind == WRITE_THROUGH))

    def settle(self, count: int) -> None:
        """The first `count` pending changes are safe."""
        for change in self.pending[:count]:
            apply(self.safe, change)
        del self.pending[:count]

    def found(self, rng: random.Random) -> bytes:
        """What may be found after the power has gone."""
        content = bytearray(self.safe)
        mode = rng.choice(("nothing", "everything", "beginning", "torn", "torn"))
        if mode == "torn":
            self._tear(content, rng)
            return bytes(content)
        kept = {"nothing": 0, "everything": len(self.pending)}.get(mode, rng.randint(0, len(self.pending)))
        for number, change in enumerate(self.pending):
            if number < kept or change.through:
                apply(content, change)
        return bytes(content)

    def _tear(self, content: bytearray, rng: random.Random) -> None:
        """Every sector is found as it was at some moment since it was safe, and so is the size."""
        moments: dict[int, int] = {}
        size, until = len(content), rng.randint(0, len(self.pending))
        for number, change in enumerate(self.pending):
            if number < until or change.through:
                size = change.offset if change.data is None else max(size, change.offset + len(change.data))
            for sector, piece in sectors(change):
                if sector not in moments:
                    moments[sector] = rng.randint(0, len(self.pending))
                if number < moments[sector] or change.through:
                    apply(content, piece)
        apply(content, Change(size, None, False))


def apply(content: bytearray, change: Change) -> None:
    """Carry a write or a truncation out."""
    offset, data, _ = change
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def sectors(change: Change) -> Iterator[tuple[int, Change]]:
    """(number of a sector, what a write does to it)."""
    offset, data, through = change
    if data is None:
        return
    while data:
        size = SECTOR - offset % SECTOR
        yield offset // SECTOR, Change(offset, data[:size], through)
        offset, data = offset + size, data[size:]


Names = dict[str, File | None]  # path -> its file, or None for a directory


class Machine:
    """Follows the recorded steps, and can be cut off after any of them."""

    def __init__(self) -> None:
        self.now: Names = {}  # as the process sees it
        self.safe: Names = {}
        self.moves: dict[str, list[tuple[int, str, str, File | None]]] = {}  # directory -> its unsynced changes
        self._syncing: dict[int, tuple[File | None, int]] = {}  # number of a sync -> its file or directory, how much

    def follow(self, step: Step) -> None:
        """One more step."""
        kind, path, number, data = step
        if kind in (WRITE, WRITE_THROUGH, TRUNCATE):
            file = self.now[path]
            assert file is not None, f"{path} is a directory"
            file.add(step)
        elif kind == SYNC_BEGIN:
            self._begin(path, number)
        elif kind == SYNC_END:
            self._end(path, *self._syncing.pop(number))
        else:
            self._move(kind, path, data.decode())

    def _begin(self, path: str, number: int) -> None:
        file = self.now.get(path)
        self._syncing[number] = (file, len(self.moves.get(path, ())) if file is None else len(file.pending))

    def _end(self, path: str, file: File | None, count: int) -> None:
        if file is not None:
            file.settle(count)
            for number, (other, left) in self._syncing.items():  # two syncs of one file at a time
                if other is file:
                    self._syncing[number] = (other, max(0, left - count))
            return
        moves = self.moves.get(path, [])
        for move in moves[:count]:
            change_names(self.safe, *move)
        del moves[:count]

    def _move(self, kind: int, path: str, new: str) -> None:
        file = {CREATE: File(), MKDIR: None}.get(kind, self.now.get(path))
        move = (kind, path, new, file)
        change_names(self.now, *move)
        parent = str(PurePosixPath(path).parent)
        self.moves.setdefault("" if parent == "." else parent, []).append(move)

    def cut(self, rng: random.Random, target: Path) -> None:
        """The power goes: put what may be found afterwards below `target`, an empty directory."""
        names = dict(self.safe)
        for moves in self.moves.values():
            mode = rng.choice(("nothing", "everything", "any"))
            for move in moves:
                if mode == "everything" or (mode == "any" and rng.random() < 0.5):
                    change_names(names, *move)
        for path in sorted(names):
            file = names[path]
            if file is None:
                (target / path).mkdir(parents=True, exist_ok=True)
            elif all(str(up) in names for up in PurePosixPath(path).parents if str(up) != "."):
                (target / path).write_bytes(file.found(rng))


def change_names(names: Names, kind: int, path: str, new: str, file: File | None) -> None:
    """Carry a change of names out; one whose file is not there changes nothing."""
    if kind in (CREATE, MKDIR):
        names[path] = file
    elif kind == RENAME:
        if names.get(path) is file:
            names.pop(path, None)
        names[new] = file
    elif kind == UNLINK and names.get(path) is file:
        names.pop(path, None)
