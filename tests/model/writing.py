"""Local operations: a batch of events, each with a fresh dot, on one row each."""

from __future__ import annotations

from .rows import CELL, LATEST, SET, VALUES, Row, below, value_key

STAMP_BITS = 16  # a stamp is milliseconds and a counter of 16 bits


class Writing:
    """The part of a node that writes."""

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
        name, path, *_ = operation
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
