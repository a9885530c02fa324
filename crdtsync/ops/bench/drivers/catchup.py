"""Coming back after an absence, and coming new: time, and bytes against the difference."""

from __future__ import annotations

import time
from typing import Any

import msgspec

import crdtsync
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.peering import LISTEN, hosted, key_of
from crdtsync.ops.bench.results import Check, Sample, Unit

UNITS = {
    "catch_up_rate": Unit("rows/s", higher=True, what="missed rows a second, from opening until all are there"),
    "catch_up_seconds": Unit("s", what="time from opening until all that was missed is there"),
    "bytes_ratio": Unit("", what="bytes sent to who was away, to keys and values of what it missed"),
    "join_rate": Unit("rows/s", higher=True, what="rows a second of a new node, from opening until all are there"),
    "join_seconds": Unit("s", what="time from opening a new node until all is there"),
}
FIRST, SECOND = "first value of twenty", "other value of twenty"
TIMEOUT = 600.0  # s


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """Of `rows` registers, `missed` are changed while one of two nodes is away."""

    rows: int
    missed: int


def measure(task: Task, params: Params) -> Sample:
    """One sample: the one that stays is a process of its own; who comes back, or new, is this one."""
    stays = hosted(task.place / "stays")
    try:
        address = stays.ask("address")
        with crdtsync.open(task.place / "away", listen=LISTEN, join=[address]) as node:
            stays.ask("fill", 0, params.rows, FIRST)
            node.wait_for(stays.ask("token"), TIMEOUT)
        stays.ask("fill", 0, params.missed, SECOND)
        sent = stays.ask("counters").get("bytes_sent", 0)
        seconds, check = arrive(task, "away", stays, address)
        sent = stays.ask("counters").get("bytes_sent", 0) - sent
        joined, whole = arrive(task, "new", stays, address)
    finally:
        stays.stop()
    content = sum(len(key_of(number)) + len(SECOND) for number in range(params.missed))
    figures = {
        "catch_up_rate": params.missed / seconds, "catch_up_seconds": seconds, "bytes_ratio": sent / content,
        "join_rate": params.rows / joined, "join_seconds": joined,
    }  # fmt: skip
    return Sample(figures, [check, whole])


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
