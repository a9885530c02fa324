"""Long transfers: staged in a hidden bucket that survives a crash, then put in the place of the bucket as a whole.

What the bucket holds by then is folded into the hidden one, slice by slice, while readers and writers go on with the
bucket as it is; what they write meanwhile follows, and the last few rows, the claim and the change of places are one
hold of the lock.  So readers see the state from before, or rows and claim together, and a crash leaves one of the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from crdtsync.clocks.vector import Clock, covers, join
from crdtsync.datatypes.rows import Applied, Row
from crdtsync.errors import BadTransfer, RowDamaged
from crdtsync.kernels import layer_find, row_context, row_covered
from crdtsync.storage import facts
from crdtsync.storage.bucket import HIDDEN, Bucket
from crdtsync.storage.core import log
from crdtsync.storage.facts import payload, payload_of
from crdtsync.storage.receiving import Images, Receiving
from crdtsync.storage.staging import NO_BOUND, NOTHING, Staged, check_clock, columns_of
from crdtsync.storage.table import flat, unflat

BEGINNING = b"\0"  # where a scan goes on of which nothing is whole yet: before every row key
TURNS_MAX = 1000  # slices for which the end waits for writers that change rows faster than they are folded in


class Scanning(Receiving):
    """The part of a store that takes in scans.

    The state of a scan, kept with its hidden bucket: `t0` (clock that the scan claims), `resume` (where to go on),
    `most` (events beyond `t0` in the rows that are staged), and once the last part is in, `finish`: (target, floor,
    stamp floor).  A scan with `finish` is complete; an interrupted one is finished at the next open.
    """

    def _hidden(self, bucket: str) -> Bucket | None:
        with self.lock:  # writers make buckets, and checkpoints remove them
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

    def staged_buckets(self) -> list[str]:
        """Names of the buckets that a staged scan is for, sorted; some hold nothing yet."""
        with self.lock:
            hidden = (held for held in self.numbered.values() if held.state == HIDDEN and held.staged is not None)
            return sorted(held.name for held in hidden)

    def stage_scan(self, bucket: str, scan_clock: Clock, staged: Staged | None, resume: bytes) -> None:
        """Add a part (None: one without rows) to the staged scan of `scan_clock`; another scan's rows are dropped.

        Raises BadTransfer, DiskFull, JournalFailed, TableFailed.
        """
        self.check_usable()
        staged = staged or NOTHING
        with self.counting():
            check_clock(scan_clock, "scan's clock")
            self._check_own(bucket, staged)
            most = staged.most(scan_clock)
            hidden = self._begin_scan(bucket, scan_clock, staged)
            keys, images = staged.columns(self.actors.index)
            self._note_most(hidden, self.actors.inward(most))
            size = self.config.slice_rows
            for at in range(0, max(len(keys), 1), size):
                last = at + size >= len(keys)
                self._stage_slice(hidden, keys[at : at + size], images[at : at + size], resume if last else None)
                if not last:
                    self.let_others_in()
        self._keep_small()

    def _check_own(self, bucket: str, staged: Staged) -> None:
        own, held = self.actor(), self.named.get(bucket)
        if own and self._own is not None:
            written = 0 if held is None else held.clock.get(self._own, 0)
            at = staged.beyond({own: written}, NO_BOUND)
            if at >= 0:
                raise BadTransfer(f"Row {staged.rows[at][0]!r} has an event of our own actor that we never wrote.")

    def _begin_scan(self, bucket: str, scan_clock: Clock, staged: Staged) -> Bucket:
        """The hidden bucket of a scan: the one there is, when it is of the same scan."""
        with self.lock:
            self.add_actors(self.actors.unknown([*scan_clock, *staged.actors]))
            t0 = self.actors.inward(scan_clock)
            hidden = self._hidden(bucket)
            if hidden is not None and hidden.staged is not None and unflat(hidden.staged["t0"]) != t0:
                self.drop_scan(bucket)
                hidden = None
            if hidden is not None:
                self._go_on(hidden)
            if hidden is None:
                hidden = self.add_bucket(self.new_bucket(bucket, HIDDEN))
                # `direct` is for earlier versions, which put a scan in place whole only if it says so.
                hidden.staged = {"t0": flat(t0), "resume": BEGINNING, "direct": False, "finish": None, "most": []}
            return hidden

    def _go_on(self, hidden: Bucket) -> None:
        """More is about to be taken in: what an attempt to finish has noted, which then failed, tells too little."""
        # RULE: rows are never ahead of the clock; a start that finished by the earlier note would show such rows
        if hidden.staged is not None and hidden.staged["finish"]:
            state = {**hidden.staged, "finish": None}
            self.journal.append(payload(facts.STAGED, hidden.number, state, []))
            hidden.staged, hidden.meta_dirty = state, True

    def _note_most(self, hidden: Bucket, most: Clock) -> None:
        """The state counts rows before they are staged: after a crash in between they are staged anew."""
        assert hidden.staged is not None
        if "most" in hidden.staged:  # else an earlier version began this scan, and its rows are read at the end
            hidden.staged = {**hidden.staged, "most": flat(join(unflat(hidden.staged["most"]), most))}

    def _stage_slice(self, hidden: Bucket, keys: list[bytes], images: list[bytes], resume: bytes | None) -> None:
        with self.lock:
            assert hidden.staged is not None
            before = layer_find(hidden, keys)
            state = hidden.staged if resume is None else {**hidden.staged, "resume": resume}
            self._put(hidden, (facts.STAGED, hidden.number, state), keys, images, before)
            hidden.staged, hidden.meta_dirty = state, True

    def _put(
        self, hidden: Bucket, told: tuple[Any, ...], keys: list[bytes], images: Sequence[bytes | None], before: Images
    ) -> None:
        """Rows into the hidden bucket, journaled behind `told`."""
        data = payload_of([(keys, images)], *told)
        self.journal.append(data)
        hidden.install(keys, images, before)
        self.add_dirty(hidden, len(data), len(keys))

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

    # -- the end

    def finish_scan(self, bucket: str, staged: Sequence[Any], target: Clock, floor: Clock, stamp_floor: int) -> Applied:
        """Apply what was staged, then `staged` with the claim: for readers all of it at once.

        Local writes go on meanwhile, and nothing else may change the bucket.  A crash in between is made good at the
        next open.  Raises as `apply` does; BadTransfer, and RowDamaged for a row that is read, drop the scan.
        """
        self.check_usable()
        hidden = self._hidden(bucket)
        if hidden is None or hidden.staged is None:
            return self.apply(bucket, staged, target, floor, stamp_floor)
        try:
            with self.counting():
                self._complete(hidden, staged, target, floor, stamp_floor)
            return self._finish(hidden)
        except (BadTransfer, RowDamaged):  # a staged row that was set aside comes again with another scan
            self.drop_scan(bucket)
            raise

    def _complete(
        self, hidden: Bucket, staged: Sequence[Staged], target: Clock, floor: Clock, stamp_floor: int, **more: Any
    ) -> None:
        """Rows and claim of the transfer that ends a scan go into the hidden bucket, too; `more` into its state."""
        assert hidden.staged is not None
        t0 = unflat(hidden.staged["t0"])
        with self.lock:
            self.check_claim(hidden.name, staged, target, floor, stamp_floor)
            self.add_actors(self.actors.unknown([*target, *floor, *(a for part in staged for a in part.actors)]))
            claim, low = self.actors.inward(target), self.actors.inward(floor)
        self._check_scan(hidden, claim)
        with self.lock:
            self._go_on(hidden)
        rows = self.local_rows(staged)
        for part in staged:
            self._note_most(hidden, self.actors.inward(part.most(self.actors.outward(t0))))
        with self.lock:
            self.join(hidden, [], t0, {}, 0)  # what the scan held: journaled, too, or a replay would claim less
        for some in self._slices(rows):
            with self.lock:
                self.join(hidden, some, {}, {}, 0)
        with self.lock:
            self.join(hidden, [], claim, low, stamp_floor)
            hidden.table_clock = join(hidden.table_clock, hidden.clock)  # the parts came before the claim
            state = {**hidden.staged, "finish": [flat(claim), flat(low), stamp_floor], **more}
            self.journal.append(payload(facts.STAGED, hidden.number, state, []))
            hidden.staged, hidden.meta_dirty = state, True

    def _slices(self, rows: list[Row]) -> Iterable[list[Row]]:
        """Rows in slices; others are let in between two of them."""
        for at in range(0, len(rows), self.config.slice_rows):
            if at:
                self.let_others_in()
            yield rows[at : at + self.config.slice_rows]

    def _check_scan(self, hidden: Bucket, claim: Clock) -> None:
        """Every staged row must be below the claim, or it holds events that their author lost."""
        assert hidden.staged is not None
        most = hidden.staged.get("most")
        if not covers(claim, unflat(hidden.staged["t0"])):
            raise BadTransfer("The claim does not cover the scan that it ends.")
        if not covers(claim, unflat(most) if most is not None else _most(hidden.all_rows())):
            raise BadTransfer("A staged row has an event beyond the claim: its author lost it.")

    def finish_interrupted(self) -> None:
        """Finish scans that were complete when the last start ended; one with a damaged row has to come again."""
        for hidden in [bucket for bucket in self.numbered.values() if bucket.state == HIDDEN]:
            if hidden.staged is None:  # a crash came between its record and that of its scan
                self.drop_bucket(hidden)
            elif hidden.staged["finish"]:
                try:
                    self._finish(hidden)
                except RowDamaged:
                    self.counters["scans_dropped"] += 1
                    log.error("%s: a long transfer of bucket %r has to come again", self.node, hidden.name)
                    self.drop_scan(hidden.name)

    def _finish(self, hidden: Bucket) -> Applied:
        """Put a scan that is complete in place."""
        with self._noting(hidden.name) as touched:
            done = Applied(rows=hidden.count())
            if not self._is_bare(hidden.name):
                done = self._fold_staged(hidden)
                self._fold_others(hidden)
            before = self._catch_up(hidden, touched)
        self._tell_adopted(hidden, before)
        return done

    @contextmanager
    def _noting(self, bucket: str) -> Iterator[dict[bytes, None]]:
        """The keys of the rows that are written to a bucket within."""
        touched: dict[bytes, None] = {}

        def note(name: str, keys: list[bytes], local: bool) -> None:
            if name == bucket:
                touched.update(dict.fromkeys(keys))

        with self.lock:
            self.on_change.append(note)
        try:
            yield touched
        finally:
            with self.lock:
                self.on_change.remove(note)

    def _fold_staged(self, hidden: Bucket) -> Applied:
        """Join the bucket's rows into those that are staged."""
        total, start, size = Applied(), b"", self.config.slice_rows
        while True:
            with self.lock, self.counting():
                rows = hidden.scan_rows(b"", start, size)
                done = self._fold(hidden, dict(rows))
            total.rows += done.rows
            total.conflicts += done.conflicts
            if len(rows) < size:
                return total
            start = rows[-1][0] + b"\0"
            self._keep_small()
            self.let_others_in()

    def _fold_others(self, hidden: Bucket) -> None:
        """Copy the bucket's rows of which none is staged."""
        start, size = b"", self.config.slice_rows
        while True:
            with self.lock, self.counting():
                rows = self.named[hidden.name].scan_rows(b"", start, size)
                self._fold(hidden, {key: None for key, _ in rows if hidden.get(key) is None})
            if len(rows) < size:
                return
            start = rows[-1][0] + b"\0"
            self._keep_small()
            self.let_others_in()

    def _fold(self, hidden: Bucket, held: dict[bytes, bytes | None]) -> Applied:
        """Join what the bucket has of some rows into the hidden one, which has `held` of them."""
        live = self.named[hidden.name]
        keys, staged = columns_of([(key, image) for key, image in held.items() if image is not None])
        joined = self.joined(live, keys, staged)
        images: dict[bytes, bytes | None] = dict(zip(joined.keys, joined.images, strict=True))
        for key in held:
            if key not in images:
                images[key] = live.get(key)
        news = [key for key, image in held.items() if images[key] != image]
        if news:
            told = (facts.ROWS, hidden.number)
            self._put(hidden, told, news, [images[key] for key in news], [held[key] for key in news])
        return Applied(rows=len(joined.keys), conflicts=self.note(live, joined))

    def _catch_up(self, hidden: Bucket, touched: dict[bytes, None]) -> Clock:
        """Fold in what was written meanwhile, then change places; the clock of the bucket as it was until then."""
        size = self.config.slice_rows
        for _ in range(TURNS_MAX):
            with self.lock, self.counting():
                if len(touched) <= size:
                    break
                self._fold_touched(hidden, touched, size)
            self.let_others_in()
        with self.lock, self.counting():
            self._fold_touched(hidden, touched, len(touched))
            return self._adopt(hidden)

    def _fold_touched(self, hidden: Bucket, touched: dict[bytes, None], most: int) -> None:
        some = list(islice(touched, most))
        if some:
            self._fold(hidden, {key: hidden.get(key) for key in some})
        for key in some:
            del touched[key]

    def _adopt(self, hidden: Bucket) -> Clock:
        """The hidden bucket takes the place of the one there is, whose clock it gives back."""
        live = self.named.get(hidden.name)
        before: Clock = {}
        if live is not None:
            before = dict(live.clock)
            self.join(hidden, [], before, dict(live.floor), live.stamp_floor)
            hidden.synced = join(hidden.synced, live.synced)  # a crash brings back the one bucket or the other
        hidden.table_clock = join(hidden.table_clock, hidden.clock)  # what was folded in came before its claim
        replaced = 0 if live is None else live.number
        self.journal.append(payload(facts.ADOPT, hidden.number, replaced))
        self.set_adopted(hidden.number, replaced)
        hidden.told = before
        self.tell(hidden, [], False)
        return before

    def _tell_adopted(self, bucket: Bucket, before: Clock) -> None:
        """Tell listeners, slice by slice, of all rows that the clock from before does not cover."""
        start, more, size = b"", True, self.config.slice_rows
        try:
            while more and self.on_change:
                with self.lock:
                    rows = bucket.scan_rows(b"", start, size, skip_damaged=True)
                    self.tell(bucket, [key for key, image in rows if not row_covered(image, before)], False)
                more = len(rows) == size
                start = rows[-1][0] + b"\0" if rows else start
                self.let_others_in()
        finally:
            with self.lock:
                bucket.told = None


def _most(rows: Iterable[Row]) -> Clock:
    """The last events of each actor in some rows."""
    most: Clock = {}
    for _, image in rows:
        if not row_covered(image, most):
            most = join(most, dict(row_context(image)))
    return most
