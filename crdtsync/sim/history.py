"""What was written, by whom, having seen what: the reference that every replica is judged against.

The whole meaning of a bucket is a function of the events below a clock, since a replica always stands at a causally
closed cut.  It is computed here from the events alone, in plain sets and sums that know nothing of contexts or joins:

    a presence is the adds that no remove (or later add) had observed; values likewise
    a register is the write with the greatest (stamp, actor)
    a counter cell is the sum of its owner's steps that no reset had observed
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from crdtsync.kernels import CELL, LATEST, PRESENCE, VALUES
from crdtsync.sim.world import Violation

Clock = dict[int, int]
Dot = tuple[int, int]
Meaning = Any  # comparable with ==; None: nothing there


class Fact(msgspec.Struct):
    """One event.  `observed`: what its author saw of the row and replaced; `payload` by kind of the row."""

    actor: int
    seq: int
    row: bytes  # row key, a cell's with the owner's id
    kind: int
    observed: frozenset[Dot]
    payload: Any  # PRESENCE: is an add; VALUES: bytes | None; LATEST: (stamp, value | None, expiry); CELL: step | None
    batch_end: int = 0  # last seq of the batch it belongs to


class History:
    """All events of one bucket, in the order in which each actor numbered them."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self.by_actor: dict[int, list[Fact]] = {}
        self.by_row: dict[bytes, list[Fact]] = {}
        self.excused: dict[int, int] = {}  # actor -> first seq that may be lost, having never been on a disk

    def record(self, fact: Fact) -> None:
        """Take an event in.  A number used before, or skipped, is a Violation: dots are unique and without gaps."""
        facts = self.by_actor.setdefault(fact.actor, [])
        if fact.seq != len(facts) + 1:
            raise Violation(f"dots: {self.bucket}: actor {fact.actor:x} wrote event {fact.seq} after {len(facts)}")
        facts.append(fact)
        self.by_row.setdefault(fact.row, []).append(fact)

    def truncate(self, actor: int, above: int) -> None:
        """A private actor has lost events with its power that nobody else had seen: it will number others like them."""
        for fact in self.by_actor.get(actor, [])[above:]:
            self.by_row[fact.row].remove(fact)
        del self.by_actor.get(actor, [])[above:]

    def rename(self, old: int, new: int) -> None:
        """A private actor was given its id: events before it are known by the new name."""
        if old not in self.by_actor:
            return
        if new in self.by_actor:
            raise Violation(f"dots: {self.bucket}: actor {new:x} was minted twice")
        self.by_actor[new] = self.by_actor.pop(old)
        for facts in list(self.by_row.values()):
            for fact in facts:
                if fact.actor == old:
                    fact.actor = new
                fact.observed = frozenset((new if actor == old else actor, seq) for actor, seq in fact.observed)
        if old in self.excused:
            self.excused[new] = self.excused.pop(old)
        self._rename_rows(old, new)

    def _rename_rows(self, old: int, new: int) -> None:
        ending, renamed = old.to_bytes(8, "big", signed=old < 0), new.to_bytes(8, "big")
        for row in [row for row, facts in self.by_row.items() if facts[0].kind == CELL and row.endswith(ending)]:
            facts = self.by_row[row[:-8] + renamed] = self.by_row.pop(row)
            for fact in facts:
                fact.row = row[:-8] + renamed

    def is_cell(self, row: bytes) -> bool:
        """Whether a row is a counter's cell."""
        facts = self.by_row.get(row)
        return facts is not None and facts[0].kind == CELL

    def excuse(self, actor: int, above: int) -> None:
        """Events of `actor` beyond `above` may be gone: the power went before they were on a disk."""
        if above < len(self.by_actor.get(actor, ())):
            self.excused[actor] = min(above + 1, self.excused.get(actor, above + 1))

    def lost(self, top: Clock) -> tuple[int, list[str]]:
        """Events that nobody holds when everybody together holds `top`: how many, and those without an excuse."""
        count, wrong = 0, []
        for actor, facts in self.by_actor.items():
            held = top.get(actor, 0)
            count += len(facts) - held
            safe = self.excused.get(actor, len(facts) + 1) - 1
            if held < safe:
                wrong.append(f"{self.bucket}: events {held + 1} to {safe} of actor {actor:x} are lost")
        return count, wrong

    def between(self, before: Clock, after: Clock) -> Iterable[Fact]:
        """Events that a replica takes in when its clock moves.  Claims of what nobody wrote are a Violation."""
        for actor, seq in after.items():
            known = before.get(actor, 0)
            if seq <= known:
                continue
            facts = self.by_actor.get(actor, [])
            if seq > len(facts):
                raise Violation(f"clock: {self.bucket}: event {seq} of actor {actor:x} is claimed, nobody wrote it")
            end = facts[seq - 1].batch_end
            if end > seq:
                raise Violation(f"batch: {self.bucket}: stands at {seq} within a batch of actor {actor:x} up to {end}")
            yield from facts[known:seq]

    def overwritten(self, fact: Fact, clock: Clock) -> bool:
        """Whether a write to a register has lost to another below `clock`: of the loser nothing need be left."""
        if fact.kind != LATEST:
            return False
        facts = [other for other in self.by_row[fact.row] if other.seq <= clock.get(other.actor, 0)]
        return any((other.payload[0], other.actor) > (fact.payload[0], fact.actor) for other in facts)

    def expected(self, row: bytes, clock: Clock) -> Meaning:
        """What the row means to a replica that holds exactly the events below `clock`."""
        facts = [fact for fact in self.by_row.get(row, ()) if fact.seq <= clock.get(fact.actor, 0)]
        return meaning_of(facts) if facts else None


def meaning_of(facts: list[Fact]) -> Meaning:
    """The meaning of a row's events, all of one kind; None when nothing is left of them."""
    kind = facts[0].kind
    if kind == LATEST:
        top = max(facts, key=lambda fact: (fact.payload[0], fact.actor))
        stamp, value, expiry = top.payload
        return None if value is None else (stamp, top.actor, top.seq, value, expiry)
    if kind == CELL:
        seen = max((seq for fact in facts if fact.payload is None for _, seq in fact.observed), default=0)
        return sum(fact.payload for fact in facts if fact.payload is not None and fact.seq > seen) or None
    gone = {dot for fact in facts for dot in fact.observed}
    if kind == PRESENCE:
        return {(fact.actor, fact.seq) for fact in facts if fact.payload} - gone or None
    assert kind == VALUES
    alive = {(fact.actor, fact.seq, fact.payload) for fact in facts if fact.payload is not None}
    return {entry for entry in alive if entry[:2] not in gone} or None
