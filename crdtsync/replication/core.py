"""What the parts of the engine share: store, settings, time, peers, links, the node's state, effects, counters."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

from crdtsync.clocks.members import EVICTED, JOINING, MEMBER, MemberRecord
from crdtsync.config import Config
from crdtsync.errors import CrdtsyncError
from crdtsync.replication import peers as states
from crdtsync.replication.effects import Connect, Disconnect, Effect, Notify, Persist, Send
from crdtsync.replication.failure import Lateness
from crdtsync.replication.messages import MembersUpdate, Message
from crdtsync.replication.peers import Link, Peer
from crdtsync.replication.ports import ReplicaStore
from crdtsync.replication.replica import Replica

log = logging.getLogger("crdtsync.replication")
NEVER = float("inf")
Records = tuple[MemberRecord, ...]
IDS_OF_A_START = 20  # bits: starts are told in ms, and no node begins a million transfers in one
ID_MAX = 2**63 - 1


class Random(Protocol):
    """The randomness that is passed in; random.Random fits."""

    def random(self) -> float: ...
    def uniform(self, a: float, b: float) -> float: ...
    def getrandbits(self, k: int, /) -> int: ...
    def sample(self, population: Any, k: int) -> list[Any]: ...


class Core:
    """State shared by the parts.  They talk to each other through methods of their own, and to the world from here."""

    def __init__(
        self, store: ReplicaStore, settings: Config, rng: Random, now: float, wall_ms: int, address: str
    ) -> None:
        self.store, self.settings, self.rng = store, settings, rng
        self.now, self.wall_ms, self.address = now, wall_ms, address
        self.replica = Replica(store, settings)
        self.state = states.MEMBER
        self.peers: dict[str, Peer] = {}
        self.links: dict[int, Link] = {}
        self.effects: list[Effect] = []
        self.counters: Counter[str] = Counter()
        self.lateness = Lateness()
        self.transfers_begun = rng.getrandbits(40)  # ids
        self.announce_seq = 0  # of the latest announcement of ours, on whatever link
        self.lives_met = 0  # how often a peer has come with a start, an instance or an epoch that was new

    # -- effects
    def send(self, link: Link, message: Message) -> None:
        self.effects.append(Send(link.number, message))

    def connect(self, address: str) -> None:
        self.effects.append(Connect(address))

    def persist(self) -> None:
        if not self.effects or not isinstance(self.effects[-1], Persist):
            self.effects.append(Persist())

    def notify(self, event: str, **details: Any) -> None:
        self.effects.append(Notify(event, details))

    def hang_up(self, link: Link, reason: str) -> None:
        """Tell the transport to end a link.  The engine's own book-keeping is `Engine.drop`."""
        self.effects.append(Disconnect(link.number, reason))

    # -- who and where
    def me(self) -> MemberRecord | None:
        return self.store.members().get(self.store.node)

    def record(self, node: str) -> MemberRecord | None:
        return self.store.members().get(node)

    def is_member(self, node: str) -> bool:
        record = self.record(node)
        return record is not None and record.state == MEMBER

    def is_counted(self, node: str) -> bool:
        record = self.record(node)
        return record is not None and record.state in (JOINING, MEMBER)

    def is_evicted(self, node: str) -> bool:
        record = self.record(node)
        return record is not None and record.state == EVICTED

    def is_out(self, node: str, epoch: int) -> bool:
        """Whether `node`, at that epoch, has been evicted or is an old copy from before it came back."""
        record = self.record(node)
        return record is not None and (epoch < record.epoch or (epoch == record.epoch and record.state == EVICTED))

    def members_counted(self) -> int:
        return max(len(self.replica.roster().counted), 1)

    def full_mesh(self) -> bool:
        return self.members_counted() <= self.settings.full_mesh_max

    def whole(self) -> bool:
        """Whether this node may push, serve and take."""
        return self.state in states.WHOLE and self.store.cluster() != 0

    def ready_links(self) -> list[Link]:
        return [link for link in self.links.values() if link.state == states.READY]

    def ready_peers(self) -> list[Peer]:
        """Peers with a ready link, in name order: chance must not depend on the order of arrival."""
        return sorted((peer for peer in self.peers.values() if peer.link is not None), key=lambda peer: peer.node)

    def partners(self) -> list[Peer]:
        """Members with a ready link: who may be pushed to and pulled from."""
        return [peer for peer in self.ready_peers() if self.is_member(peer.node)]

    def peer(self, node: str) -> Peer:
        """The peer of that name, from the first word of it on."""
        peer = self.peers.get(node)
        if peer is None:
            peer = self.peers[node] = Peer(node, self.settings.heartbeat_interval, self.now)
        return peer

    def forget(self, peer: Peer) -> None:
        """A stranger has gone: names that anybody may make up are not kept."""
        self.peers.pop(peer.node, None)
        self.replica.heard.pop(peer.node, None)
        self.replica.forget(peer.node)

    def phi(self, peer: Peer) -> float:
        return peer.detector.phi(self.now, self.lateness.current(self.now))

    def reachable(self) -> list[str]:
        """Members that a ready link leads to and that are not suspected."""
        limit = self.settings.suspect_phi
        return [peer.node for peer in self.partners() if self.phi(peer) < limit]

    # -- member lists by their digests
    def list_to(self, link: Link, records: Records, digest: int) -> Records:
        """A list to be told: nothing of it when the far end has announced the same one."""
        return () if digest and link.members_digest == digest else records

    def list_from(self, records: Records, digest: int) -> Records | None:
        """A list as it was told: when by its digest alone, the one held here; None if that is another."""
        if records or not digest:
            return records
        roster = self.replica.roster()
        return roster.records if roster.digest == digest else None

    # -- chance
    def jitter(self, seconds: float) -> float:
        """Half to one and a half of `seconds`."""
        return seconds * self.rng.uniform(0.5, 1.5)

    def some(self, peers: Iterable[Peer], count: int) -> list[Peer]:
        """Up to `count` of them, by chance."""
        pool = list(peers)
        return pool if len(pool) <= count else self.rng.sample(pool, count)

    def next_transfer(self) -> int:
        """The next id.  Greater than all of earlier starts: a late copy of their Pull must not pass for the latest."""
        self.transfers_begun = max(self.transfers_begun, (self.store.start << IDS_OF_A_START) % ID_MAX) + 1
        return self.transfers_begun

    # -- telling
    def tell_members(self, records: Iterable[MemberRecord], besides: Link | None = None) -> None:
        """Pass member records on at once, to every ready link but the one they came from."""
        news = tuple(records)
        for link in self.ready_links():
            if link is not besides:
                self.send(link, MembersUpdate(members=news))

    def count(self, error: CrdtsyncError, who: str = "") -> None:
        """A refusal or trouble: log line and counter."""
        self.counters[error.counter] += 1
        fields = {"error": error.counter, "peer": who}
        log.warning("%s: %s%s", self.store.node, f"from {who}: " if who else "", error, extra=fields)
