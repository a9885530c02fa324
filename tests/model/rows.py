"""Version vectors and rows: what a row holds, and how two images of one row are joined.

A key is (path, type, tail).  `path` is the object's name, or a map's name and the fields that lead into it; `tail` is a
set's element, a counter cell's owner, else "".  Rows and clocks are never changed in place: who keeps one keeps it as
it was, which is how snapshots, messages and the disk are modelled.
"""

from __future__ import annotations

SET, VALUES, LATEST, CELL = "s", "v", "l", "p"

Clock = dict  # {actor: seq}
Key = tuple  # (path, type, tail)


def join(x, y):
    """The smallest clock that covers both."""
    z = dict(x)
    for actor, seq in y.items():
        if seq > z.get(actor, 0):
            z[actor] = seq
    return z


def covers(x, y):
    """Whether clock x holds every event of clock y."""
    return all(x.get(actor, 0) >= seq for actor, seq in y.items())


def has(clock, dot):
    """Whether the clock covers one dot."""
    return dot[1] <= clock.get(dot[0], 0)


def value_key(key):
    """The object a row belongs to, as readers see it: a counter is the sum of its cells."""
    return (key[0], CELL) if key[1] == CELL else key


def below(prefix, key):
    """Whether the row belongs to the map, or to the field of a map, at `prefix`."""
    return key[0][: len(prefix)] == prefix


class Row:
    """The unit of state, merge, storage and transfer.

    ctx   {actor: seq}: for each actor, its last event known to have touched this row.
    body  SET     {dot: None}, the live dots             (element of an OR-Set, flag, field presence)
          VALUES  {dot: value}, the live dots            (multi-value register)
          LATEST  (stamp, actor, seq, value | None)      None is a deletion
          CELL    (start, seq, p, n, base_seq, base_p, base_n)   one counter cell, written by its owner only;
                  start: owner's seq of the first increment of this incarnation; base: what a reset has observed
    """

    __slots__ = ("body", "ctx", "kind")

    def __init__(self, kind, ctx, body):
        self.kind, self.ctx, self.body = kind, ctx, body

    def __eq__(self, other):
        if not isinstance(other, Row):
            return NotImplemented
        return (self.kind, self.ctx, self.body) == (other.kind, other.ctx, other.body)

    def __repr__(self):
        return f"Row({self.kind}, {self.ctx}, {self.body})"

    def dead(self):
        """Nothing of it is visible: it only remembers what must not come back."""
        if self.kind == LATEST:
            return self.body[3] is None
        if self.kind == CELL:
            return self.body[4] >= self.body[1]
        return not self.body

    def log_dots(self):
        """Dots under which the log lists this row: all maximal events; for LATEST the winner alone."""
        return {self.body[1]: self.body[2]} if self.kind == LATEST else self.ctx

    def live_dots(self, key):
        if self.kind == LATEST:
            return [(self.body[1], self.body[2])]
        if self.kind == CELL:
            return [(key[2], self.body[1])]
        return list(self.body)

    def touched(self, actor, seq, body):
        """This row after one more event."""
        return Row(self.kind, {**self.ctx, actor: seq}, body)


def cell_value(row):
    """What one cell adds to its counter."""
    _, _, p, n, _, base_p, base_n = row.body
    return (p - n) - (base_p - base_n)


def merge(key, current, incoming, clock):
    """`current` (None: no row here) joined with a peer's row, given my exact clock; None when nothing changes.

    A join: safe at any time, in any order, any number of times.
    """
    if covers(clock, incoming.ctx):
        return None  # RULE: nothing new (valid only because clocks are exact)
    if current is None:
        if incoming.kind in (LATEST, CELL) and all(has(clock, dot) for dot in incoming.live_dots(key)):
            return None  # RULE: absent here, and seen: it was removed and collected
        if incoming.kind in (LATEST, CELL):
            return Row(incoming.kind, incoming.ctx, _base_counts(incoming))
        current = Row(incoming.kind, {}, {})
    ctx = join(current.ctx, incoming.ctx)
    if incoming.kind == LATEST:
        return Row(LATEST, ctx, max(current.body, incoming.body, key=lambda body: body[:2]))
    if incoming.kind == CELL:
        owner, base = max(current.body, incoming.body, key=_seq), max(current.body, incoming.body, key=_base_seq)
        row = Row(CELL, ctx, owner[:4] + base[4:])
        return Row(CELL, ctx, _base_counts(row))
    return Row(incoming.kind, ctx, _live(current, incoming, clock))


def _live(current, incoming, clock):
    """RULE: a live dot stays if both have it, or if the side without it has not seen it (add wins)."""
    body = {dot: value for dot, value in current.body.items() if dot in incoming.body or not has(incoming.ctx, dot)}
    news = {dot: value for dot, value in incoming.body.items() if not has(current.ctx, dot) and not has(clock, dot)}
    return body | news


def _base_counts(row):
    """RULE: a base from an earlier incarnation of the cell does not count."""
    body = row.body
    return body if row.kind != CELL or body[4] >= body[0] else (*body[:4], 0, 0, 0)


def _seq(body):
    return body[1]


def _base_seq(body):
    return body[4]
