"""Taking a member's state: getting in, starting over with a rescue, and the repair of damaged rows."""

from __future__ import annotations

from .rows import covers


class Mending:
    """The part of a node that takes what others hold (entry.py says when)."""

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
        """RULE: a store that was never published brings its rows as its own, but not its floor.

        That tells of events that nobody else has ever seen; everybody else would seem to be below it.
        """
        self.world.publish(self)
        self.floor = {}
        if self.private is not None:
            self.private = None
            self.actor = self.world.mint(self.name)  # published events keep theirs, later ones belong to this start

    def stage_entry(self, entry, part):
        entry.transfer.staged.update(part.rows)

    def take_in(self, entry, part):
        """The sponsor's state, whole, in one step."""
        start = entry.scan.start if entry.scan else 0
        self.heard[part.sender] = max(part.start, start, self.heard.get(part.sender, 0))
        self.apply(entry.scan, entry.transfer.staged, part.target, part.floor, part.stamp_floor)

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
        """RULE: a repair is a pull whose answer also holds the damaged rows, whatever the clocks say.

        They are taken as the server has them (absent: collected) and with its claim: rows alone would bring events
        beyond my clock into my rows.
        """
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
        self.apply(None, part.rows, part.target, part.floor, part.stamp_floor)
        # RULE: a repair is durable before anything is served again: a scan reads what is on disk, and there the row was
        # still missing under a clock that claims it (a joiner that resumed its scan became whole without the row)
        self.sync()
        self.hear(part.word)
        return "applied"
