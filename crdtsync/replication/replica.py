"""The rules of replication, and nothing else: what a replica may send, must refuse, may count and may forget.

One `Replica` over one `ReplicaStore`; every rule of the protocol is one method, without links, timers or peers, so
that a test can drive it step by step beside the executable model.  `engine.Engine` decides when to call what.

    open_transfer  everything a clock lacks, read from one state, in parts
    push           the same as one part, opened on the clock that the peer is believed to have
    receive        stage a part; with the last one apply rows and claim together, or refuse the whole
    hear           count an announcement, once this replica holds what it covers
    collect        forget dead rows that every member is known to have seen

Damaged buckets make no claims: `open_transfer`, `open_scan` and `push` give None for them, and `receive` refuses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from typing import Any

from crdtsync.clocks.members import EVICTED, MemberRecord, Roster
from crdtsync.clocks.stability import stable
from crdtsync.clocks.vector import covers, join, merged
from crdtsync.config import Config
from crdtsync.datatypes.rows import NO_ROWS, PackedRows
from crdtsync.errors import BadTransfer, Overloaded
from crdtsync.kernels import rows_pack, rows_unpack
from crdtsync.replication.messages import Clock, Part
from crdtsync.replication.ports import Answer, Applied, Collected, ReplicaStore

# Verdicts of `receive`.
STAGED = "staged"  # taken; more parts follow
APPLIED = "applied"  # rows and claim are in
EARLIER_START = "earlier_start"  # from a life of the sender that has ended
STALE_BASE = "stale_base"  # builds on events that I lack: drop it, pull instead
BELOW_FLOOR = "below_floor"  # the sender has forgotten deletions that I never saw: I must start over
OLD_NEWS = "old_news"  # the claim does not cover what I have forgotten: a late message, or the sender must start over
DAMAGED = "damaged"  # a row is set aside here: nothing is taken in before it is repaired
EVICTED_SENDER = "evicted"  # from a node that was evicted, or from its time before it came back
SHORT = (
    "short"  # the claim that ends a scan does not cover all that it has staged (parts are read later): it is dropped
)


class Outgoing:
    """One transfer being served: everything was read from one state; parts are handed out one by one."""

    def __init__(self, first: Part, columns: Iterable[PackedRows], claim: dict[str, Any]) -> None:
        self._first = first  # the constant fields of every part
        self._columns = deque(rows for rows in columns if rows.count) or deque([NO_ROWS])
        self._claim = claim  # the fields that come with the last part
        self.bucket, self.target = first.bucket, claim["target"]
        self.number = 0  # of the next part
        self.done = False

    def next_part(self, rows_max: int = 0) -> Part:
        """The next part; `rows_max` (tests) splits columns further.  Not to be called once `done`."""
        rows = self._columns.popleft()
        if 0 < rows_max < rows.count:
            rows, rest = split_rows(rows, rows_max)
            self._columns.appendleft(rest)
        self.done = not self._columns
        base = self._first.base if self.number == 0 else {}
        fields = self._claim if self.done else {}
        part = _replace(self._first, number=self.number, base=base, rows=rows, last=self.done, **fields)
        self.number += 1
        return part


class Scan:
    """One long transfer being served: rows in key order, each part from durable state that covers `scan_clock`."""

    def __init__(self, store: ReplicaStore, first: Part, after: bytes, part_bytes: int) -> None:
        self._store, self._first, self._after, self._part_bytes = store, first, after, part_bytes
        self.bucket, self.target = first.bucket, first.scan_clock
        self.number = 0
        self.done = False

    def next_part(self, rows_max: int = 0) -> Part:
        """The next stretch of keys.  The claim comes by a plain transfer from `scan_clock`, after the last part."""
        part_bytes = 1 if rows_max else self._part_bytes  # a scan is split between objects only: one object at a time
        rows, self._after = self._store.scan(self.bucket, self._after, part_bytes)
        self.done = not self._after
        floor = self._store.floor(self.bucket)  # after reading: it covers whatever is missing from these rows
        part = _replace(self._first, number=self.number, rows=rows, last=self.done, scan_next=self._after, floor=floor)
        self.number += 1
        return part


class Incoming:
    """What has been staged of one transfer."""

    def __init__(self, joining: bool = False) -> None:
        self.joining = joining  # of a node that gets in: events that the sender has never heard of are its own
        self.rows: list[Any] = []  # in memory: results of ReplicaStore.stage
        self.base: Clock = {}  # the clock that part 0 builds on
        self.bytes = 0
        self.scan_clock: Clock | None = None  # T0, when a scan was staged on disk before


class Replica:
    """Rules over a store.  Volatile: announcements and starts heard are lost by a crash and heard again."""

    def __init__(self, store: ReplicaStore, settings: Config) -> None:
        self.store, self.settings = store, settings
        self.announced: dict[str, dict[str, Clock]] = {}  # bucket -> member -> its synced clock, once I hold all of it
        self.frontiers: dict[str, Clock] = {}  # bucket -> what was stable at its last collection
        self.heard: dict[str, int] = {}  # node -> latest start heard from
        self.last_applied = Applied()
        self._roster = Roster({})

    def roster(self) -> Roster:
        """The member list as it is now."""
        members = self.store.members()
        if members is not self._roster.members:
            self._roster = Roster(members)
        return self._roster

    # -- sending
    def serves(self, bucket: str) -> bool:
        """Whether claims may be made for a bucket: not while a row of it is set aside."""
        return not self.store.damaged(bucket)

    def open_transfer(self, bucket: str, their_clock: Clock, transfer: int = 0, push: bool = False) -> Outgoing | None:
        """Everything beyond `their_clock`; None when that is too much at once (scan instead) or the bucket is damaged.

        A push is one part: None when it would pass `part_bytes`.
        """
        cap = self.settings.part_bytes if push else self.settings.transfer_bytes_max
        part_bytes = self.settings.cluster.part_bytes_max if push else self.settings.part_bytes
        if not self.serves(bucket):
            return None
        answer = self.store.answer(bucket, their_clock, part_bytes, cap)
        if answer is None or (push and len(answer.parts) > 1):
            return None
        return self._outgoing(bucket, their_clock, transfer, push, answer)

    def opening(self, bucket: str, their_clock: Clock, transfer: int) -> Generator[None, None, Outgoing | None]:
        """As `open_transfer`, in turns, so that pushes do not wait for all of it.  To be finished or closed."""
        if not self.serves(bucket):
            return None
        settings = self.settings
        answer = yield from self.store.answering(bucket, their_clock, settings.part_bytes, settings.transfer_bytes_max)
        return None if answer is None else self._outgoing(bucket, their_clock, transfer, False, answer)

    def _outgoing(self, bucket: str, their_clock: Clock, transfer: int, push: bool, answer: Answer) -> Outgoing:
        first = self._part(bucket, transfer, push, base=dict(their_clock))
        return Outgoing(first, answer.parts, self._claim(answer))

    def push(self, bucket: str, believed: Clock, transfer: int = 0) -> Part | None:
        """One part with everything beyond what the peer is believed to have; None when it should pull instead."""
        outgoing = self.open_transfer(bucket, believed, transfer, push=True)
        return None if outgoing is None else outgoing.next_part()

    def open_scan(
        self, bucket: str, after: bytes = b"", scan_clock: Clock | None = None, transfer: int = 0
    ) -> Scan | None:
        """A long transfer from `after` on; None when resuming one whose `scan_clock` is not on this disk."""
        with self.store.lock:
            synced = self.store.synced_clock(bucket)
            if not self.serves(bucket) or (scan_clock is not None and not covers(synced, scan_clock)):
                return None
            start = synced if scan_clock is None else scan_clock
            first = self._part(bucket, transfer, push=False, scan=True, scan_clock=dict(start))
            return Scan(self.store, first, after, self.settings.part_bytes)

    def _part(self, bucket: str, transfer: int, push: bool, **fields: Any) -> Part:
        store = self.store
        return Part(
            transfer=transfer, bucket=bucket, push=push, node=store.node, start=store.start, number=0,
            rows=NO_ROWS, last=False, **({"base": {}} | fields),
        )  # fmt: skip

    def _claim(self, answer: Answer) -> dict[str, Any]:
        return {
            "target": answer.target,
            "floor": answer.floor,
            "stamp_floor": answer.stamp_floor,
            "synced": answer.synced,
            "members": self.roster().records,
            "members_digest": self.roster().digest,
        }

    # -- receiving
    def later_start(self, node: str, start: int) -> bool:
        """Note that `node` was heard in life `start`; False for a message of an earlier life than one heard before."""
        if start < self.heard.get(node, 0):
            return False
        self.heard[node] = start
        return True

    def receive(self, part: Part, staged: Incoming) -> str:
        """Stage a part of a plain transfer; with the last one apply the whole of it, or refuse it.  Gives a verdict.

        Raises BadTransfer when rows or claim are malformed.  Nothing is changed unless the verdict is APPLIED.
        """
        if not self.later_start(part.node, part.start):
            return EARLIER_START
        self._stage(part, staged)
        return self.apply(part, staged) if part.last else STAGED

    def _stage(self, part: Part, staged: Incoming) -> None:
        if part.number == 0:
            staged.base = part.base
        if part.rows.count:
            staged.rows.append(self._checked(part))
            staged.bytes += part.rows.size()

    def _checked(self, part: Part) -> Any:
        """The rows of a part, decoded.  Raises BadTransfer; Overloaded while a checkpoint has to make room for more.

        Local writers wait for that; whoever receives also serves and answers, and has to say that it is busy instead.
        """
        if not self.store.has_room():
            raise Overloaded("Too much waits for a checkpoint: nothing is taken in before it is written.")
        return self.store.stage(part.bucket, part.rows)

    def clock(self, bucket: str) -> Clock:
        """What counts as held: nothing of a bucket that was given up for a member's state."""
        return {} if self.store.given_up(bucket) else self.store.clock(bucket)

    def takes(self, bucket: str) -> bool:
        """Whether transfers are taken in: not while a row is set aside, unless all of the bucket will be replaced."""
        return self.serves(bucket) or self.store.given_up(bucket)

    def apply(self, part: Part, staged: Incoming) -> str:
        """Apply a transfer that is whole; `part` is its last one."""
        with self.store.lock:
            verdict = self.judge(part, staged) if self.takes(part.bucket) else DAMAGED
            at_once = staged.scan_clock is None and not self.store.given_up(part.bucket)
            if verdict != APPLIED or at_once:
                return verdict if verdict != APPLIED else self._install(part, staged)
        # The end of a scan takes long, and local writes go on.  They only raise the clock, so the verdict holds.
        return self._install(part, staged)

    def judge(self, part: Part, staged: Incoming) -> str:
        """APPLIED when a transfer may be applied as things are; else why not.  BadTransfer for a crowd of actors."""
        if self._from_evicted(part.node, part.members):
            return EVICTED_SENDER
        clock = self.clock(part.bucket)
        most = self.settings.actors_per_part_max
        if len(clock) + len(part.target) > most and len(clock.keys() | part.target.keys()) > most:
            raise BadTransfer(f"The claim brings the actors beyond {most}: the clock could not be told to anybody.")
        held = clock
        if staged.scan_clock is not None:
            if self.store.staging(part.bucket) != (staged.scan_clock, b""):
                return STALE_BASE  # the scan that this would end has been dropped
            held = join(clock, staged.scan_clock)
        if not covers(held, staged.base):
            return STALE_BASE
        if staged.joining and _strangers(clock, part):
            return APPLIED
        below = bool(clock) and not covers(clock, part.floor)
        if clock and not covers(part.target, self.store.floor(part.bucket)):
            # RULE: of two that are each below the other's floor, the greater name starts over
            return BELOW_FLOOR if below and self.store.node > part.node else OLD_NEWS
        return BELOW_FLOOR if below else APPLIED

    def _install(self, part: Part, staged: Incoming) -> str:
        store, bucket, claim = self.store, part.bucket, (part.target, part.floor, part.stamp_floor)
        try:
            if store.given_up(bucket):
                self.last_applied = store.replace(bucket, staged.rows, *claim, part.synced)
                # RULE: an announcement counts once I hold all of it; the new clock may lie below those heard
                self.announced.pop(bucket, None)
            elif staged.scan_clock is None:
                self.last_applied = store.apply(bucket, staged.rows, *claim)
            else:
                self.last_applied = store.finish_scan(bucket, staged.rows, *claim)
        except BadTransfer:
            if staged.scan_clock is None:
                raise
            return SHORT
        return APPLIED

    def receive_repair(self, keys: PackedRows, rows: PackedRows, part: Part, staged: Incoming) -> str:
        """The last part of a pull that ends a repair: mend damaged rows and apply the transfer at once.

        `rows` are what the same member has under `keys`, whatever the clocks say; they may hold events beyond my
        clock, which `part` then claims.
        """
        if not self.later_start(part.node, part.start):
            return EARLIER_START
        self._stage(part, staged)
        with self.store.lock:
            verdict = self.judge(part, staged)
            if verdict != APPLIED:
                return verdict
            self.store.repair(part.bucket, keys, rows)
            return self._install(part, staged)

    def receive_scan(self, part: Part, staged: Incoming) -> str:
        """Stage a part of a scan on disk.  After the last one, pull from `join(clock, scan_clock)` into `staged`."""
        if not self.later_start(part.node, part.start):
            return EARLIER_START
        if not self.takes(part.bucket):
            return DAMAGED
        clock = self.clock(part.bucket)
        if clock and not covers(clock, part.floor) and not (staged.joining and _strangers(clock, part)):
            return BELOW_FLOOR
        # A sender that has collected beyond T0 misses a removed row whose removal is not claimed.
        if not covers(join(clock, part.scan_clock), part.floor):
            return STALE_BASE
        rows = self._checked(part) if part.rows.count else None
        self.store.stage_scan(part.bucket, part.scan_clock, rows, part.scan_next)
        staged.scan_clock = part.scan_clock
        staged.bytes += part.rows.size()
        return STAGED

    # -- announcements and collection
    def hear(self, bucket: str, node: str, synced: Clock, members: Iterable[MemberRecord] = ()) -> bool:
        """Count what `node` has on its disk, once my own clock covers it: then nothing concurrent can still arrive.

        Its author's member list is merged first, so whoever counts the clock also waits for whoever joined there.
        """
        records = tuple(members)
        self.merge_members(records)
        if self._from_evicted(node, records) or not covers(self.store.clock(bucket), synced):
            return False
        clocks = self.announced.setdefault(bucket, {})
        clocks[node] = merged(clocks.get(node, {}), synced)
        return True

    def _from_evicted(self, node: str, theirs: Iterable[MemberRecord]) -> bool:
        """Whether `node`, as its own member list shows it, has been evicted or has come back since."""
        mine = self.store.members().get(node)
        if mine is None:
            return False
        epoch = next((record.epoch for record in theirs if record.node == node), mine.epoch)
        return epoch < mine.epoch or (epoch == mine.epoch and mine.state == EVICTED)

    def merge_members(self, records: Iterable[MemberRecord]) -> list[MemberRecord]:
        """Join member records; gives those that were news.  A node that joined anew has announced nothing yet."""
        mine = self.store.members()
        news = [r for r in records if r.node not in mine or mine[r.node].version() < r.version()]
        for record in news:
            if record.node in mine and mine[record.node].epoch < record.epoch:
                self.forget(record.node)
        if news:
            self.store.put_members(news)
        return news

    def forget(self, node: str) -> None:
        """Drop a node's announcements: it may have come back with less than it had announced."""
        for clocks in self.announced.values():
            clocks.pop(node, None)

    def stable(self, bucket: str) -> Clock:
        """What every member is known to have on its disk."""
        store, announced = self.store, self.announced.get(bucket, {})
        names = {*self.roster().counted, store.node}
        synced = store.synced_clock(bucket)
        return stable([synced if name == store.node else announced.get(name, {}) for name in names], synced)

    def collect(self, bucket: str, now_stamp: int) -> Collected:
        """Forget dead rows whose whole context is stable; `now_stamp`: a deleted register waits until it is past."""
        with self.store.lock:
            frontier = self.frontiers[bucket] = self.stable(bucket)
            return self.store.collect(bucket, frontier, now_stamp)


def split_rows(rows: PackedRows, count: int) -> tuple[PackedRows, PackedRows]:
    """The first `count` rows and the rest, under one actor table."""
    plain = rows_unpack(rows.count, rows.keys, rows.images, len(rows.actors))
    same = {position: position for position in range(len(rows.actors))}
    halves = []
    for half in (plain[:count], plain[count:]):
        keys, images = rows_pack(half, same)
        halves.append(PackedRows(actors=rows.actors, count=len(half), keys=keys, images=images))
    return halves[0], halves[1]


def _strangers(clock: Clock, part: Part) -> bool:
    """Whether a joiner's rows are from before any peer, so that neither side has met anything of the other's."""
    return not any(actor in part.target or actor in part.floor or actor in part.scan_clock for actor in clock)


def _replace(part: Part, **fields: Any) -> Part:
    plain = {name: getattr(part, name) for name in part.__struct_fields__}
    return Part(**(plain | fields))
