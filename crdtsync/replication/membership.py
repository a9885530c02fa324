"""Who is in: member records and what follows from news of them; sponsoring, leaving, standing by one's membership.

Records are versioned per node (clocks/members.py) and joined wherever two lists meet.  What this node must do when it
is itself out, or not yet in, is `entry.Entry`; how members are put out is `eviction.Eviction`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from crdtsync.clocks.ballots import binding, with_ballot
from crdtsync.clocks.members import EVICTED, EXPIRED, JOINING, LEFT, MEMBER, MemberRecord, counted
from crdtsync.clocks.vector import covers
from crdtsync.errors import BadRecord, MembershipMisuse
from crdtsync.replication import peers as states
from crdtsync.replication.core import NEVER, Core, log
from crdtsync.replication.dialer import Dialer
from crdtsync.replication.messages import Bye, Hello, JoinAccept, JoinDone, JoinRequest, MembersUpdate
from crdtsync.replication.peers import Link, Peer
from crdtsync.replication.sessions import Sessions
from crdtsync.replication.validate import SEQ_MAX

LEAVING_WORD = "leaving"  # reason of a Bye that asks to be recorded as having left
EXPIRY_LOOK = 1.0  # s between looks for joiners that have expired
ASK_AGAIN = 1.0  # s until an unanswered question is put to another member


class Membership:
    """Keeps the member list.  `told_out` is called when the list says that this node is no longer what it thought."""

    def __init__(self, core: Core, sessions: Sessions, dialer: Dialer) -> None:
        self.core, self.sessions, self.dialer = core, sessions, dialer
        self.told_out: Callable[[str], None] = lambda reason: None
        self.on_change: Callable[[], None] = lambda: None  # the list may be another than before
        self.on_list: Callable[[str, Iterable[MemberRecord]], None] = lambda author, records: None
        self.sponsoring: dict[str, tuple[int, float]] = {}  # joiner -> its epoch, when it was last seen linked
        self.look_at = core.now  # when to look for joiners that have expired
        self.ask_at = NEVER  # while leaving: when to ask (another) member to record it
        for record in core.store.members().values():
            if record.state == JOINING and record.node != core.store.node:
                self.sponsoring[record.node] = (record.epoch, core.now)

    # -- records
    def merge(self, records: Iterable[MemberRecord], link: Link | None = None, author: str = "") -> None:
        """Join records into the list, pass news on, and do what follows from them.

        `author`: whose whole list they are; nobody's when they are only some records.
        """
        core = self.core
        if not core.whole():
            return
        mine, before = core.me(), core.store.members()
        if records is core.replica.roster().records:  # the list held here
            if author:
                self.on_list(author, records)
                self.on_change()
            return
        names = {record.node for record in records} | set(before)
        if len(names) > core.settings.members_max:
            raise BadRecord(f"A list that brings the members to {len(names)}.")
        own = [record for record in records if record.node == core.store.node]
        news = core.replica.merge_members(record for record in records if record.node != core.store.node)
        if news:
            core.tell_members(news, besides=link)
            for record in news:
                self._follow(record, before.get(record.node))
            self.dialer.changed()
        if mine is not None and own:
            self._about_me(mine, own[0])
        if author and core.whole():
            self.on_list(author, records)
        if news or author:
            self.on_change()

    def _follow(self, record: MemberRecord, before: MemberRecord | None) -> None:
        """What news of another node brings about."""
        core = self.core
        if before is None or (before.epoch, before.state) != (record.epoch, record.state):
            log.info("%s: %s is %s (epoch %d)", core.store.node, record.node, record.state, record.epoch)
            core.notify("member", node=record.node, state=record.state)
        peer = core.peers.get(record.node)
        if record.state != JOINING:
            self.sponsoring.pop(record.node, None)
        if peer is None or peer.link is None:
            return
        if record.state == EVICTED and peer.epoch <= record.epoch:
            self.sessions.refuse(peer.link, "evicted", f"{record.node} was evicted", "It starts over.")

    def _about_me(self, mine: MemberRecord, theirs: MemberRecord) -> None:
        """Others know something of this node: that it is out, or an address from another of its starts."""
        if theirs.version() <= mine.version():
            return
        if theirs.epoch == mine.epoch and theirs.state == MEMBER:
            return  # told by a later start of this node: `Sessions` settles which of the two goes on
        if self.core.state == states.LEAVING and (theirs.epoch, theirs.state) == (mine.epoch, LEFT):
            self.core.store.put_members([theirs])
            self.core.persist()
            self._left()
        else:
            self.core.counters["told_out"] += 1
            # Kept as evicted: the one state from which a restart goes on with starting over.
            self.core.store.put_members([msgspec.structs.replace(theirs, state=EVICTED)])
            self.told_out(f"others say {theirs.state} at epoch {theirs.epoch}")

    def put(self, *records: MemberRecord) -> None:
        """Record something new, durably, before anybody is told; several records reach each peer together."""
        core, before = self.core, self.core.store.members()
        core.store.put_members(records)
        for record in records:
            known = before.get(record.node)
            if known is not None and known.epoch < record.epoch:
                core.replica.forget(record.node)
        core.persist()
        core.tell_members(records)
        for record in records:
            if record.node != core.store.node:
                self._follow(record, before.get(record.node))
        self.dialer.changed()
        self.on_change()

    def advertise(self) -> None:
        """Put this start and its address into my own record."""
        core, mine = self.core, self.core.me()
        if mine is None or mine.state != MEMBER:
            return
        record = msgspec.structs.replace(mine, address=core.address, start=core.store.start)
        if mine.start != core.store.start and mine.ballot is not None and mine.ballot.proposer == mine.node:
            record = with_ballot(record, None)  # RULE: a proposal does not outlive the start that made it
        if record != mine and record.version() > mine.version():
            core.store.put_members([record])
            core.tell_members([record])

    def contradicted(self, hello: Hello) -> None:
        """Somebody who was evicted here greets as a member.  When it says the same of this node, the lesser name stays.

        Votes cannot contradict each other; `force` can, and so can votes that were lost with a disk.
        """
        mine = self.core.me()
        theirs = next((record for record in hello.members if record.node == self.core.store.node), None)
        if mine is None or theirs is None or self.core.state != states.MEMBER or mine.node > hello.node:
            return
        if theirs.epoch > mine.epoch or (theirs.epoch == mine.epoch and theirs.state == EVICTED):
            self.stand(theirs.epoch, f"{hello.node}, which was evicted, says that {mine.node} was")

    def stand(self, epoch: int, reason: str) -> None:
        """Stay a member all the same, at an epoch above all that was heard: nobody else is left, or would be.

        Nothing is at risk: who is below a floor finds out from claims, whatever the records say, and starts over.
        """
        core, mine = self.core, self.core.me()
        if mine is None or max(epoch, mine.epoch) >= SEQ_MAX:
            return
        log.error("%s: stays a member although it was evicted: %s", core.store.node, reason)
        core.counters["evictions_withstood"] += 1
        record = MemberRecord(
            node=mine.node, epoch=max(epoch, mine.epoch) + 1, state=MEMBER, address=core.address,
            start=core.store.start, revision=mine.revision + 1,
        )  # fmt: skip
        core.store.put_members([record])
        core.persist()
        core.notify("withstood", reason=reason)
        self.dialer.changed()
        for link in list(core.links.values()):  # greeted anew, everybody counts it anew
            self.sessions.drop(link, "a member at a new epoch")

    def hello(self, link: Link, hello: Hello) -> None:
        """A link is ready: its Hello brought a member list, to be believed when its sender is in."""
        if hello.state == states.MEMBER and hello.cluster and hello.cluster == self.core.store.cluster():
            self.merge(hello.members, link, author=hello.node)

    def says_it_left(self, hello: Hello, record: MemberRecord) -> None:
        """A node that this one knows says that it has left.  RULE: on that, and on nothing else, its word counts.

        A member had recorded it, or it would not say so; that member may have lost its disk since, or have gone back to
        an older copy, and nobody else be left who knows.  A record of a later epoch, in which it is in again, stands.
        """
        if hello.cluster and hello.cluster == self.core.store.cluster() and self.core.record(record.node) is not None:
            self.merge((record,))

    # -- sponsoring
    def asked_to_sponsor(self, link: Link, peer: Peer, request: JoinRequest) -> None:
        """Let a node in: count it, durably, before it can take the snapshot that it starts from."""
        core, store = self.core, self.core.store
        if request.node != peer.node:
            raise BadRecord(f"{peer.node} asks to let {request.node} in.")
        if peer.state == states.MEMBER:
            core.counters["joins_outdated"] += 1  # who must get in again greets anew: this was asked before it was in
            return
        known = core.record(peer.node)
        if not self._lets_in() or any(not core.replica.serves(bucket) for bucket in store.buckets()):
            self.sessions.refuse(link, "busy", f"{store.node} is {core.state}", "Ask another member.")
            return
        if known is None and len(store.members()) >= core.settings.members_max:
            self.sessions.refuse(link, "busy", "the cluster has members_max members")
            return
        self.found()
        # Every attempt has an epoch of its own, above all that either has heard of: late word about an earlier
        # attempt (that it expired, say) then cannot throw the node out again.  A request that comes twice is one
        # attempt: the joiner holds on to the first answer, and would not know itself under the epoch of the second.
        epoch = max(known.epoch if known is not None else 0, peer.epoch) + 1
        if known is not None and (known.state, known.start) == (JOINING, peer.start) and peer.node in self.sponsoring:
            epoch = known.epoch
        record = MemberRecord(node=peer.node, epoch=epoch, state=JOINING, address=request.address, start=peer.start)
        self.put(record)
        self.sponsoring[peer.node] = (epoch, core.now)
        peer.epoch = epoch
        core.counters["joins_sponsored"] += 1
        accept = JoinAccept(
            cluster=store.cluster(), members=tuple(store.members().values()), buckets=tuple(store.buckets())
        )
        core.send(link, accept)

    def _lets_in(self) -> bool:
        """Whether to be a sponsor.  A leaver is one only where nobody else can be: it leaves once somebody is in.

        Else it would wait for a member to record that it leaves, and all others for a member to let them in.
        """
        core = self.core
        if core.state != states.LEAVING:
            return core.state == states.MEMBER
        entering = {peer.node for peer in core.ready_peers() if peer.state in (states.JOINING, states.STARTING_OVER)}
        members = {record.node for record in core.store.members().values() if record.state == MEMBER}
        return members <= entering | {core.store.node}

    def found(self) -> None:
        """A node that nobody has joined yet becomes the first member of a new cluster."""
        core, store = self.core, self.core.store
        if store.cluster() == 0:
            store.publish(core.rng.getrandbits(64) | 1)
        if core.me() is None:
            mine = MemberRecord(node=store.node, epoch=1, state=MEMBER, address=core.address, start=store.start)
            store.put_members([mine])

    def joined(self, link: Link, peer: Peer, done: JoinDone) -> None:
        """A joiner holds everything.  It is a member when its sponsor says so: before, it may still expire."""
        core = self.core
        record = core.record(peer.node)
        if done.node != peer.node or record is None:
            raise BadRecord(f"{peer.node} says that {done.node} has joined.")
        # Its Hello told the epoch of a joiner that goes on after a restart; one that was let in over an earlier link,
        # or while this one was young, is known by its start.
        if record.state == JOINING and (record.epoch == peer.epoch or record.start == peer.start):
            self.put(msgspec.structs.replace(record, state=MEMBER))
        else:
            core.send(link, MembersUpdate(members=(record,)))

    def _expire(self) -> None:
        """Forget joiners that never became whole: collection waits for them."""
        core = self.core
        for node, (epoch, seen) in list(self.sponsoring.items()):
            peer, record = core.peers.get(node), core.record(node)
            if record is None or record.state != JOINING or record.epoch != epoch:
                del self.sponsoring[node]
            elif peer is not None and peer.link is not None:
                self.sponsoring[node] = (epoch, core.now)
            elif core.now - seen > core.settings.joining_expiry and self._in_touch():
                core.counters["joiners_expired"] += 1
                self.put(msgspec.structs.replace(record, state=EXPIRED))

    def _in_touch(self) -> bool:
        """Whether more than half of the members are in reach: who is cut off may not have heard that a joiner is in."""
        core = self.core
        members = [record for record in core.store.members().values() if record.state == MEMBER]
        return 2 * (len(core.reachable()) + 1) > len(members)

    # -- leaving
    def leave(self) -> None:
        """Leave in good order: write nothing more, push until a member has everything on its disk, be recorded."""
        core = self.core
        if core.state == states.MEMBER and core.store.cluster() == 0:
            raise MembershipMisuse("There is no cluster to leave: no peer has been met yet.")
        if core.state != states.MEMBER:
            raise MembershipMisuse(f"{core.store.node} is {core.state} and cannot leave.")
        if len([name for name in counted(core.store.members()) if core.is_member(name)]) < 2:
            raise MembershipMisuse("The last member cannot leave.", hint="Close it; its directory is the cluster.")
        core.state = states.step(states.NODE_STATES, core.state, states.LEAVING)
        core.notify("state", state=core.state, reason="leave() was called")
        self.ask_at = core.now

    def _ask_to_leave(self) -> None:
        """Ask a member whose disk holds everything of mine to record that I have left."""
        core, store = self.core, self.core.store
        self.ask_at = core.now + ASK_AGAIN / 10
        if binding(store.members(), store.node) is not None:
            return  # RULE: who is bound by a vote does not leave before it knows how that ended
        able = [
            peer for peer in core.partners()
            if all(covers(peer.synced.get(bucket, {}), store.clock(bucket)) for bucket in store.buckets())
        ]  # fmt: skip
        for peer in core.some(able, 1):
            if peer.link is not None:
                self.ask_at = core.now + ASK_AGAIN
                core.send(peer.link, Bye(reason=LEAVING_WORD))

    def leaves(self, link: Link, peer: Peer) -> None:
        """A member asks to be recorded as having left.  A leaver does not do so for another: both may count on it."""
        core = self.core
        record = core.record(peer.node)
        if core.state != states.MEMBER or record is None or record.epoch != peer.epoch:
            return
        if record.state == MEMBER:
            self.put(msgspec.structs.replace(record, state=LEFT))
        else:
            core.send(link, MembersUpdate(members=(record,)))

    def _left(self) -> None:
        core = self.core
        core.state = states.step(states.NODE_STATES, core.state, states.LEFT)
        self.ask_at = NEVER
        log.info("%s: has left the cluster", core.store.node)
        core.notify("state", state=core.state, reason="a member has recorded it")
        for link in list(core.links.values()):
            core.send(link, Bye(reason="left"))
            self.sessions.drop(link, "left")

    # -- time
    def due(self) -> float:
        asking = self.ask_at if self.core.state == states.LEAVING else NEVER  # evicted while leaving: it starts over
        return min(asking, self.look_at if self.sponsoring else NEVER)

    def tick(self) -> None:
        if self.look_at <= self.core.now:
            self.look_at = self.core.now + EXPIRY_LOOK
            self._expire()
        if self.core.state == states.LEAVING and self.ask_at <= self.core.now:
            self._ask_to_leave()
