"""Damaged rows: fetched again from a member that has everything they had; failing that, the node starts over.

A bucket with rows set aside makes no claims and takes nothing in.  A repair is a pull whose answer also holds the rows,
as that member has them, applied with its claim: rows alone could bring events beyond our clock into our rows, and
merging into a row that is not there would read what is missing as removed.  So: ask for the rows, then pull from the
same member, then mend and apply at once.
"""

from __future__ import annotations

from crdtsync.clocks.vector import covers
from crdtsync.datatypes.rows import NO_ROWS
from crdtsync.errors import BadTransfer
from crdtsync.replication import replica as verdicts
from crdtsync.replication.core import Core, log
from crdtsync.replication.entry import Entry
from crdtsync.replication.messages import Clock, Part, RepairReply, RepairRequest
from crdtsync.replication.peers import Link, Peer
from crdtsync.replication.transfers import Asked, Transfers

LOOK_EVERY = 0.5  # s between looks for damage
ANSWER_TIMEOUT = 5.0  # s that a member has to answer, and then to bring the pull
GIVE_UP_AFTER = 10.0  # s that every other member must have been in reach and unable before this node starts over


class Attempt:
    """Asking one member for the damaged rows of one bucket."""

    def __init__(self, link: Link, peer: Peer, request: RepairRequest, now: float) -> None:
        self.link, self.peer, self.request, self.began = link, peer, request, now
        self.reply: RepairReply | None = None


class Repair:
    """Looks for damaged rows and mends them."""

    def __init__(self, core: Core, transfers: Transfers, entry: Entry) -> None:
        self.core, self.transfers, self.entry = core, transfers, entry
        self.look_at = core.now
        self.attempts: dict[str, Attempt] = {}
        self.unable: dict[str, dict[str, float]] = {}  # bucket -> member -> since when it cannot help

    # -- asking
    def due(self) -> float:
        return self.look_at

    def tick(self) -> None:
        core = self.core
        if core.now < self.look_at:
            return
        self.look_at = core.now + LOOK_EVERY
        if not core.whole():
            return
        for bucket in core.store.buckets():
            if core.store.damaged(bucket):
                self._mend(bucket)
            elif bucket in self.attempts or bucket in self.unable:
                self.attempts.pop(bucket, None)
                self.unable.pop(bucket, None)

    def _mend(self, bucket: str) -> None:
        core = self.core
        attempt = self.attempts.get(bucket)
        if attempt is not None:
            if core.now < attempt.began + ANSWER_TIMEOUT and attempt.peer.link is attempt.link:
                return
            del self.attempts[bucket]
        for asked in [asked for asked in self.transfers.asked.values() if asked.pull.bucket == bucket]:
            self.transfers.give_up(asked, verdicts.DAMAGED)
        unable = self.unable.setdefault(bucket, {})
        partners = [peer for peer in core.partners() if peer.announced]
        candidates = [peer for peer in partners if peer.node not in unable] or partners
        for peer in core.some(candidates, 1):
            if peer.link is not None:
                clock = core.store.damaged_clock(bucket)
                request = RepairRequest(bucket=bucket, clock=clock, keys=core.store.damaged_keys(bucket))
                self.attempts[bucket] = Attempt(peer.link, peer, request, core.now)
                core.counters["repairs_asked"] += 1
                core.send(peer.link, request)
        self._consider(bucket, unable)

    def _consider(self, bucket: str, unable: dict[str, float]) -> None:
        """Start over when every other member has been asked and none has what the rows had."""
        core = self.core
        others = [name for name in core.store.members() if core.is_member(name) and name != core.store.node]
        if others and all(core.now - unable.get(name, core.now) > GIVE_UP_AFTER for name in others):
            self.entry.start_over(f"no member can repair the damaged rows of bucket {bucket!r}")

    # -- answering
    def requested(self, link: Link, request: RepairRequest) -> None:
        """Give the rows if everything they had is here; else say so with an empty reply."""
        core, store = self.core, self.core.store
        with store.lock:
            clock: Clock = store.clock(request.bucket)
            able = core.whole() and core.replica.serves(request.bucket) and covers(clock, request.clock)
            rows = store.rows_at(request.bucket, request.keys) if able else NO_ROWS
        keys = request.keys if able else NO_ROWS
        core.counters["repairs_answered"] += able
        core.send(link, RepairReply(bucket=request.bucket, clock=clock, keys=keys, rows=rows))

    # -- mending
    def replied(self, link: Link, reply: RepairReply) -> None:
        """The rows, or word that they cannot be had there."""
        attempt = self.attempts.get(reply.bucket)
        if attempt is None or attempt.link is not link or attempt.reply is not None:
            self.core.counters["unknown_repair"] += 1
            return
        unable = self.unable.setdefault(reply.bucket, {})
        if reply.keys.count == 0:
            unable.setdefault(attempt.peer.node, self.core.now)
            del self.attempts[reply.bucket]
            return
        if reply.keys != attempt.request.keys or not covers(reply.clock, attempt.request.clock):
            del self.attempts[reply.bucket]
            raise BadTransfer("A repair answers another question than was asked.")
        attempt.reply = reply
        if not self.transfers.pull(reply.bucket, attempt.peer):
            del self.attempts[reply.bucket]

    def install(self, part: Part, asked: Asked) -> str:
        """What a pull's part leads to: with the last part of a repair, rows are mended and its claim applied."""
        replica, attempt = self.core.replica, self.attempts.get(part.bucket)
        if attempt is None or attempt.reply is None or attempt.link is not asked.link:
            return replica.receive(part, asked.incoming)
        if not part.last:
            return replica.receive(part, asked.incoming)
        return self._mend_with(part, asked, attempt.reply)

    def _mend_with(self, part: Part, asked: Asked, reply: RepairReply) -> str:
        core = self.core
        if not covers(part.target, reply.clock):
            return verdicts.STALE_BASE
        verdict = core.replica.receive_repair(reply.keys, reply.rows, part, asked.incoming)
        del self.attempts[part.bucket]
        if verdict == verdicts.APPLIED:
            self.unable.pop(part.bucket, None)
            core.counters["rows_repaired"] += reply.keys.count
            log.warning("%s: %d damaged rows of bucket %r are mended", core.store.node, reply.keys.count, part.bucket)
            core.notify("repaired", bucket=part.bucket, rows=reply.keys.count)
        return verdict

    def failed(self, asked: Asked, code: str) -> None:
        """A pull has failed.  One that should have ended a repair was a scan: no member that far ahead can help."""
        attempt = self.attempts.get(asked.pull.bucket)
        if code == verdicts.DAMAGED and attempt is not None and attempt.link is asked.link:
            self.unable.setdefault(asked.pull.bucket, {}).setdefault(attempt.peer.node, self.core.now)
            del self.attempts[asked.pull.bucket]

    def lost(self, link: Link) -> None:
        """A link is gone, with the answers that were to come on it."""
        for bucket in [bucket for bucket, attempt in self.attempts.items() if attempt.link is link]:
            del self.attempts[bucket]
