"""One replica: what is on its disk, what a start begins with, and what readers see."""

from __future__ import annotations

from .listening import Listening
from .mending import Mending
from .rows import CELL, LATEST, cell_value, value_key
from .stability import Stability
from .transfers import Transferring
from .voting import Voting
from .writing import Writing


class Node(Writing, Transferring, Stability, Listening, Voting, Mending):
    """A replica.  Clocks, rows, member lists and what is on `disk` are replaced, never changed in place."""

    DURABLE = (
        "clock", "rows", "log", "members", "epoch", "state", "floor", "stamp_floor", "starts", "damaged", "scan",
        "entry", "sponsoring", "private", "ballots",
    )  # fmt: skip

    def __init__(self, name, world):
        self.name = self.actor = name
        self.world, self.rules = world, world.rules
        self.clock = {}  # EXACT: clock[a] = s: every effect of a's events <= s is in my rows, and no row has more
        self.rows, self.log = {}, {}  # key -> Row;  (actor, seq) -> key
        self.ballots = {}  # name -> ((epoch, start, revision), Ballot or None): who proposes or votes for what
        self.members, self.epoch = {}, 1  # whom collection must wait for; my own epoch
        self.state = "member"  # "joining", "member", "leaving", "left", "over" (must start over)
        self.floor = {}  # join of the contexts of all rows collected here
        self.stamp_floor = 0  # greatest stamp of a register collected here, or by whoever I started from
        self.starts = 0  # incarnation
        self.damaged = {}  # rows set aside: key -> the dots under which the log lists it
        self.scan = None  # a long transfer under way
        self.entry = None  # how I am getting in: joining, or starting over
        self.sponsoring = {}  # joiners that I let in -> epoch
        self.private = None  # never in a cluster yet: [(key, ctx)] of what was collected so far
        self.backup = None  # an old copy of the disk
        self._start()
        self.sync()

    def found(self, members):
        """One of the nodes that a cluster begins with."""
        self.members = members
        self.sync()

    def _start(self):
        """What a start begins with: nothing of this is on disk."""
        # RULE: announcements are lost in a crash, and heard again
        self.announced = {}  # member -> (epoch, its synced clock), once I hold all of it
        self.words = {}  # member -> its latest Word, to be passed on
        self.heard = {}  # member -> latest incarnation heard from
        self.pushed = {}  # peer -> the clock I would have brought it to, had everything arrived
        self.postponed = []  # (only when a mutation breaks batches)
        self.listen_anew()

    # ---- durability: what is on disk; a crash loses the rest, and the next start writes under a new actor ----

    def sync(self):
        self.disk = {name: getattr(self, name) for name in self.DURABLE}
        self.disk["rows"], self.disk["log"] = dict(self.rows), dict(self.log)

    def crash(self):
        self.world.lose(self)
        disk = self.disk
        for name in self.DURABLE:
            setattr(self, name, disk[name])
        self.rows, self.log = dict(disk["rows"]), dict(disk["log"])
        if self.entry:
            self.entry.transfer = None
        self.new_start()
        ballot = self.ballot(self.name)
        if ballot is not None and ballot.proposer == self.name:
            self.put_ballot(None)  # RULE: a proposal does not outlive the start that made it
        self.world.crashes += 1
        self.world.touch_all(self)

    def next_start(self):
        return self.starts + 1

    def raise_start(self, start):
        self.starts = start
        self.sync()

    def keep_copy(self):
        self.backup = self.disk

    def become_copy(self):
        """An old copy of the disk takes the place of the disk."""
        self.world.restored(self, self.backup)
        self.disk = self.backup
        self.crash()

    def new_start(self):
        self.starts = self.next_start()
        # What was written before the store was published has been seen by nobody: it may stay under one actor
        if self.rules.actor_per_start and self.private is None:
            # RULE: an actor lives no longer than one start, so no dot is ever used twice
            self.actor = self.world.mint(self.name)
        self._start()

    # ---- what readers see ----

    def readable(self):
        """RULE: nothing is read before a joiner is whole."""
        return self.state != "joining" or self.private is not None

    def value(self, key):
        """One object's value; None: nothing visible."""
        if key[1] == CELL:
            return sum(cell_value(row) for k, row in self.rows.items() if k[1] == CELL and k[0] == key[0]) or None
        row = self.rows.get(key)
        if row is None or row.dead():
            return None
        return row.body if row.kind == LATEST else frozenset(row.body.items())

    def view(self):
        values = {key: self.value(key) for key in {value_key(key) for key in self.rows}}
        return {key: value for key, value in values.items() if value is not None}
