"""Notice that this process is a forked child of the one that opened a store."""

from __future__ import annotations

import os

from crdtsync.errors import Forked


class Forks:
    """Counts the forks that lead to this process; comparing a number is cheaper than asking for the pid."""

    generation = 0

    @classmethod
    def count(cls) -> None:
        """Called in every forked child."""
        cls.generation += 1


os.register_at_fork(after_in_child=Forks.count)


def check_fork(generation: int) -> None:
    """Raise Forked when the process has forked since `generation` was taken."""
    if generation != Forks.generation:
        raise Forked("This process was forked after the store was opened; only the parent may use it.")
