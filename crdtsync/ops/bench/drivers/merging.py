"""Taking in, at once, what another replica has: from its bytes to what readers see, and until the disk has it."""

from __future__ import annotations

import time

import msgspec

from crdtsync.ops.bench.adapters import open_adapter
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.results import Check, Sample, Unit

UNITS = {
    "rate": Unit("rows/s", higher=True, what="rows merged a second, as the call returns"),
    "durable_rate": Unit("rows/s", higher=True, what="rows merged a second, until the disk has them"),
}
VALUE = "a value of twenty ch."


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`rows` registers, or entries of a map, that the receiver lacks."""

    rows: int


def measure(task: Task, params: Params) -> Sample:
    """One sample."""
    sides = []
    for name in ("sender", "receiver"):
        place = task.place / name
        place.mkdir()
        sides.append(open_adapter(task.system, place))
    sender, receiver = sides
    try:
        sender.put_all([f"object:{number:09}" for number in range(params.rows)], VALUE)
        update = sender.update()
        receiver.fingerprint()  # whatever is opened late is opened
        begin = time.perf_counter()
        receiver.merge(update)
        figures = {"rate": params.rows / (time.perf_counter() - begin)}
        if receiver.make_durable():
            figures["durable_rate"] = params.rows / (time.perf_counter() - begin)
        check = Check("the receiver holds what the sender holds", sender.fingerprint() == receiver.fingerprint())
    finally:
        for side in sides:
            side.close()
    return Sample(figures, [check])


def verify(task: Task, params: Params) -> list[Check]:
    """Both were closed."""
    return []
