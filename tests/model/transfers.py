"""Transfers: everything at once or nothing, from one consistent state, with the claim in the last part."""

from __future__ import annotations

from .members import EVICTED
from .parts import Part, Scan, Transfer
from .rows import covers, has, join, merge


class Transferring:
    """The part of a node that serves and receives."""

    # ---- serving: from ONE consistent state; the claim comes with the last part ----

    def serves(self):
        """RULE: who is getting in, must start over, has left or has set a row aside claims and serves nothing."""
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
        if part.start < self.heard.get(part.sender, 0):
            return False  # RULE: an earlier incarnation's late message
        self.heard[part.sender] = part.start
        epoch, rank = self.members.get(part.sender, (0, 0))
        # RULE: nothing is taken from who was evicted, or from its time before it came back
        return part.epoch > epoch or (part.epoch == epoch and rank != EVICTED)

    def receive(self, part, staged):
        """Stage parts; apply the whole transfer with its last part, or nothing of it.  What became of it, in a word."""
        if not self.takes():
            return "busy"
        if not self.takes_from(part):
            return "old"
        staged.update(part.rows)
        if not part.last:
            if not self.rules.whole_claim:
                self.apply(None, part.rows, {}, {}, 0)
            return "more"
        scan = self.ended_by(part)
        refused = self.refuses(part, scan)
        if refused == "short":
            self.drop_scan()
        if refused:
            return refused
        self.apply(scan, staged, part.target, part.floor, part.stamp_floor)
        if scan:
            self.drop_scan()
        return "applied"

    def takes(self):
        """RULE: who joins or starts over takes nothing else, and who has set rows aside takes only a repair.

        Merged into a row that is not there, what is missing would read as removed: row {d1} is set aside, {d1, d2}
        comes, and d1, which my clock covers, is gone.
        """
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
            if not covers(self.clock, part.floor) and self.name > part.sender:
                return "below"  # RULE: each is below the other's floor: the greater name starts over
            return "behind"  # RULE: its sender was below my floor, then or still
        if self.clock and not covers(self.clock, part.floor):
            return "below"  # RULE: I am below the sender's floor, as an old copy or an evicted replica is: start over
        if scan and not covers(part.target, scan.holds()):
            return "short"  # RULE: what ends a scan must claim all that was staged (parts are read later than T0)
        return ""

    def apply(self, scan, rows, target, floor, stamp_floor):
        """RULE: rows and claim at once, under the clock from before; floors are inherited with the claim."""
        for key, incoming in (ended(scan, rows) if scan else rows).items():
            row = merge(key, self.rows.get(key), incoming, self.clock)
            if row is not None:
                self.put(key, row)
        self.world.touch_news(self, target)
        self.floor, self.stamp_floor = join(self.floor, floor), max(self.stamp_floor, stamp_floor)
        self.clock = join(self.clock, target)

    # ---- long transfers ----

    def read_on(self, scan, limit):
        """The next rows of a scan, in key order from what is on disk: (rows, the last key, whether that is all)."""
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


def ended(scan, rows):
    """What a scan has staged, joined with the rows of the transfer from T0 that ends it.

    What was staged is a replica at T0 by itself; only the whole is joined into the receiver's rows.
    """
    whole = dict(scan.rows)
    for key, incoming in rows.items():
        row = merge(key, whole.get(key), incoming, scan.t0)
        if row is not None:
            whole[key] = row
    return whole
