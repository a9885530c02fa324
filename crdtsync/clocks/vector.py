"""Version vectors: {actor: seq}; an absent actor counts as 0."""

from __future__ import annotations

from crdtsync.kernels import vector_covers as covers
from crdtsync.kernels import vector_join as join
from crdtsync.kernels import vector_missing as missing

__all__ = ["Clock", "covers", "join", "merged", "missing"]

Clock = dict[int, int]


def merged(x: Clock, y: Clock) -> Clock:
    """The join of clocks that nobody changes any more: one of the two itself, where it covers the other.

    What is known of others is kept so: a hundred members' clocks are then mostly a few dicts, and equal ones identical.
    """
    if covers(x, y):
        return x
    return y if covers(y, x) else join(x, y)
