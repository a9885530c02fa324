"""Links and peers: what is known of each, and the tables of states they go through.

A link is one connection; a peer is one node, whatever links it has had.  Everything here is volatile.
Clocks are values: joined by `merged`, never changed, and shared where they are equal.

    link    greeting --hello accepted--> ready
            greeting --refused, time-out, down--> closed
            ready --down, silent, replaced by another link, fault, bye--> closed

    node    founder of a cluster, or restarted          member
            empty or private with join=, or has left    joining --> member
            evicted, or below a floor                   starting_over --> member
            member --leave()--> leaving --> left
            any --a later start of this node is alive--> superseded
"""

from __future__ import annotations

from collections import deque

from crdtsync.clocks.vector import merged
from crdtsync.errors import InvariantViolated
from crdtsync.replication.failure import Detector
from crdtsync.replication.messages import Announce, BucketClocks, Clock

GREETING, READY, CLOSED = "greeting", "ready", "closed"
LINK_STATES: dict[str, frozenset[str]] = {
    GREETING: frozenset({READY, CLOSED}),
    READY: frozenset({CLOSED}),
    CLOSED: frozenset(),
}

MEMBER, JOINING, STARTING_OVER = "member", "joining", "starting_over"
LEAVING, LEFT, SUPERSEDED = "leaving", "left", "superseded"
NODE_STATES: dict[str, frozenset[str]] = {
    JOINING: frozenset({MEMBER, STARTING_OVER, SUPERSEDED}),
    STARTING_OVER: frozenset({MEMBER, SUPERSEDED}),
    MEMBER: frozenset({LEAVING, STARTING_OVER, SUPERSEDED}),
    LEAVING: frozenset({LEFT, STARTING_OVER, SUPERSEDED}),
    LEFT: frozenset(),
    SUPERSEDED: frozenset(),
}
WHOLE = frozenset({MEMBER, LEAVING})  # states in which a node may push, serve and take
SKEW_SAMPLES = 8  # announcements of which the promptest tells how a peer's clock stands to ours


def step(table: dict[str, frozenset[str]], old: str, new: str) -> str:
    """`new`, when the table allows it after `old`."""
    if new not in table[old]:
        raise InvariantViolated(f"No way leads from {old} to {new}.")
    return new


class Link:
    """One connection, from its `link_up` to its `link_down`."""

    def __init__(self, number: int, address: str, outgoing: bool, now: float, node: str = "") -> None:
        self.number, self.address, self.outgoing, self.opened = number, address, outgoing, now
        self.node = node  # whose certificate the far end has shown; "" without TLS
        self.state = GREETING
        self.peer: Peer | None = None  # once ready
        self.told: dict[str, tuple[Clock, Clock]] = {}  # bucket -> clocks that the far end has been told
        self.passed_on: dict[tuple[str, int], dict[str, Clock]] = {}  # author, start -> bucket -> clock passed on
        self.pulled: dict[str, int] = {}  # bucket -> latest transfer that the far end has asked for
        self.announcements = 0
        self.members_digest = 0  # of the list that the far end has announced last; 0: none, or it cannot tell
        self.greeted = ""  # what the far end's Hello said of itself

    def become(self, state: str) -> None:
        """Move on in LINK_STATES."""
        self.state = step(LINK_STATES, self.state, state)


class Peer:
    """One other node, as far as it has been heard of, directly or through others."""

    def __init__(self, node: str, heartbeat_interval: float, now: float) -> None:
        self.node = node
        self.start = self.instance = self.actor = 0
        self.epoch = 0  # of its member record, as it has last shown it itself
        self.state = ""  # what it says of itself: when its link began, or since
        self.link: Link | None = None  # the ready link
        self.detector = Detector(heartbeat_interval, now)
        self.skew_ms = 0
        self.skews: deque[int] = deque(maxlen=SKEW_SAMPLES)  # ms that its clock seemed to be ahead, lately
        self.last_announce: Announce | None = None  # to be passed on: its identity and member list
        self.clocks_as_of = self.list_as_of = (0, 0)  # start and seq of its latest clocks, and of its latest list
        self.synced: dict[str, Clock] = {}  # what it has announced as being on its disk
        self.uncounted: set[str] = set()  # buckets whose announcement I could not count yet
        self.clock: dict[str, Clock] = {}  # what it is known to hold
        self.silent: set[str] = set()  # buckets that it has and makes no claims about: rows of theirs are damaged
        self.announce_seq = 0  # of the latest announcement of this start of its, on whatever link
        self.word = (0, 0)  # start and seq of its latest announcement, from whomever
        self.heard_of = 0.0  # when one that was news came through others
        self.new_session(now)

    def new_session(self, now: float) -> None:
        """A link is ready, or gone: nothing is in flight, and belief falls back to knowledge."""
        self.announced = False  # it has told its clocks on this link
        self.answered = 0  # seq of the announcement of ours that it had heard when it sent its latest one
        self.believed: dict[str, Clock] = dict(self.clock)
        self.flight: dict[str, dict[int, tuple[Clock, float]]] = {}  # bucket -> push -> (its claim, when sent)
        self.waiting: set[str] = set()  # buckets with more to push once there is credit
        self.paused: dict[str, float] = {}  # bucket -> no pushes before
        self.hold: dict[str, float] = {}  # bucket -> no pulls before
        self.unsure_until = float("-inf")  # others' pushes have not reached it: do not count on them
        self.detector.heard(now)

    def forget(self, now: float) -> None:
        """It has come back in a later life, or started over: it may hold less than it said."""
        self.clock, self.synced, self.uncounted, self.last_announce = {}, {}, set(), None
        self.clocks_as_of = self.list_as_of = (0, 0)
        self.silent = set()
        self.new_session(now)

    def listed(self) -> bool:
        """Whether its list is known as of its latest clocks: before that, none of them may count."""
        return self.list_as_of >= self.clocks_as_of

    def start_heard(self) -> int:
        """The start that its latest announcement was made in."""
        return self.last_announce.start if self.last_announce is not None else self.start

    def holds(self, bucket: str, clock: Clock) -> None:
        """It is known to hold `clock`."""
        self.clock[bucket] = merged(self.clock.get(bucket, {}), clock)
        self.believe(bucket, clock)

    def believe(self, bucket: str, clock: Clock) -> None:
        """It will hold `clock` if all that is on its way arrives."""
        self.believed[bucket] = merged(self.believed.get(bucket, {}), clock)

    def disbelieve(self, bucket: str) -> None:
        """Something has not arrived: fall back to what is known."""
        self.believed[bucket] = self.clock.get(bucket, {})
        self.flight.pop(bucket, None)

    def told(self, clocks: BucketClocks) -> None:
        """It has announced the clocks of a bucket itself."""
        bucket = clocks.bucket
        if not (clocks.clock or clocks.synced or clocks.whole):
            self.silent.add(bucket)
            return
        self.silent.discard(bucket)
        if clocks.whole:
            self.clock[bucket], self.synced[bucket] = clocks.clock, clocks.synced
        else:
            self.clock[bucket] = merged(self.clock.get(bucket, {}), clocks.clock)
            self.synced[bucket] = merged(self.synced.get(bucket, {}), clocks.synced)
        if self.synced[bucket] == self.clock[bucket]:
            self.synced[bucket] = self.clock[bucket]  # held once
        self.believe(bucket, self.clock[bucket])
        self.uncounted.add(bucket)
