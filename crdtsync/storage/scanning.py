"""Long transfers: staged in a hidden bucket that survives a crash, then put in place whole, or joined in slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crdtsync.clocks.vector import Clock, covers, join
from crdtsync.datatypes.rows import Applied
from crdtsync.errors import BadTransfer, RowDamaged
from crdtsync.kernels import rows_beyond
from crdtsync.storage import facts
from crdtsync.storage.bucket import HIDDEN, Bucket
from crdtsync.storage.facts import payload
from crdtsync.storage.receiving import Receiving
from crdtsync.storage.staging import NO_BOUND, Staged, check_clock
from crdtsync.storage.table import flat, unflat

SLICE = 2_000  # rows joined under the lock at once


class Scanning(Receiving):
    """The part of a store that takes in scans.

    The state of a scan, kept with its hidden bucket: `t0` (clock that the scan claims), `resume` (where to go on),
    `direct` (the bucket was empty: the hidden one will take its place), and once the last part is in, `finish`:
    (target, floor, stamp floor).  A scan with `finish` is complete; an interrupted one is finished at the next open.
    """

    def _hidden(self, bucket: str) -> Bucket | None:
        for held in self.numbered.values():
            if held.state == HIDDEN and held.name == bucket and held.staged is not None:
                return held
        return None

    def staging(self, bucket: str) -> tuple[Clock, bytes] | None:
        """(T0, resume point) of a staged scan, if any."""
        with self.lock:
            hidden = self._hidden(bucket)
            if hidden is None or hidden.staged is None:
                return None
            return self.actors.outward(unflat(hidden.staged["t0"])), hidden.staged["resume"]

    def stage_scan(self, bucket: str, scan_clock: Clock, staged: Staged | None, resume: bytes, direct: bool) -> None:
        """Add a part (None: one without rows) to the staged scan of `scan_clock`; another scan's rows are dropped.

        `direct` lets the rows become the bucket as they are, when it is empty.  Raises BadTransfer, DiskFull,
        JournalFailed, TableFailed.
        """
        self.check_usable()
        staged = staged or Staged((), [])
        with self.lock, self.counting():
            check_clock(scan_clock, "scan's clock")
            self._check_own(bucket, staged)
            self.add_actors(self.actors.unknown([*scan_clock, *staged.actors]))
            t0 = flat(self.actors.inward(scan_clock))
            hidden = self._hidden(bucket)
            if hidden is not None and hidden.staged is not None and unflat(hidden.staged["t0"]) != unflat(t0):
                self.drop_scan(bucket)
                hidden = None
            if hidden is None:
                hidden = self.add_bucket(self.new_bucket(bucket, HIDDEN))
            rows: dict[bytes, bytes | None] = dict(self.local_rows([staged]))
            state = {"t0": t0, "resume": resume, "direct": direct and self._is_bare(bucket), "finish": None}
            data = payload(facts.STAGED, hidden.number, state, facts.rows_flat(rows))
            self.journal.append(data)
            before = {key: hidden.get(key) for key in rows}
            hidden.install(rows, before)
            hidden.staged, hidden.meta_dirty = state, True
            self.add_dirty(hidden, len(data), len(rows))
        self._keep_small()

    def _check_own(self, bucket: str, staged: Staged) -> None:
        own, held = self.actor(), self.named.get(bucket)
        if own and self._own is not None:
            written = 0 if held is None else held.clock.get(self._own, 0)
            at = staged.beyond({own: written}, NO_BOUND)
            if at >= 0:
                raise BadTransfer(f"Row {staged.rows[at][0]!r} has an event of our own actor that we never wrote.")

    def _is_bare(self, bucket: str) -> bool:
        held = self.named.get(bucket)
        return held is None or not (held.clock or held.active.rows or held.rows)

    def _keep_small(self) -> None:
        """Checkpoint early, so that a long transfer does not fill the memory."""
        if self.dirty > self.config.checkpoint_bytes:
            self.checkpoint()

    def drop_scan(self, bucket: str) -> None:
        """Forget what was staged.  Raises DiskFull, JournalFailed."""
        self.check_usable()
        with self.lock:
            hidden = self._hidden(bucket)
            if hidden is not None:
                self.journal.append(payload(facts.STAGED, hidden.number, None, []))
                self.drop_bucket(hidden)

    def finish_scan(self, bucket: str, staged: Sequence[Any], target: Clock, floor: Clock, stamp_floor: int) -> Applied:
        """Apply what was staged, then `staged` with the claim.

        Into an empty bucket: at once.  Else in slices; readers see rows of the transfer before its claim then, and a
        crash in between is made good at the next open.  Raises as `apply` does; BadTransfer, and
        RowDamaged for a staged row, drop the scan.
        """
        self.check_usable()
        hidden = self._hidden(bucket)
        if hidden is None or hidden.staged is None:
            return self.apply(bucket, staged, target, floor, stamp_floor)
        with self.lock, self.counting():
            try:
                self.check_claim(bucket, staged, target, floor, stamp_floor)
                self._check_scan(hidden, target)
            except (BadTransfer, RowDamaged):  # a staged row that was set aside comes again with another scan
                self.drop_scan(bucket)
                raise
            self.add_actors(self.actors.unknown([*target, *floor]))
            rows, t0 = self.local_rows(staged), unflat(hidden.staged["t0"])
            claim, low = self.actors.inward(target), self.actors.inward(floor)
            self.join(hidden, [], t0, {}, 0)  # what the scan held: journaled, too, or a replay would claim less
            self.join(hidden, rows, claim, low, stamp_floor)
            hidden.table_clock = join(hidden.table_clock, hidden.clock)  # the parts came before the claim
            finish = [flat(claim), flat(low), stamp_floor]
            state = {**hidden.staged, "direct": hidden.staged["direct"] and self._is_bare(bucket), "finish": finish}
            self.journal.append(payload(facts.STAGED, hidden.number, state, []))
            hidden.staged, hidden.meta_dirty = state, True
        return self._finish(hidden)

    def _check_scan(self, hidden: Bucket, target: Clock) -> None:
        """Every staged row must be below the claim, or it holds events that their author lost."""
        assert hidden.staged is not None
        claim = self.actors.inward(target)
        if not covers(claim, unflat(hidden.staged["t0"])):
            raise BadTransfer("The claim does not cover the scan that it ends.")
        slice_ = []
        for row in hidden.all_rows():
            slice_.append(row)
            if len(slice_) == SLICE:
                _refuse_beyond(slice_, claim)
                slice_.clear()
        _refuse_beyond(slice_, claim)

    def finish_interrupted(self) -> None:
        """Finish scans that were complete when the last start ended."""
        for hidden in list(self.numbered.values()):
            if hidden.state == HIDDEN and hidden.staged is not None and hidden.staged["finish"]:
                self._finish(hidden)

    def _finish(self, hidden: Bucket) -> Applied:
        with self.lock:  # nobody writes between the look and the adoption
            assert hidden.staged is not None
            if hidden.staged["direct"] and self._is_bare(hidden.name):
                return self._adopt(hidden)
        return self._join_slices(hidden)

    def _adopt(self, hidden: Bucket) -> Applied:
        """The hidden bucket takes the place of the empty one."""
        with self.lock, self.counting():
            old = self.named.get(hidden.name)
            replaced = 0 if old is None else old.number
            self.journal.append(payload(facts.ADOPT, hidden.number, replaced))
            self.set_adopted(hidden.number, replaced)
            keys = [key for key, _ in hidden.all_rows()] if self.on_change else []
            for at in range(0, len(keys), SLICE):
                self.tell(hidden, keys[at : at + SLICE], False)
            return Applied(rows=hidden.count())

    def _join_slices(self, hidden: Bucket) -> Applied:
        assert hidden.staged is not None
        target, floor, stamp_floor = hidden.staged["finish"]
        total, start, more = Applied(), b"", True
        while more:
            with self.lock, self.counting():
                bucket = self.named.get(hidden.name) or self.add_bucket(self.new_bucket(hidden.name))
                rows = hidden.scan_rows(b"", start, SLICE)
                more = len(rows) == SLICE
                if rows:
                    start = rows[-1][0] + b"\0"
                done = self._join_slice(bucket, rows)
                total.rows += done.rows
                total.conflicts += done.conflicts
            self._keep_small()
        with self.lock, self.counting():
            bucket = self.named[hidden.name]
            self.join(bucket, [], unflat(target), unflat(floor), stamp_floor)
            bucket.table_clock = join(bucket.table_clock, bucket.clock)  # slices came before the claim
            self.drop_scan(hidden.name)
        return total

    def _join_slice(self, bucket: Bucket, rows: list[tuple[bytes, bytes]]) -> Applied:
        joined, before, applied = self.joined(bucket, rows, set())
        if joined:
            data = payload(facts.ROWS, bucket.number, facts.rows_flat(joined))
            self.journal.append(data)
            bucket.install(joined, before)
            self.add_dirty(bucket, len(data), len(joined))
            self.tell(bucket, list(joined), False)
        return applied


def _refuse_beyond(rows: list[tuple[bytes, bytes]], claim: Clock) -> None:
    if rows and rows_beyond(rows, claim) >= 0:
        raise BadTransfer("A staged row has an event beyond the claim: its author lost it.")
