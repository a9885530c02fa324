"""Handle of the map, and the one list of handles by name that buckets and maps offer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

from crdtsync.datatypes import map as map_type
from crdtsync.datatypes.keys import Place, check_field
from crdtsync.errors import CrdtsyncError
from crdtsync.handles.base import Handle
from crdtsync.handles.counters import GCounter, PNCounter
from crdtsync.handles.registers import Flag, LWWRegister, MVRegister
from crdtsync.handles.sets import GSet, ORSet

H = TypeVar("H", bound=Handle)


class Making(Protocol):
    """Makes the handle `kind` of the object `name`."""

    def __call__(self, kind: type[H], name: str, /) -> H: ...


class Objects:
    """Handles by name.  A bucket's names are keys, a map's names are fields; both raise InvalidKey for a bad one."""

    __slots__ = ()
    _object: Making  # called by a local name: CPython is slow at calls by what only an instance has

    def gcounter(self, name: str) -> GCounter:
        """The G-Counter `name`."""
        make = self._object
        return make(GCounter, name)

    def pncounter(self, name: str) -> PNCounter:
        """The PN-Counter `name`."""
        make = self._object
        return make(PNCounter, name)

    def gset(self, name: str) -> GSet:
        """The G-Set `name`."""
        make = self._object
        return make(GSet, name)

    def orset(self, name: str) -> ORSet:
        """The OR-Set `name`."""
        make = self._object
        return make(ORSet, name)

    def lwwregister(self, name: str) -> LWWRegister:
        """The LWW-Register `name`."""
        make = self._object
        return make(LWWRegister, name)

    def mvregister(self, name: str) -> MVRegister:
        """The MV-Register `name`."""
        make = self._object
        return make(MVRegister, name)

    def flag(self, name: str) -> Flag:
        """The flag `name`."""
        make = self._object
        return make(Flag, name)

    def map(self, name: str) -> Map:
        """The map `name`."""
        make = self._object
        return make(Map, name)


class Map(Handle, Objects):
    """Objects of any type under field names.

    A field has one type: writing another while one is visible raises FieldTypeError.  After concurrent writes two types
    can meet on a field; then both may be read and written, and `value` shows them by type.
    """

    __slots__ = ()
    CODE = map_type.CODE

    def _object(self, kind: type[H], name: str, /) -> H:
        return kind(self._backend, self._inside(name, kind.CODE))

    def _inside(self, name: str, code: bytes) -> Place:
        backend = self._backend
        try:
            return self._place.inside(name, code, backend.depth_max, backend.key_bytes_max)
        except CrdtsyncError as error:
            raise backend.refused(error) from None

    def fields(self) -> list[str]:
        """Names of the fields that hold something, in byte order."""
        return self._backend.fields(self._place)

    def remove(self, field: str) -> None:
        """Remove everything in a field that is known here, whatever its type; nothing happens when it is absent."""
        self._write(map_type.REMOVE, self._place, self._field(field))

    def _field(self, field: str) -> bytes:
        try:
            return check_field(field)
        except CrdtsyncError as error:
            raise self._backend.refused(error) from None

    def clear(self) -> None:
        """Remove everything in all fields that is known here."""
        self._write(map_type.CLEAR, self._place, None)

    def __contains__(self, field: str) -> bool:
        return self._backend.exists(self._place.slot(self._field(field)))

    def __len__(self) -> int:
        return len(self.fields())

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields())

    @property
    def value(self) -> dict[str, Any]:
        """A plain dict of one state: {field: value}; sets are Python sets, nested maps are dicts.

        A field on which several types live is {type name: value}.
        """
        plain: dict[str, Any] = self._backend.value(self._place)
        return plain
