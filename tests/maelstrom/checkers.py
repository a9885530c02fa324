"""Judges of a history: what was asked of which node, and what came back.

Stricter than Maelstrom's in what they are told to be lax about: final reads of all nodes must be equal, an element may
not come twice, and what nobody added may not be there.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

OK, FAIL, INFO = "ok", "fail", "info"  # done; certainly not done; unknown


class Op(NamedTuple):
    """One request of one client."""

    node: str
    kind: str  # add, read, generate
    value: Any  # what was added, or what was read
    outcome: str
    final: bool = False  # a read after the network has healed and become quiet


def final_reads(history: list[Op]) -> dict[str, list[Any]]:
    """What each node said at the end."""
    reads: dict[str, list[Any]] = {}
    for op in history:
        if op.kind == "read" and op.final and op.outcome == OK:
            reads.setdefault(op.node, []).append(op.value)
    return reads


def check_set(history: list[Op], nodes: list[str]) -> list[str]:
    """Every acknowledged element is in every final read, once, and nothing is there that nobody tried to add."""
    acked = {op.value for op in history if op.kind == "add" and op.outcome == OK}
    tried = {op.value for op in history if op.kind == "add"}
    wrong, reads = [], final_reads(history)
    for node in nodes:
        if not reads.get(node):
            wrong.append(f"{node} has no final read")
        for elements in reads.get(node, []):
            times = Counter(elements)
            if lost := acked - times.keys():
                wrong.append(f"{node} has lost {sorted(lost)[:5]}")
            if invented := times.keys() - tried:
                wrong.append(f"{node} has {sorted(invented)[:5]}, which nobody added")
            if twice := [element for element, count in times.items() if count > 1]:
                wrong.append(f"{node} has {twice[:5]} more than once")
    for node in nodes:  # an element that a node has shown stays, on that node
        seen: set[Any] = set()
        for op in history:
            if op.node == node and op.kind == "read" and op.outcome == OK:
                if gone := seen - set(op.value):
                    wrong.append(f"{node} has shown {sorted(gone)[:5]}, and then no more")
                seen |= set(op.value)
    return wrong + _unequal({node: [sorted(read) for read in values] for node, values in reads.items()})


def acceptable(history: list[Op]) -> set[int]:
    """Sums that a final read may have: of all acknowledged steps, with or without each one of unknown outcome."""
    steps = [op for op in history if op.kind == "add"]
    sums = {sum(op.value for op in steps if op.outcome == OK)}
    for op in steps:
        if op.outcome == INFO:
            sums |= {known + op.value for known in sums}
    return sums


def check_counter(history: list[Op], nodes: list[str]) -> list[str]:
    """Every final read is an acceptable sum, the same everywhere."""
    sums, reads = acceptable(history), final_reads(history)
    wrong = [f"{node} has no final read" for node in nodes if not reads.get(node)]
    for node, values in reads.items():
        wrong += [f"{node} reads {value}, which no outcome explains" for value in values if value not in sums]
    return wrong + _unequal(reads)


def check_ids(history: list[Op]) -> list[str]:
    """No id was given twice."""
    times = Counter(op.value for op in history if op.kind == "generate" and op.outcome == OK)
    return [f"{given} was given {count} times" for given, count in times.items() if count > 1]


def available(history: list[Op]) -> float:
    """The share of requests that were carried out."""
    return sum(op.outcome == OK for op in history) / max(len(history), 1)


def _unequal(reads: dict[str, list[Any]]) -> list[str]:
    values = [value for each in reads.values() for value in each]
    return [] if all(value == values[0] for value in values) else [f"nodes differ at the end: {reads}"]
