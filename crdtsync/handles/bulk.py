"""Bulk calls: many objects in one call, as columns of keys and values.

A call is one batch: all of it or nothing, one journal record, and whole on every peer.  It does what the same single
writes would, in their order.  crdtsync.datatypes.columns says what a column may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from crdtsync.datatypes import flag, gcounter, gset, lwwregister, mvregister, orset, pncounter, values
from crdtsync.datatypes.keys import Place, top
from crdtsync.datatypes.registry import BY_NAME, TYPES
from crdtsync.datatypes.steps import STEP_MAX
from crdtsync.datatypes.txn import Verb
from crdtsync.errors import CrdtsyncError, InvalidValue
from crdtsync.handles.told import Item

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from crdtsync.datatypes.columns import Arguments, Array, Columns, Texts
    from crdtsync.handles.batches import Operation

T = TypeVar("T")
STEPS = {pncounter.NAME: pncounter.ADD, gcounter.NAME: gcounter.INCREMENT}
ADDS = {orset.NAME: orset.ADD, gset.NAME: gset.ADD}
SETS = {lwwregister.NAME: lwwregister.SET, mvregister.NAME: mvregister.SET}
ROWS = 65_536  # objects that `columns` gives at a time


class Backend(Protocol):
    """What bulk calls ask of a bucket, here or elsewhere."""

    depth_max: int
    key_bytes_max: int
    value_bytes_max: int

    def refused(self, error: CrdtsyncError) -> CrdtsyncError: ...

    def write(self, verb: Verb, place: Place, argument: Any) -> None: ...

    def batch(self) -> AbstractContextManager[Any]: ...

    def items(self, prefix: str = "") -> Iterator[Item]: ...

    def write_columns(self, verb: Verb, code: bytes, keys: Texts, arguments: Arguments) -> None:
        """One operation for each key, all or none."""

    def values_of(self, code: bytes, names: Texts) -> Iterable[Any]:
        """The values of objects of one type, in the order of the keys."""

    def read_columns(self, code: bytes, keys: Texts) -> Array:
        """The same as an array."""

    def scan_columns(self, prefix: str, code: bytes, rows: int) -> Iterator[Columns]:
        """All objects of one type, in the order of their keys, so many at a time."""


class BulkCalls:
    """Calls for many objects at once; of whatever has keys, so not of a map."""

    __slots__ = ()

    @property
    def _bulk(self) -> Backend:
        """The bucket that they go to."""
        raise NotImplementedError

    def increment_many(self, keys: Any, amounts: Any = 1, *, type: str = pncounter.NAME) -> None:
        """Add to counters: `amounts` is one int for all, or a column as long as `keys`.  Steps of one key add up.

        `type` is "pncounter" or "gcounter".  Raises InvalidKey, InvalidValue, CounterOverflow, NegativeStep with the
        place of what is bad, and BatchTooLarge; then nothing is changed.
        """
        verb, code = self._verb(STEPS, type)
        least = 0 if verb is gcounter.INCREMENT else -STEP_MAX
        self._write(verb, code, keys, lambda columns, texts: columns.steps_of(amounts, texts, least))

    def add_many(self, keys: Any, elements: Any, *, type: str = orset.NAME) -> None:
        """Add elements[i] to the set under keys[i].  `type` is "orset" or "gset".

        Raises InvalidKey, InvalidValue, ValueTooLarge, BatchTooLarge; then nothing is changed.
        """
        verb, code = self._verb(ADDS, type)

        def elements_of(columns: Any, texts: Texts) -> Arguments:
            packed: Arguments = columns.packed_of(elements, "elements", texts, *self._encoding(values.encode_element))
            columns.check_elements(texts, packed)
            return packed

        self._write(verb, code, keys, elements_of)

    def set_many(self, keys: Any, values: Any, *, type: str = lwwregister.NAME) -> None:
        """Set the register under keys[i] to values[i]; of several values of one key the last one stays.

        `type` is "lwwregister" or "mvregister".  Raises as `add_many`.
        """
        verb, code = self._verb(SETS, type)
        encoding = self._encoding(_encode)
        self._write(verb, code, keys, lambda columns, texts: columns.packed_of(values, "values", texts, *encoding))

    def read_many(self, keys: Any, *, type: str = pncounter.NAME) -> Array:
        """Values of the objects of one type under `keys`, in their order; of what is not there, that of nothing.

        Counters are int64, flags bool, other types an array of Python objects.  Each value is of one state.
        Raises InvalidKey, InvalidValue, and CounterOverflow for a sum that does not fit in 64 bits.
        """
        backend = self._bulk
        most = backend.key_bytes_max
        code, texts = self._told(lambda columns: (_code(type), columns.keys_of(keys, most)))
        return backend.read_columns(code, texts)

    def columns(self, prefix: str = "", *, type: str = pncounter.NAME, rows: int = ROWS) -> Iterator[Columns]:
        """All objects of one type whose key starts with `prefix`, in the order of keys, up to `rows` of them at once.

        `keys` of each Columns is a Texts, `values` an array as of `read_many`.  It goes slice by slice, as `items`.
        Raises InvalidKey, InvalidValue, CounterOverflow.
        """
        backend = self._bulk
        code = self._told(lambda columns: _code(type))
        if not isinstance(rows, int) or rows < 1:
            raise backend.refused(InvalidValue(f"rows is {rows!r}; it must be an int from 1 on.", hint=""))
        return backend.scan_columns(prefix, code, rows)

    # -- what they share

    def _verb(self, verbs: dict[str, Verb], type: str) -> tuple[Verb, bytes]:
        if type not in verbs:
            names = " or ".join(verbs)
            raise self._bulk.refused(InvalidValue(f"type is {type!r}; here it may be {names}.", hint=""))
        return verbs[type], BY_NAME[type].code

    def _encoding(self, encode: Callable[..., bytes]) -> tuple[Callable[[Any], bytes], int]:
        backend = self._bulk
        most = backend.value_bytes_max
        return partial(encode, depth_max=backend.depth_max, bytes_max=most), most

    def _write(self, verb: Verb, code: bytes, keys: Any, arguments: Callable[[Any, Texts], Arguments]) -> None:
        backend = self._bulk

        def checked(columns: Any) -> tuple[Texts, Arguments]:
            texts = columns.keys_of(keys, backend.key_bytes_max)
            return texts, arguments(columns, texts)

        texts, given = self._told(checked)
        if len(texts):
            backend.write_columns(verb, code, texts, given)

    def _told(self, check: Callable[[Any], T]) -> T:
        """What `check` makes with the columns module; its refusals are counted."""
        from crdtsync.datatypes import columns

        try:
            return check(columns)
        except CrdtsyncError as error:
            raise self._bulk.refused(error) from error.__cause__


_encode = values.encode


def _code(type: str) -> bytes:
    if type not in BY_NAME:
        raise InvalidValue(f"There is no type {type!r}.", hint=f"Types are {', '.join(sorted(BY_NAME))}.")
    return BY_NAME[type].code


def operations_of(verb: Verb, code: bytes, keys: Texts, arguments: Arguments) -> Iterator[Operation]:
    """The operations of columns that have been checked, one by one."""
    for key, argument in zip(keys.tolist(), arguments.tolist(), strict=True):
        if argument != 0:  # a step of 0 is no event
            yield verb, top(key, code), argument


def write_each(backend: Backend, operations: Iterable[Operation]) -> None:
    """Write them in a batch of their own, or in the one that is open."""
    with backend.batch():
        for operation in operations:
            backend.write(*operation)


def column_of(code: bytes, found: Iterable[Any], keys: Sized) -> Array:
    """Values of objects of one type as an array, as many as there are `keys`."""
    from crdtsync.datatypes import columns

    if code in (gcounter.CODE, pncounter.CODE):
        return columns.numbers(found, cast("Texts", keys))
    return columns.truths(found, len(keys)) if code == flag.CODE else columns.objects(found, len(keys))


def scan_items(backend: Backend, prefix: str, code: bytes, rows: int) -> Iterator[Columns]:
    """Columns of the objects of one type, from the listing of all."""
    type = TYPES[code].name
    found = (item for item in backend.items(prefix) if item.type == type)
    while page := list(islice(found, rows)):
        yield page_of(backend.refused, code, page)


def page_of(refused: Callable[[CrdtsyncError], CrdtsyncError], code: bytes, items: Sequence[Item]) -> Columns:
    """Columns of objects of one type."""
    from crdtsync.datatypes import columns

    keys = columns.keys_of([item.key for item in items])
    try:
        return columns.Columns(keys, column_of(code, (item.value for item in items), keys))
    except CrdtsyncError as error:
        raise refused(error) from None
