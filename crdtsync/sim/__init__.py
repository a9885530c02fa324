"""The deterministic simulator: the production store and engine under one seeded world of network, disk and time.

    python -m crdtsync.sim --seed N [--trace]       one run, with its story when asked for
    python -m crdtsync.sim --seeds A..B --jobs 2    many, and a table of the faults they met; --report DIR keeps it

`run(seed)` builds a `Plan` (what can go wrong, and how often) from the seed, lets a cluster live through it while every
step is judged by the oracles, then stops the faults and asks for agreement.  The same seed gives the same trace hash.
"""

from __future__ import annotations

from crdtsync.sim.trial import Verdict, run

__all__ = ["Verdict", "run"]
