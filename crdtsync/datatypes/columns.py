"""Columns of bulk calls: what callers give as lists or arrays, as the buffers that the kernels take.

Loaded by the first bulk call, since it needs numpy.  A bad entry is refused by its column's name, its place in it, and
what it is: "keys[17] ('') is empty".
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from crdtsync.datatypes.keys import NAME_MAX, ROW_KEY_MAX, check_name
from crdtsync.datatypes.steps import STEP_MAX, check_step
from crdtsync.errors import CounterOverflow, CrdtsyncError, InvalidKey, InvalidValue, ValueTooLarge
from crdtsync.kernels import payloads_pack, texts_check, texts_pack

Int64s = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Array = NDArray[Any]


class Texts:
    """A column of texts, laid out as in Arrow: text i is `data[offsets[i]:offsets[i + 1]]`, in UTF-8.

    `offsets` (int64) has one entry more than there are texts.  pyarrow takes both as they are: a LargeStringArray.
    """

    __slots__ = ("data", "offsets")

    def __init__(self, offsets: Any, data: Any) -> None:
        """`offsets`: integers, ascending; `data`: anything with a buffer of bytes.  Raises InvalidValue.

        What the texts are is looked at by the call that takes the column.
        """
        self.offsets: Int64s = _plain(np.asarray(offsets), "offsets", np.int64)
        self.data: Bytes = np.frombuffer(data, np.uint8)
        if not len(self.offsets):
            raise InvalidValue("offsets is empty; it has one entry more than there are texts.", hint="")

    @property
    def buffers(self) -> tuple[Int64s, Bytes]:
        """What the kernels take."""
        return self.offsets, self.data

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def tolist(self) -> list[str]:
        """The texts."""
        data, ends = self.data.tobytes(), self.offsets.tolist()
        return [data[start:end].decode() for start, end in pairwise(ends)]

    def __repr__(self) -> str:
        return f"<{len(self)} texts of {self.data.nbytes} bytes>"


class Packed(NamedTuple):
    """A column of canonical bytes, laid out in the same way."""

    offsets: Int64s
    data: Bytes

    def tolist(self) -> list[bytes]:
        """The entries."""
        data, ends = self.data.tobytes(), self.offsets.tolist()
        return [data[start:end] for start, end in pairwise(ends)]


Arguments = Int64s | Packed


class Columns(NamedTuple):
    """Some objects of one type, in the order of their keys: `values[i]` is the value of the one under key i."""

    keys: Texts
    values: Array


def _plain(array: Array, what: str, dtype: type) -> Array:
    """A contiguous column of integers as int64.  Raises InvalidValue."""
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidValue(
            f"{what} is an array of {array.dtype} with {array.ndim} dimensions; it must be a column of integers.",
            hint="",
        )
    return np.require(array, dtype, ["C", "A"])


def _listed(column: Any, what: str) -> list[Any]:
    """A column as a list of Python objects.  Raises InvalidValue."""
    if type(column) is list:
        return column
    if isinstance(column, (str, bytes, bytearray, dict, set)) or not isinstance(column, Iterable):
        raise InvalidValue(
            f"{what} is of type {type(column).__name__}; it must be a column.", hint="A list or an array is one."
        )
    if hasattr(column, "__array__"):
        array = np.asarray(column)
        if array.ndim != 1:
            raise InvalidValue(f"{what} has {array.ndim} dimensions; a column has one.", hint="")
        return cast("list[Any]", array.tolist())
    return list(column)


def _at(what: str, number: int, entry: Any) -> str:
    return f"{what}[{number}] ({reprlib.repr(entry)})"


# ---- keys


def keys_of(column: Any, most: int = NAME_MAX) -> Texts:
    """A column of keys: Texts, or a list or array of str; arrays of fixed-width bytes ("S") hold UTF-8.

    Raises InvalidKey for a key that may not be one, InvalidValue for what is no column.
    """
    if isinstance(column, Texts):
        return _checked(column, most)
    listed = _listed(column, "keys")
    if isinstance(column, np.ndarray) and column.dtype.kind == "S":
        return _checked(Texts(_ends(listed), b"".join(listed)), most)
    offsets, data, bad = texts_pack(listed, most)
    if bad >= 0:
        raise _bad_key(bad, listed[bad], most)
    return Texts(np.frombuffer(offsets, np.int64), data)


def _checked(texts: Texts, most: int) -> Texts:
    bad = texts_check(texts.offsets, texts.data, most)
    if bad < 0:
        return texts
    start, end = texts.offsets[bad : bad + 2].tolist()
    if not 0 <= start <= end <= len(texts.data):
        raise InvalidKey(f"keys[{bad}] lies outside of the column's data: from {start:,} to {end:,}.")
    raw = texts.data[start:end].tobytes()
    try:
        raise _bad_key(bad, raw.decode(), most)
    except UnicodeDecodeError:
        raise InvalidKey(f"{_at('keys', bad, raw)} is not UTF-8.") from None


def _bad_key(number: int, key: Any, most: int) -> InvalidKey:
    try:
        check_name(key, _at("keys", number, key), most)
    except InvalidKey as error:
        return error
    raise AssertionError("the kernels and check_name disagree")


def _ends(parts: list[bytes]) -> Int64s:
    ends = np.zeros(len(parts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=ends[1:])
    return ends


# ---- what goes with them


def same_length(what: str, found: int, keys: Texts) -> None:
    """Raise InvalidValue unless a column is as long as that of the keys."""
    if found != len(keys):
        raise InvalidValue(f"{what} has {found:,} entries; keys has {len(keys):,}.", hint="")


def steps_of(column: Any, keys: Texts, least: int) -> Int64s:
    """Steps of counters: one int for all keys, or a column of them; a G-Counter's are at `least` 0.

    Raises InvalidValue, CounterOverflow, NegativeStep.
    """
    if not isinstance(column, (np.ndarray, list)) and hasattr(type(column), "__index__"):
        return np.full(len(keys), check_step(column, least), np.int64)
    if isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype.kind in "iu":
        steps = column
    else:
        steps = _steps(_listed(column, "amounts"), least)
    same_length("amounts", len(steps), keys)
    if steps.dtype.kind == "u":
        _refuse_step(steps > STEP_MAX, steps, least)
    steps = _plain(steps, "amounts", np.int64)
    _refuse_step(steps < max(least, -STEP_MAX), steps, least)
    return steps


def _steps(listed: list[Any], least: int) -> Int64s:
    if set(map(type, listed)) == {int}:
        try:
            return np.array(listed, np.int64)  # their bounds are looked at by the caller
        except OverflowError:
            pass  # one of them is named below
    steps = np.zeros(len(listed), np.int64)
    for number, step in enumerate(listed):
        if type(step) is int and least <= step <= STEP_MAX:
            steps[number] = step
        else:
            steps[number] = _named(check_step, "amounts", number, step, least)
    return steps


def _refuse_step(bad: NDArray[np.bool_], steps: Array, least: int) -> None:
    """Raise what `check_step` says of the first bad step."""
    if bad.any():
        number = int(bad.argmax())
        _named(check_step, "amounts", number, int(steps[number]), least)


def _named(check: Callable[..., Any], what: str, number: int, entry: Any, *args: Any) -> Any:
    """What `check` gives; its refusal says where the entry stands."""
    try:
        return check(entry, *args)
    except CrdtsyncError as error:
        raise type(error)(f"{_at(what, number, entry)}: {error.message}", hint=error.hint) from error.__cause__


def packed_of(column: Any, what: str, keys: Texts, encode: Callable[[Any], bytes], bytes_max: int) -> Packed:
    """Canonical bytes of a column of values or elements; numbers and texts in arrays are what `tolist` makes of them.

    `encode` gives those of one.  Raises InvalidValue, ValueTooLarge.
    """
    listed = _listed(column, what)
    same_length(what, len(listed), keys)
    offsets, data, bad = payloads_pack(listed, bytes_max)
    if bad < 0:
        return Packed(np.frombuffer(offsets, np.int64), np.frombuffer(data, np.uint8))
    parts = [_named(encode, what, number, entry) for number, entry in enumerate(listed)]
    return Packed(_ends(parts), np.frombuffer(b"".join(parts), np.uint8))


def check_elements(keys: Texts, elements: Packed) -> None:
    """Raise ValueTooLarge for an element that its row key has no room for."""
    sizes = np.diff(keys.offsets) + np.diff(elements.offsets) + 2
    if len(sizes) and int(sizes.max()) > ROW_KEY_MAX:
        number = int((sizes > ROW_KEY_MAX).argmax())
        raise ValueTooLarge(
            f"elements[{number}] takes {int(sizes[number]):,} bytes with its key; it may take {ROW_KEY_MAX:,}.",
            hint="Keep large values in a register and their names in the set.",
        )


# ---- what comes back


def numbers(values: Iterable[Any], keys: Texts) -> Int64s:
    """Values of counters as int64.  Raises CounterOverflow for one that does not fit."""
    found = np.zeros(len(keys), np.int64)
    for number, value in enumerate(values):
        if not -STEP_MAX - 1 <= value <= STEP_MAX:
            raise beyond(number, keys)
        found[number] = value
    return found


def beyond(number: int, keys: Texts) -> CounterOverflow:
    """The error of a counter whose value is beyond int64."""
    start, end = keys.offsets[number : number + 2].tolist()
    key = keys.data[start:end].tobytes().decode()
    return CounterOverflow(
        f"The value of the counter {key!r}, keys[{number}], does not fit in 64 bits.", hint="Read it by its handle."
    )


def truths(values: Iterable[bool], count: int) -> NDArray[np.bool_]:
    """Values of flags."""
    return np.fromiter(values, np.bool_, count)


def objects(values: Iterable[Any], count: int) -> NDArray[np.object_]:
    """An array of Python objects, whatever they are."""
    found = np.empty(count, object)
    for number, value in enumerate(values):
        found[number] = value
    return found


class Page:
    """Columns that are put together from slices."""

    def __init__(self) -> None:
        self._ends: list[Int64s] = [np.zeros(1, np.int64)]
        self._data = bytearray()
        self._values: list[Array] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, keys: tuple[bytes, bytes], values: Array) -> None:
        """A slice: (offsets, data) of its keys, and their values."""
        offsets, data = keys
        self._ends.append(np.frombuffer(offsets, np.int64)[1:] + len(self._data))
        self._data += data
        self._values.append(values)
        self._count += len(values)

    def columns(self) -> Columns:
        """All of it."""
        return Columns(Texts(np.concatenate(self._ends), bytes(self._data)), np.concatenate(self._values))


def int64s(values: bytes) -> Int64s:
    """What a kernel gives of numbers."""
    return np.frombuffer(values, np.int64)
