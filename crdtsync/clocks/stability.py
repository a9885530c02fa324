"""Causal stability: what every member is known to hold can be forgotten.

After Baquero, Almeida and Shoker, "Pure operation-based replicated data types", with announced clocks in the place of
message stability.
"""

from __future__ import annotations

from collections.abc import Iterable

from crdtsync.clocks.vector import Clock


def stable(clocks: list[Clock], actors: Iterable[int]) -> Clock:
    """Of each actor, the last event that all `clocks` cover; actors without one are left out.

    `clocks` holds one announced, synced clock for every member, one's own included; {} for a member not yet heard.
    Without any clock nothing is stable.
    """
    if not clocks or not all(clocks):  # most often while many members are yet to be heard
        return {}
    lowest = {actor: min(clock.get(actor, 0) for clock in clocks) for actor in actors}
    return {actor: seq for actor, seq in lowest.items() if seq}
