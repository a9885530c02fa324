"""Taking a transfer in: rows and claim are joined, journaled and shown together, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

from crdtsync.clocks.hybrid import STAMP_FLOOR_LAST, stamp_of_ms
from crdtsync.clocks.vector import Clock, covers
from crdtsync.datatypes.rows import Applied, PackedRows, Row
from crdtsync.errors import BadTransfer, RowDamaged
from crdtsync.kernels import layer_find, row_latest, row_mend, rows_beyond, rows_merge
from crdtsync.storage import facts
from crdtsync.storage.bucket import Bucket
from crdtsync.storage.conflicts import Conflict
from crdtsync.storage.contradictions import contradiction
from crdtsync.storage.facts import payload_of
from crdtsync.storage.serving import Serving
from crdtsync.storage.staging import Columns, Staged, check_apart, check_clock, check_part, columns_of
from crdtsync.storage.table import flat, physical

Images = list[bytes | None]


class Joined(NamedTuple):
    """What changes when rows are joined into a bucket, column by column."""

    keys: list[bytes]
    images: list[bytes]
    before: Images
    skewed: int  # registers from a clock that runs far ahead
    conflicts: list[tuple[bytes, bytes, bytes]]  # registers with one: key, what was here, what came
    suspects: list[tuple[bytes, bytes, bytes]]  # rows that may contradict the ones that are here, likewise


class Receiving(Serving):
    """The part of a store that takes in what others send."""

    def stage(self, bucket: str, rows: PackedRows) -> Staged:
        """Decode and check a part; changes nothing.  Raises BadTransfer."""
        with self.counting():
            return check_part(rows, self.config)

    def apply(self, bucket: str, staged: Sequence[Any], target: Clock, floor: Clock, stamp_floor: int) -> Applied:
        """Join rows and claim together, for readers and for the journal.  `target` and `floor` are joined in.

        Raises BadTransfer when a row has an event beyond `target`, or an event of our own actor that we never wrote;
        RowDamaged when a row was set aside here and the sender does not hold all that we do; DiskFull, JournalFailed.
        """
        self.check_usable()
        with self.lock, self.counting():
            self.check_claim(bucket, staged, target, floor, stamp_floor)
            with self.trying_actors(self.actors.unknown(target)):
                check_apart(staged)
                held = self.named.get(bucket) or self.add_bucket(self.new_bucket(bucket))
                parts = (part.columns(self.actors.index) for part in staged)
                inward = self.actors.inward
                return self.join_parts(held, parts, inward(target), inward(floor), stamp_floor, True)

    def check_claim(self, bucket: str, staged: Sequence[Staged], target: Clock, floor: Clock, stamp_floor: int) -> None:
        """Raises BadTransfer when rows or claims contradict themselves or what is known here."""
        check_clock(target, "claim")
        check_clock(floor, "floor")
        if not 0 <= stamp_floor <= STAMP_FLOOR_LAST:  # no register could be written any more
            raise BadTransfer(f"The stamp floor is {stamp_floor}, beyond {STAMP_FLOOR_LAST}.")
        for part in staged:
            at = part.beyond(target)
            if at >= 0:
                raise BadTransfer(f"Row {part.rows[at][0]!r} has an event beyond the claim of its transfer.")
        if not covers(target, floor):
            raise BadTransfer("The floor lies beyond the claim of its transfer.")
        own = self.actor()
        held = self.named.get(bucket)
        written = 0 if held is None or self._own is None else held.clock.get(self._own, 0)
        if own and target.get(own, 0) > written:
            raise BadTransfer(f"The claim names event {target[own]} of our own actor; we have written {written}.")

    def local_rows(self, staged: Sequence[Staged]) -> list[Row]:
        """All rows of a transfer with local indexes.  Raises BadTransfer when a row comes twice."""
        check_apart(staged)
        return [row for part in staged for row in part.local(self.actors.index)]

    def join(
        self, bucket: Bucket, rows: list[Row], target: Clock, floor: Clock, stamp_floor: int, strict: bool = False
    ) -> Applied:
        """`join_parts` of some rows."""
        parts = [columns_of(rows)] if rows else []
        return self.join_parts(bucket, parts, target, floor, stamp_floor, strict)

    def join_parts(
        self, bucket: Bucket, parts: Iterable[Columns], target: Clock, floor: Clock, stamp_floor: int, strict: bool
    ) -> Applied:
        """Join local rows, then the claim, in one journal record.  `strict`: see `joined`."""
        mended: list[Row] = []
        if bucket.damaged:
            whole, mended = self._mended(bucket, [row for part in parts for row in zip(*part, strict=True)], target)
            parts = [columns_of(whole)]
        done = [self.joined(bucket, *columns, strict) for columns in parts]
        if mended:
            keys, images = columns_of(mended)
            done.append(self._merged(keys, [None] * len(keys), images, {}))
        applied = Applied(rows=sum(len(joined.keys) for joined in done))
        news = {actor: seq for actor, seq in target.items() if seq > bucket.clock.get(actor, 0)}
        risen = {actor: seq for actor, seq in floor.items() if seq > bucket.floor.get(actor, 0)}
        if applied.rows or news or risen or stamp_floor > bucket.stamp_floor:
            self.keep_actors()
            rows = [(joined.keys, joined.images) for joined in done]
            data = payload_of(rows, facts.JOIN, bucket.number, flat(news), flat(risen), stamp_floor)
            self.journal.append(data)
            self.forget_damage(bucket, {key for key, _ in mended})
            for joined in done:
                bucket.install(joined.keys, joined.images, joined.before)
            bucket.claim(news)
            bucket.raise_floor(risen, stamp_floor)
            self.add_dirty(bucket, len(data), applied.rows)
            applied.conflicts = sum(self.note(bucket, joined) for joined in done)
            if self.on_change:
                self.tell(bucket, list(chain.from_iterable(joined.keys for joined in done)), False)
        return applied

    def joined(self, bucket: Bucket, keys: list[bytes], incoming: list[bytes], strict: bool = False) -> Joined:
        """What changes when rows are joined into a bucket, which stays as it is.

        `strict` raises BadTransfer for a row that contradicts the one that is here.  Raises RowDamaged.
        """
        joined = self._merged(keys, layer_find(bucket, keys), incoming, bucket.clock)
        if strict:
            for key, mine, theirs in joined.suspects:
                if fault := contradiction(mine, theirs):
                    raise BadTransfer(f"Row {key!r} contradicts the one that is here: {fault}.")
        return joined

    def _merged(self, keys: list[bytes], current: Images, incoming: list[bytes], clock: Clock) -> Joined:
        alarm = stamp_of_ms(self.now_ms() + int(self.config.max_clock_skew_alarm * 1000))
        changed, images, before, skewed, conflicts, suspects = rows_merge(
            keys, current, incoming, clock, self.actors.ids, alarm
        )
        met = [[(keys[at], current[at] or b"", incoming[at]) for at in found] for found in (conflicts, suspects)]
        return Joined(changed, images, before, skewed, *met)

    def note(self, bucket: Bucket, joined: Joined) -> int:
        """Note registers from clocks that run far ahead, and conflicts; the number of conflicts."""
        if joined.skewed:
            self.counters["clock_skew_stamps"] += joined.skewed
        for conflict in joined.conflicts:
            self._remember(bucket, *conflict)
        return len(joined.conflicts)

    def _remember(self, bucket: Bucket, key: bytes, old: bytes, incoming: bytes) -> None:
        """A conflict: note what lost, and to whom."""
        ids = self.actors.ids
        sides = []
        for image in (old, incoming):
            stamp, actor, _, value, _ = row_latest(image)
            sides.append((stamp, ids[actor], value))
        (lost_stamp, loser, lost), (won_stamp, winner, won) = sorted(sides, key=lambda side: side[:2])
        self.counters["conflicts"] += 1
        self.conflicts.append(Conflict(bucket.name, key, winner, won_stamp, won, loser, lost_stamp, lost))

    def _mended(self, bucket: Bucket, rows: list[Row], target: Clock) -> tuple[list[Row], list[Row]]:
        """The rows that are joined, and those that were set aside here and are taken as they come.

        That takes a sender that holds all that we do, or one whose rows a repair has just brought.
        """
        if not bucket.damaged:
            return rows, []
        given, bucket.mending = bucket.mending, {}
        given = {key: image for key, image in given.items() if rows_beyond([(key, image)], target) < 0}
        mended = {key for key, _ in rows if physical(bucket.number, key) in bucket.damaged}
        if mended - given.keys() and not covers(target, bucket.clock):
            raise RowDamaged(f"{len(mended)} rows of bucket {bucket.name!r} wait for their repair.")
        for key, image in rows:
            if key in given:
                given[key] = row_mend(given[key], image, self.actors.ids)
        mended |= given.keys()
        taken = {key: image for key, image in rows if key in mended} | given
        return [row for row in rows if row[0] not in mended], list(taken.items())

    def forget_damage(self, bucket: Bucket, keys: set[bytes]) -> None:
        """Rows that were set aside get new images: clear what the table still holds of the old ones."""
        for key in keys:
            bucket.clear_damaged(physical(bucket.number, key))
        if keys:
            self.counters["rows_repaired"] += len(keys)
