"""Bytes on the wire for changed rows, beyond their keys and values, and how often a row travels in a mesh."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import msgspec

import crdtsync
from crdtsync.ops.bench.adapters import open_adapter
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.peering import LISTEN, fill, hosted, key_of
from crdtsync.ops.bench.results import Check, Sample, Unit

UNITS = {
    "bytes_per_row": Unit("B", what="bytes sent for each changed row and receiver"),
    "overhead": Unit("B", what="the same, beyond key and value"),
    "redundancy": Unit("", what="rows sent in the mesh, to rows that had to be"),
}
VALUE = "a value of twenty ch."
TIMEOUT = 120.0  # s for all to hold everything


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`rows` new registers are written on one of `nodes` nodes that are linked."""

    rows: int
    nodes: int


def measure(task: Task, params: Params) -> Sample:
    """One sample: of a mesh of nodes, or of the update of a document."""
    if task.system == "crdtsync":
        return mesh(task, params)
    system = open_adapter(task.system, task.place)
    system.put_all([key_of(number) for number in range(params.rows)], VALUE)
    update = system.update()
    other = open_adapter(task.system, task.place)
    other.merge(update)
    check = Check("the receiver holds what the sender holds", system.fingerprint() == other.fingerprint())
    return Sample(per_row(len(update), params.rows), [check])


def mesh(task: Task, params: Params) -> Sample:
    """The first node runs here and writes; what it sends is counted, with heartbeats and all."""
    with ExitStack() as stack:
        node = stack.enter_context(crdtsync.open(task.place / "0", listen=LISTEN))
        others = [hosted(task.place / str(at), join=[node.address]) for at in range(1, params.nodes)]
        for other in others:
            stack.callback(other.stop)
        meet(node, others)
        before = traffic(node, others)
        fill(node, 0, params.rows, VALUE)
        token = node.token()
        for other in others:
            other.ask("wait_for", token, TIMEOUT)
        sent, travelled = (after - base for after, base in zip(traffic(node, others), before, strict=True))
        digests = {node.digest(), *(other.ask("digest") for other in others)}
    wanted = params.rows * len(others)
    figures = per_row(sent / len(others), params.rows) | {"redundancy": travelled / wanted}
    return Sample(figures, [Check("digests of all replicas are equal", len(digests) == 1)])


def meet(node: Any, others: list[Any]) -> None:
    """Wait until everybody is in, and has heard of a first write."""
    for other in others:
        other.ask("address")
    fill(node, 10**9 - 1, 10**9, VALUE)
    token = node.token()
    for other in others:
        other.ask("wait_for", token, TIMEOUT)


def traffic(node: Any, others: list[Any]) -> tuple[int, int]:
    """(bytes sent by the writer, rows sent by all)."""
    counters = [node.status()["counters"], *(other.ask("counters") for other in others)]
    return counters[0].get("bytes_sent", 0), sum(each.get("rows_sent", 0) for each in counters)


def per_row(sent: float, rows: int) -> dict[str, float]:
    """Figures of so many bytes to one receiver."""
    content = sum(len(key_of(number)) for number in range(rows)) + rows * len(VALUE)
    return {"bytes_per_row": sent / rows, "overhead": (sent - content) / rows}


def verify(task: Task, params: Params) -> list[Check]:
    """All were closed."""
    return []
