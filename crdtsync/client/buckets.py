"""One bucket of the nodes that a client talks to: the backend of its handles, and the listing of its keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from crdtsync.client import verbs
from crdtsync.datatypes import keys
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.registry import DELETE, everything_under
from crdtsync.datatypes.txn import Verb
from crdtsync.errors import CrdtsyncError, InvalidKey
from crdtsync.handles import Item, Objects
from crdtsync.handles.batches import CURRENT, BatchScope
from crdtsync.handles.bulk import BulkCalls, column_of, operations_of, scan_items, write_each
from crdtsync.handles.maps import H

if TYPE_CHECKING:
    from crdtsync.client.lines import Line
    from crdtsync.client.watching import RemoteWatcher
    from crdtsync.datatypes.columns import Arguments, Array, Columns, Texts

VALUES = 1000  # values that one call asks for


class RemoteBucket(Objects, BulkCalls):
    """A named group of keys: all handles, in this bucket.  It comes into being with its first write."""

    __slots__ = ("_line", "depth_max", "key_bytes_max", "name", "value_bytes_max")
    writer = None

    def __init__(self, line: Line, name: str) -> None:
        self.name = name
        self._line = line
        described = line.caller.described
        self.depth_max: int = described.depth_max
        self.key_bytes_max: int = described.key_bytes_max
        self.value_bytes_max: int = described.value_bytes_max

    def _object(self, kind: type[H], name: str, /) -> H:
        try:
            return kind(self, keys.top(name, kind.CODE, self.key_bytes_max))
        except InvalidKey as error:
            raise self.refused(error) from None

    def refused(self, error: CrdtsyncError) -> CrdtsyncError:
        """Count a refusal."""
        return self._line.refused(error)

    # -- writing

    def write(self, verb: Verb, place: Place, argument: Any) -> None:
        """Do it now, or, inside a batch, note it down for the batch's end."""
        line = self._line
        batch = CURRENT.get()
        if batch is not None and (batch := batch.of(line)) is not None:
            try:
                batch.add(self.name, verb, place, argument)
            except CrdtsyncError as error:
                raise self.refused(error) from None
            return
        line.run(verbs.write(line.caller, self.name, [(verb, place, argument)], None, False))

    @property
    def _bulk(self) -> RemoteBucket:
        return self

    def write_columns(self, verb: Verb, code: bytes, keys: Texts, arguments: Arguments) -> None:
        """One operation for each key, in one batch."""
        write_each(self, operations_of(verb, code, keys, arguments))

    def batch(self, *, sync: bool = False, request_id: str | None = None) -> BatchScope:
        """A context manager: all writes in it take effect together at its end, or none.  See Client.batch."""
        self._line.caller.check()
        return BatchScope(self._line, self.name, sync, request_id)

    def delete(self, key: str, type: str | None = None) -> None:
        """Remove every object under a key that the node knows, or only that of one type; nothing happens if absent.

        It is one batch: everybody sees it whole.  Raises InvalidKey, InvalidValue for an unknown type, BatchTooLarge.
        """
        try:
            place = everything_under(key, type)
        except CrdtsyncError as error:
            raise self.refused(error) from None
        self.write(DELETE, place, None)

    # -- reading one object

    def value(self, place: Place) -> Any:
        """The object's value, of one state."""
        return self._line.run(verbs.value(self._line.caller, self.name, place))

    def exists(self, place: Place) -> bool:
        """Whether anything of the object is stored."""
        return self._line.run(verbs.exists(self._line.caller, self.name, place))

    def contains(self, place: Place, element: bytes) -> bool:
        """Whether a set element is present."""
        return self._line.run(verbs.contains(self._line.caller, self.name, place, element))

    def count(self, place: Place) -> int:
        """Number of a set's elements."""
        return self._line.run(verbs.count(self._line.caller, self.name, place))

    def elements(self, place: Place, after: bytes, limit: int) -> list[bytes]:
        """At most `limit` elements beyond `after`, in byte order; fewer only at the end."""
        return self._line.run(verbs.elements(self._line.caller, self.name, place, after, limit))

    def fields(self, place: Place) -> list[str]:
        """Names of a map's visible fields, in byte order."""
        return self._line.run(verbs.fields(self._line.caller, self.name, place))

    # -- reading many

    def read_columns(self, code: bytes, keys: Texts) -> Array:
        """Values of objects of one type."""
        found = list(self.values_of(code, keys))
        try:
            return column_of(code, found, keys)
        except CrdtsyncError as error:
            raise self.refused(error) from None

    def values_of(self, code: bytes, names: Texts) -> Iterator[Any]:
        """The same one by one; many are asked for in one call."""
        places = [keys.top(name, code, self.key_bytes_max) for name in names.tolist()]
        for first in range(0, len(places), VALUES):
            yield from self._line.run(verbs.values(self._line.caller, self.name, places[first : first + VALUES]))

    def scan_columns(self, prefix: str, code: bytes, rows: int) -> Iterator[Columns]:
        """All objects of one type, in the order of their keys, so many at a time."""
        return scan_items(self, self._prefix(prefix), code, rows)

    # -- listing

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Names that start with `prefix` and hold something, each once, in the order of their UTF-8 bytes."""
        return self._pages(self._prefix(prefix), True)

    def items(self, prefix: str = "") -> Iterator[Item]:
        """(key, type, value) of every object whose key starts with `prefix`, in the order of keys, then of types."""
        return self._pages(self._prefix(prefix), False)

    def _pages(self, prefix: str, keys_only: bool) -> Iterator[Any]:
        cursor = b""
        while True:
            items, cursor = self._line.run(verbs.page(self._line.caller, self.name, prefix, cursor, keys_only))
            yield from items
            if not cursor:
                return

    def _prefix(self, prefix: str) -> str:
        try:
            keys.check_prefix(prefix)
        except InvalidKey as error:
            raise self.refused(error) from None
        return prefix

    # -- where the node stands

    def clock(self) -> dict[int, int]:
        """{actor id: number of its events} that the node holds of the bucket."""
        found = self._line.run(verbs.bucket_position(self._line.caller, self.name))
        return dict(zip(found.actors, found.seqs, strict=True))

    def digest(self) -> str:
        """32 hex digits: equal for equal contents, whoever wrote them in whatever order."""
        return self._line.run(verbs.bucket_position(self._line.caller, self.name)).digest.hex().rjust(32, "0")

    def token(self) -> str:
        """Where the node stands in this bucket, for `wait_for` and `watch` on any node."""
        return self._line.run(verbs.position(self._line.caller, [self.name])).token

    def watch(self, prefix: str = "", *, after: str | None = None, values: bool = True) -> RemoteWatcher:
        """Changes in this bucket.  See Client.watch."""
        return self._line.watch(self.name, prefix, after, values)

    def __repr__(self) -> str:
        return f"<bucket {self.name!r} of {self._line.caller.nodes.now}>"
