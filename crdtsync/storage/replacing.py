"""Starting over: a bucket is given up, and stays as it is until the member's state that takes its place is whole.

Then the rows that the member does not have go to the rescue file, and the two change places, in one hold of the lock.
The file comes first: a crash between the two leaves the old bucket, which will be replaced again, file and all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from crdtsync.clocks.vector import Clock
from crdtsync.datatypes.rows import Applied, Row
from crdtsync.errors import BadTransfer
from crdtsync.kernels import row_covered
from crdtsync.storage import facts
from crdtsync.storage.bucket import LIVE, Bucket
from crdtsync.storage.facts import payload
from crdtsync.storage.rescue import encode_rescue, rescue_name
from crdtsync.storage.scanning import Scanning
from crdtsync.storage.staging import NOTHING
from crdtsync.storage.table import flat, unflat


class Replacing(Scanning):
    """The part of a store that lets go of buckets.

    A bucket that was given up says so in its `staged`: `over`, the name of its rescue file.  The hidden bucket that
    will take its place has `covered` in its state once it is complete: the clock that decides what is rescued.
    """

    def give_up(self, bucket: str) -> None:
        """A member's state will take the bucket's place.  Until `replace` it can be read as it is.

        The actor of this start never writes again: its numbers begin anew.  Raises DiskFull, JournalFailed.
        """
        self.check_usable()
        with self.lock, self.counting():
            held = self.named.get(bucket)
            if held is not None and held.staged is None:
                state = {"over": rescue_name(self.start, held.number)}
                self.journal.append(payload(facts.STAGED, held.number, state, []))
                held.staged, held.meta_dirty = state, True
            self._own = None

    def given_up(self, bucket: str) -> bool:
        """Whether a member's state is about to take the bucket's place: what it holds counts for nothing any more."""
        held = self.named.get(bucket)
        return held is not None and held.state == LIVE and held.staged is not None

    def replace(
        self, bucket: str, staged: Sequence[Any], target: Clock, floor: Clock, stamp_floor: int, covered: Clock
    ) -> Applied:
        """Put a member's state, what was staged of a scan and then `staged`, in the place of a bucket given up.

        Its rows that `covered` ({actor id: seq}, what that member has on its disk) does not cover go to a rescue file;
        rows set aside cannot be rescued and are left out.  Raises as `finish_scan` does.
        """
        self.check_usable()
        try:
            with self.counting():
                hidden = self._hidden(bucket) or self._begin_scan(bucket, {}, NOTHING)
                inward = self.actors.inward(covered)
                self._complete(hidden, staged, target, floor, stamp_floor, covered=flat(inward))
        except BadTransfer:
            self.drop_scan(bucket)
            raise
        return self._finish(hidden)

    def _finish(self, hidden: Bucket) -> Applied:
        assert hidden.staged is not None
        old = self.named.get(hidden.name)
        if old is None or "covered" not in hidden.staged:
            return super()._finish(hidden)
        covered = unflat(hidden.staged["covered"])
        with self._noting(hidden.name) as touched:
            lost: dict[bytes, bytes] = {}
            gone: list[bytes] = []
            for rows in self._in_slices(old):
                lost.update(row for row in rows if not row_covered(row[1], covered))
                if len(self.on_change) > 1:  # somebody else listens
                    gone += [key for key, _ in rows if hidden.get(key) is None]
            with self.lock, self.counting():
                now = [(key, image) for key in touched if (image := old.peek(key)) is not None]
                lost.update(row for row in now if not row_covered(row[1], covered))
                self._rescue(old, sorted(lost.items()), covered)
                self._take_place(hidden, old)
                self.tell(hidden, gone, False)
        self._tell_adopted(hidden, {})
        return Applied(rows=hidden.count(), rescued=len(lost))

    def _in_slices(self, bucket: Bucket) -> Iterator[list[Row]]:
        """All rows that can be read."""
        start, size = b"", self.config.slice_rows
        while True:
            rows = bucket.scan_rows(b"", start, size, skip_damaged=True)
            yield rows
            if len(rows) < size:
                return
            start = rows[-1][0] + b"\0"
            self.let_others_in()

    def _rescue(self, old: Bucket, rows: list[Row], covered: Clock) -> None:
        name = old.staged["over"] if old.staged else rescue_name(self.start, old.number)
        if rows:
            parts = [self.packed(part) for part in self._parts(rows, self.config.part_bytes)]
            self.disk.write(name, encode_rescue(old.name, self.node, self.actors.outward(covered), parts))
            self.counters["rows_rescued"] += len(rows)
        elif name in self.disk.list():  # of an attempt that a crash ended
            self.disk.remove(name)

    def _take_place(self, hidden: Bucket, old: Bucket) -> None:
        self.journal.append(payload(facts.ADOPT, hidden.number, old.number))
        self._own = None
        self.set_adopted(hidden.number, old.number)
        hidden.told = {}
