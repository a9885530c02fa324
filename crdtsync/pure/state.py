"""What the compiled write path keeps at hand: the attributes of layers, buckets, places and handles.

The classes above the kernels build on these; in the compiled kernels they are C structures that Python can see.
"""

from __future__ import annotations

from typing import Any


class LayerState:
    """The dirty rows of a bucket; see crdtsync.storage.layers.Layer."""

    __slots__ = (
        "_folded", "_fresh", "_order", "_ragged", "arrived", "log", "origin", "pending", "rows", "runs", "size",
    )  # fmt: skip

    rows: dict[bytes, bytes | None]
    origin: dict[bytes, bytes | None]
    pending: dict[bytes, bytes | None] | None
    arrived: list[Any]
    runs: list[Any]
    log: dict[int, dict[int, bytes]]
    size: int
    _folded: int
    _fresh: list[bytes]
    _order: Any
    _ragged: set[int]


class BucketState:
    """A bucket's layers and clocks; see crdtsync.storage.bucket.Bucket."""

    number: int
    state: int
    frozen: Any
    clock: dict[int, int]
    unsynced: dict[int, int]
    outward: Any
    stamp_floor: int
    table_dirty: bool


class PlaceState:
    """Where one object lives; see crdtsync.datatypes.keys.Place."""

    __slots__ = ("_actor", "_cell", "code", "fields", "levels", "name", "prefix")

    def __init__(
        self, name: str, fields: tuple[str, ...], code: bytes, prefix: bytes, levels: tuple[bytes, ...]
    ) -> None:
        self.name = name  # key
        self.fields = fields  # path inside the key's map, () for an object of its own
        self.code = code  # type byte
        self.prefix = prefix  # all row keys of the object start with this; it ends with the type byte
        self.levels = levels  # prefixes of the field the object lives in and of the fields around it, innermost first
        self._actor = -1
        self._cell = b""

    def cell(self, actor: int) -> bytes:
        """Row key of a counter's cell; the last one is remembered, as one actor writes all the time.

        Called under the store's lock: the two attributes change together.
        """
        if actor != self._actor:
            self._cell = self.prefix + actor.to_bytes(4, "big")
            self._actor = actor
        return self._cell


class HandleState:
    """What every handle holds; see crdtsync.handles.base.Handle."""

    __slots__ = ("_backend", "_hot", "_place")

    def __init__(self, backend: Any, place: Any) -> None:
        self._backend = backend
        self._place = place
        self._hot = backend.writer

    def _write(self, verb: Any, place: Any, argument: Any) -> None:
        """Have the backend do it; the compiled kernels try the short way of a single write first."""
        self._backend.write(verb, place, argument)

    def _set(self, verb: Any, value: Any) -> None:
        """`_write` of a value, which `_encode` makes bytes of; the compiled kernels know simple ones themselves."""
        self._write(verb, self._place, self._encode(value))

    def _add(self, verb: Any, element: Any) -> None:
        """The same of a set's element, and `_element`."""
        self._write(verb, self._place, self._element(element))

    def _encode(self, value: Any) -> bytes:
        raise NotImplementedError

    def _element(self, value: Any) -> bytes:
        raise NotImplementedError
