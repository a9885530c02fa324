"""Rescue files: what a node held that the cluster did not when it started over; shown, replayed once, or dropped.

A replay makes new local writes of what the file holds, so that it travels like any other write:
- elements and flags that were added there are added; those that were removed there are removed, unless they have been
  added again in the meantime;
- an LWW register takes the value if its write is later than the one that stands, by their stamps;
- an MV register gets the value beside those that stand;
- a counter changes by the difference between what the file knows of a cell and what the cluster already has of it; a
  cell that the cluster has deleted meanwhile is left alone, as nobody can tell how much of it was deleted.

Each part of a file is one batch together with a mark, a register that is deleted as soon as it is written.  A part that
has its mark is not replayed again; when the store is opened, before marks can be collected, such parts are dropped from
the file.  So a replay that a crash cuts short goes on where it was, and applies nothing twice.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from crdtsync.datatypes import keys, lwwregister
from crdtsync.datatypes.keys import Place, parse
from crdtsync.datatypes.registry import TYPES
from crdtsync.datatypes.rows import PackedRows
from crdtsync.datatypes.txn import Txn, remove_row
from crdtsync.errors import CrdtsyncError, MembershipMisuse
from crdtsync.kernels import (
    CELL,
    LATEST,
    PRESENCE,
    VALUES,
    cell_add,
    latest_set,
    presence_add,
    row_cell,
    row_cell_value,
    row_context,
    row_dead,
    row_kind,
    row_latest,
    row_live_dots,
    row_mend,
    row_payloads,
    values_set,
)
from crdtsync.storage.rescue import Rescue as Content
from crdtsync.storage.rescue import decode_rescue, encode_rescue
from crdtsync.storage.staging import check_part

if TYPE_CHECKING:
    from crdtsync.node.writing import Local

FILE = "rescue-"
MARK = "\x01rescue\x01"  # keys of marks: nothing ever lives under them


class Rescue:
    """The rescue files of one node."""

    def __init__(self, local: Local) -> None:
        self._local, self._store = local, local.store

    def settle(self) -> None:
        """Drop what a replay before the last crash had applied; to be called before anything is collected."""
        for name in self.names():
            try:
                content = self._read(name)
            except CrdtsyncError:  # counted; its file stays for a person to look at, and the node opens
                continue
            bucket = self._store.bucket(content.bucket)
            left = [p for p in content.parts if bucket is None or bucket.get(_mark(name, p).prefix) is None]
            if not left:
                self._store.disk.remove(name)
            elif len(left) < len(content.parts):
                self._store.disk.write(name, encode_rescue(content.bucket, content.node, content.covered, left))

    def names(self) -> list[str]:
        """Files that wait for a decision, oldest first."""
        self._local.check()
        return sorted(name for name in self._store.disk.list() if name.startswith(FILE) and "." not in name)

    def show(self) -> list[dict[str, Any]]:
        """[{name, bucket, node, rows, objects: [{key, path, type, value}]}]: what each file holds, as it stood here."""
        return [self._shown(name) for name in self.names()]

    def _shown(self, name: str) -> dict[str, Any]:
        content = self._read(name)
        objects: dict[bytes, dict[bytes, bytes]] = {}
        for part in content.parts:
            for rowkey, image in self._checked(part):
                objects.setdefault(keys.object_prefix(rowkey), {})[rowkey] = image
        return {
            "name": name,
            "bucket": content.bucket,
            "node": content.node,
            "rows": sum(map(len, objects.values())),
            "objects": [_shown(prefix, rows) for prefix, rows in sorted(objects.items())],
        }

    def replay(self, name: str) -> dict[str, int]:
        """Write what a file holds, once; the file is gone afterwards.  Returns {applied, skipped}: numbers of rows.

        Raises MembershipMisuse when there is no such file, StoreDamaged when it fails its checksum; StartingOver and
        MembershipMisuse, as every write does, while the node takes no writes: the file is kept then.
        """
        content = self._read(name)
        done = {"applied": 0, "skipped": 0}
        for part in content.parts:
            self._replay_part(name, content, part, done)
        self._local.wait_durable()
        self._store.disk.remove(name)
        return done

    def drop(self, name: str) -> None:
        """Forget a file: what it holds is given up.  Raises MembershipMisuse when there is none of that name."""
        if name not in self.names():
            raise self._unknown(name)
        self._store.disk.remove(name)

    def _unknown(self, name: str) -> CrdtsyncError:
        hint = "rescue.show() and `crdtsync rescue show` list them."
        return self._local.refused(MembershipMisuse(f"There is no rescue file {name!r}.", hint=hint))

    def _read(self, name: str) -> Content:
        if name not in self.names():
            raise self._unknown(name)
        try:
            return decode_rescue(self._store.disk.read(name))
        except CrdtsyncError as error:
            raise self._local.refused(error) from None

    def _checked(self, part: PackedRows) -> list[tuple[bytes, bytes]]:
        """The rows of a part, with local actor indexes."""
        staged = check_part(part, self._local.config)
        with self._store.lock:
            self._store.add_actors(self._store.actors.unknown(part.actors))
            return staged.local(self._store.actors.index)

    def _replay_part(self, name: str, content: Content, part: PackedRows, done: dict[str, int]) -> None:
        rows = self._checked(part)
        mark = _mark(name, part)
        covered = self._store.actors.inward(content.covered)
        ids = self._store.actors.ids
        applied = 0

        def run(txn: Txn) -> None:
            nonlocal applied
            self._local.check_role()
            if txn.get(mark.prefix) is not None:
                return
            lwwregister.write(txn, mark, None)
            applied = sum(_REPLAYS[row_kind(image)](txn, key, image, covered, ids) for key, image in rows)

        self._local.change(content.bucket, run)
        done["applied"] += applied
        done["skipped"] += len(rows) - applied


def _mark(name: str, part: PackedRows) -> Place:
    """Where the mark of one part of a file lives."""
    return keys.top(f"{MARK}{name}:{zlib.crc32(part.keys + part.images):08x}", lwwregister.CODE)


def _shown(prefix: bytes, rows: dict[bytes, bytes]) -> dict[str, Any]:
    parsed = parse(prefix)
    info = TYPES[parsed.code]
    return {
        "key": parsed.name,
        "path": list(parsed.fields),
        "type": info.name,
        "value": info.plain(list(rows.items()), len(prefix)),
    }


# ---- replaying one row; True when something was written ----------------------------------------------------------


def _news(image: bytes, covered: dict[int, int]) -> bool:
    """Whether a live event of the row was unknown to the cluster."""
    return any(seq > covered.get(actor, 0) for actor, seq in row_live_dots(image))


def _removed(txn: Txn, rowkey: bytes, image: bytes) -> bool:
    """Remove what the row's removal had seen, unless something newer stands."""
    current = txn.get(rowkey)
    if current is None or row_dead(current):
        return False
    seen = dict(row_context(image))
    if any(seq > seen.get(actor, 0) for actor, seq in row_live_dots(current)):
        return False
    remove_row(txn, rowkey, current)
    return True


