"""Handles for asyncio: the verbs are those of `crdtsync.handles`, run on a backend that notes down what they write.

So every check of arguments is written once; what is awaited is only the way to the node.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, cast

from crdtsync.client import verbs
from crdtsync.datatypes import values
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.txn import Verb
from crdtsync.errors import CrdtsyncError
from crdtsync.handles import Backend, Flag, GCounter, GSet, Handle, LWWRegister, Map, MVRegister, ORSet, PNCounter
from crdtsync.handles.base import SLICE

if TYPE_CHECKING:
    from crdtsync.client.aio import AsyncBucket
    from crdtsync.handles.batches import Operation

P = ParamSpec("P")
Written = Callable[Concatenate[Any, P], Coroutine[Any, Any, None]]


class Noting:
    """As much of a backend as a verb that writes needs: keeps what it would write."""

    writer = None

    def __init__(self, bucket: AsyncBucket) -> None:
        self.depth_max, self.key_bytes_max = bucket.depth_max, bucket.key_bytes_max
        self.value_bytes_max = bucket.value_bytes_max
        self._bucket = bucket
        self.operation: Operation | None = None

    def refused(self, error: CrdtsyncError) -> CrdtsyncError:
        return self._bucket.refused(error)

    def write(self, verb: Verb, place: Place, argument: Any) -> None:
        self.operation = (verb, place, argument)


def awaited(verb: Callable[Concatenate[Any, P], None]) -> Written[P]:
    """The twin of a verb that writes."""

    async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> None:
        noted = Noting(self._bucket)
        verb(self._on(noted), *args, **kwargs)
        if noted.operation is not None:
            await self._bucket.write(noted.operation)

    functools.update_wrapper(call, verb)
    return call


class AsyncHandle:
    """One object of one type under a key, or in a map's field."""

    __slots__ = ("_bucket", "_place")
    KIND: type[Handle]

    def __init__(self, bucket: AsyncBucket, place: Place) -> None:
        self._bucket, self._place = bucket, place

    def _on(self, noted: Noting) -> Any:
        """The handle whose twin this is."""
        return self.KIND(cast(Backend, noted), self._place)

    @property
    def key(self) -> str:
        """The key that the object lives under."""
        return self._place.name

    @property
    def path(self) -> tuple[str, ...]:
        """The field names that lead to it inside the key's map; () when it is not in a map."""
        return self._place.fields

    async def exists(self) -> bool:
        """Whether anything of it is stored: tells a register that holds None from one that holds nothing."""
        return await self._bucket.ask(verbs.exists, self._place)

    async def _value(self) -> Any:
        return await self._bucket.ask(verbs.value, self._place)

    def __repr__(self) -> str:
        return f"<async {repr(self._on(Noting(self._bucket)))[1:]}"


class AsyncGCounter(AsyncHandle):
    """A counter that only grows."""

    __slots__ = ()
    KIND = GCounter
    increment = awaited(GCounter.increment)

    async def value(self) -> int:
        """The sum over all nodes, as far as the node knows it."""
        return int(await self._value())


class AsyncPNCounter(AsyncHandle):
    """A counter that goes up and down."""

    __slots__ = ()
    KIND = PNCounter
    increment = awaited(PNCounter.increment)
    decrement = awaited(PNCounter.decrement)
    reset = awaited(PNCounter.reset)

    async def value(self) -> int:
        """The sum over all nodes, as far as the node knows it."""
        return int(await self._value())


class _AsyncSet(AsyncHandle):
    """What both sets do."""

    __slots__ = ()

    async def value(self) -> set[Any]:
        """The elements as a set.  Raises InvalidValue when Python takes two of them for equal."""
        elements: set[Any] = await self._value()
        return elements

    async def contains(self, element: Any) -> bool:
        """Whether an element is present."""
        encoded = self._on(Noting(self._bucket))._element(element)
        return await self._bucket.ask(verbs.contains, self._place, encoded)

    async def count(self) -> int:
        """Number of elements."""
        return await self._bucket.ask(verbs.count, self._place)

    async def __aiter__(self) -> AsyncIterator[Any]:
        """The elements in the order of their canonical bytes, slice by slice, as in the handle of a node."""
        after = b""
        while True:
            elements = await self._bucket.ask(verbs.elements, self._place, after, SLICE)
            for element in elements:
                yield values.load(element)
            if len(elements) < SLICE:
                return
            after = elements[-1]


