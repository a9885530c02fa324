"""One replica: its durable state, local operations in batches, transfers, announcements and collection."""

from __future__ import annotations

from . import members as records
from .rows import (
    CELL, LATEST, SET, VALUES, Row, below, cell_value, covers, has, join, merge, value_key,
)  # fmt: skip

STAMP_BITS = 16  # a stamp is milliseconds and a counter of 16 bits


class Part:
    """A message of a transfer; the last one carries the claim.  Every one carries its sender's identity."""

    def __init__(self, sender, base, rows, last, **claim):
        self.sender, self.start, self.epoch = sender.name, sender.starts, sender.epoch
        self.base, self.rows, self.last = base, rows, last
        self.target = claim.get("target", {})
        self.floor, self.stamp_floor = claim.get("floor", {}), claim.get("stamp_floor", 0)
        self.word = claim.get("word")
        self.engine = None  # what lockstep sends along


class Word:
    """An announcement: what its author has on disk, with the author's member list.  Others may pass it on."""

    def __init__(self, node):
        self.author, self.start, self.epoch = node.name, node.starts, node.epoch
        self.clock, self.members = node.disk["clock"], node.members


class Staged(dict):
    """Rows of a transfer that is not yet whole."""

    engine = None


class Transfer:
    """A transfer being served: everything that a replica with `base` lacks, from ONE consistent state."""

    def __init__(self, node, base):
        self.base, self.rows, self.sent = dict(base), node.lacking(base), 0
        self.target, self.floor, self.stamp_floor = node.clock, node.floor, node.stamp_floor
        self.word, self.staged = Word(node), Staged()
        self.engine = None


class Scan:
    """A long transfer as its receiver keeps it, durably: rows in key order up to `after`, of a state at least T0."""

    def __init__(self, t0, rows=None, after=None, whole=False):
        self.t0, self.rows, self.after, self.whole = t0, rows or {}, after, whole
        self.engine = None

    def holds(self):
        """Join of the contexts staged: rows are read one part after another, so they may lie beyond T0."""
        clock = {}
        for row in self.rows.values():
            clock = join(clock, row.ctx)
        return clock