def _presence(txn: Txn, rowkey: bytes, image: bytes, covered: dict[int, int], ids: list[int]) -> bool:
    if row_dead(image):
        return _removed(txn, rowkey, image)
    if not _news(image, covered):
        return False
    actor, seq = txn.next_event()
    txn.put(rowkey, presence_add(txn.get(rowkey), actor, seq))
    return True


def _values(txn: Txn, rowkey: bytes, image: bytes, covered: dict[int, int], ids: list[int]) -> bool:
    if row_dead(image):
        return _removed(txn, rowkey, image)
    current = txn.get(rowkey)
    standing = [] if current is None else row_payloads(current)
    fresh = [payload for payload in row_payloads(image) if payload not in standing]
    if not _news(image, covered) or not fresh:
        return False
    # One actor has one value in a register, so of several that were rescued the last in order is written.
    actor, seq = txn.next_event()
    beside = values_set(None, actor, seq, fresh[-1])
    txn.put(rowkey, row_mend(current, beside, ids))
    return True


def _latest(txn: Txn, rowkey: bytes, image: bytes, covered: dict[int, int], ids: list[int]) -> bool:
    stamp, _, _, payload, expiry = row_latest(image)
    current = txn.get(rowkey)
    standing = -1 if current is None else row_latest(current)[0]
    if not _news(image, covered) or standing >= stamp or (payload is None and (current is None or row_dead(current))):
        return False
    new = txn.stamp(max(standing, stamp))
    actor, seq = txn.next_event()
    txn.put(rowkey, latest_set(current, actor, seq, new, payload, expiry))
    return True


def _cell(txn: Txn, rowkey: bytes, image: bytes, covered: dict[int, int], ids: list[int]) -> bool:
    current = txn.get(rowkey)
    owner, start, *_ = row_cell(image)
    if current is None and covered.get(owner, 0) >= start:
        return False
    has = 0 if current is None else row_cell_value(current)
    difference = row_cell_value(row_mend(current, image, ids)) - has
    if difference == 0 or (difference < 0 and parse(rowkey).code == b"g"):
        return False
    actor, seq = txn.next_event()
    own = rowkey[:-4] + actor.to_bytes(4, "big")
    txn.put(own, cell_add(txn.get(own), actor, seq, max(difference, 0), max(-difference, 0)))
    return True


Replay = Callable[[Txn, bytes, bytes, dict[int, int], list[int]], bool]
_REPLAYS: dict[int, Replay] = {PRESENCE: _presence, VALUES: _values, LATEST: _latest, CELL: _cell}
