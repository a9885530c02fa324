"""What the nodes hold in the end, against the history: nothing lost, nothing twice, nothing invented, all equal."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .clients import FAIL, INFO, OK, Op

Final = dict[str, Any]  # what one node says at the end


def read(client: Any, clients: int) -> Final:
    """Everything that the workloads wrote, as one node has it."""
    return {
        "marks": client.gcounter("marks").value,
        "grow": sorted(client.gset("grow")),
        "set": sorted(client.orset("set")),
        "count": client.pncounter("count").value,
        "own": [client.lwwregister(f"own:{number}").value for number in range(1, clients + 1)],
        "map": client.map("map").value,
        "digest": client.digest(),
    }


def judge(ops: list[Op], finals: dict[str, Final], clients: int) -> list[str]:
    """What is wrong; [] when every promise was kept."""
    wrong = []
    first = next(iter(finals.values()))
    wrong += _dots(ops)
    wrong += [f"{name} differs" for name, final in finals.items() if final != first]
    for name, final in finals.items():
        told = [*_marks(ops, final["marks"]), *_elements(ops, "grow", final["grow"]), *_set(ops, final["set"])]
        told += _count(ops, final["count"])
        told += _own(ops, final["own"], clients)
        told += _map(ops, final["map"])
        wrong += [f"{name}: {what}" for what in told]
    return wrong


def _dots(ops: list[Op]) -> list[str]:
    """No two writes have one dot, on whatever node, disk and start they were made."""
    dots = Counter(op.value for op in ops if op.kind == "mark" and op.outcome == OK)
    return [f"dot {dot} was used {times} times" for dot, times in dots.items() if times > 1]


def _marks(ops: list[Op], found: int) -> list[str]:
    """Each mark counts one."""
    outcomes = Counter(op.outcome for op in ops if op.kind == "mark")
    least, most = outcomes[OK], outcomes[OK] + outcomes[INFO]
    return [] if least <= found <= most else [f"{found} marks, of {least} to {most}"]


def _elements(ops: list[Op], kind: str, found: list[int]) -> list[str]:
    acked = {op.value for op in ops if op.kind == kind and op.outcome == OK}
    tried = {op.value for op in ops if op.kind == kind and op.outcome != FAIL}
    wrong = []
    if lost := acked - set(found):
        wrong.append(f"lost of {kind}: {sorted(lost)[:5]}")
    if invented := set(found) - tried:
        wrong.append(f"never added to {kind}, or refused: {sorted(invented)[:5]}")
    return wrong


def _set(ops: list[Op], found: list[int]) -> list[str]:
    """An element is added once, and removed by who has seen it there: it stays exactly when it was not removed."""
    removed = {op.value for op in ops if op.kind == "discard" and op.outcome == OK}
    perhaps = {op.value for op in ops if op.kind == "discard" and op.outcome == INFO}
    acked = {op.value for op in ops if op.kind == "add" and op.outcome == OK}
    tried = {op.value for op in ops if op.kind == "add" and op.outcome != FAIL}
    wrong = []
    if lost := acked - removed - perhaps - set(found):
        wrong.append(f"lost of the set: {sorted(lost)[:5]}")
    if back := removed & set(found):
        wrong.append(f"removed, and there again: {sorted(back)[:5]}")
    if invented := set(found) - tried:
        wrong.append(f"never added to the set: {sorted(invented)[:5]}")
    return wrong


def _count(ops: list[Op], found: int) -> list[str]:
    steps = [op for op in ops if op.kind == "step"]
    sums = {sum(op.value for op in steps if op.outcome == OK)}
    for op in steps:
        if op.outcome == INFO:
            sums |= {known + op.value for known in sums}
    return [] if found in sums else [f"the counter says {found}, of {min(sums)} to {max(sums)}"]


def _own(ops: list[Op], found: list[Any], clients: int) -> list[str]:
    """A register that one client writes holds its last write, or one after it whose outcome it does not know."""
    wrong = []
    for client in range(1, clients + 1):
        writes = [op for op in ops if op.kind == "own" and op.client == client and op.outcome != FAIL]
        last = max((number for number, op in enumerate(writes) if op.outcome == OK), default=-1)
        may = [op.value for op in writes[max(last, 0) :]] if writes else []
        if found[client - 1] not in (may if last >= 0 else [*may, None]):
            wrong.append(f"own:{client} holds {found[client - 1]}, not one of {may[:5]}")
    return wrong


def _map(ops: list[Op], found: dict[str, Any]) -> list[str]:
    tried = {op.value for op in ops if op.kind == "map" and op.outcome != FAIL}
    if not found:
        return [] if not any(op.kind == "map" and op.outcome == OK for op in ops) else ["the map is empty"]
    return [f"the map holds {value}, which nobody wrote" for value in found.values() if value not in tried]
