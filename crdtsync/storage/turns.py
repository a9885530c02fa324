"""Long work in short turns: what one call into C does with the GIL, no other thread can interrupt."""

from __future__ import annotations

from typing import Any

from crdtsync.kernels import Sorter

SORTED_AT_ONCE = 4096  # items handled by one call: a millisecond


def in_order(items: list[Any]) -> list[Any]:
    """Bytes, or tuples that begin with their key, in the order of keys, none of which comes twice."""
    if len(items) <= SORTED_AT_ONCE:
        return sorted(items)
    sorter = Sorter()
    for at in range(0, len(items), SORTED_AT_ONCE):
        sorter.add(items[at : at + SORTED_AT_ONCE])
    sorter.sort()
    found: list[Any] = []
    while some := sorter.take(SORTED_AT_ONCE):
        found += some
    return found
