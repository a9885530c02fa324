"""Bulk calls for asyncio: those of `crdtsync.handles.bulk`, run on a bucket that notes down what they ask of it.

So columns are checked by the same lines; what is awaited is only the way to the node.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, cast

from crdtsync.client import verbs
from crdtsync.client.buckets import VALUES
from crdtsync.datatypes import keys, pncounter
from crdtsync.datatypes.registry import TYPES
from crdtsync.datatypes.txn import Verb
from crdtsync.errors import CrdtsyncError
from crdtsync.handles import Item
from crdtsync.handles.bulk import ROWS, Backend, BulkCalls, column_of, operations_of, page_of

if TYPE_CHECKING:
    from crdtsync.client.aio import AsyncBucket
    from crdtsync.datatypes.columns import Arguments, Array, Columns, Texts
    from crdtsync.handles.batches import Operation

P = ParamSpec("P")
Written = Callable[Concatenate[Any, P], Coroutine[Any, Any, None]]


class NotingColumns(BulkCalls):
    """As much of a bucket as bulk calls need: keeps what they would write, or read."""

    def __init__(self, bucket: AsyncBucket) -> None:
        self.depth_max, self.key_bytes_max = bucket.depth_max, bucket.key_bytes_max
        self.value_bytes_max = bucket.value_bytes_max
        self.refused = bucket.refused
        self.operations: list[Operation] = []
        self.code, self.asked = b"", cast("Texts", ())

    @property
    def _bulk(self) -> Backend:
        return cast(Backend, self)

    def write_columns(self, verb: Verb, code: bytes, keys: Texts, arguments: Arguments) -> None:
        self.operations = list(operations_of(verb, code, keys, arguments))

    def read_columns(self, code: bytes, keys: Texts) -> None:
        self.code, self.asked = code, keys

    def scan_columns(self, prefix: str, code: bytes, rows: int) -> None:
        self.code = code


def awaited(call: Callable[Concatenate[Any, P], None]) -> Written[P]:
    """The twin of a call that writes."""

    async def twin(self: AsyncBulkCalls, /, *args: P.args, **kwargs: P.kwargs) -> None:
        noted = NotingColumns(self._bulk)
        call(noted, *args, **kwargs)
        if noted.operations:
            await self._bulk.write_all(noted.operations)

    functools.update_wrapper(twin, call)
    return twin


class AsyncBulkCalls:
    """Calls for many objects at once; of a client and its buckets."""

    __slots__ = ()

    @property
    def _bulk(self) -> AsyncBucket:
        """The bucket that they go to."""
        raise NotImplementedError

    increment_many = awaited(BulkCalls.increment_many)
    add_many = awaited(BulkCalls.add_many)
    set_many = awaited(BulkCalls.set_many)

    async def read_many(self, keys: Any, *, type: str = pncounter.NAME) -> Array:
        """As Client.read_many."""
        bucket = self._bulk
        noted = NotingColumns(bucket)
        noted.read_many(keys, type=type)
        places = [_top(name, noted.code) for name in noted.asked.tolist()]
        found: list[Any] = []
        for first in range(0, len(places), VALUES):
            found += await bucket.ask(verbs.values, places[first : first + VALUES])
        try:
            return column_of(noted.code, found, noted.asked)
        except CrdtsyncError as error:
            raise bucket.refused(error) from None

    def columns(self, prefix: str = "", *, type: str = pncounter.NAME, rows: int = ROWS) -> AsyncIterator[Columns]:
        """As Client.columns, for `async for`."""
        bucket = self._bulk
        noted = NotingColumns(bucket)
        noted.columns(prefix, type=type, rows=rows)
        return _pages(bucket, bucket.items(prefix), noted.code, rows)


_top = keys.top  # under a name that no argument has


async def _pages(bucket: AsyncBucket, items: AsyncIterator[Item], code: bytes, rows: int) -> AsyncIterator[Columns]:
    """Columns of the objects of one type among all."""
    type, page = TYPES[code].name, list[Item]()
    async for item in items:
        if item.type == type:
            page.append(item)
        if len(page) == rows:
            yield page_of(bucket.refused, code, page)
            page = []
    if page:
        yield page_of(bucket.refused, code, page)
