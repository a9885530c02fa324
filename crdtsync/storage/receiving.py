"""Taking a transfer in: rows and claim are joined, journaled and shown together, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crdtsync.clocks.hybrid import STAMP_FLOOR_LAST, stamp_of_ms
from crdtsync.clocks.vector import Clock, covers
from crdtsync.datatypes.rows import Applied, PackedRows, Row
from crdtsync.errors import BadTransfer, RowDamaged
from crdtsync.kernels import LATEST, row_conflict, row_latest, row_mend, rows_beyond, rows_join
from crdtsync.storage import facts
from crdtsync.storage.bucket import Bucket
from crdtsync.storage.conflicts import Conflict
from crdtsync.storage.contradictions import contradiction
from crdtsync.storage.facts import payload
from crdtsync.storage.serving import Serving
from crdtsync.storage.staging import Staged, check_clock, check_part
from crdtsync.storage.table import flat, physical

Rows = dict[bytes, bytes | None]


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
                rows = self.local_rows(staged)
                held = self.named.get(bucket) or self.add_bucket(self.new_bucket(bucket))
                return self.join(held, rows, self.actors.inward(target), self.actors.inward(floor), stamp_floor, True)

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
        rows = [row for part in staged for row in part.local(self.actors.index)]
        if len({key for key, _ in rows}) != len(rows):
            raise BadTransfer("A row comes twice in one transfer.")
        return rows

    def join(
        self, bucket: Bucket, rows: list[Row], target: Clock, floor: Clock, stamp_floor: int, strict: bool = False
    ) -> Applied:
        """Join local rows, then the claim, in one journal record.  `strict`: see `joined`."""
        rows, mended = self._mended(bucket, rows, target)
        joined, before, applied = self.joined(bucket, rows, mended, strict)
        news = {actor: seq for actor, seq in target.items() if seq > bucket.clock.get(actor, 0)}
        risen = {actor: seq for actor, seq in floor.items() if seq > bucket.floor.get(actor, 0)}
        if not (joined or news or risen or stamp_floor > bucket.stamp_floor):
            return applied
        self.keep_actors()
        data = payload(facts.JOIN, bucket.number, flat(news), flat(risen), stamp_floor, facts.rows_flat(joined))
        self.journal.append(data)
        self.forget_damage(bucket, mended)
        bucket.install(joined, before)
        bucket.claim(news)
        bucket.raise_floor(risen, stamp_floor)
        self.add_dirty(bucket, len(data), len(joined))
        self.tell(bucket, list(joined), False)
        return applied

    def joined(
        self, bucket: Bucket, rows: list[Row], mended: set[bytes], strict: bool = False
    ) -> tuple[Rows, Rows, Applied]:
        """(rows that change, what they were, what happened) when rows are joined into a bucket.

        `strict` raises BadTransfer for a row that contradicts the one that is here.
        """
        active, get = bucket.active.rows, bucket.get
        current = [active[key] if key in active else get(key) if key not in mended else None for key, _ in rows]
        images = rows_join(current, [image for _, image in rows], bucket.clock, self.actors.ids)
        changed: Rows = {}
        before: Rows = {}
        registers: list[tuple[bytes, bytes | None, bytes]] = []
        for (key, incoming), old, new in zip(rows, current, images, strict=True):
            if mended and key in mended:
                new = row_mend(None, incoming, self.actors.ids)
            if new is None:
                continue
            if strict and old is not None and (fault := contradiction(old, incoming)):
                raise BadTransfer(f"Row {key!r} contradicts the one that is here: {fault}.")
            changed[key], before[key] = new, old
            if new[0] == LATEST:
                registers.append((key, old, incoming))
        return changed, before, Applied(rows=len(changed), conflicts=self._note_registers(bucket, registers))

    def _note_registers(self, bucket: Bucket, changed: list[tuple[bytes, bytes | None, bytes]]) -> int:
        """Note registers from clocks that run far ahead, and conflicts; the number of conflicts."""
        alarm = stamp_of_ms(self.now_ms() + int(self.config.max_clock_skew_alarm * 1000)) if changed else 0
        conflicts = 0
        for key, old, incoming in changed:
            if row_latest(incoming)[0] > alarm:
                self.counters["clock_skew_stamps"] += 1
            if old is not None and row_conflict(old, incoming):
                self._remember(bucket, key, old, incoming)
                conflicts += 1
        return conflicts

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

    def _mended(self, bucket: Bucket, rows: list[Row], target: Clock) -> tuple[list[Row], set[bytes]]:
        """The rows, and which of them were set aside here and are taken as they come.

        That takes a sender that holds all that we do, or one whose rows a repair has just brought.
        """
        if not bucket.damaged:
            return rows, set()
        given, bucket.mending = bucket.mending, {}
        given = {key: image for key, image in given.items() if rows_beyond([(key, image)], target) < 0}
        mended = {key for key, _ in rows if physical(bucket.number, key) in bucket.damaged}
        if mended - given.keys() and not covers(target, bucket.clock):
            raise RowDamaged(f"{len(mended)} rows of bucket {bucket.name!r} wait for their repair.")
        for key, image in rows:
            if key in given:
                given[key] = row_mend(given[key], image, self.actors.ids)
        return [*(row for row in rows if row[0] not in given), *given.items()], mended | given.keys()

    def forget_damage(self, bucket: Bucket, keys: set[bytes]) -> None:
        """Rows that were set aside get new images: clear what the table still holds of the old ones."""
        for key in keys:
            bucket.clear_damaged(physical(bucket.number, key))
        if keys:
            self.counters["rows_repaired"] += len(keys)
