"""Coming back after an absence, and coming new: time, and bytes against the difference."""

from __future__ import annotations

import time
from typing import Any

import msgspec

import crdtsync
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.peering import LISTEN, VALUE_BYTES, hosted, key_of
from crdtsync.ops.bench.results import Check, Sample, Unit

UNITS = {
    "catch_up_rate": Unit("rows/s", higher=True, what="missed rows a second, from opening until all are there"),
    "catch_up_seconds": Unit("s", what="time from opening until all that was missed is there"),
    "bytes_ratio": Unit("", what="bytes sent to who was away, to keys and values of what it missed: random digits"),
    "random_bytes_ratio": Unit("", what="the same, of values that are random bytes, which nothing makes shorter"),
    "join_rate": Unit("rows/s", higher=True, what="rows a second of a new node, from opening until all are there"),
    "join_seconds": Unit("s", what="time from opening a new node until all is there"),
}
TIMEOUT = 600.0  # s


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """Of `rows` registers, `missed` are changed while one of two nodes is away, to random digits, then to random bytes.

    A value takes 20 bytes, and no two are alike.
    """

    rows: int
    missed: int


def measure(task: Task, params: Params) -> Sample:
    """One sample: the one that stays is a process of its own; who comes back, or new, is this one."""
    stays = hosted(task.place / "stays")
    try:
        address = stays.ask("address")
        with crdtsync.open(task.place / "away", listen=LISTEN, join=[address]) as node:
            stays.ask("fill", 0, params.rows, "digits", task.seed)
            node.wait_for(stays.ask("token"), TIMEOUT)
        sent, seconds, check = missed(task, params, stays, address, "digits")
        incompressible, _, again = missed(task, params, stays, address, "bytes")
        joined, whole = arrive(task, "new", stays, address)
    finally:
        stays.stop()
    content = sum(len(key_of(number)) + VALUE_BYTES for number in range(params.missed))
    figures = {
        "catch_up_rate": params.missed / seconds, "catch_up_seconds": seconds,
        "bytes_ratio": sent / content, "random_bytes_ratio": incompressible / content,
        "join_rate": params.rows / joined, "join_seconds": joined,
    }  # fmt: skip
    return Sample(figures, [check, again, whole])


def missed(task: Task, params: Params, stays: Any, address: str, kind: str) -> tuple[int, float, Check]:
    """(bytes sent to who was away while values of one kind were written, seconds, whether it holds everything)."""
    stays.ask("fill", 0, params.missed, kind, task.seed + 1)
    before = stays.ask("counters").get("bytes_sent", 0)
    seconds, check = arrive(task, "away", stays, address)
    return stays.ask("counters").get("bytes_sent", 0) - before, seconds, check


def arrive(task: Task, name: str, stays: Any, address: str) -> tuple[float, Check]:
    """(seconds until a node holds everything, whether it does)."""
    token = stays.ask("token")
    begin = time.perf_counter()
    with crdtsync.open(task.place / name, listen=LISTEN, join=[address]) as node:
        node.wait_for(token, TIMEOUT)
        seconds = time.perf_counter() - begin
        return seconds, Check(f"digests are equal ({name})", node.digest() == stays.ask("digest"))


def verify(task: Task, params: Params) -> list[Check]:
    """All were closed."""
    return []
