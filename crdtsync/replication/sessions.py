"""Links from their first word to their end: the handshake, two links to one peer, two lives of one node.

Both sides open with Hello and judge the other's by the table `_JUDGES`; a Refuse names the rule by a stable code:

    protocol, kinds, settings   the two cannot understand each other
    cluster                     they belong to different clusters, or neither to any
    evicted, left               the other is out, and can read so in our Hello's member list: it starts over or rejoins.
                                Or it says itself that it has left, to whoever dials it, and is believed
    superseded                  a later start of that node is alive: it stops gossiping
    actor                       somebody else writes under its actor: one of the two is a copy of a running process
    name_taken                  an empty directory asks to join under the name of a living member
    old_start                   a later start of that node has been heard, but is gone: it counts on from there
    identity                    its certificate is that of another node
    fault                       something it said makes no sense
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from crdtsync.clocks.members import LEFT as RECORD_LEFT
from crdtsync.clocks.members import MemberRecord
from crdtsync.replication import peers as states
from crdtsync.replication.core import NEVER, Core, log
from crdtsync.replication.dialer import Dialer
from crdtsync.replication.messages import PROTOCOL_MAX, PROTOCOL_MIN, Hello, Refuse
from crdtsync.replication.peers import Link, Peer

KINDS = (0, 1, 2, 3)  # row kinds that this version holds
DOUBLE_WINDOW = 2.0  # s between two links to one peer within which both sides may have dialled at once
PATIENCE = 4.0  # times connect_timeout + reconnect_max in which a later start that is alive would have come back


class Refusal(NamedTuple):
    """Why a Hello is not taken; the fields are those of `Refuse`."""

    code: str
    text: str
    hint: str = ""
    start: int = 0


class Sessions:
    """Opens, judges and ends links.  `on_ready` and `on_lost` tell the other parts."""

    def __init__(self, core: Core, dialer: Dialer) -> None:
        self.core, self.dialer = core, dialer
        self.on_ready: list[Callable[[Link, Hello], None]] = []
        self.on_lost: list[Callable[[Link, Peer], None]] = []
        self.on_evicted: Callable[[Hello], None] = lambda hello: None  # somebody who is out greets as a member
        self.on_left: Callable[[Hello, MemberRecord], None] = lambda hello, own: None  # somebody says that it left
        self.gossiped = False  # whether anybody has accepted this start
        self.heard_start = 0  # the latest start of this node that others have heard of
        self.called_old: tuple[float, float] | None = None  # since when, and when last, others have called it old

    # -- beginning
    def link_up(self, number: int, address: str, outgoing: bool, node: str = "") -> None:
        core = self.core
        link = core.links[number] = Link(number, address, outgoing, core.now, node)
        if outgoing:
            self.dialer.answered(address)
        if core.state != states.SUPERSEDED:
            core.send(link, self._hello())
        if core.state in (states.LEFT, states.SUPERSEDED):
            self.drop(link, core.state)

    def _hello(self) -> Hello:
        core, store = self.core, self.core.store
        out = core.state in (states.JOINING, states.STARTING_OVER)
        members, left = core.replica.roster().records, core.state == states.LEFT
        if left:  # its own record says so, to whoever still counts it: all that knew may have lost their disks
            members = tuple(record for record in members if record.node == store.node)
        return Hello(
            node=store.node, cluster=store.cluster(), start=store.start, instance=store.instance, actor=store.actor(),
            address=core.address, state=core.state if out else states.MEMBER, kinds=KINDS,
            settings=msgspec.structs.asdict(core.settings.cluster), wall_ms=core.wall_ms,
            members=members, members_digest=0 if out or left else core.replica.roster().digest,
        )  # fmt: skip

    def hello(self, link: Link, hello: Hello) -> None:
        """The far end's Hello.  Of two on one link the one of the earlier start is a late copy."""
        if link.state != states.GREETING:
            self.core.counters["hellos_repeated"] += 1
            self.spoken(link, hello.node, hello.start)
            return
        stranger = self._judge_identity(link, hello)
        if stranger is not None:  # before anything that it says counts
            self.refuse(link, *stranger)
            return
        store = self.core.store
        if hello.node == store.node and hello.instance == store.instance:
            self.core.counters["refused_myself"] += 1
            self.dialer.met_myself(link.address)
            self.drop(link, "myself")
            return
        self._note_my_start(hello)
        for judge in _JUDGES:
            refusal = judge(self, link, hello)
            if refusal is not None:
                self.refuse(link, *refusal)
                return
        self._accept(link, hello)

    def spoken(self, link: Link, node: str, start: int) -> None:
        """`node` has spoken as of `start` over its own link.  Later than its Hello said: that was a late copy.

        Everything of its present start would else be dropped as another start's for as long as the link stands, and
        collection would wait for it.
        """
        peer = link.peer
        if peer is not None and peer.node == node and start > peer.start:
            self.core.counters["hellos_outdated"] += 1
            log.warning("%s: %s greeted as start %d and is start %d", self.core.store.node, node, peer.start, start)
            self.drop(link, "greeted by an earlier start")

    def _note_my_start(self, hello: Hello) -> None:
        """An old copy of a directory, or one begun anew, sees that others have heard of a later start of this node."""
        mine = [record.start for record in hello.members if record.node == self.core.store.node]
        self.heard_start = max([self.heard_start, *mine])

    def accepted(self) -> None:
        """The far end has gone on after our Hello: nobody it knows of is a later, living start of this node.

        Counting on from what others have heard is for the time before that only: two copies alive at once would else
        outbid each other for ever.
        """
        if not self.gossiped:
            self.gossiped = True
            if self.heard_start > self.core.store.start:
                self._raise_start(self.heard_start)

    def _raise_start(self, start: int) -> None:
        store = self.core.store
        log.warning("%s: start %d is not later than start %d, heard by others", store.node, store.start, start)
        store.raise_start(start)
        self.called_old = None
        self.core.counters["start_raised"] += 1
        self.core.persist()
        for link in list(self.core.links.values()):
            self.drop(link, "counting on from a later start")

    # -- judging; each gives a Refusal or None
    def _judge_identity(self, link: Link, hello: Hello) -> Refusal | None:
        """Nobody speaks in the name of another node than its certificate is for."""
        if link.node and link.node != hello.node:
            text = f"the certificate is for node {link.node!r}, and the name told is {hello.node!r}"
            return Refusal("identity", text, "Give every node the certificate that was made for it.")
        return None

    def _judge_versions(self, link: Link, hello: Hello) -> Refusal | None:
        if hello.protocol_max < PROTOCOL_MIN or hello.protocol_min > PROTOCOL_MAX:
            text = f"this node speaks protocol {PROTOCOL_MIN} to {PROTOCOL_MAX}"
            return Refusal("protocol", text, "Upgrade the older one.")
        if set(hello.kinds) != set(KINDS):
            text = f"this node holds rows of the kinds {KINDS}"
            return Refusal("kinds", text, "Run one version of crdtsync on both.")
        mine = msgspec.structs.asdict(self.core.settings.cluster)
        for name in sorted(mine):
            if hello.settings.get(name) != mine[name]:
                text = f"cluster.{name} is {mine[name]} here and {hello.settings.get(name)} there"
                return Refusal("settings", text, "Give all members the same cluster settings.")
        return None

    def _judge_cluster(self, link: Link, hello: Hello) -> Refusal | None:
        mine, theirs = self.core.store.cluster(), hello.cluster
        getting_in = states.JOINING in (hello.state, self.core.state)
        if (mine and theirs and mine != theirs) or ((not mine or not theirs) and not getting_in):
            hint = "Start one of them from an empty directory with join=."
            return Refusal("cluster", f"cluster {mine:016x} here, {theirs:016x} there", hint)
        return None

    def _judge_life(self, link: Link, hello: Hello) -> Refusal | None:
        """Of two lives of one node the later one counts; the earlier, if it is alive, is told."""
        core = self.core
        alive = core.peers.get(hello.node)
        twin = hello.node == core.store.node
        if (twin and 0 in (hello.cluster, core.store.cluster())) or (
            hello.cluster == 0
            and alive is not None
            and alive.link is not None
            and alive.instance != hello.instance  # itself, dialling again: its link is replaced
        ):
            return Refusal("name_taken", f"a node named {hello.node} is alive", "Give every node a name of its own.")
        if twin:
            if (hello.start, hello.instance) > (core.store.start, core.store.instance):
                self.superseded()
                return Refusal("old_start", "")
            return Refusal("superseded", "this node is the later start", f"{hello.start}:{hello.instance}")
        peer = core.peers.get(hello.node)
        if peer is None:
            return None
        mine, known = (hello.start, hello.instance), (peer.start, peer.instance)
        if mine == known:
            return None
        if mine > known and hello.start >= core.replica.heard.get(hello.node, 0):
            if peer.link is not None:
                self.refuse(peer.link, "superseded", "a later start has come", f"{known[0]}:{known[1]}")
            return None
        if peer.link is not None and core.phi(peer) < core.settings.suspect_phi:
            return Refusal("superseded", "a later start is alive", f"{hello.start}:{hello.instance}")
        heard = max(core.replica.heard.get(hello.node, 0), peer.start)
        text = f"start {heard} of this node has been heard"
        return Refusal("old_start", text, f"{hello.start}:{hello.instance}", heard)

    def _judge_actor(self, link: Link, hello: Hello) -> Refusal | None:
        """Nobody writes under an actor that somebody else is writing under: one of the two is a copy of a process."""
        core = self.core
        writers = {peer.actor: peer.node for peer in core.ready_peers()} | {core.store.actor(): core.store.node}
        if hello.actor and writers.get(hello.actor, hello.node) != hello.node:
            text = f"{writers[hello.actor]} writes under the same actor"
            return Refusal("actor", text, "Start one of the two again.")
        return None

    def _judge_membership(self, link: Link, hello: Hello) -> Refusal | None:
        own = next((record for record in hello.members if record.node == hello.node), None)
        if hello.state == states.MEMBER and own is not None and own.state == RECORD_LEFT:
            self.on_left(hello, own)
            return Refusal("left", f"{hello.node} says that it has left", "It joins again.")
        if hello.state != states.MEMBER or self.core.state in (states.JOINING, states.STARTING_OVER):
            return None
        epoch = own.epoch if own is not None else 0
        record = self.core.record(hello.node)
        if self.core.is_out(hello.node, epoch):
            self.on_evicted(hello)
            text = f"{hello.node} was evicted, or is a copy from before it came back"
            return Refusal("evicted", text, "It starts over.")
        if record is not None and record.state == RECORD_LEFT and epoch <= record.epoch:
            return Refusal("left", f"{hello.node} has left", "It joins again.")
        return None

    # -- the outcome
    def _accept(self, link: Link, hello: Hello) -> None:
        core = self.core
        peer = core.peer(hello.node)
        if peer.link is not None:
            loser = self._lesser(peer.link, link, hello.node)
            self.drop(loser, "two links to one peer")
            if loser is link:
                return
            core.peers[hello.node] = peer  # a stranger was forgotten with its old link
        core.replica.later_start(hello.node, hello.start)
        own = next((record for record in hello.members if record.node == hello.node), None)
        epoch = own.epoch if own is not None else 0
        if (peer.start, peer.instance) != (hello.start, hello.instance):
            peer.announce_seq = 0
        else:
            # An epoch only grows within one life.  A Hello that was sent before its sender was let in must not take a
            # joiner, whose link was replaced meanwhile, back: its sponsor would not know its JoinDone.
            epoch = max(epoch, peer.epoch)
        if (peer.start, peer.instance, peer.epoch) != (hello.start, hello.instance, epoch):
            core.lives_met += 1
            core.replica.forget(hello.node)
            peer.forget(core.now)
            peer.start, peer.instance, peer.epoch = hello.start, hello.instance, epoch
        peer.actor, peer.state, link.greeted = hello.actor, hello.state, hello.state
        link.members_digest = hello.members_digest
        link.become(states.READY)
        link.peer, peer.link = peer, link
        peer.new_session(core.now)
        self.dialer.met(link, hello.node)
        core.counters["links_ready"] += 1
        core.notify("peer_up", node=hello.node)
        for told in self.on_ready:
            told(link, hello)

    def _lesser(self, old: Link, new: Link, node: str) -> Link:
        """The link to give up: both sides must choose the same.

        Dialled at once by both: the one that the greater name dialled.  Otherwise the older one: whoever dials again
        has lost it already.
        """
        if old.outgoing == new.outgoing or abs(new.opened - old.opened) > DOUBLE_WINDOW:
            return old
        ours, theirs = (old, new) if old.outgoing else (new, old)
        return theirs if self.core.store.node < node else ours

    def refuse(self, link: Link, code: str, text: str, hint: str = "", start: int = 0) -> None:
        """End a link with a reason."""
        self.core.counters["refused_" + code] += 1
        if text:
            log.info("%s: link %d refused: %s: %s", self.core.store.node, link.number, code, text)
            self.core.notify("refused", address=link.address, code=code, text=text, hint=hint)
            if link.number in self.core.links:
                self.core.send(link, Refuse(code=code, text=text, hint=hint, start=start))
        self.drop(link, code)

    def refused(self, link: Link, message: Refuse) -> None:
        """The far end has ended the link with a reason."""
        core, store = self.core, self.core.store
        core.counters["refused_by_peer_" + (message.code if message.code in CODES else "other")] += 1
        log.warning("%s: refused at %s: %s: %s", store.node, link.address, message.code, message.text)
        core.notify("refused", address=link.address, code=message.code, text=message.text, hint=message.hint)
        about_me = message.hint == f"{store.start}:{store.instance}"  # else it was meant for an earlier life
        if message.code == "superseded" and about_me:
            self.superseded()
        elif message.code == "old_start" and about_me and (not self.gossiped or self._outlived()):
            self._raise_start(max(store.start, self.heard_start, message.start))
        else:
            self.drop(link, "refused")

    def _outlived(self) -> bool:
        """Whether the later start that others have heard of is gone for good.

        Once a member has taken this start, it counts on only after others have called it old for longer than a later
        start, if it were alive, would be away: that one is linked again by then, and they say "superseded" instead.
        Two living copies would else outbid each other.
        """
        core, config = self.core, self.core.settings
        patience = PATIENCE * (config.connect_timeout + config.reconnect_max)
        since, last = self.called_old or (core.now, core.now)
        if core.now - last > patience:
            since = core.now
        self.called_old = (since, core.now)
        return core.now - since > patience

    def superseded(self) -> None:
        """A later start of this node is alive: stop gossiping.  Reads and writes go on, here only."""
        core = self.core
        if core.state in (states.SUPERSEDED, states.LEFT):
            return
        core.state = states.step(states.NODE_STATES, core.state, states.SUPERSEDED)
        log.error("%s: a later start of this node is alive; this one stops gossiping", core.store.node)
        core.counters["superseded"] += 1
        core.notify("state", state=core.state, reason="a later start of this node is alive")
        for link in list(core.links.values()):
            self.drop(link, "superseded")

    # -- ending
    def drop(self, link: Link, reason: str) -> None:
        """End a link from this side."""
        if self.core.links.get(link.number) is link:
            self.core.hang_up(link, reason)
            self.lost(link, reason)

    def link_down(self, number: int) -> None:
        link = self.core.links.get(number)
        if link is not None:
            self.lost(link, "down")

    def lost(self, link: Link, reason: str) -> None:
        """A link is gone, whoever ended it."""
        core = self.core
        del core.links[link.number]
        greeted, peer = link.state == states.READY, link.peer
        link.become(states.CLOSED)
        if link.outgoing and not greeted:
            self.dialer.failed(link.address)
        self.dialer.changed()
        if peer is not None and peer.link is link:
            peer.link = None
            peer.new_session(core.now)
            core.notify("peer_down", node=peer.node, reason=reason)
            for told in self.on_lost:
                told(link, peer)
            if core.record(peer.node) is None:
                core.forget(peer)

    # -- time
    def due(self) -> float:
        limit = self.core.settings.connect_timeout
        greeting = [link.opened + limit for link in self.core.links.values() if link.state == states.GREETING]
        return min(greeting, default=NEVER)

    def tick(self) -> None:
        """End links that never got ready."""
        for link in list(self.core.links.values()):
            limit = link.opened + self.core.settings.connect_timeout  # as in `due`: no rounding apart from it
            if link.state == states.GREETING and self.core.now >= limit:
                self.core.counters["handshake_timeouts"] += 1
                self.drop(link, "no greeting")


CODES = frozenset({
    "protocol", "kinds", "settings", "cluster", "evicted", "left", "superseded", "name_taken", "old_start", "actor",
    "identity", "fault", "busy",
})  # fmt: skip
_JUDGES: tuple[Callable[[Sessions, Link, Hello], Refusal | None], ...] = (
    Sessions._judge_versions,
    Sessions._judge_cluster,
    Sessions._judge_life,
    Sessions._judge_membership,
    Sessions._judge_actor,
)
