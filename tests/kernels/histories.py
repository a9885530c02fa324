"""States reached by histories: a few replicas with exact clocks write one object, exchange whole transfers and collect.

Each replica keeps its rows twice: as images, by the kernels under test, and as rows of the reference model, under the
64-bit actor ids.  After every step the two must say the same.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from crdtsync.clocks.vector import Clock, covers, join
from crdtsync.kernels import CELL, LATEST, PRESENCE, VALUES
from tests.model import rows as model

KINDS = (PRESENCE, VALUES, LATEST, CELL)
TYPE = {PRESENCE: model.SET, VALUES: model.VALUES, LATEST: model.LATEST, CELL: model.CELL}
TAIL_OF = {PRESENCE: b"o\x01", VALUES: b"v", LATEST: b"l", CELL: b"p"}
# Neither ascending nor descending, so that the order of local indexes and the order of ids differ.
IDS = [7 * 2**60, 3, 2**64 - 1, 2**33, 1, 2**40, 5 * 2**60, 2**20] + [2**50 - 97 * n for n in range(200)]
PAYLOADS = (b"\x01", b"\x02", b"", b"x" * 130)

VERBS = ("write", "write", "write", "remove", "send", "send", "send", "collect", "restart")
Step = tuple[str, int, int, int]


def steps(most: int = 25) -> st.SearchStrategy[list[Step]]:
    """Histories over three replicas: (verb, replica, other replica, number)."""
    replica = st.integers(0, 2)
    return st.lists(st.tuples(st.sampled_from(VERBS), replica, replica, st.integers(0, 5)), max_size=most)


def row_key(kind: int, owner: int = 0) -> bytes:
    """The key of the one object; of one of its cells for a counter."""
    return b"k\0" + TAIL_OF[kind] + (owner.to_bytes(4, "big") if kind == CELL else b"")


class Replica:
    """Rows as images and as the model's rows, and the clock that is exact for both."""

    def __init__(self, actor: int) -> None:
        self.actor = actor
        self.clock: Clock = {}
        self.stamp_floor = 0
        self.images: dict[bytes, bytes] = {}
        self.rows: dict[bytes, model.Row] = {}

    def ids_clock(self) -> Clock:
        return {IDS[actor]: seq for actor, seq in self.clock.items()}


