"""Transfers under way: served ones with credits, asked-for ones with time-outs, one inbound per bucket at a time.

The rules of what a transfer may do are `replica.Replica`'s.  Here: who is asked, what is in flight, what is given up.
A difference too large to be read at once is served as a scan (a long transfer): rows in key order from durable state,
each part on its own, staged on the receiver's disk, resumable at (last key, T0) with any member whose disk covers T0,
and ended by a plain transfer from T0.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

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
TURN_PAUSE = 0.0002  # s between two turns of serving, in which other threads run
TURN_LATE = 0.005  # s that a turn is put off at most while there is something to push
STAGED_OVER = 4  # times transfer_bytes_max that a sender may send before it is taken for mad


class Served:
    """A transfer that a peer has asked for: being opened, or sent as far as there is credit for."""

    def __init__(self, link: Link, peer: Peer, pull: Pull, window: int, now: float) -> None:
        self.link, self.peer, self.bucket, self.transfer = link, peer, pull.bucket, pull.transfer
        self.opening: Generator[None, None, Outgoing | None] | None = None
        self.source: Outgoing | Scan | None = None  # once it is open
        self.allowed = window  # parts below this number may be sent
        self.moved_at = now

    @property
    def parts(self) -> int:
        """How many have been sent."""
        return 0 if self.source is None else self.source.number

    def has_turn(self) -> bool:
        """Whether something can be done for it now."""
        return self.source is None or self.parts < self.allowed


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
        self._turn_at = core.now  # when something is next done for one of `served`
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
        for key in [k for k, one in self.served.items() if one.link is link and one.bucket == pull.bucket]:
            self._drop(key)  # who asks anew has given up what it asked for before
        if not core.whole() or not core.is_counted(peer.node) or len(self.served) >= core.settings.transfers_out_max:
            core.send(link, Abort(transfer=pull.transfer, push=False, code="busy"))
            return
        if not core.is_member(peer.node):
            core.persist()  # what a joiner's rescue is measured against must be on this disk
        elif pull.scan_from is None:
            self._learn(peer, pull)
        link.pulled[pull.bucket] = pull.transfer
        served = Served(link, peer, pull, core.settings.credit_parts, core.now)
        if pull.scan_from is None:
            served.opening = core.replica.opening(pull.bucket, pull.clock, pull.transfer)
        else:
            served.source = core.replica.open_scan(pull.bucket, pull.scan_from, pull.scan_clock, pull.transfer)
            if served.source is None:
                core.send(link, Abort(transfer=pull.transfer, push=False, code="stale_base"))
                return
        self.served[link.number, pull.transfer] = served
        core.counters["pulls_served"] += 1
        self._turn(served)

    def _learn(self, peer: Peer, pull: Pull) -> None:
        """A pull tells the asker's true clock, and whether the pushes of others reach it."""
        bucket = pull.bucket
        peer.holds(bucket, _meet(pull.clock, self.core.store.clock(bucket)))
        if not peer.flight.get(bucket) and not covers(pull.clock, peer.believed.get(bucket, {})):
            peer.disbelieve(bucket)
            peer.unsure_until = self.core.now + UNSURE

    def _turn(self, served: Served) -> None:
        """Read some more of what is to be sent, or send a part.

        In turns, since pushes leave between them: all of a large transfer takes a hundred milliseconds and more.
        """
        key = served.link.number, served.transfer
        self.served[key] = self.served.pop(key)  # behind the others
        served.moved_at = self.core.now
        try:
            if served.source is None:
                served.source = self._opened(served)
            elif served.has_turn():
                self._feed(served, served.source)
        except BaseException:
            self._drop(key)
            raise
        self._turn_at = self.core.now + TURN_PAUSE

    def _opened(self, served: Served) -> Outgoing | Scan | None:
        """What is to be sent, once it has been read, and then its first part is; None before."""
        core, opening = self.core, served.opening
        assert opening is not None
        try:
            next(opening)
            return None
        except StopIteration as end:
            source: Outgoing | Scan | None = end.value
        served.opening = None
        source = source or core.replica.open_scan(served.bucket, transfer=served.transfer)
        if source is None:
            self._drop((served.link.number, served.transfer))
            core.send(served.link, Abort(transfer=served.transfer, push=False, code="busy"))
        else:
            self._feed(served, source)
        return source

    def _feed(self, served: Served, source: Outgoing | Scan) -> None:
        """Send the next part."""
        core = self.core
        part = source.next_part()
        if part.members:
            members = core.list_to(served.link, part.members, part.members_digest)
            part = msgspec.structs.replace(part, members=members)
        core.counters["rows_sent"] += part.rows.count
        core.counters["row_bytes_sent"] += part.rows.size()  # "bytes_sent" is the transport's: all of it
        core.send(served.link, part)
        if source.done:
            self._drop((served.link.number, served.transfer))
            if isinstance(source, Outgoing):
                served.peer.believe(source.bucket, source.target)
                served.peer.paused.pop(source.bucket, None)

    def _drop(self, key: tuple[int, int]) -> bool:
        """Serve it no longer; whether it was."""
        served = self.served.pop(key, None)
        if served is not None and served.opening is not None:
            served.opening.close()
        return served is not None

    def credit(self, link: Link, credit: Credit) -> None:
        """A receiver has taken parts up to a number."""
        served = self.served.get((link.number, credit.transfer))
        if served is None:
            return
        if credit.number >= served.parts:
            raise BadTransfer(f"Credit for part {credit.number}, which was not sent.")
        window = min(credit.window, self.core.settings.credit_parts)
        served.allowed = max(served.allowed, credit.number + 1 + window)
        served.moved_at = self.core.now

    def aborted(self, link: Link, abort: Abort) -> None:
        """The other end gives a pull up, as server or as asker."""
        if self._drop((link.number, abort.transfer)):
            return
        for asked in list(self.asked.values()):
            if asked.link is link and asked.pull.transfer == abort.transfer:
                if abort.code == "stale_base" and asked.pull.scan_from is not None:
                    self._drop_scan(asked.pull.bucket)
                self.give_up(asked, abort.code, tell=False)

    def serving(self, peer: Peer, bucket: str) -> bool:
        """Whether a transfer of that bucket is on its way to `peer`."""
        return any(served.peer is peer and served.bucket == bucket for served in self.served.values())

    # -- ends
    def lost(self, link: Link, peer: Peer) -> None:
        """A link is gone, and what was under way on it."""
        for key in [key for key in self.served if key[0] == link.number]:
            self._drop(key)
        for asked in [asked for asked in self.asked.values() if asked.link is link]:
            self.give_up(asked, "link lost", tell=False)

    def _patience(self) -> float:
        return 2 * self.core.settings.connect_timeout

    def due(self) -> float:
        if not self.asked and not self.served:
            return NEVER
        moved = [asked.moved_at for asked in self.asked.values()] + [s.moved_at for s in self.served.values()]
        patience = min(moved) + self._patience()
        return min(self._turn_at, patience) if self._next_turn() is not None else patience

    def _next_turn(self) -> Served | None:
        """Whose turn it is."""
        return next((served for served in self.served.values() if served.has_turn()), None)

    def tick(self) -> None:
        """Do something for whom it is the turn of; give up what has not moved for long."""
        turn = self._next_turn() if self._turn_at <= self.core.now else None
        if turn is not None and (not self.core.effects or self._turn_at + TURN_LATE <= self.core.now):
            self._turn(turn)
        self._give_up_late()

    def _give_up_late(self) -> None:
        now, patience = self.core.now, self._patience()  # summed as in `due`: no rounding apart from it
        for asked in [asked for asked in self.asked.values() if asked.moved_at + patience <= now]:
            self.core.counters["transfer_timeouts"] += 1
            self.give_up(asked, "gone")
        for key in [key for key, served in self.served.items() if served.moved_at + patience <= now]:
            self.core.counters["transfer_timeouts"] += 1
            self._drop(key)


def _meet(x: Clock, y: Clock) -> Clock:
    """What both hold: a peer's claim to events that I have never heard of is no reason to ask it for them now."""
    return {actor: min(seq, y[actor]) for actor, seq in x.items() if actor in y}
