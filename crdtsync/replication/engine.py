"""The engine: five verbs around the parts; time, randomness and the store are passed in, effects are handed out.

Parts, and what they may know: `core` is shared; `sessions` and `dialer` keep links; `membership` and `entry` keep the
member list and this node's place in it; `transfers` moves rows; `gossip` and `announcer` decide when; `collection`,
`repair` and `tokens` look after the rest.  The rules themselves are in `replica`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from crdtsync.clocks.members import EVICTED, JOINING, LEFT, MEMBER, MemberRecord
from crdtsync.clocks.vector import missing
from crdtsync.config import Config
from crdtsync.errors import BadTransfer, EnvironmentFault, MembershipMisuse, PeerFault
from crdtsync.replication import messages as m
from crdtsync.replication import peers as states
from crdtsync.replication.absence import Absence
from crdtsync.replication.announcer import Announcer
from crdtsync.replication.collection import Collection
from crdtsync.replication.core import Core, Random
from crdtsync.replication.dialer import Dialer
from crdtsync.replication.effects import Effect
from crdtsync.replication.entry import Entry
from crdtsync.replication.eviction import Eviction
from crdtsync.replication.gossip import Gossip
from crdtsync.replication.membership import LEAVING_WORD, Membership
from crdtsync.replication.peers import Link, Peer
from crdtsync.replication.ports import ReplicaStore
from crdtsync.replication.repair import Repair
from crdtsync.replication.sessions import Sessions
from crdtsync.replication.status import snapshot
from crdtsync.replication.tokens import Tokens
from crdtsync.replication.transfers import Asked, Transfers
from crdtsync.replication.validate import check

FAULT_PAUSE = 1.0  # s that a bucket is not pulled from a peer whose rows made no sense
Handler = Callable[[Link, Peer, Any], None]


class Engine:
    """One node's replication.  Single-threaded: the caller drives it from one thread."""

    def __init__(
        self, store: ReplicaStore, settings: Config, rng: Random, now: float, wall_ms: int, address: str = ""
    ) -> None:
        """`now`: s on any clock that only grows; `wall_ms`: ms since the epoch; `address`: what others dial."""
        core = self.core = Core(store, settings, rng, now, wall_ms, address or settings.advertise or settings.listen)
        self.dialer = Dialer(core)
        self.sessions = Sessions(core, self.dialer)
        self.transfers = Transfers(core)
        self.gossip = Gossip(core, self.transfers)
        self.membership = Membership(core, self.sessions, self.dialer)
        self.eviction = Eviction(core, self.membership)
        self.announcer = Announcer(core, self.sessions, self.gossip, self.membership)
        self.absence = Absence(core, self.eviction, self.announcer)
        self.entry = Entry(core, self.sessions, self.dialer, self.transfers)
        self.collection = Collection(core)
        self.repair = Repair(core, self.transfers, self.entry)
        self.tokens = Tokens(core)
        self._parts = (
            self.sessions, self.dialer, self.entry, self.membership, self.eviction, self.absence, self.gossip,
            self.announcer, self.repair, self.collection, self.transfers,  # last: what the others send leaves first
        )  # fmt: skip
        self._dues = [part.due for part in self._parts]  # asked after every event
        self._asked_to_wake: float | None = None
        self._wire()
        self._begin()

    def _wire(self) -> None:
        self.sessions.on_ready.append(self._ready)
        self.sessions.on_lost.append(self._lost)
        self.transfers.on_applied.append(self._applied)
        self.transfers.on_failed.append(self._failed)
        self.transfers.install = self.repair.install
        self.membership.told_out = self.entry.start_over
        self.sessions.on_evicted = self.membership.contradicted
        self.sessions.on_left = self.membership.says_it_left
        self.entry.stand = self.membership.stand
        self.announcer.told_to_joiner = self.entry.told_list
        self.gossip.on_below_floor = self._below_floor
        self.gossip.on_moved = self.announcer.moved
        self.entry.on_out = self._out
        self.entry.on_joined = self.announcer.joined
        self._handlers: dict[type[m.Message], Handler] = {
            m.Announce: self.announcer.heard,
            m.JoinRequest: self.membership.asked_to_sponsor,
            m.JoinAccept: self.entry.accepted,
            m.JoinDone: self.membership.joined,
            m.Pull: self.transfers.serve,
            m.Part: self._part,
            m.Credit: self._credit,
            m.Abort: self._abort,
            m.RepairRequest: lambda link, peer, request: self.repair.requested(link, request),
            m.RepairReply: lambda link, peer, reply: self.repair.replied(link, reply),
            m.MembersUpdate: self._members,
            m.Bye: self._bye,
        }

    def _begin(self) -> None:
        """What this start begins as, by what is on its disk."""
        core, store = self.core, self.core.store
        if core.settings.new_cluster and store.cluster():
            self._found_anew()
        mine = core.me()
        if store.cluster() == 0:
            if core.settings.join:
                self.entry.begin(states.JOINING, "the directory belongs to no cluster yet")
        elif mine is None or mine.state in (JOINING, LEFT):
            self.entry.begin(states.JOINING, "it has left, or had not joined to the end")
        elif mine.state == EVICTED:
            self.entry.begin(states.STARTING_OVER, "it was evicted, or is below a floor")
        else:
            self.membership.advertise()

    def _found_anew(self) -> None:
        """A cluster restored whole from backups: a new identity; who else was a member joins again."""
        core, store = self.core, self.core.store
        mine = core.me()
        others = [record for record in store.members().values() if record.node != store.node]
        restored = mine is not None and mine.state == JOINING  # from a backup: it knows no members
        if restored or any(record.state in (JOINING, MEMBER) for record in others):
            store.publish(core.rng.getrandbits(64) | 1)
            mine = mine or MemberRecord(node=store.node, epoch=1, state=MEMBER)
            mine = msgspec.structs.replace(mine, epoch=mine.epoch + 1, state=MEMBER, start=store.start)
            store.put_members([mine, *(msgspec.structs.replace(record, state=EVICTED) for record in others)])
            core.persist()

    # -- the five verbs
    def receive(self, link: int, message: m.Message, now: float, wall_ms: int) -> None:
        """A message has come over a link.  Whatever it holds: no exception for a peer's fault, no state change."""
        self._time(now, wall_ms)
        known = self.core.links.get(link)
        if known is None:
            return
        try:
            check(message, self.core.settings)
            self._dispatch(known, message)
        except PeerFault as fault:
            self._fault(known, message, fault)
        except EnvironmentFault as trouble:
            self._trouble(known, message, trouble)

    def tick(self, now: float, wall_ms: int) -> None:
        """Time has passed: do whatever is due."""
        self.core.lateness.ran(self._asked_to_wake, now)
        self._asked_to_wake = None
        self._time(now, wall_ms)
        for part in self._parts:
            try:
                part.tick()
            except EnvironmentFault as trouble:
                self.core.count(trouble)

    def local(self, now: float, buckets: Iterable[str] = ()) -> None:
        """Something was written here, in `buckets` (none named: anywhere)."""
        self.core.now = max(self.core.now, now)
        self.gossip.local(tuple(buckets) or self.core.store.buckets())

    def next_wakeup(self) -> float | None:
        """When to call `tick` next, at the latest."""
        self._asked_to_wake = min([due() for due in self._dues])
        return self._asked_to_wake

    def take_effects(self) -> list[Effect]:
        """What is to be done, in order; see `driver.Driver`."""
        effects, self.core.effects = self.core.effects, []
        return effects

    # -- links
    def link_up(self, link: int, address: str, outgoing: bool, now: float, node: str = "") -> None:
        """A connection stands, by our dialling (`outgoing`) or theirs; `node`: who is there, by its certificate."""
        self.core.now = max(self.core.now, now)
        self.sessions.link_up(link, address, outgoing, node)

    def link_down(self, link: int, now: float) -> None:
        """A connection is gone."""
        self.core.now = max(self.core.now, now)
        self.sessions.link_down(link)

    def connect_failed(self, address: str, now: float) -> None:
        """Nobody answers at an address."""
        self.core.now = max(self.core.now, now)
        self.core.counters["connects_failed"] += 1
        self.dialer.failed(address)

    def set_address(self, address: str) -> None:
        """The address that others are to dial is known now (the port was chosen by the system)."""
        self.core.address = address
        self.membership.advertise()

    # -- what the node asks
    @property
    def state(self) -> str:
        """member, joining, starting_over, leaving, left or superseded."""
        return self.core.state

    @property
    def writable(self) -> bool:
        """Whether local writes may go ahead; to be looked at under the store's lock."""
        return self.core.state in (states.MEMBER, states.SUPERSEDED)

    def leave(self, now: float) -> None:
        """Leave in good order; MembershipMisuse when that is not possible.  Done when `state` is "left"."""
        self.core.now = max(self.core.now, now)
        with self.core.store.lock:
            self.membership.leave()
        self.gossip.everything()

    def found(self, now: float) -> None:
        """Belong to a cluster from now on, with this node as its first member, unless it belongs to one already."""
        self.core.now = max(self.core.now, now)
        self.membership.found()
        self.core.persist()

    def join(self, addresses: Iterable[str], now: float) -> list[str]:
        """Dial these, too; a node in no cluster, or that has left its own, asks to be let in through them.

        Gives the addresses that were not known.  Raises MembershipMisuse while it is leaving, and when superseded.
        """
        core = self.core
        core.now = max(core.now, now)
        if core.state in (states.LEAVING, states.SUPERSEDED):
            raise MembershipMisuse(f"The node is {core.state}; it can join once it is not.")
        fresh = self.dialer.add_seeds(addresses)
        if core.state == states.LEFT or (core.state == states.MEMBER and core.store.cluster() == 0):
            with core.store.lock:  # a writer looks at the state under this lock
                self.entry.begin(states.JOINING, "join() was called")
            self._out()
        return fresh

    def met(self, addresses: Iterable[str]) -> bool:
        """Whether there is a link to somebody met at one of them, or one of them is this node's own."""
        linked = {peer.node for peer in self.core.ready_peers()}
        return any(self.dialer.seeds.get(address) in linked or address in self.dialer.mine for address in addresses)

    def give_up_joining(self, addresses: Iterable[str], now: float) -> bool:
        """Nobody has answered `join`: forget these addresses, and be as before; False when a sponsor was found."""
        self.core.now = max(self.core.now, now)
        if self.core.state == states.MEMBER or self.entry.give_up():
            self.dialer.drop_seeds(addresses)
            return True
        return False

    def evict(self, node: str, force: bool, now: float) -> None:
        """Propose to stop waiting for a member; QuorumMissing unless more than half are in reach.  `force`: do so.

        How the votes went is told by the notice "eviction".
        """
        self.core.now = max(self.core.now, now)
        self.eviction.evict(node, force)

    def reachable(self) -> list[str]:
        """Names of the other members in reach."""
        return self.core.reachable()

    def close(self, now: float) -> None:
        """Begin to close: push what peers lack.  `drained` tells when that is done; then `bye`."""
        self.core.now = max(self.core.now, now)
        self.gossip.everything()

    def drained(self) -> bool:
        """Whether some member in reach is known to have everything, or none is in reach."""
        store, partners = self.core.store, self.core.partners()
        return not partners or any(
            all(not missing(peer.clock.get(bucket, {}), store.clock(bucket)) for bucket in store.buckets())
            for peer in partners
        )

    def bye(self, now: float) -> None:
        """Say goodbye on every link."""
        self.core.now = max(self.core.now, now)
        for link in list(self.core.links.values()):
            self.core.send(link, m.Bye(reason="closing"))
            self.sessions.drop(link, "closing")

    def token_lost(self, bucket: str, clock: m.Clock) -> bool:
        """Whether some event of `clock` is known to be nowhere; see `tokens.Tokens`."""
        return self.tokens.lost(bucket, clock)

    def lost(self, clocks: Mapping[str, m.Clock]) -> bool:
        """`token_lost` over the clocks of several buckets."""
        return any(self.tokens.lost(bucket, clock) for bucket, clock in clocks.items())

    def status(self) -> dict[str, Any]:
        """Plain values; see `status.snapshot`."""
        return snapshot(self.core, self.transfers, self.collection, self.entry, self.absence)

    # -- dispatch
    def _time(self, now: float, wall_ms: int) -> None:
        self.core.now, self.core.wall_ms = max(self.core.now, now), wall_ms

    def _dispatch(self, link: Link, message: m.Message) -> None:
        if isinstance(message, m.Hello):
            self.sessions.hello(link, message)
        elif isinstance(message, m.Refuse):
            self.sessions.refused(link, message)
        elif link.state == states.READY and link.peer is not None:
            link.peer.detector.heard(self.core.now)
            self.sessions.accepted()
            if link.state == states.READY:
                self._handlers[type(message)](link, link.peer, message)
        else:
            self.core.counters["before_greeting"] += 1

    def _part(self, link: Link, peer: Peer, part: m.Part) -> None:
        if part.node != peer.node:
            raise BadTransfer(f"{peer.node} sends a part in the name of {part.node}.")
        if part.push:
            self.gossip.pushed(link, peer, part)
        else:
            self.transfers.part(link, peer, part)

    def _heard_with(self, part: m.Part, peer: Peer, link: Link) -> None:
        """The announcement that a transfer brings with its claim; it counts like any other."""
        records = self.core.list_from(part.members, part.members_digest)
        if records is None:
            return
        self.membership.merge(records, link)
        if link.state == states.READY:
            self.core.replica.hear(part.bucket, peer.node, part.synced, records)
            self.announcer.moved(part.bucket)

    def _credit(self, link: Link, peer: Peer, credit: m.Credit) -> None:
        if credit.push:
            self.gossip.credit(peer, credit)
        else:
            self.transfers.credit(link, credit)

    def _abort(self, link: Link, peer: Peer, abort: m.Abort) -> None:
        if abort.push:
            self.gossip.aborted(peer, abort)
        else:
            self.transfers.aborted(link, abort)

    def _members(self, link: Link, peer: Peer, update: m.MembersUpdate) -> None:
        if self.core.whole():
            self.membership.merge(update.members, link)
        else:
            self.entry.heard(link, peer, update.members)

    def _bye(self, link: Link, peer: Peer, bye: m.Bye) -> None:
        if bye.reason == LEAVING_WORD:
            self.membership.leaves(link, peer)
        else:
            self.sessions.drop(link, "bye")

    # -- what follows
    def _ready(self, link: Link, hello: m.Hello) -> None:
        self.membership.hello(link, hello)
        if not self.core.whole():
            self.entry.hello(link, hello)
        if link.state == states.READY:
            self.announcer.ready(link)

    def _lost(self, link: Link, peer: Peer) -> None:
        self.transfers.lost(link, peer)
        self.repair.lost(link)

    def _applied(self, asked: Asked, part: m.Part) -> None:
        if self.transfers.joining:
            self.entry.applied(asked, part)
            return
        self.gossip.applied(asked, part)
        if asked.link.state == states.READY and self.core.whole():
            self._heard_with(part, asked.peer, asked.link)

    def _failed(self, asked: Asked, code: str) -> None:
        if self.transfers.joining:
            self.entry.failed(asked, code)
        else:
            self.repair.failed(asked, code)
            self.gossip.failed(asked, code)

    def _below_floor(self, bucket: str, peer: Peer) -> None:
        self.core.counters["below_floor"] += 1
        self.core.notify("below_floor", bucket=bucket, node=peer.node)
        self.entry.start_over(f"below the floor of {peer.node} in bucket {bucket!r}", through=peer.node)

    def _out(self) -> None:
        """This node starts over: forget what was heard and what was under way."""
        self.gossip.out()
        self.core.replica.announced.clear()
        self.collection.forget()

    # -- faults
    def _fault(self, link: Link, message: m.Message, fault: PeerFault) -> None:
        """What a peer sent makes no sense: count it, tell it, and end what it was part of."""
        core = self.core
        core.counters["peer_faults"] += 1
        core.count(fault, link.peer.node if link.peer is not None else link.address)
        if isinstance(message, m.Part) and isinstance(fault, BadTransfer) and link.peer is not None:
            link.peer.hold[message.bucket] = core.now + FAULT_PAUSE
            if message.push and link.number in core.links:
                core.send(link, m.Abort(transfer=message.transfer, push=True, code="bad", text=fault.message))
        elif link.number in core.links:
            self.sessions.refuse(link, "fault", fault.message)

    def _trouble(self, link: Link, message: m.Message, trouble: EnvironmentFault) -> None:
        """Our own disk or memory stands in the way: nothing is taken in for now."""
        core = self.core
        core.count(trouble)
        if not isinstance(message, m.Part):
            return
        asked = self.transfers.asked.get(message.bucket)
        if message.push:
            core.send(link, m.Abort(transfer=message.transfer, push=True, code="busy"))
        elif asked is not None and asked.link is link:
            self.transfers.give_up(asked, "busy")
