"""Whom to dial and when: seeds and members without a ready link, with jittered exponential backoff.

Members find each other transitively: every member record carries an address, and one seed leads to all of them.  In
clusters above four times `full_mesh_max` a node keeps only a random few links of its own making.
"""

from __future__ import annotations

from collections.abc import Iterable

from crdtsync.replication import peers as states
from crdtsync.replication.core import NEVER, Core
from crdtsync.replication.peers import Link

FIRST_DELAY = 0.05  # s: the backoff begins here and doubles up to reconnect_max
YIELD_DELAY = 0.1  # s that the greater name waits, so that two nodes seldom dial each other at once
FORGET_DIAL = 2.0  # times connect_timeout after which a dial without an answer is taken for failed


class Target:
    """One address and how dialling it has gone."""

    def __init__(self, address: str, node: str, next_at: float) -> None:
        self.address, self.node, self.next_at = address, node, next_at
        self.tries = 0
        self.dialling_since: float | None = None


class Dialer:
    """Keeps a link, or an attempt at one, to everybody who should have one."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.seeds: dict[str, str] = dict.fromkeys(core.settings.join, "")  # address -> node met there
        self.mine: set[str] = set()  # addresses that led to myself
        self.targets: dict[str, Target] = {}
        self._stale = True

    def changed(self) -> None:
        """Members, addresses or links have changed."""
        self._stale = True

    def hint(self, addresses: Iterable[str]) -> None:
        """Addresses that a joiner may try besides its own seeds."""
        for address in addresses:
            if address and len(self.seeds) < self.core.settings.members_max:
                self.seeds.setdefault(address, "")
        self._stale = True

    def add_seeds(self, addresses: Iterable[str]) -> list[str]:
        """Addresses to be dialled as those of `join`; gives those that were not known."""
        fresh = [address for address in addresses if address not in self.seeds]
        self.seeds.update(dict.fromkeys(fresh, ""))
        self._stale = True
        return fresh

    def drop_seeds(self, addresses: Iterable[str]) -> None:
        """The end of `add_seeds`."""
        for address in addresses:
            self.seeds.pop(address, None)
        self._stale = True

    # -- what became of a dial
    def answered(self, address: str) -> None:
        """A link that we dialled is up."""
        target = self.targets.get(address)
        if target is not None:
            target.dialling_since = None

    def met(self, link: Link, node: str) -> None:
        """A link is ready."""
        if link.outgoing:
            if link.address in self.seeds:
                self.seeds[link.address] = node
            target = self.targets.get(link.address)
            if target is not None:
                target.tries = 0
        self._stale = True

    def met_myself(self, address: str) -> None:
        self.mine.add(address)
        self._stale = True

    def failed(self, address: str) -> None:
        """Nobody answered at an address, or the link did not become ready: wait longer."""
        target = self.targets.get(address)
        if target is not None:
            settings = self.core.settings
            delay = min(FIRST_DELAY * 2**target.tries, settings.reconnect_max)
            target.tries = min(target.tries + 1, 30)
            target.dialling_since = None
            target.next_at = self.core.now + delay * self.core.rng.uniform(0.5, 1.0)

    # -- time
    def due(self) -> float:
        if self._stale:
            return self.core.now
        return min(map(self._due_at, self.targets.values()), default=NEVER)

    def tick(self) -> None:
        """Dial whatever is due."""
        if self._stale:
            self._refresh()
        for target in list(self.targets.values()):
            if self._due_at(target) > self.core.now:
                continue
            if target.dialling_since is not None:
                self.failed(target.address)
            elif not self._pending(target.address):
                target.dialling_since = self.core.now
                self.core.connect(target.address)
            else:
                target.next_at = self.core.now + FIRST_DELAY

    def _due_at(self, target: Target) -> float:
        if target.dialling_since is not None:
            return target.dialling_since + FORGET_DIAL * self.core.settings.connect_timeout
        return target.next_at

    def _pending(self, address: str) -> bool:
        """A link that we dialled there is still greeting."""
        return any(
            link.outgoing and link.address == address and link.state == states.GREETING
            for link in self.core.links.values()
        )

    def _refresh(self) -> None:
        """Work out whom a link is missing to."""
        self._stale = False
        wanted = self._wanted()
        for address in [address for address in self.targets if address not in wanted]:
            if self.targets[address].dialling_since is None:
                del self.targets[address]
        for address, node in wanted.items():
            if address not in self.targets:
                wait = YIELD_DELAY if node and node < self.core.store.node else 0.0
                self.targets[address] = Target(address, node, self.core.now + self.core.jitter(wait))

    def _wanted(self) -> dict[str, str]:
        core = self.core
        if core.state in (states.LEFT, states.SUPERSEDED):
            return {}
        linked = {peer.node for peer in core.ready_peers()}
        addresses: dict[str, str] = {}
        if core.state not in (states.JOINING, states.STARTING_OVER) or core.store.cluster():
            members = core.store.members().values()
            out = core.state == states.STARTING_OVER  # whoever is left may be out as well
            sought = [r for r in members if core.is_counted(r.node) or (out and core.is_evicted(r.node))]
            others = [record for record in sought if record.node != core.store.node and record.address]
            addresses = {record.address: record.node for record in others if record.node not in linked}
            addresses = self._few(addresses, len(others), len(linked))
        for address, node in self.seeds.items():
            # Whoever was met there may have been evicted, have moved, or have come back since: a node that gets in
            # knows no members yet, and one without any link may know none by their present addresses.
            # An evicted one that has evicted us in turn dials us as little as we would dial it.
            wanted = core.is_counted(node) or core.is_evicted(node) or not core.whole() or not linked
            if not node or (node not in linked and wanted):
                addresses.setdefault(address, node)
        return {address: node for address, node in addresses.items() if address not in self.mine | {core.address}}

    def _few(self, addresses: dict[str, str], others: int, linked: int) -> dict[str, str]:
        """All of them in small clusters; above that, as many as bring the links to a few."""
        settings = self.core.settings
        if others < 4 * settings.full_mesh_max:
            return addresses
        want = max(4 * settings.fan_out - linked, 0)
        kept = {address: node for address, node in addresses.items() if address in self.targets}
        fresh = [pair for pair in addresses.items() if pair[0] not in kept]
        more = self.core.rng.sample(fresh, min(len(fresh), max(want - len(kept), 0)))
        return dict(list(kept.items())[:want]) | dict(more)
