"""Getting in: joining through a sponsor, and starting over when this node turns out to be out.

A joiner asks one member after the other until one counts it (durably, before it answers), takes every bucket from that
sponsor alone, says so, and is a member once the sponsor has recorded it.  Until then it writes nothing, sends nothing
and takes nothing else.  When the sponsor is gone for good it starts afresh with another.

Starting over is joining with a past: every bucket is given up, and can be read until the sponsor's state of it is
whole; then rows that the sponsor does not have on its disk go to a rescue file, its state takes the bucket's place, and
what is written afterwards has a new actor.  What must survive a crash in between is with the buckets given up, and in
the member record of this node in its own store: EVICTED must start over, JOINING goes on from what is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from crdtsync.clocks.members import (
    EVICTED,
    EXPIRED,
    JOINING,
    LEFT,
    MEMBER,
    MemberRecord,
    join_members,
)
from crdtsync.errors import BadRecord
from crdtsync.replication import peers as states
from crdtsync.replication import replica as verdicts
from crdtsync.replication.core import NEVER, Core, log
from crdtsync.replication.dialer import Dialer
from crdtsync.replication.messages import Hello, JoinAccept, JoinDone, JoinRequest, Part
from crdtsync.replication.peers import Link, Peer
from crdtsync.replication.sessions import Sessions
from crdtsync.replication.transfers import Asked, Transfers

ANSWER_TIMEOUT = 2.0  # s until another member is asked instead
SPONSOR_PATIENCE = 5.0  # s that a sponsor may be gone before another is sought
LAST_PATIENCE = 5.0  # s that nobody must be left in the cluster before one that is out stays in
STEP = 0.05  # s between looks at how the entry goes
PULLS_AT_ONCE = 4  # buckets taken from the sponsor side by side


class Entry:
    """The way of this node into its cluster, the first time or again."""

    def __init__(self, core: Core, sessions: Sessions, dialer: Dialer, transfers: Transfers) -> None:
        self.core, self.sessions, self.dialer, self.transfers = core, sessions, dialer, transfers
        self.sponsor = ""  # who counts this node
        self.sponsor_seen = core.now
        self.through = ""  # whom to ask before all others
        self.asked, self.asked_at = "", NEVER
        self.pending: set[str] = set()  # buckets not yet whole
        self.done_at = NEVER  # when to say (again) that everything is whole
        self.step_at = NEVER
        self.refused: dict[str, float] = {}  # member -> not to be asked before
        self.lists: dict[str, tuple[MemberRecord, ...]] = {}  # what others that start over said in their Hello
        self.intact: list[str] = []  # who could stay when nobody is left to start over from
        self.alone_since = NEVER  # since when it is they
        self.stand: Callable[[int, str], None] = lambda epoch, reason: None
        self.on_out: Callable[[], None] = lambda: None
        self.on_joined: Callable[[], None] = lambda: None

    # -- beginning
    def begin(self, state: str, reason: str) -> None:
        """Enter `state`: joining, or starting over."""
        core = self.core
        core.state = state
        self.transfers.joining = True
        self.step_at = core.now
        self._afresh()
        core.counters[state] += 1
        core.notify("state", state=state, reason=reason)

    def start_over(self, reason: str, through: str = "") -> None:
        """This node is out, or below a floor: take a member's state, and save first what that member does not have.

        `through`: the member to ask first, whose floor this node is below.
        """
        core, mine = self.core, self.core.me()
        if core.state not in (states.MEMBER, states.LEAVING) or mine is None:
            return
        log.error("%s: must start over: %s", core.store.node, reason)
        with core.store.lock:  # a writer looks at the state under this lock
            states.step(states.NODE_STATES, core.state, states.STARTING_OVER)
            core.store.put_members([msgspec.structs.replace(mine, state=EVICTED)])
            self.begin(states.STARTING_OVER, reason)
        self.through = through
        core.persist()
        self.on_out()
        for link in list(core.links.values()):
            self.sessions.drop(link, "starting over")

    def give_up(self) -> bool:
        """Stop joining and be what this node was before, unless a sponsor has been found; whether it has stopped."""
        core, mine = self.core, self.core.me()
        if core.state != states.JOINING or self.sponsor or (mine is not None and mine.state == JOINING):
            return False
        with core.store.lock:
            core.state = states.LEFT if mine is not None and mine.state == LEFT else states.MEMBER
        self.transfers.joining, self.step_at = False, NEVER
        self.asked, self.asked_at = "", NEVER  # an answer that comes late is to nobody's question
        core.notify("state", state=core.state, reason="nobody let it in")
        return True

    def _afresh(self) -> None:
        """No sponsor: what is staged of a snapshot counts for nothing."""
        store = self.core.store
        self.sponsor, self.asked, self.asked_at, self.done_at = "", "", NEVER, NEVER
        self.pending = set()
        for asked in list(self.transfers.asked.values()):
            self.transfers.give_up(asked, "starting afresh")
        for bucket in store.staged_buckets():
            store.drop_scan(bucket)

    def hello(self, link: Link, hello: Hello) -> None:
        """A member may know others, too."""
        if hello.state == states.MEMBER:
            self.dialer.hint(record.address for record in hello.members if record.state == MEMBER)
            self.told_list(hello.node, hello.members)
        elif hello.cluster == self.core.store.cluster() and hello.cluster:
            self.lists[hello.node] = hello.members

    # -- finding a sponsor
    def _ask(self) -> None:
        core = self.core
        if self.asked and core.now < self.asked_at + ANSWER_TIMEOUT:
            return
        if self.asked:
            self.refused[self.asked] = core.now + ANSWER_TIMEOUT
        able = [
            peer for peer in core.ready_peers()
            if peer.state == states.MEMBER and peer.announced and self.refused.get(peer.node, 0.0) <= core.now
            and not core.is_out(peer.node, peer.epoch)  # nothing is taken from it: two may have evicted each other
        ]  # fmt: skip
        self.asked, self.asked_at = "", NEVER
        for peer in [peer for peer in able if peer.node == self.through] or core.some(able, 1):
            if peer.link is not None:
                self.asked, self.asked_at = peer.node, core.now
                core.send(peer.link, JoinRequest(node=core.store.node, address=core.address))
        self._last_resort(bool(able))

    def _last_resort(self, able: bool) -> None:
        """RULE: where all are out, one of those that can reach each other stays: the least name that is able to.

        Nobody is put out by votes without somebody being left; but `force` asks nobody.
        """
        core, intact = self.core, [] if able else self._all_out()
        if intact != self.intact:  # also when the one that stays has hung up: it greets anew
            self.intact, self.alone_since = intact, core.now
        if intact and core.now >= self.alone_since + LAST_PATIENCE * (1 + intact.index(core.store.node)):
            self._stay()

    def _all_out(self) -> list[str]:
        """Who could stay, in name order: linked, out, with its state intact; nobody while somebody may be in."""
        core = self.core
        mine = core.me()
        damaged = any(core.store.damaged(bucket) for bucket in core.store.buckets())
        if core.state != states.STARTING_OVER or mine is None or mine.state != EVICTED or damaged:
            return []
        others = [peer.node for peer in core.ready_peers() if peer.state == states.STARTING_OVER]
        said = {node: self.lists.get(node, ()) for node in others}
        members = core.store.members()
        for records in said.values():
            members = join_members(members, records)
        # A joiner lets nobody in; one that the records have as a member has lost its disk, and says so itself.
        joiners = {peer.node for peer in core.ready_peers() if peer.state == states.JOINING}
        if any(record.state == MEMBER and record.node not in joiners for record in members.values()):
            return []
        able = [node for node, records in said.items() if any((r.node, r.state) == (node, EVICTED) for r in records)]
        return sorted([core.store.node, *able])

    def _stay(self) -> None:
        core = self.core
        top = max((r.epoch for records in self.lists.values() for r in records if r.node == core.store.node), default=0)
        with core.store.lock:
            core.state = states.step(states.NODE_STATES, core.state, states.MEMBER)
        self.transfers.joining = False
        self.step_at, self.intact = NEVER, []
        self.stand(top, "all members are out, and this one is the first that stays")
        core.notify("state", state=core.state, reason="nobody was left to start over from")
        self.on_joined()

    def accepted(self, link: Link, peer: Peer, accept: JoinAccept) -> None:
        """A sponsor counts this node: take its state."""
        core, store = self.core, self.core.store
        if not self._waiting() or self.sponsor or peer.node != self.asked:
            core.counters["joins_unasked"] += 1
            return
        mine = next((record for record in accept.members if record.node == store.node), None)
        if mine is None or mine.state != JOINING or (store.cluster() not in (0, accept.cluster)):
            raise BadRecord("A sponsor that does not count its joiner, or is of another cluster.")
        before = core.me()
        if store.cluster() and (before is None or before.state != JOINING):
            self._give_up_state()
        store.publish(accept.cluster)
        if before is None or before.version() < mine.version():
            store.put_members([mine])
        core.replica.merge_members(record for record in accept.members if record.node != store.node)
        core.persist()
        self.sponsor, self.sponsor_seen, self.asked = peer.node, core.now, ""
        peer.epoch = max(peer.epoch, next((r.epoch for r in accept.members if r.node == peer.node), 0))
        self.pending = set(accept.buckets)
        self._let_go()
        self.done_at = NEVER if self.pending else core.now
        self.dialer.changed()
        self.step_at = core.now

    def _give_up_state(self) -> None:
        """Nothing that is held here counts any more, and every bucket can be read until the sponsor's is whole."""
        for bucket in self.core.store.buckets():
            self._give_up_bucket(bucket)
        self.core.store.new_actor()
        self.core.counters["started_over"] += 1

    def _give_up_bucket(self, bucket: str) -> None:
        self.core.store.drop_scan(bucket)
        self.core.store.give_up(bucket)
        self.core.replica.announced.pop(bucket, None)

    def _let_go(self) -> None:
        """Buckets that the sponsor does not have: its state of them is that there is nothing."""
        store = self.core.store
        for bucket in store.buckets():
            if bucket not in self.pending and store.given_up(bucket):
                self._replaced(bucket, store.replace(bucket, [], {}, {}, 0, {}).rescued)

    def _replaced(self, bucket: str, rows: int) -> None:
        """The sponsor's state has taken a bucket's place; so many rows had been here alone."""
        core = self.core
        core.counters["rows_rescued"] += rows
        if rows:
            log.warning("%s: %d rows of bucket %r are in the rescue file", core.store.node, rows, bucket)
            core.notify("rescued", bucket=bucket, rows=rows)

    # -- taking its state
    def step(self) -> None:
        """One look at how far the entry is."""
        core = self.core
        if not self.sponsor:
            self._ask()
            return
        peer = core.peer(self.sponsor)
        mine = core.me()
        if mine is None or mine.state not in (JOINING, MEMBER):
            self._afresh()
        elif peer.link is not None:
            self.sponsor_seen = core.now
            self._go_on(peer)
        elif core.now - self.sponsor_seen > SPONSOR_PATIENCE:
            log.warning("%s: sponsor %s is gone; starting afresh", core.store.node, self.sponsor)
            core.counters["sponsors_lost"] += 1
            self.refused[self.sponsor] = core.now + SPONSOR_PATIENCE
            self._afresh()

    def _go_on(self, sponsor: Peer) -> None:
        core = self.core
        free = PULLS_AT_ONCE - len(self.transfers.asked)
        for bucket in sorted(self.pending - set(self.transfers.asked))[: max(free, 0)]:
            if core.store.damaged(bucket) and not core.store.given_up(bucket):  # else what is staged would go, too
                self._give_up_bucket(bucket)
            self.transfers.pull(bucket, sponsor)
        if not self.pending and sponsor.link is not None and core.now >= self.done_at:
            self.done_at = core.now + ANSWER_TIMEOUT
            core.persist()
            core.send(sponsor.link, JoinDone(node=core.store.node))

    def applied(self, asked: Asked, part: Part) -> None:
        """A bucket is whole."""
        bucket, store = part.bucket, self.core.store
        self._replaced(bucket, self.core.replica.last_applied.rescued)
        alone = [actor for actor in asked.pull.clock if actor not in part.target]
        if alone and part.stamp_floor:
            store.restamp(bucket, alone, part.stamp_floor)
        self.pending.discard(bucket)
        if not self.pending:
            self.done_at = self.core.now
        self.step_at = self.core.now

    def failed(self, asked: Asked, code: str) -> None:
        """A bucket was not taken; below the sponsor's floor it is given up for the sponsor's."""
        if code == verdicts.BELOW_FLOOR and self.core.store.clock(asked.pull.bucket):
            self._give_up_bucket(asked.pull.bucket)

    def heard(self, link: Link, peer: Peer, records: tuple[MemberRecord, ...]) -> None:
        """Records that reach a joiner: only what its sponsor says of it matters."""
        core = self.core
        mine = core.me()
        told = next((record for record in records if record.node == core.store.node), None)
        if mine is None or told is None or peer.node != self.sponsor:
            return
        if told.epoch != mine.epoch:
            if not self.pending and self.done_at != NEVER:
                # Its answer to JoinDone is of another attempt: it counts this one no more (its disk was set back), or
                # never did (another sponsor answered late).  Without a new one this node would ask for ever.
                log.warning("%s: known to its sponsor at epoch %d; starting afresh", core.store.node, told.epoch)
                self._afresh()
            return
        if told.state == MEMBER and not self.pending and self.done_at != NEVER:
            self._in(told, records)
        elif told.state in (EXPIRED, LEFT, EVICTED):
            log.warning("%s: expired at its sponsor; starting afresh", core.store.node)
            self._afresh()

    def told_list(self, author: str, records: Iterable[MemberRecord]) -> None:
        """The whole list of a member.  A sponsor whose word of an end was lost would turn every pull away, for ever."""
        mine, name = self.core.me(), self.core.store.node
        told = next((record for record in records if record.node == name), None)
        if mine is None or author != self.sponsor or not records:
            return
        if mine.state == JOINING and (told is None or told.epoch < mine.epoch):
            log.warning("%s: its sponsor, with another disk than before, does not count it; starting afresh", name)
            self._afresh()
        elif told is None or told.epoch != mine.epoch:
            return
        elif mine.state == JOINING and told.state in (EXPIRED, LEFT, EVICTED):
            log.warning("%s: is %s at its sponsor; starting afresh", name, told.state)
            self._afresh()

    def _in(self, told: MemberRecord, records: tuple[MemberRecord, ...]) -> None:
        """The sponsor has recorded this node as a member."""
        core, store = self.core, self.core.store
        mine = MemberRecord(node=store.node, epoch=told.epoch, state=MEMBER, address=core.address, start=store.start)
        with store.lock:
            store.put_members([mine])
            core.state = states.step(states.NODE_STATES, core.state, states.MEMBER)
        core.persist()
        core.tell_members([mine])
        self.transfers.joining = False
        self.step_at = NEVER
        log.info("%s: is a member of cluster %016x", store.node, store.cluster())
        core.counters["joined"] += 1
        core.notify("state", state=core.state, reason=f"let in by {self.sponsor}")
        self.dialer.changed()
        self.on_joined()

    def _waiting(self) -> bool:
        return self.core.state in (states.JOINING, states.STARTING_OVER)

    # -- time
    def due(self) -> float:
        return self.step_at if self._waiting() else NEVER  # superseded on its way in, it takes no step any more

    def tick(self) -> None:
        if self._waiting() and self.core.now >= self.step_at:
            self.step()
            self.step_at = self.core.now + STEP
