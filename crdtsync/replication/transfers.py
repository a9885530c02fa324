"""Transfers under way: served ones with credits, asked-for ones with time-outs, one inbound per bucket at a time.

The rules of what a transfer may do are `replica.Replica`'s.  Here: who is asked, what is in flight, what is given up.
A difference too large to be read at once is served as a scan (a long transfer): rows in key order from durable state,
each part on its own, staged on the receiver's disk, resumable at (last key, T0) with any member whose disk covers T0,
and ended by a plain transfer from T0.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from crdtsync.clocks.vector import covers, join
from crdtsync.errors import BadTransfer, PeerFault
from crdtsync.replication import replica as verdicts
from crdtsync.replication.core import NEVER, Core
from crdtsync.replication.messages import Abort, Clock, Credit, Part, Pull
from crdtsync.replication.peers import Link, Peer
from crdtsync.replication.replica import Incoming, Outgoing, Scan

HOLD_AFTER_FAILURE = 0.2  # s that a peer is not asked again for a bucket after a transfer from it failed
UNSURE = 5.0  # s during which a peer that lacked what others should have pushed to it gets their events from here, too
STAGED_OVER = 4  # times transfer_bytes_max that a sender may send before it is taken for mad


class Served:
    """A transfer that a peer has asked for."""

    def __init__(self, link: Link, peer: Peer, source: Outgoing | Scan, transfer: int, window: int, now: float) -> None:
        self.link, self.peer, self.source, self.transfer = link, peer, source, transfer
        self.allowed = window  # parts below this number may be sent
        self.moved_at = now


class Asked:
    """A transfer that we have asked for."""

    def __init__(self, link: Link, peer: Peer, pull: Pull, incoming: Incoming, now: float) -> None:
        self.link, self.peer, self.pull, self.incoming = link, peer, pull, incoming
        self.expected = 0  # number of the next part
        self.ahead: dict[int, Part] = {}  # parts that overtook others, within the window
        self.scan = False  # the sender has answered with a scan
        self.moved_at = self.began = now


class Transfers:
    """Both ends of every pull.  `on_applied` and `on_failed` are told how ours went."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.served: dict[tuple[int, int], Served] = {}  # (link, id)
        self.asked: dict[str, Asked] = {}  # bucket
        self.on_applied: list[Callable[[Asked, Part], None]] = []
        self.on_failed: list[Callable[[Asked, str], None]] = []
        self.install: Callable[[Part, Asked], str] = lambda part, asked: core.replica.receive(part, asked.incoming)
        self.joining = False  # the pulls of a node that gets in: from its sponsor alone, and straight to the table

    # -- asking
    def pull(self, bucket: str, peer: Peer) -> bool:
        """Ask `peer` for everything beyond what is held; False when that makes no sense now."""
        core, store = self.core, self.core.store
        if bucket in self.asked or peer.link is None or not peer.announced or peer.hold.get(bucket, 0.0) > core.now:
            return False
        if bucket not in store.buckets() and len(store.buckets()) >= core.settings.buckets_max:
            core.counters["too_many_buckets"] += 1
            peer.hold[bucket] = core.now + core.settings.reconnect_max
            return False
        if not store.has_room() or (self.asked and self.staged_bytes() >= core.settings.staged_bytes_max):
            core.counters["pulls_held_back"] += 1
            peer.hold[bucket] = core.now + core.jitter(HOLD_AFTER_FAILURE)
            return False
        staging = store.staging(bucket)
        if staging is not None and not covers(peer.clock.get(bucket, {}), staging[0]):
            return self._pull_afresh(bucket, peer, staging[0])
        self._ask(bucket, peer, staging)
        return True

    def staged_bytes(self) -> int:
        """Bytes of rows that unfinished transfers keep in memory; parts of scans are on the disk."""
        return sum(asked.incoming.bytes for asked in self.asked.values() if not asked.scan)

    def _pull_afresh(self, bucket: str, peer: Peer, scan_clock: Clock) -> bool:
        """A scan is staged that this peer cannot go on with; give it up only when nobody in reach can."""
        others = (other for other in self.core.partners() if other is not peer and not self.joining)
        if any(covers(other.clock.get(bucket, {}), scan_clock) for other in others):
            return False
        self._drop_scan(bucket)
        self._ask(bucket, peer, None)
        return True

    def _drop_scan(self, bucket: str) -> None:
        store = self.core.store
        if store.staging(bucket) is not None:
            store.drop_scan(bucket)

    def _ask(self, bucket: str, peer: Peer, staging: tuple[Clock, bytes] | None) -> None:
        core = self.core
        assert peer.link is not None
        clock, transfer = core.replica.clock(bucket), core.next_transfer()
        incoming = Incoming(self.joining)
        pull = Pull(transfer=transfer, bucket=bucket, clock=clock)
        if staging is not None and staging[1]:
            pull = Pull(transfer=transfer, bucket=bucket, clock=clock, scan_from=staging[1], scan_clock=staging[0])
        elif staging is not None:
            incoming.scan_clock = staging[0]
            pull = Pull(transfer=transfer, bucket=bucket, clock=join(clock, staging[0]))
        self.asked[bucket] = Asked(peer.link, peer, pull, incoming, core.now)
        core.counters["pulls"] += 1
        core.send(peer.link, pull)

    def part(self, link: Link, peer: Peer, part: Part) -> None:
        """A part of what was asked for.  Parts that overtake each other are put in order, within the window."""
        asked = self.asked.get(part.bucket)
        if asked is None or asked.link is not link or asked.pull.transfer != part.transfer:
            self.core.counters["unknown_transfer"] += 1
            self.core.send(link, Abort(transfer=part.transfer, push=False, code="gone"))
            return
        if part.number < asked.expected:
            return
        if part.number > asked.expected + self.core.settings.credit_parts:
            self.give_up(asked, "bad")
            raise BadTransfer(f"Part {part.number} came when {asked.expected} was due.")
        asked.ahead[part.number] = part
        while self.asked.get(part.bucket) is asked and asked.expected in asked.ahead:
            self._take(asked, asked.ahead.pop(asked.expected))

    def _take(self, asked: Asked, part: Part) -> None:
        if self._is_too_much(asked, part):
            self.core.counters["transfers_held_back"] += 1
            self.give_up(asked, "busy")
            return
        try:
            verdict = self._stage(asked, part)
        except PeerFault:
            self.give_up(asked, "bad")
            raise
        asked.expected, asked.moved_at = part.number + 1, self.core.now
        if verdict == verdicts.APPLIED:
            self._applied(asked, part)
        elif verdict != verdicts.STAGED:
            self.core.counters["transfers_" + verdict] += 1
            self.give_up(asked, verdict)
        elif asked.scan and part.last:
            self._end_scan(asked)
        else:
            window = self.core.settings.credit_parts
            credit = Credit(transfer=part.transfer, push=False, number=part.number, window=window)
            self.core.send(asked.link, credit)

    def _is_too_much(self, asked: Asked, part: Part) -> bool:
        """Whether a part would pass `staged_bytes_max`.  A transfer that is alone goes on, or none would ever end."""
        if part.scan or not any(other is not asked and other.incoming.bytes for other in self.asked.values()):
            return False
        return self.staged_bytes() + part.rows.size() > self.core.settings.staged_bytes_max

    def _stage(self, asked: Asked, part: Part) -> str:
        core = self.core
        if part.number == 0:
            asked.scan = part.scan
        if part.node != asked.peer.node or part.scan != asked.scan:
            raise BadTransfer("A transfer changes its sender or its kind.")
        if asked.incoming.bytes > STAGED_OVER * core.settings.transfer_bytes_max and not part.scan:
            raise BadTransfer(f"A transfer of more than {asked.incoming.bytes} bytes at once.")
        if not part.scan:
            if part.number == 0 and part.base != asked.pull.clock:
                raise BadTransfer("A transfer builds on another clock than was asked for.")
            return self.install(part, asked)
        if part.number == 0 and asked.pull.scan_from is not None and part.scan_clock != asked.pull.scan_clock:
            raise BadTransfer("A scan was resumed at another clock than was asked for.")
        return core.replica.receive_scan(part, asked.incoming)

    def _end_scan(self, asked: Asked) -> None:
        """All rows of a scan are staged: the plain transfer that brings the claim."""
        del self.asked[asked.pull.bucket]
        self._ask(asked.pull.bucket, asked.peer, self.core.store.staging(asked.pull.bucket))

    def _applied(self, asked: Asked, part: Part) -> None:
        core, bucket = self.core, part.bucket
        del self.asked[bucket]
        asked.peer.clock[bucket] = dict(part.target)  # what it really has, whatever late messages had said
        asked.peer.believe(bucket, part.target)
        core.counters["rows_received"] += core.replica.last_applied.rows
        core.counters["conflicts"] += core.replica.last_applied.conflicts
        for told in self.on_applied:
            told(asked, part)

    def give_up(self, asked: Asked, code: str, tell: bool = True) -> None:
        """A transfer of ours has failed; nothing of it is applied.  A staged scan stays, to be gone on with."""
        core, bucket = self.core, asked.pull.bucket
        if self.asked.get(bucket) is not asked:
            return
        del self.asked[bucket]
        asked.peer.hold[bucket] = core.now + core.jitter(HOLD_AFTER_FAILURE)
        core.counters["pulls_failed"] += 1
        if tell:
            core.send(asked.link, Abort(transfer=asked.pull.transfer, push=False, code=code))
        if code in (verdicts.STALE_BASE, verdicts.BELOW_FLOOR, verdicts.OLD_NEWS):
            self._drop_scan(bucket)
        for told in self.on_failed:
            told(asked, code)

    # -- serving
    def serve(self, link: Link, peer: Peer, pull: Pull) -> None:
        """A peer asks for everything beyond its clock."""
        core = self.core
        if pull.transfer <= link.pulled.get(pull.bucket, 0):
            # Served twice under one id, from two states, its parts would mix: rows of the first, claim of the second.
            core.counters["pulls_repeated"] += 1
            return
        for key in [k for k, one in self.served.items() if one.link is link and one.source.bucket == pull.bucket]:
            del self.served[key]  # who asks anew has given up what it asked for before
        if not core.whole() or not core.is_counted(peer.node) or len(self.served) >= core.settings.transfers_out_max:
            core.send(link, Abort(transfer=pull.transfer, push=False, code="busy"))
            return
        if not core.is_member(peer.node):
            core.persist()  # what a joiner's rescue is measured against must be on this disk
        elif pull.scan_from is None:
            self._learn(peer, pull)
        link.pulled[pull.bucket] = pull.transfer
        source = self._open(pull)
        if source is None:
            code = "stale_base" if pull.scan_from is not None else "busy"
            core.send(link, Abort(transfer=pull.transfer, push=False, code=code))
            return
        served = Served(link, peer, source, pull.transfer, core.settings.credit_parts, core.now)
        self.served[link.number, pull.transfer] = served
        core.counters["pulls_served"] += 1
        self._feed(served)

    def _learn(self, peer: Peer, pull: Pull) -> None:
        """A pull tells the asker's true clock, and whether the pushes of others reach it."""
        bucket = pull.bucket
        peer.holds(bucket, _meet(pull.clock, self.core.store.clock(bucket)))
        if not peer.flight.get(bucket) and not covers(pull.clock, peer.believed.get(bucket, {})):
            peer.disbelieve(bucket)
            peer.unsure_until = self.core.now + UNSURE

    def _open(self, pull: Pull) -> Outgoing | Scan | None:
        replica = self.core.replica
        if pull.scan_from is not None:
            return replica.open_scan(pull.bucket, pull.scan_from, pull.scan_clock, pull.transfer)
        outgoing = replica.open_transfer(pull.bucket, pull.clock, pull.transfer)
        return outgoing or replica.open_scan(pull.bucket, transfer=pull.transfer)

    def _feed(self, served: Served) -> None:
        """Send as many parts as there is credit for."""
        core, source = self.core, served.source
        while not source.done and source.number < served.allowed:
            part = source.next_part()
            if part.members:
                members = core.list_to(served.link, part.members, part.members_digest)
                part = msgspec.structs.replace(part, members=members)
            core.counters["rows_sent"] += part.rows.count
            core.counters["row_bytes_sent"] += part.rows.size()  # "bytes_sent" is the transport's: all of it
            core.send(served.link, part)
        served.moved_at = core.now
        if source.done:
            del self.served[served.link.number, served.transfer]
            if isinstance(source, Outgoing):
                served.peer.believe(source.bucket, source.target)
                served.peer.paused.pop(source.bucket, None)

    def credit(self, link: Link, credit: Credit) -> None:
        """A receiver has taken parts up to a number."""
        served = self.served.get((link.number, credit.transfer))
        if served is None:
            return
        if credit.number >= served.source.number:
            raise BadTransfer(f"Credit for part {credit.number}, which was not sent.")
        window = min(credit.window, self.core.settings.credit_parts)
        served.allowed = max(served.allowed, credit.number + 1 + window)
        self._feed(served)

    def aborted(self, link: Link, abort: Abort) -> None:
        """The other end gives a pull up, as server or as asker."""
        if self.served.pop((link.number, abort.transfer), None) is not None:
            return
        for asked in list(self.asked.values()):
            if asked.link is link and asked.pull.transfer == abort.transfer:
                if abort.code == "stale_base" and asked.pull.scan_from is not None:
                    self._drop_scan(asked.pull.bucket)
                self.give_up(asked, abort.code, tell=False)

    def serving(self, peer: Peer, bucket: str) -> bool:
        """Whether a transfer of that bucket is on its way to `peer`."""
        return any(served.peer is peer and served.source.bucket == bucket for served in self.served.values())

    # -- ends
    def lost(self, link: Link, peer: Peer) -> None:
        """A link is gone, and what was under way on it."""
        for key in [key for key in self.served if key[0] == link.number]:
            del self.served[key]
        for asked in [asked for asked in self.asked.values() if asked.link is link]:
            self.give_up(asked, "link lost", tell=False)

    def _patience(self) -> float:
        return 2 * self.core.settings.connect_timeout

    def due(self) -> float:
        if not self.asked and not self.served:
            return NEVER
        moved = [asked.moved_at for asked in self.asked.values()] + [s.moved_at for s in self.served.values()]
        return min(moved) + self._patience()

    def tick(self) -> None:
        """Give up what has not moved for long."""
        now, patience = self.core.now, self._patience()  # summed as in `due`: no rounding apart from it
        for asked in [asked for asked in self.asked.values() if asked.moved_at + patience <= now]:
            self.core.counters["transfer_timeouts"] += 1
            self.give_up(asked, "gone")
        for key in [key for key, served in self.served.items() if served.moved_at + patience <= now]:
            self.core.counters["transfer_timeouts"] += 1
            del self.served[key]


def _meet(x: Clock, y: Clock) -> Clock:
    """What both hold: a peer's claim to events that I have never heard of is no reason to ask it for them now."""
    return {actor: min(seq, y[actor]) for actor, seq in x.items() if actor in y}