class Node:
    """A replica.  Clocks, rows, member lists and what is on `disk` are replaced, never changed in place."""

    DURABLE = (
        "clock", "rows", "log", "members", "epoch", "state", "floor", "stamp_floor", "starts", "damaged", "scan",
        "entry", "sponsoring", "private",
    )  # fmt: skip

    def __init__(self, name, world):
        self.name = self.actor = name
        self.world, self.rules = world, world.rules
        self.clock = {}  # EXACT: clock[a] = s: every effect of a's events <= s is in my rows, and no row has more
        self.rows, self.log = {}, {}  # key -> Row;  (actor, seq) -> key
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
        self.announced = {}  # member -> (epoch, its synced clock), once I hold all of it.  RULE: lost in a crash, heard again
        self.words = {}  # member -> its latest Word, to be passed on
        self.heard = {}  # member -> latest incarnation heard from
        self.pushed = {}  # peer -> the clock I would have brought it to, had everything arrived
        self.postponed = []  # (only when a mutation breaks batches)

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

    # ---- local operations: a batch of events, each with a fresh dot, on one row each ----

    def can_write(self):
        """RULE: a joiner, and who leaves or starts over, writes nothing: nobody may be counting on its events."""
        return self.state == "member"

    def batch(self, operations):
        """RULE: operations of a batch take effect together, in order: there is no state between them to be seen."""
        if not self.can_write() or any(self.hits_damage(op) for op in operations):
            return  # RULE: a batch that meets a row set aside fails as a whole
        first = dict(self.clock)
        if self.rules.whole_batches:
            for name, *arguments in operations:
                getattr(self, name)(*arguments)
        else:
            name, *arguments = operations[0]
            getattr(self, name)(*arguments)
            self.postponed += operations[1:]
        self.world.batch_done(self, first)

    def hits_damage(self, operation):
        name, path, *rest = operation
        if name == "clear_map":
            return any(below(path, key) for key in self.damaged)
        if name == "increment":
            return (path, CELL, self.actor) in self.damaged
        if name == "reset":
            return any(value_key(key) == (path, CELL) for key in self.damaged)
        kind, tail = {"add": (SET, "x"), "remove": (SET, "x"), "write": (LATEST, "")}.get(name, (VALUES, ""))
        return (path, kind, tail) in self.damaged

    def in_order(self, keys):
        """The order in which a batch takes rows."""
        return sorted(keys)

    def next_seq(self):
        self.clock = {**self.clock, self.actor: self.clock.get(self.actor, 0) + 1}
        return self.clock[self.actor]

    def put(self, key, row):
        self.unlist(key)
        self.rows[key] = row
        for dot in row.log_dots().items():
            self.log[dot] = key
        self.world.touch(self, key)

    def unlist(self, key):
        old = self.rows.get(key)
        if old:
            for dot in old.log_dots().items():
                self.log.pop(dot, None)

    def event(self, key, what, body, observed):
        """One event on one row.  `observed` is what the oracle needs to know of what its author saw."""
        row, seq = self.rows.get(key) or Row(key[1], {}, None), self.next_seq()
        self.world.record((self.actor, seq), key, what, observed(seq))
        self.put(key, row.touched(self.actor, seq, body(seq)))

    def add(self, path):
        self._replace_dots((path, SET, "x"), None)

    def set_value(self, path, value):
        self._replace_dots((path, VALUES, ""), value)

    def _replace_dots(self, key, value):
        seen = set(self.rows[key].body) if key in self.rows else set()
        self.event(key, "put", lambda seq: {(self.actor, seq): value}, lambda seq: (value, seen))

    def remove(self, path):
        self._remove_dots((path, SET, "x"))

    def clear_values(self, path):
        self._remove_dots((path, VALUES, ""))

    def _remove_dots(self, key):
        if key not in self.rows or self.rows[key].dead():
            return
        seen = set(self.rows[key].body)
        if self.rules.own_dot_of_removal:
            self.event(key, "take", lambda seq: {}, lambda seq: seen)  # RULE: a removal is an event with its own dot
        else:
            self.world.record((self.actor, self.clock.get(self.actor, 0)), key, "take", seen)
            self.put(key, Row(self.rows[key].kind, self.rows[key].ctx, {}))

    def write(self, path, value):
        key = (path, LATEST, "")
        row = self.rows.get(key)
        if value is None and (row is None or row.dead()):
            return
        # RULE: a write is stamped after what it replaces and after every register collected so far; a stamp from a
        # clock that runs ahead therefore reaches no further than the registers it was written to
        after = max(self.stamp_floor, row.body[0] if row and self.rules.stamp_after_replaced else -1)
        stamp = max(self.time(), after + 1)
        body = lambda seq: (stamp, self.actor, seq, value)  # noqa: E731
        self.event(key, "write", body, body)

    def time(self):
        return max(self.world.now + self.world.skew[self.name], 0) << STAMP_BITS

    def increment(self, path, by):
        key = (path, CELL, self.actor)
        row = self.rows.get(key)

        def body(seq):
            start, _, p, n, *base = row.body if row else (seq, 0, 0, 0, 0, 0, 0)
            return (start, seq, p + max(by, 0), n - min(by, 0), *base)

        self.event(key, "count", body, lambda seq: by)

    def reset(self, path):
        cells = [k for k, row in self.rows.items() if k[0] == path and k[1] == CELL and not row.dead()]
        for key in self.in_order(cells):
            self._reset_cell(key)

    def _reset_cell(self, key):
        start, cell_seq, p, n, *_ = self.rows[key].body
        seen = lambda seq: seq if key[2] == self.actor else cell_seq  # noqa: E731
        self.event(key, "reset", lambda seq: (start, seen(seq), p, n, seen(seq), p, n), lambda seq: cell_seq)

    def clear_map(self, path):
        """RULE: a map has no row of its own.  Removing a field, or clearing, is one batch over all live rows below it:
        observed-remove, so what was written concurrently survives (registers by their stamp)."""
        for key in self.in_order(k for k, row in self.rows.items() if below(path, k) and not row.dead()):
            if key[1] == CELL:
                self._reset_cell(key)
            elif key[1] == LATEST:
                self.write(key[0], None)
            else:
                self._remove_dots(key)

    # ---- serving: from ONE consistent state; the claim comes with the last part ----

    def serves(self):
        """RULE: who is getting in, must start over, has left, or has set a row aside claims nothing and serves nothing."""
        return self.state in ("member", "leaving") and not self.damaged and self.private is None

    def lacking(self, clock):
        """All rows with a dot beyond `clock`, in the order of their dots."""
        found = {}
        for dot in sorted(d for d in self.log if d[1] > clock.get(d[0], 0)):
            assert has(self.clock, dot)  # nothing in my rows is beyond my clock
            key = self.log[dot]
            found[key] = self.rows[key]
        return found

    def open_transfer(self, base):
        return Transfer(self, base)

    def next_part(self, transfer, limit):
        keys = list(transfer.rows)[transfer.sent : transfer.sent + limit]
        transfer.sent += limit
        rows = {key: transfer.rows[key] for key in keys}
        if transfer.sent < len(transfer.rows):
            part = Part(self, transfer.base, rows, False)
        else:
            part = Part(
                self, transfer.base, rows, True, target=transfer.target, floor=transfer.floor,
                stamp_floor=transfer.stamp_floor, word=transfer.word,
            )  # fmt: skip
        part.start, part.epoch = transfer.word.start, transfer.word.epoch
        return part

    def push(self, believed):
        """A transfer of one part, opened by the sender on the clock it believes the peer has."""
        return self.next_part(self.open_transfer(believed), 10**9)

    # ---- receiving ----

    def takes_from(self, part):
        """Whether news of that sender, as it was then, is still worth having."""
        if self.rules.start_heard and part.start < self.heard.get(part.sender, 0):
            return False  # RULE: an earlier incarnation's late message
        self.heard[part.sender] = part.start
        epoch, rank = self.members.get(part.sender, (0, 0))
        # RULE: nothing is taken from who was evicted, or from its time before it came back
        return part.epoch > epoch or (part.epoch == epoch and rank != records.EVICTED)

    def receive(self, part, staged):
        """Stage parts; apply the whole transfer with its last part, or nothing of it.  What became of it, in a word."""
        if not self.takes():
            return "busy"
        if not self.takes_from(part):
            return "old"
        staged.update(part.rows)
        if not part.last:
            if not self.rules.whole_claim:
                self.apply({}, part.rows, {}, {}, 0)
            return "more"
        scan = self.ended_by(part)
        refused = self.refuses(part, scan)
        if refused == "short":
            self.drop_scan()
        if refused:
            return refused
        self.apply(scan.rows if scan else {}, staged, part.target, part.floor, part.stamp_floor)
        if scan:
            self.drop_scan()
        return "applied"

    def takes(self):
        """RULE: who joins or starts over takes nothing else, and who has set rows aside takes only a repair: merged into
        a row that is not there, what is missing would read as removed (row {d1} aside, {d1, d2} comes: d1 is gone)."""
        return self.state in ("member", "leaving") and not self.damaged and self.private is None

    def ended_by(self, part):
        """The scan that this transfer ends, if any."""
        return self.scan if self.scan and self.scan.whole and part.base == self.scan.t0 else None

    def refuses(self, part, scan):
        """Why this transfer cannot be applied, or "" if it can."""
        holds = join(self.clock, scan.t0) if scan else self.clock
        if self.rules.start_check and not covers(holds, part.base):
            return "stale"  # RULE: it starts beyond what I hold: drop it, pull instead
        if not covers(part.target, self.floor):
            return "behind"  # RULE: its sender was below my floor, then or still
        if self.clock and not covers(self.clock, part.floor):
            return "below"  # RULE: I am below the sender's floor, as an old copy or an evicted replica is: start over
        if scan and not covers(part.target, scan.holds()):
            return "short"  # RULE: what ends a scan must claim all that was staged; parts are read later than T0: afresh
        return ""

    def apply(self, first, then, target, floor, stamp_floor):
        """RULE: rows and claim at once, under the clock from before; floors are inherited with the claim."""
        for rows in (first, then):
            for key, incoming in rows.items():
                row = merge(key, self.rows.get(key), incoming, self.clock)
                if row is not None:
                    self.put(key, row)
        self.world.touch_news(self, target)
        self.floor, self.stamp_floor = join(self.floor, floor), max(self.stamp_floor, stamp_floor)
        self.clock = join(self.clock, target)

    # ---- long transfers ----

    def read_on(self, scan, limit):
        """The next rows of a scan, in key order from what is on disk: (rows, the last key, whether there are no more)."""
        rows = self.disk["rows"]
        keys = sorted(key for key in rows if scan.after is None or key > scan.after)
        last = keys[min(limit, len(keys)) - 1] if keys else scan.after
        return {key: rows[key] for key in keys[:limit]}, last, len(keys) <= limit

    def stage(self, scan, read):
        """A scan with the rows that were read added.  RULE: nobody sees them before the claim; where nothing is shown
        anyway, in the empty store of a joiner, they may go to their place at once."""
        rows, last, whole = read
        return Scan(scan.t0, {**scan.rows, **rows}, last, whole)

    def keep_scan(self, scan):
        self.scan = scan

    def drop_scan(self):
        self.scan = None

    # ---- who is in, and what they announced ----

    def learn(self, members):
        """Take in a member list; maybe find out that I am no longer what I thought."""
        before, self.members = self.members, self.rules.join_records(self.members, members)
        for node, (epoch, _) in self.members.items():
            if epoch != before.get(node, (0, 0))[0] and self.rules.announced_by_epoch:
                # RULE: an announcement counts within its author's epoch: who starts over may hold less afterwards
                self.announced.pop(node, None)
        epoch, rank = self.members.get(self.name, (0, 0))
        if self.state in ("member", "leaving") and self.private is None:
            if epoch > self.epoch or rank not in records.COUNTED:
                self.told(epoch, rank)

    def told(self, epoch, rank):
        if self.state == "leaving" and (epoch, rank) == (self.epoch, records.LEFT):
            self.state = "left"
        else:
            # RULE: evicted, or an old copy from before I came back at a later epoch
            self.must_start_over("evicted")

    def must_start_over(self, why):
        self.state = "over"
        self.drop_scan()
        self.world.starts_over(self, why)

    def note(self, node, record):
        """Put a record of one's own making into the list."""
        self.members = {**self.members, node: record}

    def word(self):
        return Word(self)

    def hear(self, word):
        """An announcement, from its author or passed on."""
        if self.private is not None or word.author == self.name or not self.takes_word(word):
            return
        # RULE: it brings its author's member list, so whoever counts it also waits for whoever joined there
        self.learn(word.members)
        self.words[word.author] = word
        if self.members.get(word.author, (0, 0))[0] != word.epoch and self.rules.announced_by_epoch:
            return
        # RULE: what is announced is what is on disk there, and it counts once I hold all of it: then nothing concurrent
        # with what it covers can still arrive
        if covers(self.clock, word.clock):
            _, known = self.announced.get(word.author, (0, {}))
            self.announced[word.author] = (word.epoch, join(known, word.clock))

    def takes_word(self, word):
        if self.rules.start_heard and word.start < self.heard.get(word.author, 0):
            return False
        self.heard[word.author] = word.start
        epoch, rank = self.members.get(word.author, (0, 0))
        return word.epoch > epoch or (word.epoch == epoch and rank != records.EVICTED)

    def drop_announcement(self, node):
        self.announced.pop(node, None)

    # ---- garbage collection by causal stability ----

    def stable(self):
        clocks = [self.disk["clock"]] if self.private is not None else []
        for node in [] if self.private is not None else records.counted(self.members):
            clocks.append(self.disk["clock"] if node == self.name else self.announced.get(node, (0, {}))[1])
        if not self.rules.stability:
            clocks = [self.clock]
        return {actor: min(clock.get(actor, 0) for clock in clocks) for actor in self.clock} if clocks else {}

    def may_collect(self):
        return self.state in ("member", "leaving") and not self.damaged

    def collect(self):
        """Forget dead rows whose whole context is stable."""
        stable, now = self.stable(), self.time()
        for key, row in list(self.rows.items()):
            # RULE: a deleted register waits until its stamp is in my past
            if row.dead() and covers(stable, row.ctx) and not (row.kind == LATEST and row.body[0] > now):
                self.unlist(key)
                del self.rows[key]
                self.floor = join(self.floor, row.ctx)
                if row.kind == LATEST:
                    self.stamp_floor = max(self.stamp_floor, row.body[0])
                if self.private is not None:
                    self.private = [*self.private, (key, row.ctx)]
                self.world.collected += 1
                self.world.touch(self, key)

    # ---- getting in (see entry.py) ----

    def write_rescue(self, clock):
        """RULE: rows that the member's synced clock does not cover are written down before they are forgotten."""
        rescue = {key: row.ctx for key, row in self.rows.items() if not covers(clock, row.ctx)}
        rescue |= {key: dots for key, dots in self.damaged.items() if not covers(clock, dots)}
        self.world.rescued(self, rescue)

    def forget(self):
        """Rows, clock and floor go; what comes next is written under a new actor."""
        self.world.touch_all(self)
        self.clock, self.rows, self.log, self.floor, self.damaged = {}, {}, {}, {}, {}
        self.drop_scan()
        self.sponsoring = {}
        self.new_start()

    def publish(self):
        """RULE: a store that was never published brings its rows as its own.  Its floor tells of events that nobody else
        has ever seen; kept, it would make everybody else seem to be below it."""
        self.world.publish(self)
        self.floor = {}
        if self.private is not None:
            self.private = None
            self.actor = self.world.mint(self.name)  # published events keep theirs, later ones belong to this start

    def stage_entry(self, entry, part):
        entry.transfer.staged.update(part.rows)

    def take_in(self, entry, part):
        """The sponsor's state, whole, in one step."""
        rows = entry.scan.rows if entry.scan else {}
        self.apply(rows, entry.transfer.staged, part.target, part.floor, part.stamp_floor)

    def rewrite(self, writes, stamp_floor):
        self.batch(writes)

    # ---- damage ----

    def damage(self, key):
        """A row on disk fails its checksum: it is set aside, here and on disk."""
        dots = dict(self.rows[key].log_dots())
        self.world.set_aside(self, key)
        self.unlist(key)
        del self.rows[key]
        self.damaged = {**self.damaged, key: dots}
        self.sync()
        self.world.touch(self, key)

    def repairable_by(self, server):
        """RULE: whose clock covers the damaged rows' dots has all of them.  (Asking for a clock that covers all of mine
        would ask for the impossible: I serve nothing, so nobody can have what I have written since.)"""
        return server.serves() and all(covers(server.clock, dots) for dots in self.damaged.values())

    def repair(self, server):
        """RULE: a repair is a pull whose answer also holds the damaged rows, whatever the clocks say, as the server has
        them (absent: collected), applied with the claim.  Rows alone would bring events beyond my clock into my rows."""
        part = server.push(self.clock)
        mended = {key: server.rows[key] for key in self.damaged if key in server.rows}
        refused = "old" if not self.takes_from(part) else self.refuses(part, None)
        if refused:
            return refused
        for key, row in mended.items():
            self.put(key, row)
        self.world.touch_keys(self, self.damaged)
        self.world.not_missed(self)
        self.damaged = {}
        self.apply({}, part.rows, part.target, part.floor, part.stamp_floor)
        # RULE: a repair is durable before anything is served again: a scan reads what is on disk, and there the row was
        # still missing under a clock that claims it (a joiner that resumed its scan became whole without the row)
        self.sync()
        self.hear(part.word)
        return "applied"

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
