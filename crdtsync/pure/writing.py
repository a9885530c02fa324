"""The way of a single write.  Here it is always the long one, a transaction; the compiled kernels have a short one.

What the compiled ones add, and why nobody can tell:

- One verb that writes one row is done in one call under the store's lock: find the row, make the event, change the
  image, journal it, take it into the layer.  Whatever is not simple goes the long way, which also tells refusals.
- A counter's cell that is written twice in a row opens a **run** in the journal (see tail.py).  From then on its
  steps are written into the run without the lock, until somebody takes the lock: then, before that one sees anything,
  the steps are taken into the layer.  This needs no more than the GIL: it is kept from the look at the lock to the
  step's last byte, so a step falls wholly before or after whatever is done under the lock.
- Nothing has to be told for such a step.  The write that opened the run has woken flusher and engine, and neither has
  taken the lock since, or the run would be closed: both will find the steps.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from crdtsync.pure.state import HandleState, PlaceState
from crdtsync.pure.tail import Tail

# How a verb writes its one row: a counter's cell (of steps up, or of both), a set's element, the object's only row (a
# presence, one value, all values).
LONG_WAY, BY_GROWTH, BY_STEP, BY_ELEMENT, BY_PRESENCE, BY_VALUE, BY_VALUES = range(7)


def wall_ms() -> int:
    """Milliseconds since the epoch, by the system's clock.  The compiled writer looks at that one by itself."""
    return time.time_ns() // 1_000_000


class Signal:
    """An Event for one who waits, clears, and then looks for everything; `up` is as `is_set`, without a call.

    It may be down while the event is set: then it is set once more.  It is not up while the event is cleared, but for
    what was there before `clear` returned, which is looked for next.
    """

    def __init__(self) -> None:
        self.up = False
        self._event = threading.Event()

    def set(self) -> None:
        """Wake whoever waits."""
        self.up = True
        self._event.set()

    def clear(self) -> None:
        """Wait from here on."""
        self._event.clear()
        self.up = False

    def wait(self) -> None:
        """Return once it has been set."""
        self._event.wait()


class Writer:
    """The writing side of one open store, and its lock."""

    def __init__(self, core: Any, dirty_max: int, batch_max: int, value_max: int, each: bool) -> None:
        """`core`: the store; bounds in bytes; `each`: whether every write waits for the disk."""
        self.core = core
        self.engine: Any = None  # its `state` decides, under the lock, whether a write may go ahead
        self.batches: Any = None  # context variable: the open batch
        self.told: Any = None  # called after a write, if anybody wants to know
        self.shut = False  # no more writes: the long way says why
        self.tail: Tail | None = None
        self.own = -1  # actor index that this start writes under; -1: it has not written
        self.dirty = 0  # bytes, about, that wait for a checkpoint
        self.lock: Any = threading.RLock()

    def write(self, name: str, verb: Any, place: PlaceState, argument: Any) -> int:
        """Do it in the bucket `name`; number of the journal record, or 0: nothing was done, take the long way."""
        return 0


class Growing(HandleState):
    """A handle whose steps up may go the short way."""

    __slots__ = ()

    def increment(self, n: int = 1) -> None:
        """Add `n`, magnitude up to 2^63 - 1; 0 changes nothing, and a gcounter takes no negative ones.

        A node's cell holds up to 2^63 - 1 of ups, and as much of downs, between resets.  Raises NegativeStep,
        CounterOverflow, InvalidValue.
        """
        self._increment(n)

    def _increment(self, n: int) -> None:
        raise NotImplementedError


class Stepping(Growing):
    """A handle whose steps may go the short way."""

    __slots__ = ()

    def decrement(self, n: int = 1) -> None:
        """Subtract `n`; as `increment`."""
        self._decrement(n)

    def _decrement(self, n: int) -> None:
        raise NotImplementedError
