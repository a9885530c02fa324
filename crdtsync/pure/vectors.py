"""Version vectors, {actor: seq}: an absent actor counts as 0.  Arguments stay as they are."""

from __future__ import annotations


def vector_join(x: dict[int, int], y: dict[int, int]) -> dict[int, int]:
    """The least clock that covers both, a new one: entries of `x` in their order, then what `y` adds."""
    joined = dict(x)
    for actor, seq in y.items():
        if seq > joined.get(actor, 0):
            joined[actor] = seq
    return joined


def vector_covers(x: dict[int, int], y: dict[int, int]) -> bool:
    """Whether `x` holds everything that `y` does."""
    if x is y:
        return True
    for actor, seq in y.items():  # noqa: SIM110 - twice as fast, and asked everywhere
        if x.get(actor, 0) < seq:
            return False
    return True


def vector_missing(x: dict[int, int], y: dict[int, int]) -> dict[int, int]:
    """The entries of `y` that lie beyond `x`, in their order."""
    return {} if x is y else {actor: seq for actor, seq in y.items() if x.get(actor, 0) < seq}
