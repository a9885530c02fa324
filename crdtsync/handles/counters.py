"""Handles of the counters."""

from __future__ import annotations

from typing import Any

from crdtsync.datatypes import gcounter, pncounter
from crdtsync.datatypes.steps import STEP_MAX, check_step
from crdtsync.errors import CrdtsyncError
from crdtsync.handles.base import Handle
from crdtsync.kernels import Growing, Stepping


class _Counter(Handle):
    """What both counters do.  `increment` and `decrement` try the short way of the kernels first."""

    __slots__ = ()

    def _checked(self, n: Any, least: int = -STEP_MAX) -> int:
        try:
            return check_step(n, least)
        except CrdtsyncError as error:
            raise self._backend.refused(error) from None

    @property
    def value(self) -> int:
        """The sum over all nodes, as far as it is known here."""
        return int(self._backend.value(self._place))


class GCounter(Growing, _Counter):
    """A counter that only grows."""

    __slots__ = ()
    CODE = gcounter.CODE
    _STEP = gcounter.INCREMENT

    def _increment(self, n: int) -> None:
        if type(n) is not int or not 0 < n <= STEP_MAX:
            n = self._checked(n, 0)
            if n == 0:
                return
        self._write(self._STEP, self._place, n)


class PNCounter(Stepping, _Counter):
    """A counter that goes up and down."""

    __slots__ = ()
    CODE = pncounter.CODE
    _STEP = pncounter.ADD

    def _increment(self, n: int) -> None:
        if type(n) is not int or not 0 < n <= STEP_MAX:
            n = self._checked(n)
            if n == 0:
                return
        self._write(self._STEP, self._place, n)

    def _decrement(self, n: int) -> None:
        n = -self._checked(n)
        if n:
            self._write(self._STEP, self._place, n)

    def reset(self) -> None:
        """Take the sum that is known here back to 0; increments that others make meanwhile stay."""
        self._write(pncounter.RESET, self._place, None)
