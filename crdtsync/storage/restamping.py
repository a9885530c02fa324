"""Registers of a store that wrote alone, written again above the stamp floor of the cluster that it has joined."""

from __future__ import annotations

from collections.abc import Collection

from crdtsync.datatypes.rows import Row
from crdtsync.kernels import LATEST, latest_set, row_kind, row_latest
from crdtsync.storage.serving import Serving
from crdtsync.storage.txn import Txn

SLICE = 500  # registers written at once


class Restamping(Serving):
    """The part of a store that makes its registers visible after a join."""

    def restamp(self, bucket: str, actors: Collection[int], stamp_floor: int) -> int:
        """Write again every live register won by one of `actors` (ids) at or below `stamp_floor`; how many.

        Such a register could lie below a deletion that one member has collected and another has not.
        Raises DiskFull, JournalFailed.
        """
        self.check_usable()
        with self.lock:
            held = self.named.get(bucket)
            if held is None:
                return 0
            indexes = {self.actors.index[actor] for actor in actors if actor in self.actors.index}
            low = [row for row in held.all_rows(skip_damaged=True) if _is_low(row[1], indexes, stamp_floor)]
            batch: list[Row] = []
            size = 0
            for row in low:
                size += len(row[0]) + len(row[1])
                batch.append(row)
                if len(batch) == SLICE or 4 * size > self.config.cluster.batch_bytes_max:
                    self._write_again(bucket, batch)
                    batch, size = [], 0
            self._write_again(bucket, batch)
            return len(low)

    def _write_again(self, bucket: str, rows: list[Row]) -> None:
        def ops(txn: Txn) -> None:
            for key, image in rows:
                stamp, _, _, value, expiry = row_latest(image)
                actor, seq = txn.next_event()
                txn.put(key, latest_set(image, actor, seq, txn.stamp(stamp), value, expiry))

        if rows:
            self.transact(bucket, ops)


def _is_low(image: bytes, actors: set[int], stamp_floor: int) -> bool:
    if row_kind(image) != LATEST:
        return False
    stamp, actor, _, value, _ = row_latest(image)
    return value is not None and actor in actors and stamp <= stamp_floor
