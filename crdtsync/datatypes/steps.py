"""Steps of counters, checked the same way whoever asks: a handle, or a request from the network."""

from __future__ import annotations

import operator
from typing import Any

from crdtsync.errors import CounterOverflow, InvalidValue, NegativeStep

STEP_MAX = 2**63 - 1


def check_step(n: Any, least: int = -STEP_MAX) -> int:
    """A step that is not simply a positive int: whatever counts as an integer, but bool.

    Raises InvalidValue, CounterOverflow, and NegativeStep below `least`.
    """
    if isinstance(n, bool) or not hasattr(type(n), "__index__"):
        raise InvalidValue(
            f"A counter's step is of type {type(n).__name__}; it must be an int.", hint="Convert it: int(n)."
        )
    step = operator.index(n)
    if not -STEP_MAX <= step <= STEP_MAX:
        raise CounterOverflow("A counter's step is beyond 2^63 - 1.", hint="Take several steps.")
    if step < least:
        raise NegativeStep(f"A gcounter cannot go down by {-step}.")
    return step
