"""The life of a node that holds many rows: loaded in columns, opened again after a stop, a kill and a whole check, and
written over and over, alone and beside somebody who reads all of it slowly.

Memory and the table's file are looked at all the time: both should depend on what is held, not on how long it runs.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

import crdtsync
from crdtsync.ops.bench.adapters.embedded import put
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.drivers.footprint import anonymous, on_disk
from crdtsync.ops.bench.processes import Other, answer_all
from crdtsync.ops.bench.results import Check, Sample, Unit

UNITS = {
    "load_rate": Unit("rows/s", higher=True, what="rows loaded a second, until the table has all", synced=True),
    "open_clean": Unit("s", what="opening after a stop in good order"),
    "open_killed": Unit("s", what="opening after SIGKILL in the middle of writing, what the journal has replayed"),
    "open_verified": Unit("s", what="the same with every page of the table verified, as after a power cut"),
    "file_growth": Unit("", what="size of the table after writing over it, to that before"),
    "file_growth_reader": Unit("", what="the same beside a reader that takes as long as all the writing"),
    "memory_mb": Unit("MB", what="most anonymous memory, beyond that before opening"),
    "memory_growth_mb": Unit("MB", what="memory after all writing, beyond that when a tenth was loaded"),
    "memory": Unit("MB", what="memory after so many thousand writes"),
    "file": Unit("MB", what="the table on the disk after so many thousand writes"),
}
COLUMN = 50_000  # rows of a call
LOOKED_AT = 1000  # rows that are read after each opening


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`rows` registers; `rounds` of writing `churn` random ones over, first alone, then beside a reader.

    A process that is killed has written `pending` of them.
    """

    rows: int
    churn: int
    rounds: int
    pending: int


class Life:
    """What is written, and what is noted of the process that does it."""

    def __init__(self, params: Params, place: Path) -> None:
        self.params, self.place = params, place
        self.before, self.written = anonymous(), 0
        self.figures: dict[str, float] = {}
        self.checks: list[Check] = []

    def load(self, node: Any) -> None:
        """All rows, in the order of their keys."""
        rows, begin = self.params.rows, time.perf_counter()
        marks = {rows * tenth // 10 // COLUMN for tenth in range(1, 11)}
        for number, first in enumerate(range(0, rows, COLUMN), 1):
            write(node, range(first, min(first + COLUMN, rows)), 0)
            self.written = min(first + COLUMN, rows)
            if number in marks:
                self.note()
        node.close()
        self.figures["load_rate"] = rows / (time.perf_counter() - begin)
        self.note()

    def note(self) -> None:
        """Memory and file as they are now."""
        at = self.written // 1000
        self.figures[f"memory@{at}"] = (anonymous() - self.before) / 1e6
        self.figures[f"file@{at}"] = on_disk(self.place) / 1e6

    def churn(self, node: Any, chance: random.Random, reader: Iterator[Any] | None) -> float:
        """Write random rows over, round by round; the growth of the file."""
        params, before = self.params, on_disk(self.place)
        share = params.rows // params.rounds
        for number in range(params.rounds):
            for numbers in drawn(chance, params.rows, params.churn):
                write(node, numbers, 1 + number)
            self.written += params.churn
            if reader is not None:
                read = sum(1 for _ in itertools.islice(reader, share))
                self.check("the reader finds all rows", read == share)
            node.sync()
            self.note()
        if reader is not None:
            self.check("the reader finds all rows", sum(1 for _ in reader) == params.rows - share * params.rounds)
        return on_disk(self.place) / before

    def check(self, what: str, ok: bool) -> None:
        """Note what must be true; once, unless it is not."""
        if not ok or all(each.what != what for each in self.checks):
            self.checks.append(Check(what, ok))


def measure(task: Task, params: Params) -> Sample:
    """One sample."""
    chance, directory = random.Random(task.seed), task.place / "node"
    with crdtsync.open(task.place / "small") as small:  # what is loaded once is not counted
        write(small, range(1), 0)
    life = Life(params, directory)
    life.load(crdtsync.open(directory))
    reopen(life, chance)
    with crdtsync.open(directory) as node:
        life.figures["file_growth"] = life.churn(node, chance, None)
        life.figures["file_growth_reader"] = life.churn(node, chance, iter(node.items()))
        life.check("no row came or went", rows_of(node) == params.rows)
    told = [value for name, value in life.figures.items() if name.startswith("memory@")]
    life.figures |= {"memory_mb": max(told), "memory_growth_mb": told[-1] - told[0]}
    return Sample(life.figures, life.checks)


def reopen(life: Life, chance: random.Random) -> None:
    """Open in fresh processes, each of which is killed in the end; before that the first writes `pending` rows."""
    pending = next(drawn(chance, life.params.rows, life.params.pending), range(0))
    asked = [*chance.choices(range(life.params.rows), k=LOOKED_AT), *pending[:LOOKED_AT]]
    written: set[int] = set()
    for figure, settings in (("open_clean", {}), ("open_killed", {}), ("open_verified", {"verify_on_open": "always"})):
        other = Other(held, str(life.place), settings)
        try:
            life.figures[figure] = other.ask("open")
            expected = {key(number): value(number, int(number in written)) for number in asked}
            right = other.ask("read", list(expected)) == list(expected.values())
            life.check("a fresh process reads what was written last", right)
            life.check("a fresh process finds every row", other.ask("rows") == life.params.rows)
            if not written:
                other.ask("write", list(pending))
                written.update(pending)
            other.process.kill()
        finally:
            other.stop()


def held(pipe: Connection, directory: str, settings: dict[str, Any]) -> None:
    """A process that holds the node; it is not closed."""
    nodes: list[Any] = []

    def opened() -> float:
        begin = time.perf_counter()
        nodes.append(crdtsync.open(directory, **settings))
        return time.perf_counter() - begin

    answer_all(
        pipe,
        {
            "open": opened,
            "read": lambda keys: [nodes[0].lwwregister(each).value for each in keys],
            "rows": lambda: rows_of(nodes[0]),
            "write": lambda numbers: write(nodes[0], numbers, 1),
        },
    )


def drawn(chance: random.Random, rows: int, count: int) -> Iterator[list[int]]:
    """So many random numbers of rows, a column at a time."""
    for first in range(0, count, COLUMN):
        yield chance.choices(range(rows), k=min(COLUMN, count - first))


def key(number: int) -> str:
    """Of a row."""
    return f"object:{number:09}"


def value(number: int, turn: int) -> str:
    """Twenty bytes, other ones at every turn."""
    return f"value {turn:04} {number:09}"


def write(node: Any, numbers: Any, turn: int) -> None:
    """Set these registers in one call; one that is refused since the disk is behind is made again."""
    put(node, [key(number) for number in numbers], [value(number, turn) for number in numbers])


def rows_of(node: Any) -> int:
    """Rows that the node counts."""
    return int(node.status()["storage"]["rows"])


def verify(task: Task, params: Params) -> list[Check]:
    """What was killed has been looked at."""
    return []
