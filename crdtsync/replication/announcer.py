"""Heartbeats: clocks told to every link, as changes; the author's member list always with them; skew and suspicion.

An announcement is what failure detection, lag, pulls and collection live on.  Its author's member list is left out
where the far end has announced a list of the same digest.  A clock entry stands for itself, so a
lost change leaves the receiver with less than the truth, never more, and every WHOLE_EVERY-th announcement is whole.
Announcements of others are passed on, with their author's member list, so that a partial mesh can collect, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from crdtsync.clocks.members import MEMBER, MemberRecord
from crdtsync.clocks.vector import covers, merged, missing
from crdtsync.errors import BadRecord
from crdtsync.replication import peers as states
from crdtsync.replication.core import Core, log
from crdtsync.replication.gossip import Gossip
from crdtsync.replication.membership import Membership
from crdtsync.replication.messages import Announce, BucketClocks, Clock
from crdtsync.replication.peers import Link, Peer
from crdtsync.replication.sessions import Sessions

WHOLE_EVERY = 16  # announcements on a link of which one is whole
PASS_ON_EVERY = 4  # heartbeats between rounds of passing on, where everybody is linked to everybody
AUTHORS_MAX = 64  # announcements of others passed on to one peer in one round,
ENTRIES_MAX = 512  # and entries of their clocks after which no more follow

NOTHING: tuple[Clock, Clock] = ({}, {})
Clocks = dict[str, tuple[Clock, Clock]]  # bucket -> (everything held, what is on disk)


class Announcer:
    """Tells clocks and hears them."""

    def __init__(self, core: Core, sessions: Sessions, gossip: Gossip, membership: Membership) -> None:
        self.core, self.sessions, self.gossip, self.membership = core, sessions, gossip, membership
        self.beat_at = core.now + core.jitter(core.settings.heartbeat_interval)
        self.beats = 0
        self.told_to_joiner: Callable[[str, Iterable[MemberRecord]], None] = lambda author, records: None

    # -- telling
    def ready(self, link: Link) -> None:
        """A link has become ready: tell it everything at once."""
        self._announce(link, self._clocks(), whole=True)

    def _clocks(self) -> Clocks:
        """Clocks of all buckets, empty ones of those that make no claims now; none before this node is whole."""
        core, store = self.core, self.core.store
        if not core.whole():
            return {}
        return {
            bucket: (store.clock(bucket), store.synced_clock(bucket)) if core.replica.serves(bucket) else ({}, {})
            for bucket in store.buckets()
        }

    def _announce(self, link: Link, clocks: Clocks, whole: bool) -> None:
        """One announcement; nothing but its time of day when nothing has changed: the heartbeat."""
        core, store = self.core, self.core.store
        told = {bucket: pair for bucket, pair in clocks.items() if whole or link.told.get(bucket) != pair}
        changes = tuple(self._change(link, bucket, *pair, whole) for bucket, pair in told.items())
        link.told.update(told)
        link.announcements += 1
        core.announce_seq += 1
        out, roster = core.state in (states.JOINING, states.STARTING_OVER), core.replica.roster()
        announce = Announce(
            node=store.node, start=store.start, actor=store.actor(), wall_ms=core.wall_ms, seq=core.announce_seq,
            answers=link.peer.announce_seq if link.peer is not None else 0,
            members=() if out else core.list_to(link, roster.records, roster.digest),
            members_digest=0 if out else roster.digest, buckets=changes,
        )  # fmt: skip
        core.counters["announcements"] += 1
        core.send(link, announce)

    def _change(self, link: Link, bucket: str, clock: Clock, synced: Clock, whole: bool) -> BucketClocks:
        if not clock:  # said all the same: who waits for an event must not take it for lost, since it may be here
            return BucketClocks(bucket, {}, {}, whole=False)
        if whole or not link.told.get(bucket, NOTHING)[0]:
            return BucketClocks(bucket, clock, synced, whole=True)
        before, before_synced = link.told[bucket]
        return BucketClocks(bucket, missing(before, clock), missing(before_synced, synced), whole=False)

    def _told_at_once(self) -> None:
        """Peers that gossip wants to know of a bucket's clock now."""
        wanted: dict[int, set[str]] = {}
        for unaware, bucket in self.gossip.announce_to:
            wanted.setdefault(unaware.number, set()).add(bucket)
        self.gossip.announce_to.clear()
        clocks = self._clocks() if wanted else {}
        for number, buckets in wanted.items():
            link = self.core.links.get(number)
            if link is not None and link.state == states.READY:
                self._announce(link, {b: pair for b, pair in clocks.items() if b in buckets}, whole=False)

    # -- hearing
    def heard(self, link: Link, peer: Peer, announce: Announce) -> None:
        """An announcement, from its author or passed on."""
        core, direct = self.core, announce.node == peer.node
        fault = self._impossible(announce, core.peers.get(announce.node))
        records = core.list_from(announce.members, announce.members_digest)
        if records:
            announce = msgspec.structs.replace(announce, members=records)
        if announce.node == core.store.node:
            core.counters["self_addressed"] += 1
        elif fault and direct:
            raise BadRecord(fault)
        elif fault:  # whoever passed it on could not know
            core.counters["announcements_impossible"] += 1
        elif direct:
            self._heard_directly(link, peer, announce)
        elif core.whole() and core.is_counted(announce.node):
            self._heard_of(core.peer(announce.node), link, announce)
        else:
            core.counters["announcements_unknown"] += 1

    def _impossible(self, announce: Announce, author: Peer | None) -> str:
        """Why nobody who is right can announce this; "" when it may be so.  What is kept of it stays bounded, too."""
        store, settings = self.core.store, self.core.settings
        own, known = store.actor(), author.clock if author is not None else {}
        if own and announce.actor == own:
            return f"{announce.node} writes under the actor of {store.node}."
        if announce.answers > self.core.announce_seq:
            return f"{announce.node} answers announcement {announce.answers}, which {store.node} has not sent."
        for clocks in announce.buckets:
            told = max(clocks.clock.get(own, 0), clocks.synced.get(own, 0)) if own else 0
            if told and told > store.clock(clocks.bucket).get(own, 0):
                return f"An announcement names event {told} of our own actor, which we never wrote."
            if len(known.get(clocks.bucket, {})) + len(clocks.clock) > 2 * settings.actors_per_part_max:
                return f"Announcements name more than {settings.actors_per_part_max} actors."
        if len(known) + len(announce.buckets) > 2 * settings.buckets_max:
            return f"Announcements name more than {settings.buckets_max} buckets."
        return ""

    def _heard_directly(self, link: Link, peer: Peer, announce: Announce) -> None:
        core = self.core
        if announce.start != peer.start or announce.seq <= peer.announce_seq:
            core.counters["announcements_outdated"] += 1
            self.sessions.spoken(link, announce.node, announce.start)
            return
        peer.announce_seq, peer.actor, peer.answered = announce.seq, announce.actor, announce.answers
        peer.word = max(peer.word, (announce.start, announce.seq))
        peer.detector.heartbeat(core.now)
        self._skew(peer, announce.wall_ms)
        link.members_digest = announce.members_digest
        own = self._author_in(announce)
        if own is not None and own.state == MEMBER:
            peer.state = states.MEMBER  # it was getting in when the link began
        elif not announce.members and not announce.members_digest:
            peer.state = link.greeted  # it still is: an announcement from before it was out came late
        if not core.whole():
            self._told_to_joiner(peer, announce)
            return
        first, peer.announced = not peer.announced, True
        self._count(peer, link, announce)
        if peer.link is not link:  # its member list has told us that it is out
            return
        for clocks in announce.buckets:
            self.gossip.heard(peer, clocks.bucket)
        if first:
            self.gossip.everything()

    def _told_to_joiner(self, peer: Peer, announce: Announce) -> None:
        """A joiner notes clocks and member lists, and counts nothing."""
        peer.announced = True
        if _listed(announce):
            peer.last_announce = announce
            self.sessions.dialer.hint(record.address for record in announce.members if record.state == MEMBER)
            self.told_to_joiner(announce.node, announce.members)
        self._note(peer, announce)
        peer.uncounted.clear()

    def joined(self) -> None:
        """This node is whole: what was noted counts now, and everybody is told."""
        for peer in self.core.ready_peers():
            link, noted = peer.link, peer.last_announce
            if link is None:
                continue
            if noted is not None:
                peer.uncounted.update(peer.synced)
                self._count(peer, link, msgspec.structs.replace(noted, buckets=()))
            if peer.link is link:
                self.ready(link)
                for bucket in peer.clock:
                    self.gossip.heard(peer, bucket)
        self.gossip.everything()

    def _heard_of(self, author: Peer, link: Link, announce: Announce) -> None:
        """An announcement passed on by another."""
        core = self.core
        if author.link is None and core.replica.later_start(announce.node, announce.start):
            if (announce.start, announce.seq) > author.word:
                author.word, author.heard_of = (announce.start, announce.seq), core.now
            author.actor = announce.actor
            if announce.buckets:
                self._count(author, link, announce)
            else:  # a mere word of it (`pass_word`), with a list that may be older
                self.membership.merge(announce.members, link, author=announce.node)

    def _count(self, author: Peer, link: Link, announce: Announce) -> None:
        """Merge the author's member list, then its clocks.

        RULE: a list that was left out, since its digest was that of a list held here, and is so no more, comes with one
        of the next announcements: until then the clocks do not count.
        """
        core, listed = self.core, _listed(announce)
        own = self._author_in(announce)
        if own is not None and own.epoch > author.epoch:
            author.epoch = own.epoch
        if listed:
            self.membership.merge(announce.members, link, author=announce.node)
        else:
            core.counters["announcements_unlisted"] += 1
        if core.is_out(author.node, own.epoch if own is not None else author.epoch):
            return
        if listed and (announce.start, announce.seq) >= author.list_as_of:
            author.last_announce, author.list_as_of = announce, (announce.start, announce.seq)
        self._note(author, announce)
        for bucket in list(author.uncounted):
            self.count(author, bucket)

    def _author_in(self, announce: Announce) -> MemberRecord | None:
        """The author's record in its own list."""
        roster = self.core.replica.roster()
        if announce.members is roster.records:
            return roster.members.get(announce.node)
        return next((record for record in announce.members if record.node == announce.node), None)

    def _note(self, author: Peer, announce: Announce) -> None:
        """Note the clocks of an announcement."""
        if announce.buckets:
            author.clocks_as_of = max(author.clocks_as_of, (announce.start, announce.seq))
        for clocks in announce.buckets:
            author.told(clocks)

    def count(self, author: Peer, bucket: str) -> None:
        """Count what an author has on disk, if I know its list as of then and hold all of it by now."""
        if author.listed() and self.core.replica.hear(bucket, author.node, author.synced.get(bucket, {})):
            author.uncounted.discard(bucket)

    def moved(self, bucket: str) -> None:
        """My clock has moved: announcements that waited for it may count now."""
        clock = self.core.store.clock(bucket)
        for author in self.core.peers.values():
            if bucket in author.uncounted and covers(clock, author.synced.get(bucket, {})):
                self.count(author, bucket)

    def _skew(self, peer: Peer, wall_ms: int) -> None:
        core, settings = self.core, self.core.settings
        peer.skews.append(wall_ms - core.wall_ms)
        # An announcement that was late makes its author's clock look slow, never fast: the greatest is nearest.
        before, peer.skew_ms = abs(peer.skew_ms), max(peer.skews)
        for name, limit in (("alarm", settings.max_clock_skew_alarm), ("warn", settings.max_clock_skew_warn)):
            if abs(peer.skew_ms) > limit * 1000:
                core.counters["clock_skew_" + name] += 1
                if before <= limit * 1000:
                    log.warning("%s: the clock of %s differs by %d ms", core.store.node, peer.node, peer.skew_ms)
                    core.notify("skew", node=peer.node, seconds=peer.skew_ms / 1000)
                return

    # -- passing on
    def _pass_on(self) -> None:
        """Tell peers what others have announced since they were last told."""
        core = self.core
        names = core.replica.roster().counted
        partners = core.partners()
        if not core.full_mesh():
            partners = core.some(partners, core.settings.fan_out)
        known = (core.peers[name] for name in names if name in core.peers)
        authors = [author for author in known if author.last_announce is not None and author.listed()]
        for peer in partners:
            if peer.link is not None:
                entries = 0
                for author in core.some((one for one in authors if one is not peer), AUTHORS_MAX):
                    entries += self._pass_on_to(peer.link, author)
                    if entries >= ENTRIES_MAX:
                        break

    def pass_word(self, link: Link, author: Peer) -> None:
        """Tell that an author has been heard, whether or not its clocks are news."""
        last = author.last_announce
        if last is not None:
            self.core.counters["announcements_passed_on"] += 1
            seq = author.word[1] if author.word[0] == last.start else last.seq
            members = self.core.list_to(link, last.members, last.members_digest)
            self.core.send(link, msgspec.structs.replace(last, seq=seq, answers=0, members=members, buckets=()))

    def _pass_on_to(self, link: Link, author: Peer) -> int:
        """Tell what an author has announced since this link was last told of it: so many entries of clocks."""
        told = link.passed_on.setdefault((author.node, author.start_heard()), {})
        news = {bucket: missing(told.get(bucket, {}), synced) for bucket, synced in author.synced.items()}
        changes = tuple(BucketClocks(b, synced, synced, whole=False) for b, synced in news.items() if synced)
        last = author.last_announce
        if not changes or last is None:
            return 0
        for clocks in changes:
            told[clocks.bucket] = merged(told.get(clocks.bucket, {}), author.synced[clocks.bucket])
        self.core.counters["announcements_passed_on"] += 1
        announce = Announce(
            node=last.node, start=last.start, actor=last.actor, wall_ms=last.wall_ms, seq=last.seq,
            members=self.core.list_to(link, last.members, last.members_digest), members_digest=last.members_digest,
            buckets=changes,
        )  # fmt: skip
        self.core.send(link, announce)
        return sum(len(clocks.synced) for clocks in changes)

    # -- time
    def due(self) -> float:
        return self.core.now if self.gossip.announce_to else self.beat_at

    def tick(self) -> None:
        core = self.core
        self._told_at_once()
        if core.now < self.beat_at:
            return
        self.beat_at = core.now + core.settings.heartbeat_interval
        self.beats += 1
        self._suspect()
        clocks = self._clocks()
        for link in core.ready_links():
            self._announce(link, clocks, whole=link.announcements % WHOLE_EVERY == 0)
        if core.whole() and (self.beats % PASS_ON_EVERY == 0 or not core.full_mesh()):
            self._pass_on()

    def _suspect(self) -> None:
        """End links to peers that are silent beyond doubt; the dialer tries anew."""
        for peer in self.core.ready_peers():
            if self.core.phi(peer) >= self.core.settings.suspect_phi and peer.link is not None:
                self.core.counters["peers_suspected"] += 1
                self.sessions.drop(peer.link, "silent")


def _listed(announce: Announce) -> bool:
    """Whether its author's list is in it; one without a digest is from before digests, or from who is not in."""
    return bool(announce.members) or not announce.members_digest
