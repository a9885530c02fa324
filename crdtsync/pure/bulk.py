"""Many rows in one call: columns of names and arguments in, rows of a transaction out, values of many rows back.

A column of texts is what Arrow makes of it: `offsets`, n + 1 native int64, and `data`, the UTF-8 of all texts; text i
is data[offsets[i]:offsets[i + 1]].  A column of payloads or elements is the same with canonical bytes.  Columns come in
as buffers, checked by `texts_check`, or made here.

Rows are looked for in `layers`, dicts of images by row key, the first that has one (None: a row known to be absent);
then `below` is asked, or, when that is None, the row is absent.  Kernels that read ask it row by row: `below(rowkey)`.

The kernels that write put into BulkRows what `get` and `put` of a transaction (crdtsync.storage.txn) would note: one
event for each text from `first` to before `last`, in order.  Rows that no layer has are asked of `below` all at once:
it takes their row keys and gives their images.  They give the index of the text at which they stopped (-1: none; the
transaction is to be dropped), the number of events, and the bytes of the row keys and images put.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from crdtsync.pure.operations import cell_add, latest_set, presence_add
from crdtsync.pure.rows import row_cell_value, row_dead, row_latest

Rows = dict[bytes, bytes | None]
Layers = tuple[Rows, ...]
Below = Callable[[bytes], bytes | None] | None
BelowMany = Callable[[list[bytes]], list[bytes | None]] | None
Done = tuple[int, int, int]
INT_MAX = 2**63 - 1
pack = msgspec.msgpack.Encoder().encode


# ---- columns


def texts_pack(texts: list[Any], most: int) -> tuple[bytes, bytes, int]:
    """(offsets, data, index of the first that is no str of 1 to `most` bytes of UTF-8 without NUL, or -1)."""
    data, ends = bytearray(), [0]
    for number, text in enumerate(texts):
        packed = _encoded(text, most)
        if not packed:
            return b"", b"", number
        data += packed
        ends.append(len(data))
    return _int64(ends), bytes(data), -1


def _encoded(text: Any, most: int) -> bytes:
    """UTF-8 of a text; empty when it may not be one."""
    if type(text) is not str:
        return b""
    try:
        packed = text.encode()
    except UnicodeEncodeError:
        return b""
    return b"" if len(packed) > most or 0 in packed else packed


def texts_check(offsets: Any, data: Any, most: int) -> int:
    """Index of the first text that is not UTF-8 of 1 to `most` bytes without NUL, or not within `data`; -1: none."""
    ends, size = _integers(offsets), len(memoryview(data).cast("B"))
    if not ends:
        raise ValueError("a column has one offset more than texts")
    if not 0 <= ends[0] <= size:
        return 0
    for number in range(len(ends) - 1):
        start, end = ends[number], ends[number + 1]
        if not (start < end <= size and end - start <= most and _is_text(data[start:end])):
            return number
    return -1


def payloads_pack(values: list[Any], most: int) -> tuple[bytes, bytes, int]:
    """(ends, payloads, -1): canonical bytes of None, bools, ints of 64 bits, floats, strs and bytes.

    With the index of the first value that is none of these, is NaN or not text, or takes more than `most` bytes, and
    empty columns: crdtsync.datatypes.values knows the rest, and what to say.
    """
    data, ends = bytearray(), [0]
    for number, value in enumerate(values):
        packed = _packed(value)
        if not packed or len(packed) > most:
            return b"", b"", number
        data += packed
        ends.append(len(data))
    return _int64(ends), bytes(data), -1


def _packed(value: Any) -> bytes:
    """Canonical bytes of a simple value; empty for another."""
    kind = type(value)
    if value is None or kind is bool or (kind is int and -(2**63) <= value < 2**64) or kind is bytes:
        return pack(value)
    if kind is float:
        return b"" if value != value else pack(value + 0.0)
    try:
        return pack(value) if kind is str else b""
    except UnicodeEncodeError:
        return b""


def _is_text(data: Any) -> bool:
    try:
        return "\0" not in bytes(data).decode()
    except UnicodeDecodeError:
        return False


def _int64(values: Sequence[int]) -> bytes:
    return array("q", values).tobytes()


def _integers(buffer: Any) -> Any:
    """A buffer of int64 as a sequence."""
    return memoryview(buffer).cast("B").cast("q")


def _texts(offsets: Any, data: Any, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    ends, view = _integers(offsets), memoryview(data).cast("B")
    if not 0 <= first <= last < len(ends):
        raise ValueError("the rows asked for are not in the column")
    for number in range(first, last):
        if not 0 <= ends[number] <= ends[number + 1] <= len(view):
            raise ValueError("an offset is not in the column")
        yield number, view[ends[number] : ends[number + 1]].tobytes()


# ---- writing


class BulkRows:
    """Rows that bulk calls have put, in columns, each row once, in the order in which they were met first."""

    __slots__ = ("_places", "before", "events", "images", "keys")

    def __init__(self, expected: int = 0) -> None:
        """Room is made for `expected` rows."""
        self.keys: list[bytes] = []
        self.images: list[bytes | None] = []
        self.before: list[bytes | None] = []  # what was there, of rows that the first layer does not have
        self.events: list[bytes] = []  # row key of each event
        self._places: dict[bytes, int] = {}

    def find(self, rowkeys: list[bytes], layers: Layers, below: BelowMany) -> list[int]:
        """The places of the rows that the next events are about; new ones get theirs."""
        missing: list[bytes] = []
        for rowkey in rowkeys:
            self.events.append(rowkey)
            if rowkey in self._places:
                continue
            self._places[rowkey] = len(self.keys)
            self.keys.append(rowkey)
            level, image = next(
                ((level, layer[rowkey]) for level, layer in enumerate(layers) if rowkey in layer), (-1, None)
            )
            self.images.append(image)
            self.before.append(image if level else None)
            if level < 0:
                missing.append(rowkey)
        if missing and below is not None:
            for rowkey, image in zip(missing, below(missing), strict=True):
                place = self._places[rowkey]
                self.images[place] = self.before[place] = image
        return [self._places[rowkey] for rowkey in rowkeys]

    def put(self, place: int, image: bytes) -> int:
        """The new image of a row; the bytes of its key and of that."""
        self.images[place] = image
        return len(self.keys[place]) + len(image)


def cells_step(
    rows: BulkRows, layers: Layers, below: BelowMany, code: bytes, actor: int, seq: int,
    offsets: Any, data: Any, first: int, last: int, steps: Any,
) -> Done:  # fmt: skip
    """Steps (int64) of the own cells of counters, as `cell_add`; 0 makes no event.  Stops at a cell that is full."""
    tail, amounts = b"\0" + code + actor.to_bytes(4, "big"), _integers(steps)
    moved = [(number, name, amounts[number]) for number, name in _texts(offsets, data, first, last) if amounts[number]]
    size, places = 0, rows.find([name + tail for _, name, _ in moved], layers, below)
    for event, ((number, _, step), place) in enumerate(zip(moved, places, strict=True)):
        try:
            image = cell_add(rows.images[place], actor, seq + event, max(step, 0), max(-step, 0))
        except OverflowError:
            return number, event, size
        size += rows.put(place, image)
    return -1, len(moved), size


def presences_add(
    rows: BulkRows, layers: Layers, below: BelowMany, code: bytes, actor: int, seq: int,
    offsets: Any, data: Any, first: int, last: int, ends: Any, elements: Any,
) -> Done:  # fmt: skip
    """Elements of sets, as `presence_add`; (ends, elements) is their column.  Never stops."""
    added = zip(_texts(offsets, data, first, last), _texts(ends, elements, first, last), strict=True)
    rowkeys = [name + b"\0" + code + element for (_, name), (_, element) in added]
    size, places = 0, rows.find(rowkeys, layers, below)
    for event, place in enumerate(places):
        size += rows.put(place, presence_add(rows.images[place], actor, seq + event))
    return -1, len(places), size


def latests_set(
    rows: BulkRows, layers: Layers, below: BelowMany, code: bytes, actor: int, seq: int,
    offsets: Any, data: Any, first: int, last: int, ends: Any, payloads: Any, now: int, floor: int, most: int,
) -> Done:  # fmt: skip
    """Values of registers, as `latest_set`: stamped `now`, or just after what they replace or the stamp `floor`.

    Stops at one that would be stamped beyond `most`.
    """
    tail, wanted = b"\0" + code, _texts(ends, payloads, first, last)
    size, places = 0, rows.find([name + tail for _, name in _texts(offsets, data, first, last)], layers, below)
    for event, (place, (number, payload)) in enumerate(zip(places, wanted, strict=True)):
        image = rows.images[place]
        after = 0 if image is None else row_latest(image)[0]
        stamp = max(now, after + 1, floor + 1)
        if stamp > most:
            return number, event, size
        size += rows.put(place, latest_set(image, actor, seq + event, stamp, payload))
    return -1, len(places), size


def _found(layers: Layers, below: Below, rowkey: bytes) -> bytes | None:
    for layer in layers:
        if rowkey in layer:
            return layer[rowkey]
    return None if below is None else below(rowkey)


# ---- reading


def cells_sum(
    layers: Layers, below: Below, code: bytes, actors: list[int], offsets: Any, data: Any, first: int, last: int,
    out: Any,
) -> int:  # fmt: skip
    """Values of counters whose cells are those of `actors`, into `out` (int64) at the places of their texts.

    Gives the index of one whose value does not fit, or -1.
    """
    values = memoryview(out).cast("B").cast("q")
    tails = [code + actor.to_bytes(4, "big") for actor in actors]
    for number, name in _texts(offsets, data, first, last):
        images = (_found(layers, below, name + b"\0" + tail) for tail in tails)
        total = sum(row_cell_value(image) for image in images if image is not None)
        if not -INT_MAX - 1 <= total <= INT_MAX:
            return number
        values[number] = total
    return -1


def images_of(
    layers: Layers, below: Below, code: bytes, offsets: Any, data: Any, first: int, last: int
) -> list[bytes | None]:
    """Images of objects that are one row."""
    return [_found(layers, below, name + b"\0" + code) for _, name in _texts(offsets, data, first, last)]


# ---- listing


def listings_merge(
    listings: Sequence[Sequence[tuple[bytes, bytes | None]]], horizon: bytes | None
) -> list[tuple[bytes, bytes]]:
    """Rows of several layers, lists in order, the newest last, up to the row key `horizon`; without what is gone."""
    merged: dict[bytes, bytes | None] = {}
    for listing in listings:
        merged.update(listing)
    found = []
    for key in sorted(merged):
        image = merged[key]
        if horizon is not None and key > horizon:
            break
        if image is not None:
            found.append((key, image))
    return found


def cells_gather(
    rows: list[tuple[bytes, bytes]], code: bytes, most: int, whole: bool
) -> tuple[bytes, bytes, bytes, int, int]:
    """Counters of type `code` among rows in order: a column of their keys, and their values (int64).

    At most `most` of them.  The object of the last row may go on beyond the rows, unless they are the `whole`: then it
    is left out.  Gives (offsets, data, values, number of rows used, index of a counter whose value does not fit or -1).
    """
    data, ends, values = bytearray(), [0], array("q")
    used = 0
    while used < len(rows) and len(values) < most:
        end, end_of_name = _object_end(rows, used)
        if end == len(rows) and not whole:
            break
        if rows[used][0][end_of_name + 1 : end_of_name + 2] == code:
            images = [image for _, image in rows[used:end]]
            if not all(map(row_dead, images)):
                total = sum(map(row_cell_value, images))
                if not -INT_MAX - 1 <= total <= INT_MAX:
                    return _int64(ends), bytes(data), values.tobytes(), used, len(values)
                data += rows[used][0][:end_of_name]
                ends.append(len(data))
                values.append(total)
        used = end
    return _int64(ends), bytes(data), values.tobytes(), used, -1


def _object_end(rows: list[tuple[bytes, bytes]], start: int) -> tuple[int, int]:
    """Where the rows of the object end that begins at `start`, and where its name does."""
    name = rows[start][0].index(0)
    prefix = rows[start][0][: name + 2]
    end = start + 1
    while end < len(rows) and rows[end][0].startswith(prefix):
        end += 1
    return end, name


def singles_gather(
    rows: list[tuple[bytes, bytes]], code: bytes, most: int
) -> tuple[bytes, bytes, list[bytes], int]:
    """Objects of type `code` that are one row, among rows in order: a column of their keys, and their images.

    At most `most` of them, live ones.  Gives (offsets, data, images, number of rows used).
    """
    data, ends, images = bytearray(), [0], list[bytes]()
    tail = b"\0" + code
    for used, (rowkey, image) in enumerate(rows):
        if len(images) == most:
            return _int64(ends), bytes(data), images, used
        name = rowkey.index(0)
        if rowkey[name:] == tail and not row_dead(image):
            data += rowkey[:name]
            ends.append(len(data))
            images.append(image)
    return _int64(ends), bytes(data), images, len(rows)
