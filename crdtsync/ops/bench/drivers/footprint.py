"""Memory of a process that holds many rows, and the size of its table, beside raw LMDB with the same rows."""

from __future__ import annotations

import os
import random
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

import crdtsync
from crdtsync.ops.bench.adapters import open_adapter
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.processes import Other, answer_all
from crdtsync.ops.bench.results import Check, Sample, Unit

UNITS = {
    "written_mb": Unit("MB", what="anonymous memory after all writes, beyond that before opening"),
    "reopened_mb": Unit("MB", what="anonymous memory of a fresh process that has read some rows, likewise"),
    "bytes_per_row": Unit("B", what="bytes of the table on the disk for each row"),
    "file_ratio": Unit("", what="size of the table to that of raw LMDB with the same keys and values"),
}
FIRST, SECOND = "first value of twenty", "other value of twenty"
READ = 1000  # rows that the fresh process reads


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`rows` registers, written in the order of their keys, then `overwritten` times a random one of them again."""

    rows: int
    overwritten: int


def measure(task: Task, params: Params) -> Sample:
    """One sample: crdtsync, then raw LMDB with the same keys and values in the same order."""
    keys = [f"object:{number:09}" for number in range(params.rows)]
    chance = random.Random(task.seed)
    again = chance.choices(keys, k=params.overwritten)
    before = anonymous()
    sizes = {}
    figures = {}
    for name in (task.system, "lmdb"):
        place = task.place / name
        place.mkdir()
        system = open_adapter(name, place)
        system.put_all(keys, FIRST)
        system.put_all(again, SECOND)
        system.make_durable()
        if name == task.system:
            figures["written_mb"] = (anonymous() - before) / 1e6
        system.close()
        sizes[name] = on_disk(place)
    found, right, memory = reopened(task.place / task.system / "node", keys, set(again))
    figures["reopened_mb"] = memory / 1e6
    figures["bytes_per_row"] = sizes[task.system] / params.rows
    figures["file_ratio"] = sizes[task.system] / sizes["lmdb"]
    check = Check("a fresh process reads what was written last", right == found, f"{right} of {found}")
    return Sample(figures, [check])


def anonymous() -> int:
    """Bytes of this process that no file backs: LMDB's page cache is not among them."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("The system does not tell anonymous memory (RssAnon).")


def on_disk(place: Path) -> int:
    """Bytes that the files of LMDB take on the disk."""
    return sum(os.stat(path).st_blocks * 512 for path in place.rglob("*.mdb"))


def reopened(directory: Path, keys: list[str], again: set[str]) -> tuple[int, int, int]:
    """(rows read, those that were right, bytes of memory) in a fresh process."""
    expected = {key: SECOND if key in again else FIRST for key in keys[:READ]}
    other = Other(read_again, str(directory))
    try:
        right, memory = other.ask("read", expected)
    finally:
        other.stop()
    return len(expected), right, memory


def read_again(pipe: Connection, directory: str) -> None:
    """The fresh process."""
    before = anonymous()
    with crdtsync.open(directory) as node:

        def read(expected: dict[str, str]) -> tuple[int, int]:
            right = sum(node.lwwregister(key).value == value for key, value in expected.items())
            return right, anonymous() - before

        answer_all(pipe, {"read": read})


def verify(task: Task, params: Params) -> list[Check]:
    """The node was closed."""
    return []
