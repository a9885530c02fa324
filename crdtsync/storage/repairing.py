"""Damage: rows set aside, and fetched again from a peer."""

from __future__ import annotations

from crdtsync.clocks.vector import Clock
from crdtsync.datatypes.rows import PackedRows, Row
from crdtsync.errors import BadTransfer
from crdtsync.kernels import keys_pack, keys_remap, keys_unpack, rows_beyond
from crdtsync.storage import facts
from crdtsync.storage.bucket import Bucket
from crdtsync.storage.facts import payload
from crdtsync.storage.receiving import Receiving
from crdtsync.storage.serving import refuse_damaged
from crdtsync.storage.staging import check_part, check_table

TYPES_OF_CELLS = b"gp"


class Repairing(Receiving):
    """The part of a store that mends."""

    def damaged_keys(self, bucket: str) -> PackedRows:
        """The keys of the rows set aside, as a part without images; those whose key is lost cannot be among them."""
        with self.lock:
            held = self.named.get(bucket)
            return self.packed_keys([] if held is None else sorted(filter(None, held.damaged.values())))

    def packed_keys(self, keys: list[bytes]) -> PackedRows:
        """Row keys as a part without images."""
        owners = sorted({_owner(key) for key in keys} - {None}, key=lambda index: self.actors.ids[index or 0])
        positions = {index: at for at, index in enumerate(owners) if index is not None}
        table = tuple(self.actors.ids[index] for index in positions)
        return PackedRows(table, len(keys), keys_pack(keys, positions), b"")

    def damaged_clock(self, bucket: str) -> Clock:
        """Events under which the log lists the rows set aside: who has these has all that the rows had."""
        with self.lock:
            held = self.named.get(bucket)
            return {} if held is None else self.actors.outward(held.damaged_clock())

    def rows_at(self, bucket: str, keys: PackedRows) -> PackedRows:
        """The rows under these keys, as they are; keys without a row are left out.  Raises BadTransfer, RowDamaged."""
        self.check_usable()
        with self.lock, self.counting():
            held = self.named.get(bucket)
            found: list[Row] = []
            for key in self._local_keys(keys):
                image = None if held is None or key is None else held.get(key)
                if key is not None and image is not None:
                    found.append((key, image))
            if held is not None:
                refuse_damaged(held)
            return self.packed(sorted(found))

    def _local_keys(self, part: PackedRows) -> list[bytes | None]:
        """Row keys with local indexes; None for a cell of an actor that is not known here."""
        check_table(part.actors, self.config.actors_per_part_max)
        try:
            keys = keys_unpack(part.count, part.keys, len(part.actors))
        except ValueError as error:
            raise BadTransfer(f"A list of row keys does not check out: {error}.") from error
        mapping = [self.actors.index.get(actor, -1) for actor in part.actors]
        out: list[bytes | None] = []
        for key in keys:
            owner = _owner(key)
            known = owner is None or mapping[owner] >= 0
            out.append(keys_remap([key], [max(index, 0) for index in mapping])[0] if known else None)
        return out

    def repair(self, bucket: str, keys: PackedRows, rows: PackedRows) -> int:
        """Mend rows set aside with what a member holds that has all they had; the number of rows mended.

        A key without a row was removed and collected there.  A row with events beyond our clock waits for the `apply`
        that claims them, in the same hold of the lock.  Raises BadTransfer, DiskFull, JournalFailed.
        """
        self.check_usable()
        with self.lock, self.counting():
            held = self.named.get(bucket)
            asked = [key for key in self._local_keys(keys) if key is not None]
            part = check_part(rows, self.config)
            if held is None:
                return 0
            self.add_actors(self.actors.unknown(part.actors))
            given = dict(part.local(self.actors.index))
            broken = set(held.damaged.values())
            mended: dict[bytes, bytes | None] = {}
            held.mending = {}
            for key in asked:
                image = given.get(key)
                if key not in broken:
                    continue
                if image is None or rows_beyond([(key, image)], held.clock) < 0:
                    mended[key] = image
                else:
                    held.mending[key] = image
            if mended:
                self._mend(held, mended)
            return len(mended) + len(held.mending)

    def _mend(self, bucket: Bucket, rows: dict[bytes, bytes | None]) -> None:
        data = payload(facts.ROWS, bucket.number, facts.rows_flat(rows))
        self.journal.append(data)
        self.forget_damage(bucket, set(rows))
        bucket.install(list(rows), list(rows.values()), [None] * len(rows))
        self.add_dirty(bucket, len(data), len(rows))
        self.tell(bucket, list(rows), False)


def _owner(key: bytes) -> int | None:
    """Actor in the tail of a cell's row key; None for other rows."""
    at = key.index(0) + 1
    while key[at] == 0x6D:
        at = key.index(0, at + 1) + 1
    return int.from_bytes(key[at + 1 :], "big") if key[at] in TYPES_OF_CELLS else None
