"""Many simulated nodes that all write, on a network that loses messages: rounds until all agree, and what that costs.

Time is virtual, so the figures are the same on any machine; a seed repeats them exactly.  The scale study has the rest:
`crdtsync simulate --nodes`.
"""

from __future__ import annotations

import msgspec

from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.results import Check, Sample, Unit
from crdtsync.sim import study

UNITS = {
    "rounds": Unit("", what="gossip rounds (mean time between pulls) from the last write until all agree"),
    "redundancy": Unit("", what="rows sent to rows that were news to their receiver"),
    "messages": Unit("1/s", what="messages sent by a node in a second while all write"),
    "bytes": Unit("B/s", what="bytes sent by a node in a second while all write"),
}


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`nodes` that make one write a second each, for `seconds`; a share `loss` of all messages is lost."""

    nodes: int
    seconds: float
    loss: float


def measure(task: Task, params: Params) -> Sample:
    """One sample."""
    found = study.measure(task.seed, params.nodes, params.loss, params.seconds, recovery=False)
    figures = {name: value for name in UNITS if (value := getattr(found, name)) is not None}
    return Sample(figures, [Check("all clocks are equal in time, and all digests", found.agreed)])


def verify(task: Task, params: Params) -> list[Check]:
    """There is no process."""
    return []
