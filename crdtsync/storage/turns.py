"""Long work in short turns: what one call into C does with the GIL, no other thread can interrupt."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from crdtsync.kernels import Sorter

T = TypeVar("T")
Turns = Generator[None, None, T]  # work that stops after each turn of a millisecond or two, and its result
SORTED_AT_ONCE = 4096  # items handled by one call: a millisecond


def in_order(items: list[Any]) -> list[Any]:
    """Bytes, or tuples that begin with their key, in the order of keys, none of which comes twice."""
    return finished(ordering(items))


def ordering(items: list[Any]) -> Turns[list[Any]]:
    """As `in_order`, in turns."""
    if len(items) <= SORTED_AT_ONCE:
        return sorted(items)
    sorter = Sorter()
    for at in range(0, len(items), SORTED_AT_ONCE):
        sorter.add(items[at : at + SORTED_AT_ONCE])
        yield
    sorter.sort()
    found: list[Any] = []
    while some := sorter.take(SORTED_AT_ONCE):
        found += some
        yield
    return found


def finished(turns: Turns[T]) -> T:
    """The result of work in turns, one right after the other."""
    while True:
        try:
            next(turns)
        except StopIteration as end:
            result: T = end.value
            return result
