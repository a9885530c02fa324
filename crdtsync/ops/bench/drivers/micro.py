"""Single parts by themselves, in nanoseconds: kernels, the codec of values, calls of types, journal and storage."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

import crdtsync
from crdtsync import kernels
from crdtsync.config import Config
from crdtsync.datatypes import values
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.results import Check, Sample, Unit
from crdtsync.storage.store import Store
from crdtsync.storage.txn import Txn

WHAT = {
    "cell_add": "kernel: a step of a counter's cell", "presence_add": "kernel: an element is added once more",
    "latest_set": "kernel: a register is set", "row_join": "kernel: two versions of an element are joined",
    "encode": "codec: a value of a few fields to bytes", "decode": "codec: and back",
    "counter_increment": "type: PNCounter.increment", "counter_value": "type: PNCounter.value",
    "register_set": "type: LWWRegister.set", "register_value": "type: LWWRegister.value",
    "set_add": "type: ORSet.add", "set_contains": "type: in ORSet", "flag_enable": "type: Flag.enable",
    "map_increment": "type: a counter in a map, increment", "write": "journal: one row written by a transaction",
    "sync": "journal: one write, then the disk has it", "checkpoint_row": "storage: a checkpoint, for each row of it",
    "read_row": "storage: a row read after the store was opened anew",
}  # fmt: skip
UNITS = {name: Unit("ns", what=what, synced=name == "sync") for name, what in WHAT.items()}
IDS = (11, 5, 7, 3)
RECORD = {"name": "a name of some length", "count": 12345, "price": 12.5, "tags": ["one", "two"], "sold": False}
SYNCS = 100


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`calls` of each."""

    calls: int


def each(call: Callable[[int], Any], calls: int) -> float:
    """Mean nanoseconds of a call."""
    begin = time.perf_counter_ns()
    for number in range(calls):
        call(number)
    return (time.perf_counter_ns() - begin) / calls


def measure(task: Task, params: Params) -> Sample:
    """One sample."""
    coded, figures = values.encode(RECORD), kernel_times(params.calls)
    figures |= {
        "encode": each(lambda _: values.encode(RECORD), params.calls),
        "decode": each(lambda _: values.decode(coded), params.calls),
    }
    found, counted = type_times(task, params.calls)
    stored, read = storage_times(task, params.calls)
    checks = [
        Check("a value survives its coding", values.decode(coded) == RECORD),
        Check("the types hold what was written", counted),
        Check("the rows are there after opening anew", read),
    ]
    return Sample({**figures, **found, **stored}, checks)


def kernel_times(calls: int) -> dict[str, float]:
    """Kernels on one row."""
    cell = kernels.cell_add(None, 0, 1, 5, 0)
    added = kernels.presence_add(kernels.presence_add(None, 1, 70_000), 0, 9)
    other = kernels.presence_add(added, 2, 4)
    register, stamp = kernels.latest_set(None, 1, 5, 112_000_000_000_000_000, b"v" * 40), 112_000_000_000_000_001
    clock = {0: 999, 1: 70_000}
    return {
        "cell_add": each(lambda _: kernels.cell_add(cell, 0, 1000, 1, 0), calls),
        "presence_add": each(lambda _: kernels.presence_add(added, 0, 1000), calls),
        "latest_set": each(lambda _: kernels.latest_set(register, 0, 1000, stamp, b"x" * 40), calls),
        "row_join": each(lambda _: kernels.row_join(added, other, clock, IDS), calls),
    }


def type_times(task: Task, calls: int) -> tuple[dict[str, float], bool]:
    """Calls through the public handles."""
    with crdtsync.open(task.place / "types") as node:
        counter, register, members = node.pncounter("counter"), node.lwwregister("register"), node.orset("set")
        flag, inner = node.flag("flag"), node.map("map").pncounter("inner")
        figures = {
            "counter_increment": each(lambda _: counter.increment(), calls),
            "counter_value": each(lambda _: counter.value, calls),
            "register_set": each(register.set, calls),
            "register_value": each(lambda _: register.value, calls),
            "set_add": each(members.add, calls),
            "set_contains": each(lambda number: number in members, calls),
            "flag_enable": each(lambda _: flag.enable(), calls),
            "map_increment": each(lambda _: inner.increment(), calls),
        }
        right = (counter.value, inner.value, register.value, len(members)) == (calls, calls, calls - 1, calls)
        return figures, right and flag.value


def storage_times(task: Task, calls: int) -> tuple[dict[str, float], bool]:
    """Journal and table, without what is above them."""
    place, settings = task.place / "storage", Config(checkpoint_interval=3600.0)
    store = Store.open(place, settings)
    figures = {"write": each(lambda number: store.transact("default", lambda txn: put(txn, number)), calls)}
    begin = time.perf_counter_ns()
    store.checkpoint()
    figures["checkpoint_row"] = (time.perf_counter_ns() - begin) / calls

    def synced(number: int) -> None:
        store.transact("default", lambda txn: put(txn, calls + number))
        store.flush()

    figures["sync"] = each(synced, SYNCS)
    store.close()
    store, missing = Store.open(place, settings), 0

    def read(number: int) -> None:
        nonlocal missing
        missing += store.transact("default", lambda txn: txn.get(row_key(number))) is None

    figures["read_row"] = each(read, calls)
    store.close()
    return figures, missing == 0


def row_key(number: int) -> bytes:
    """The row of an element of a set."""
    return b"stock\0o" + values.encode_element(f"item:{number:09}")


def put(txn: Txn, number: int) -> None:
    """Add one element."""
    txn.put(row_key(number), kernels.presence_add(None, *txn.next_event()))


def verify(task: Task, params: Params) -> list[Check]:
    """All were closed."""
    return []