class History:
    """Three replicas, one object, one kind of row."""

    def __init__(self, kernels: Any, kind: int) -> None:
        self.kernels, self.kind = kernels, kind
        self.replicas = [Replica(actor) for actor in range(3)]
        self.actors = 3
        self.states: dict[bytes, list[bytes]] = {}  # every image a row has had anywhere
        self.updates: list[tuple[bytes, bytes]] = []  # (before, after) of local operations

    def play(self, steps: list[Step]) -> History:
        for verb, number, other, value in steps:
            replica = self.replicas[number]
            if verb == "write":
                self.write(replica, value)
            elif verb == "remove":
                self.remove(replica)
            elif verb == "send" and number != other:
                self.send(replica, self.replicas[other])
            elif verb == "collect":
                self.collect(replica)
            elif verb == "restart":
                replica.actor, self.actors = self.actors, self.actors + 1
        return self

    def heal(self) -> None:
        """Everyone gets everything."""
        for _ in range(2):
            for source in self.replicas:
                for target in self.replicas:
                    self.send(source, target)

    # ---- local operations ----

    def event(self, replica: Replica) -> tuple[int, int]:
        seq = replica.clock[replica.actor] = replica.clock.get(replica.actor, 0) + 1
        return replica.actor, seq

    def write(self, replica: Replica, value: int) -> None:
        """Add, set or count by `value`."""
        actor, seq = self.event(replica)
        key, dot = row_key(self.kind, actor), (IDS[actor], seq)
        image, row = replica.images.get(key), replica.rows.get(key)
        body: Any
        if self.kind == PRESENCE:
            new, body = self.kernels.presence_add(image, actor, seq), {dot: None}
        elif self.kind == VALUES:
            payload = PAYLOADS[value % len(PAYLOADS)]
            new, body = self.kernels.values_set(image, actor, seq, payload), {dot: payload}
        elif self.kind == LATEST:
            stamp, payload = self.stamp(replica, key, value), PAYLOADS[value % len(PAYLOADS)]
            new, body = self.kernels.latest_set(image, actor, seq, stamp, payload), (stamp, *dot, payload)
        else:
            up, down = (value, 0) if value < 4 else (0, value)
            start, _, p, n, *base = row.body if row else (seq, 0, 0, 0, 0, 0, 0)
            new, body = self.kernels.cell_add(image, actor, seq, up, down), (start, seq, p + up, n + down, *base)
        self.put(replica, key, new, (row or model.Row(TYPE[self.kind], {}, {})).touched(*dot, body))

    def remove(self, replica: Replica) -> None:
        """Remove, clear, delete or reset what is visible."""
        for key, image in list(replica.images.items()):
            if self.kernels.row_dead(image):
                continue
            actor, seq = self.event(replica)
            row, dot = replica.rows[key], (IDS[actor], seq)
            body: Any = {}
            if self.kind == PRESENCE:
                new = self.kernels.presence_remove(image, actor, seq)
            elif self.kind == VALUES:
                new = self.kernels.values_set(image, actor, seq, None)
            elif self.kind == LATEST:
                stamp = self.stamp(replica, key, 0)
                new, body = self.kernels.latest_set(image, actor, seq, stamp, None), (stamp, *dot, None)
            else:
                new = self.kernels.cell_reset(image, actor, seq)
                start, cell_seq, p, n, *_ = row.body
                cell_seq = seq if key == row_key(CELL, actor) else cell_seq
                body = (start, cell_seq, p, n, cell_seq, p, n)
            self.put(replica, key, new, row.touched(*dot, body))

    def stamp(self, replica: Replica, key: bytes, time: int) -> int:
        """A clock that hardly moves, so that stamps often tie."""
        row = replica.rows.get(key)
        return max(time, replica.stamp_floor + 1, row.body[0] + 1 if row else 0)

    def put(self, replica: Replica, key: bytes, image: bytes, row: model.Row) -> None:
        assert self.as_model(image) == row
        if key in replica.images:
            self.updates.append((replica.images[key], image))
        self.states.setdefault(key, []).append(image)
        replica.images[key], replica.rows[key] = image, row

    # ---- transfers and collection ----

    def send(self, source: Replica, target: Replica) -> None:
        """A whole transfer: rows and claim at once."""
        ids_clock = target.ids_clock()
        for key, image in source.images.items():
            current = target.images.get(key)
            joined = self.kernels.row_join(current, image, target.clock, IDS)
            model_key = ("k", TYPE[self.kind], IDS[self.kernels.row_cell(image)[0]] if self.kind == CELL else "")
            expected = model.merge(model_key, target.rows.get(key), source.rows[key], ids_clock)
            if joined is None:
                # The model also returns a row when the join changes nothing.
                assert expected is None or (current is not None and self.as_model(current) == expected)
                continue
            assert joined != current
            assert expected is not None and self.as_model(joined) == expected
            target.images[key], target.rows[key] = joined, expected
            self.states.setdefault(key, []).append(joined)
        target.clock = join(target.clock, source.clock)
        target.stamp_floor = max(target.stamp_floor, source.stamp_floor)

    def collect(self, replica: Replica) -> None:
        """Forget dead rows that every replica has seen, once their clocks are covered here."""
        clocks = [other.clock for other in self.replicas]
        if not all(covers(replica.clock, clock) for clock in clocks):
            return
        for key, image in list(replica.images.items()):
            if self.kernels.row_dead(image) and all(self.kernels.row_covered(image, clock) for clock in clocks):
                if self.kind == LATEST:
                    replica.stamp_floor = max(replica.stamp_floor, self.kernels.row_latest(image)[0])
                del replica.images[key], replica.rows[key]

    # ---- what it all means ----

    def as_model(self, image: bytes) -> model.Row:
        """An image read through the kernels, as a row of the model."""
        ctx = {IDS[actor]: seq for actor, seq in self.kernels.row_context(image)}
        body: Any
        if self.kind == PRESENCE:
            body = {(IDS[actor], seq): None for actor, seq in self.kernels.row_live_dots(image)}
        elif self.kind == VALUES:
            body = values_body(image)
            assert sorted(body.values()) == self.kernels.row_payloads(image)
        elif self.kind == LATEST:
            stamp, actor, seq, payload, _ = self.kernels.row_latest(image)
            body = (stamp, IDS[actor], seq, payload)
        else:
            body = self.kernels.row_cell(image)[1:]
        row = model.Row(TYPE[self.kernels.row_kind(image)], ctx, body)
        assert self.kernels.row_dead(image) == row.dead()
        assert {(IDS[a], s) for a, s in self.kernels.row_log_dots(image)} == set(row.log_dots().items())
        return row

    def digest(self, replica: Replica) -> int:
        return int(self.kernels.rows_digest(list(replica.images.items())))


def values_body(image: bytes) -> dict[tuple[int, int], bytes]:
    """Live dots of a VALUES image with their payloads; no kernel gives them together."""
    from crdtsync.pure.image import decode

    return {(IDS[actor], seq): payload for actor, (seq, payload) in decode(image).live.items()}
