"""Who the replica is: its cluster, the actor of this start, its start number, and the members it knows."""

from __future__ import annotations

from collections.abc import Iterable

from crdtsync.clocks.members import MemberRecord, Members, join_members
from crdtsync.errors import MembershipMisuse
from crdtsync.storage import facts
from crdtsync.storage.actors import PRIVATE
from crdtsync.storage.facts import payload
from crdtsync.storage.recovery import Recovery


class Membership(Recovery):
    """The part of a store that knows who it is."""

    def cluster(self) -> int:
        """Id of the cluster; 0: never published."""
        return self.cluster_id

    def publish(self, cluster: int) -> None:
        """Belong to a cluster from now on, durably: from here on peers may see what is written.

        Raises MembershipMisuse for a store of another cluster, unless `new_cluster` is set.
        """
        self.check_usable()
        with self.lock, self.counting():
            if cluster == self.cluster_id:
                return
            found = self.cluster_id != 0
            if found and not self.config.new_cluster:
                raise MembershipMisuse(
                    "The store belongs to another cluster.", hint="Set new_cluster to found a new one."
                )
            private, wrote = self.actors.ids[PRIVATE], any(PRIVATE in b.clock for b in self.numbered.values())
            while not private and wrote:
                candidate = self.random.getrandbits(64)
                private = 0 if candidate in self.actors.index else candidate
            self.journal.append(payload(facts.PUBLISH, cluster, private, found))
            self.set_published(cluster, private, found)
            self._own = None  # what is written from now on belongs to this start alone
        self.flush()

    def raise_start(self, start: int) -> None:
        """This start counts as later than `start`, durably: an old copy of the directory came back."""
        self.check_usable()
        with self.lock, self.counting():
            if start >= self.start:
                self.journal.append(payload(facts.START, start + 1))
                self.start, self._meta_dirty = start + 1, True
        self.flush()

    def actor(self) -> int:
        """Id that this start writes under; 0: nothing written since the start, or not published."""
        return 0 if self._own is None else self.actors.ids[self._own]

    def new_actor(self) -> None:
        """Never write again under this start's actor."""
        with self.lock:
            self._own = None

    def members(self) -> Members:
        """Member records by node name; not to be changed: news makes another list."""
        return self.member_records

    def put_members(self, records: Iterable[MemberRecord]) -> bool:
        """Join records by version; True if anything changed.  Raises DiskFull, JournalFailed."""
        self.check_usable()
        with self.lock, self.counting():
            joined = join_members(self.member_records, records)
            news = [record for name, record in joined.items() if self.member_records.get(name) != record]
            if news:
                self.journal.append(payload(facts.MEMBERS, facts.members_flat(news)))
                self.member_records, self._meta_dirty = joined, True
            return bool(news)
