"""What travels between replicas, and what is kept of it: parts of transfers, announcements, scans."""

from __future__ import annotations

from .rows import join


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
        self.ballots, self.number = node.ballots, node.next_word()


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
        self.start = 0  # latest incarnation that a part came from
        self.engine = None

    def holds(self):
        """Join of the contexts staged: rows are read one part after another, so they may lie beyond T0."""
        clock = {}
        for row in self.rows.values():
            clock = join(clock, row.ctx)
        return clock