class AsyncGSet(_AsyncSet):
    """A set that only grows."""

    __slots__ = ()
    KIND = GSet
    add = awaited(GSet.add)
    update = awaited(GSet.update)


class AsyncORSet(_AsyncSet):
    """A set whose elements come and go; an add survives a removal that has not seen it."""

    __slots__ = ()
    KIND = ORSet
    add = awaited(ORSet.add)
    update = awaited(ORSet.update)
    discard = awaited(ORSet.discard)
    remove = awaited(ORSet.remove)
    clear = awaited(ORSet.clear)


class AsyncLWWRegister(AsyncHandle):
    """One value; the last write stays."""

    __slots__ = ()
    KIND = LWWRegister
    set = awaited(LWWRegister.set)
    clear = awaited(LWWRegister.clear)

    async def value(self) -> Any:
        """The value; None also when there is none (`exists` tells)."""
        return await self._value()


class AsyncMVRegister(AsyncHandle):
    """All values that were written concurrently, until one is written that has seen them."""

    __slots__ = ()
    KIND = MVRegister
    set = awaited(MVRegister.set)
    resolve = awaited(MVRegister.resolve)
    clear = awaited(MVRegister.clear)

    async def value(self) -> list[Any]:
        """The values, ordered by their canonical bytes; more than one is a conflict, none an empty register."""
        known: list[Any] = await self._value()
        return known

    values = value


class AsyncFlag(AsyncHandle):
    """On or off; on wins."""

    __slots__ = ()
    KIND = Flag
    enable = awaited(Flag.enable)
    disable = awaited(Flag.disable)

    async def value(self) -> bool:
        """Whether it is on."""
        return bool(await self._value())


class AsyncObjects:
    """Handles by name.  A bucket's names are keys, a map's names are fields; both raise InvalidKey for a bad one."""

    __slots__ = ()

    def _at(self, name: str, code: bytes) -> tuple[AsyncBucket, Place]:
        raise NotImplementedError

    def gcounter(self, name: str) -> AsyncGCounter:
        """The G-Counter `name`."""
        return AsyncGCounter(*self._at(name, GCounter.CODE))

    def pncounter(self, name: str) -> AsyncPNCounter:
        """The PN-Counter `name`."""
        return AsyncPNCounter(*self._at(name, PNCounter.CODE))

    def gset(self, name: str) -> AsyncGSet:
        """The G-Set `name`."""
        return AsyncGSet(*self._at(name, GSet.CODE))

    def orset(self, name: str) -> AsyncORSet:
        """The OR-Set `name`."""
        return AsyncORSet(*self._at(name, ORSet.CODE))

    def lwwregister(self, name: str) -> AsyncLWWRegister:
        """The LWW-Register `name`."""
        return AsyncLWWRegister(*self._at(name, LWWRegister.CODE))

    def mvregister(self, name: str) -> AsyncMVRegister:
        """The MV-Register `name`."""
        return AsyncMVRegister(*self._at(name, MVRegister.CODE))

    def flag(self, name: str) -> AsyncFlag:
        """The flag `name`."""
        return AsyncFlag(*self._at(name, Flag.CODE))

    def map(self, name: str) -> AsyncMap:
        """The map `name`."""
        return AsyncMap(*self._at(name, Map.CODE))


class AsyncMap(AsyncHandle, AsyncObjects):
    """Objects of any type under field names."""

    __slots__ = ()
    KIND = Map
    remove = awaited(Map.remove)
    clear = awaited(Map.clear)

    def _at(self, name: str, code: bytes) -> tuple[AsyncBucket, Place]:
        return self._bucket, self._on(Noting(self._bucket))._inside(name, code)

    async def fields(self) -> list[str]:
        """Names of the fields that hold something, in byte order."""
        return await self._bucket.ask(verbs.fields, self._place)

    async def contains(self, field: str) -> bool:
        """Whether a field holds something."""
        encoded = self._on(Noting(self._bucket))._field(field)
        return await self._bucket.ask(verbs.exists, self._place.slot(encoded))

    async def value(self) -> dict[str, Any]:
        """A plain dict of one state: {field: value}; sets are Python sets, nested maps are dicts."""
        plain: dict[str, Any] = await self._value()
        return plain
