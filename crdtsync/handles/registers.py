"""Handles of the registers and the flag."""

from __future__ import annotations

from typing import Any

from crdtsync.datatypes import flag, lwwregister, mvregister
from crdtsync.handles.base import Handle


class LWWRegister(Handle):
    """One value; the last write stays."""

    __slots__ = ()
    CODE = lwwregister.CODE

    def set(self, value: Any) -> None:
        """Write a value, which may be None.  Raises InvalidValue, ValueTooLarge."""
        self._set(lwwregister.SET, value)

    def clear(self) -> None:
        """Delete the value."""
        self._write(lwwregister.CLEAR, self._place, None)

    @property
    def value(self) -> Any:
        """The value; None also when there is none (`exists` tells)."""
        return self._backend.value(self._place)


class MVRegister(Handle):
    """All values that were written concurrently, until one is written that has seen them."""

    __slots__ = ()
    CODE = mvregister.CODE

    def set(self, value: Any) -> None:
        """Replace all values known here.  Raises InvalidValue, ValueTooLarge."""
        self._set(mvregister.SET, value)

    def resolve(self, value: Any) -> None:
        """End a conflict with `value`, one of the values or another; no event when it stands alone already."""
        self._set(mvregister.RESOLVE, value)

    def clear(self) -> None:
        """Remove all values known here."""
        self._write(mvregister.CLEAR, self._place, None)

    @property
    def values(self) -> list[Any]:
        """The values, ordered by their canonical bytes; more than one is a conflict, none an empty register."""
        known: list[Any] = self._backend.value(self._place)
        return known

    @property
    def value(self) -> list[Any]:
        """The same as `values`."""
        return self.values


class Flag(Handle):
    """On or off; on wins."""

    __slots__ = ()
    CODE = flag.CODE

    def enable(self) -> None:
        """Switch on; it is a new event also when it is on."""
        self._write(flag.ENABLE, self._place, None)

    def disable(self) -> None:
        """Switch off what is known here to be on."""
        self._write(flag.DISABLE, self._place, None)

    @property
    def value(self) -> bool:
        """Whether it is on."""
        return bool(self._backend.value(self._place))

    def __bool__(self) -> bool:
        return self.value
