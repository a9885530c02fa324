"""What a handle asks of whoever holds the data, and what all handles share."""

from __future__ import annotations

from typing import Any, Protocol

from crdtsync.datatypes import values
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.registry import TYPES
from crdtsync.datatypes.txn import Verb
from crdtsync.errors import CrdtsyncError
from crdtsync.kernels import HandleState, Writer

SLICE = 1000  # elements that an iteration fetches at a time


class Backend(Protocol):
    """One bucket, here or elsewhere.  Elements and payloads are canonical bytes; errors are those of the package."""

    depth_max: int  # ClusterSettings.depth_max
    key_bytes_max: int  # ClusterSettings.key_bytes_max
    value_bytes_max: int  # ClusterSettings.value_bytes_max

    @property
    def writer(self) -> Writer | None:
        """The short way of a single write, where there is one: into the bucket `name` then."""

    def refused(self, error: CrdtsyncError) -> CrdtsyncError:
        """Count and log a refusal; gives the error back, to be raised."""

    def write(self, verb: Verb, place: Place, argument: Any) -> None:
        """Do it now, or, inside a batch, note it down for the batch's end."""

    def value(self, place: Place) -> Any:
        """The object's value, of one state."""

    def exists(self, place: Place) -> bool:
        """Whether any row of the object is live."""

    def contains(self, place: Place, element: bytes) -> bool:
        """Whether a set element is present."""

    def count(self, place: Place) -> int:
        """Number of a set's elements."""

    def elements(self, place: Place, after: bytes, limit: int) -> list[bytes]:
        """At most `limit` elements beyond `after`, in byte order; fewer only at the end."""

    def fields(self, place: Place) -> list[str]:
        """Names of a map's visible fields, in byte order."""


class Handle(HandleState):
    """One object of one type under a key, or in a map's field."""

    __slots__ = ()
    CODE = b""
    _backend: Backend
    _place: Place

    @property
    def key(self) -> str:
        """The key that the object lives under."""
        return self._place.name

    @property
    def path(self) -> tuple[str, ...]:
        """The field names that lead to it inside the key's map; () when it is not in a map."""
        return self._place.fields

    @property
    def exists(self) -> bool:
        """Whether anything of it is stored: tells a register that holds None from one that holds nothing."""
        return self._backend.exists(self._place)

    def _encode(self, value: Any) -> bytes:
        try:
            return values.encode(value, self._backend.depth_max, self._backend.value_bytes_max)
        except CrdtsyncError as error:
            raise self._backend.refused(error) from error.__cause__

    def _element(self, value: Any) -> bytes:
        try:
            return values.encode_element(value, self._backend.depth_max, self._backend.value_bytes_max)
        except CrdtsyncError as error:
            raise self._backend.refused(error) from error.__cause__

    def __repr__(self) -> str:
        path = "".join(f"[{field!r}]" for field in self._place.fields)
        return f"<{TYPES[self.CODE].name} {self._place.name!r}{path}>"
