"""Spreading news: pushes of fresh writes, announcements of clocks, pulls by whoever is behind.

Up to `full_mesh_max` members everybody pushes what it wrote to everybody, and takes for granted that the others do the
same: events received by push are believed to be everywhere, until a peer turns out to lack them.  Above that a writer
pushes to `fan_out` members by chance, whoever moved forward tells `fan_out` others its clock, and who is behind pulls.
There a push takes nothing along that others wrote: several would bring the same, so a peer that lacks that is told, and
pulls.  Telling and pulling again wait a moment for more: what they cost grows with the members, not with the news.

Nothing is sent to whom it is known to be at: `Peer.believed` is the clock that a peer has or will have once everything
on its way arrives.  A push that arrives before its base is parked for a moment, since the base is mostly on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from crdtsync.clocks.vector import covers, missing
from crdtsync.datatypes.rows import NO_ROWS
from crdtsync.replication import replica as verdicts
from crdtsync.replication.core import NEVER, Core
from crdtsync.replication.messages import Abort, Clock, Credit, Part
from crdtsync.replication.parking import Parked, Parking
from crdtsync.replication.peers import Link, Peer
from crdtsync.replication.replica import Incoming
from crdtsync.replication.transfers import UNSURE, Asked, Transfers

GRACE_MESH = 0.02  # s that a push may take to arrive before its events are pulled: in a mesh it is on its way
GRACE_FAN_OUT = 0.002  # s: in a large cluster most news comes by pull
PUSH_TIMEOUT = 3.0  # s without an answer after which a push counts as lost
PACE = 0.15  # of pull_interval: between two pulls of a bucket, and two rounds of telling, in clusters of
PACED = 100  # members and more; in smaller ones in proportion, and none where everybody pushes to everybody
BULK_PAUSE = 0.5  # s that a peer which should pull is not tried with a push again


class Gossip:
    """When to push, to whom, and when to pull."""

    def __init__(self, core: Core, transfers: Transfers) -> None:
        self.core, self.transfers = core, transfers
        self.dirty: set[str] = set()  # buckets with something to push
        self.push_at, self.last_push = NEVER, float("-inf")
        self.behind: dict[str, tuple[float, str]] = {}  # bucket -> when to pull, from whom
        self.parked = Parking(core.settings.parked_bytes_max)
        self.news: dict[str, str] = {}  # bucket -> whom it came from: to be told to others
        self.tell_at, self.last_told = NEVER, float("-inf")
        self.pulled_at: dict[str, float] = {}  # bucket -> when it was last pulled
        self.pull_at = core.now + core.jitter(core.settings.pull_interval)
        self.on_below_floor: Callable[[str, Peer], None] = lambda bucket, peer: None
        self.on_moved: Callable[[str], None] = lambda bucket: None
        self.announce_to: list[tuple[Link, str]] = []  # links to be told one bucket's clock at once: for `Announcer`

    # -- pushing
    def local(self, buckets: Iterable[str]) -> None:
        """Something was written here, in these buckets."""
        self.dirty.update(buckets)
        if self.dirty and self.push_at == NEVER:
            self.push_at = max(self.core.now, self.last_push + self.core.settings.push_delay)

    def everything(self) -> None:
        """A peer has become ready to be pushed to."""
        self.local(self.core.store.buckets())

    def _flush(self) -> None:
        self.push_at, self.last_push = NEVER, self.core.now
        dirty, self.dirty = self.dirty, set()
        if not self.core.whole():
            return
        for bucket in sorted(dirty):
            self._push(bucket)

    def _push(self, bucket: str) -> None:
        core = self.core
        clock = core.store.clock(bucket)
        made: list[tuple[Clock, Part | None]] = []  # one part serves all peers that are believed to have the same
        for peer in self._targets():
            believed = peer.believed.get(bucket, {})
            if covers(believed, clock) or not self._may_push(peer, bucket):
                continue
            if not core.full_mesh() and self._more_than_own(believed, clock):
                self._tell_later(bucket, core.store.node)
                continue
            part = next((part for base, part in made if base == believed), NO_PART)
            if part is NO_PART:
                part = core.replica.push(bucket, believed, core.next_transfer())
                if part is not None:  # heartbeats announce; a push is as small as can be
                    part = msgspec.structs.replace(part, members=(), members_digest=0, synced={})
                made.append((believed, part))
            self._push_to(peer, bucket, part)

    def _more_than_own(self, believed: Clock, clock: Clock) -> bool:
        """Whether a peer lacks events of others, too."""
        own = self.core.store.actor()
        return any(actor != own for actor in missing(believed, clock))

    def _targets(self) -> list[Peer]:
        ready = [peer for peer in self.core.partners() if peer.announced]
        return ready if self.core.full_mesh() else self.core.some(ready, self.core.settings.fan_out)

    def _may_push(self, peer: Peer, bucket: str) -> bool:
        if len(peer.flight.get(bucket, ())) >= self.core.settings.credit_parts:
            peer.waiting.add(bucket)
            return False
        return peer.paused.get(bucket, 0.0) <= self.core.now and not self.transfers.serving(peer, bucket)

    def _push_to(self, peer: Peer, bucket: str, part: Part | None) -> None:
        core = self.core
        assert peer.link is not None
        if part is None:  # too much for a push, or the bucket makes no claims: let it pull
            peer.paused[bucket] = core.now + BULK_PAUSE
            self.announce_to.append((peer.link, bucket))
            return
        peer.believe(bucket, part.target)
        peer.flight.setdefault(bucket, {})[part.transfer] = (part.target, core.now)
        core.counters["pushes"] += 1
        core.counters["rows_sent"] += part.rows.count
        core.counters["row_bytes_sent"] += part.rows.size()  # "bytes_sent" is the transport's: all of it
        core.send(peer.link, part)

    def credit(self, peer: Peer, credit: Credit) -> None:
        """A push has arrived and is applied."""
        for bucket, flight in peer.flight.items():
            if credit.transfer in flight:
                peer.holds(bucket, flight.pop(credit.transfer)[0])
                if bucket in peer.waiting:
                    peer.waiting.discard(bucket)
                    self.local([bucket])
                return

    def aborted(self, peer: Peer, abort: Abort) -> None:
        """A push was refused."""
        for bucket, flight in peer.flight.items():
            if abort.transfer in flight:
                self.core.counters["pushes_refused"] += 1
                peer.disbelieve(bucket)
                peer.paused[bucket] = self.core.now + self.core.jitter(BULK_PAUSE)
                peer.unsure_until = self.core.now + UNSURE
                if abort.code == verdicts.BELOW_FLOOR:
                    self.seek(bucket, peer, 0.0)
                return

    # -- taking pushes
    def pushed(self, link: Link, peer: Peer, part: Part) -> None:
        """A push of a peer: one part, applied at once, parked, or refused."""
        core, bucket = self.core, part.bucket
        too_many = bucket not in core.store.buckets() and len(core.store.buckets()) >= core.settings.buckets_max
        asked = self.transfers.asked.get(bucket)
        if not core.whole() or not core.is_member(peer.node) or too_many:
            core.counters["too_many_buckets"] += too_many
            self._refuse(link, part, "busy")
        elif asked is not None and asked.scan:
            self._refuse(link, part, "catching_up")
        else:
            staged = Incoming()
            self._judge(link, peer, part, staged, core.replica.receive(part, staged))

    def _refuse(self, link: Link, part: Part, code: str) -> None:
        if link.number in self.core.links:
            self.core.send(link, Abort(transfer=part.transfer, push=True, code=code))

    def _judge(self, link: Link, peer: Peer, part: Part, staged: Incoming, verdict: str) -> None:
        core = self.core
        if verdict == verdicts.APPLIED:
            core.counters["rows_received"] += core.replica.last_applied.rows
            core.counters["conflicts"] += core.replica.last_applied.conflicts
            if link.number in core.links:
                core.send(link, Credit(transfer=part.transfer, push=True, number=0, window=core.settings.credit_parts))
            self.moved(part, peer, by_push=True)
        elif verdict == verdicts.STALE_BASE:
            self._park(link, peer, part, staged)
        else:
            core.counters["pushes_" + verdict] += 1
            self._refuse(link, part, verdict if verdict != verdicts.OLD_NEWS else verdicts.BELOW_FLOOR)
            if verdict == verdicts.BELOW_FLOOR:
                self.on_below_floor(part.bucket, peer)

    def _park(self, link: Link, peer: Peer, part: Part, staged: Incoming) -> None:
        self.core.counters["pushes_parked"] += 1
        for gone in self.parked.add(Parked(link, peer, part, staged)):
            self.core.counters["pushes_parked_refused"] += 1
            self._refuse(gone.link, gone.part, verdicts.STALE_BASE)
        self.seek(part.bucket, peer, self._grace())

    def _unpark(self, bucket: str) -> None:
        """The clock has moved: what waited for its base may have it now."""
        waiting = self.parked.take(bucket)
        for number, (link, peer, part, staged) in enumerate(waiting):
            verdict = self.core.replica.apply(part, staged)
            if verdict != verdicts.STALE_BASE:
                self.parked.put_back(bucket, waiting[:number] + waiting[number + 1 :])
                self._judge(link, peer, part, staged, verdict)  # comes back here when it was applied
                return
        self.parked.put_back(bucket, waiting)

    def refuse_parked(self, bucket: str) -> None:
        """What waited has waited in vain."""
        for parked in self.parked.take(bucket):
            self._refuse(parked.link, parked.part, verdicts.STALE_BASE)

    # -- having moved forward
    def moved(self, part: Part, source: Peer, by_push: bool) -> None:
        """A transfer was applied: what its sender has is known, and others may want to know."""
        core, bucket = self.core, part.bucket
        source.holds(bucket, part.target)
        mesh = core.full_mesh()
        for peer in core.partners():
            if peer is source:
                continue
            if not (by_push and mesh):
                self._tell_later(bucket, source.node)
            elif peer.unsure_until > core.now:
                self.local([bucket])
            else:
                peer.believe(bucket, part.target)
        self.on_moved(bucket)
        self._unpark(bucket)
        self.look(bucket)

    def _tell_later(self, bucket: str, source: str) -> None:
        self.news.setdefault(bucket, source)
        if self.tell_at == NEVER:
            self.tell_at = max(self.core.now + self.core.settings.push_delay, self.last_told + self._pace())

    def _tell(self) -> None:
        self.tell_at, self.last_told = NEVER, self.core.now
        news, self.news = self.news, {}
        for bucket, source in news.items():
            clock = self.core.store.clock(bucket)
            unaware = [
                peer for peer in self.core.partners()
                if peer.node != source and not covers(peer.clock.get(bucket, {}), clock)
            ]  # fmt: skip
            for peer in self.core.some(unaware, self.core.settings.fan_out):
                if peer.link is not None:
                    self.announce_to.append((peer.link, bucket))

    # -- pulling
    def _pace(self) -> float:
        core = self.core
        return 0.0 if core.full_mesh() else PACE * core.settings.pull_interval * min(1, core.members_counted() / PACED)

    def _grace(self) -> float:
        return self.core.jitter(GRACE_MESH if self.core.full_mesh() else GRACE_FAN_OUT)

    def heard(self, peer: Peer, bucket: str) -> None:
        """A peer has announced a clock: pull if, after a grace for pushes on their way, it still has more."""
        if not covers(self.core.store.clock(bucket), peer.clock.get(bucket, {})):
            self.seek(bucket, peer, self._grace())

    def seek(self, bucket: str, peer: Peer, delay: float) -> None:
        """Pull a bucket from `peer` in a while, unless somebody brings it before."""
        due = max(self.core.now + delay, self.pulled_at.get(bucket, float("-inf")) + self._pace())
        if bucket not in self.behind or due < self.behind[bucket][0]:
            self.behind[bucket] = (due, peer.node)

    def look(self, bucket: str) -> None:
        """A transfer has ended: somebody may still have more."""
        clock = self.core.store.clock(bucket)
        for peer in self.core.partners():
            if not covers(clock, peer.clock.get(bucket, {})):
                self.seek(bucket, peer, self._grace())

    def _pull_due(self) -> None:
        for bucket, (due, node) in list(self.behind.items()):
            if due > self.core.now:
                continue
            del self.behind[bucket]
            self._pull(bucket, node)

    def _pull(self, bucket: str, node: str) -> None:
        """Pull from `node`, or from anybody else who has more."""
        core = self.core
        if not core.whole() or bucket in self.transfers.asked or not core.replica.serves(bucket):
            return
        clock = core.store.clock(bucket)
        ahead = [peer for peer in core.partners() if not covers(clock, peer.clock.get(bucket, {}))]
        parked = [one.peer for one in self.parked.of(bucket) if not covers(clock, one.part.target)]
        peers = [peer for peer in [*ahead, *parked] if peer.link is not None]
        for peer in sorted(peers, key=lambda peer: peer.node != node):
            if self.transfers.pull(bucket, peer):
                self.pulled_at[bucket] = core.now
                return
        held = [peer.hold[bucket] for peer in peers if bucket in peer.hold]
        if held:
            self.seek(bucket, peers[0], max(min(held) - core.now, 0.0) + GRACE_MESH)
        self.refuse_parked(bucket)

    def applied(self, asked: Asked, part: Part) -> None:
        """A pull of ours has brought what it should."""
        self.moved(part, asked.peer, by_push=False)
        self.refuse_parked(part.bucket)

    def failed(self, asked: Asked, code: str) -> None:
        """A pull of ours has failed: try another peer, or this one again after a while."""
        bucket = asked.pull.bucket
        self.refuse_parked(bucket)
        if code == verdicts.BELOW_FLOOR:
            self.on_below_floor(bucket, asked.peer)
        elif self.core.whole():
            self.seek(bucket, asked.peer, self.core.jitter(self.core.settings.heartbeat_interval / 4))

    def out(self) -> None:
        """This node starts over: nothing that waited here means anything any more."""
        self.dirty.clear()
        self.behind.clear()
        self.parked.clear()
        self.news.clear()
        self.push_at = self.tell_at = NEVER

    # -- time
    def due(self) -> float:
        pulls = [due for due, _ in self.behind.values()]
        return min(self.push_at, self.tell_at, self.pull_at, *pulls)

    def tick(self) -> None:
        now = self.core.now
        if self.push_at <= now:
            self._flush()
        if self.tell_at <= now:
            self._tell()
        if self.pull_at <= now:
            self.pull_at = now + self.core.jitter(self.core.settings.pull_interval)
            self._repair()
        self._pull_due()

    def _repair(self) -> None:
        """What no message has brought: pushes that were lost, and one peer by chance that has more."""
        core = self.core
        for peer in core.partners():
            for bucket, flight in list(peer.flight.items()):
                if any(sent < core.now - PUSH_TIMEOUT for _, sent in flight.values()):
                    core.counters["pushes_lost"] += 1
                    peer.disbelieve(bucket)
        if core.whole() and core.full_mesh():
            self.everything()
        for peer in core.some(core.partners(), 1):
            for bucket, clock in peer.clock.items():
                if not covers(core.store.clock(bucket), clock):
                    self.seek(bucket, peer, 0.0)


NO_PART = Part(transfer=0, bucket="", push=True, node="", start=0, number=0, base={}, rows=NO_ROWS, last=True)
