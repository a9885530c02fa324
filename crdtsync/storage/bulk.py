"""Columns of writes and reads on one bucket, under the store's lock, in slices that let other threads have a turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from crdtsync.clocks.hybrid import STAMP_LAST
from crdtsync.datatypes.txn import rows_below
from crdtsync.errors import BatchTooLarge, ClockExhausted, CounterOverflow
from crdtsync.kernels import (
    BY_ELEMENT,
    BY_GROWTH,
    BY_STEP,
    BY_VALUE,
    BulkRows,
    cells_gather,
    cells_step,
    cells_sum,
    images_of,
    latests_set,
    presences_add,
    row_cell_value,
    singles_gather,
)
from crdtsync.storage.bucket import Bucket
from crdtsync.storage.txn import Txn

SLICE = 4096  # rows that a kernel handles in one go, without the GIL being offered: about 2 ms
ROW_BYTES = 16  # lengths and actor table entries that a row takes in a part, beyond key and image
ROWS = 65536  # rows of a call that room is made for beforehand; few fit into a batch
SCAN_SLICE = 4096  # rows that a scan reads under one hold of the lock: about 5 ms
PROBED_MAX = 16  # actors of a bucket up to which a counter's cells are looked for one by one, and not in order
KERNELS: dict[int, Callable[..., tuple[int, int, int]]] = {
    BY_GROWTH: cells_step,
    BY_STEP: cells_step,
    BY_ELEMENT: presences_add,
    BY_VALUE: latests_set,
}
T = TypeVar("T")
Layers = tuple[dict[bytes, bytes | None], ...]
Below = Callable[[bytes], bytes | None]
Buffers = tuple[Any, ...]
Slice = tuple[tuple[bytes, bytes], Any, bytes]  # column of keys, what goes with them, row key to go on after (b"": end)


def write_columns(txn: Txn, way: int, code: bytes, names: Buffers, arguments: Buffers, bytes_max: int) -> None:
    """One event of a verb that goes the way `way`, for each of the names; see crdtsync.pure.bulk for the columns.

    Raises BatchTooLarge, and CounterOverflow and ClockExhausted, which name the place of what cannot be done.
    """
    kernel = KERNELS[way]
    layers, below = txn.layers()
    rows = txn.bulk = BulkRows(min(len(names[0]) - 1, ROWS))
    if way == BY_VALUE:
        arguments = (*arguments, *txn.stamping(), STAMP_LAST)
    count, left = len(names[0]) - 1, bytes_max
    for first in range(0, count, SLICE):
        last = min(first + SLICE, count)
        stopped, events, size = kernel(
            rows, layers, below, code, txn.actor, txn.next, *names, first, last, *arguments
        )
        txn.next += events
        left -= size + ROW_BYTES * events
        if left < 0:
            raise BatchTooLarge.fitting(
                f"{count:,} rows take over {bytes_max:,} bytes; the first {last:,} of them are too many.",
                last * bytes_max / (bytes_max - left),
            )
        if stopped >= 0:
            raise _stopped(way, stopped)
    txn.keys = rows.events


def _stopped(way: int, number: int) -> CounterOverflow | ClockExhausted:
    if way == BY_VALUE:
        return ClockExhausted(f"No stamp is left for the register of keys[{number}].")
    return CounterOverflow(
        f"The counter of keys[{number}] would pass 2^63 - 1 in this node's cell.",
        hint="Reset it, or spread the sum over several counters.",
    )


def read_counters(bucket: Bucket, code: bytes, names: Buffers, first: int, last: int, out: Any) -> int:
    """Values of counters into `out`; the place of one that does not fit in 64 bits, or -1.  Raises RowDamaged."""
    if len(bucket.clock) <= PROBED_MAX:
        asked = (code, list(bucket.clock), *names, first, last, out)
        return _found(bucket, lambda layers, below: cells_sum(layers, below, *asked))
    offsets, data = names
    for number in range(first, last):
        prefix = data[offsets[number] : offsets[number + 1]].tobytes() + b"\0" + code
        value = sum(row_cell_value(image) for _, image in rows_below(bucket, prefix))
        if not -(2**63) <= value < 2**63:
            return number
        out[number] = value
    return -1


def read_images(bucket: Bucket, code: bytes, names: Buffers, first: int, last: int) -> list[bytes | None]:
    """Images of objects that are one row.  Raises RowDamaged."""
    return _found(bucket, lambda layers, below: images_of(layers, below, code, names[0], names[1], first, last))


def _found(bucket: Bucket, kernel: Callable[[Layers, Below | None], T]) -> T:
    """What a kernel makes of rows.  Those that only the table has are noted first, and then asked for all at once."""
    layers, below = bucket.layers()
    if below is None:
        return kernel(layers, None)
    missing: list[bytes] = []
    found = kernel(layers, missing.append)  # which says None: absent, for the moment
    return kernel((bucket.fetch(missing), *layers), below) if missing else found


def scan_counters(bucket: Bucket, prefix: bytes, after: bytes, code: bytes, most: int) -> Slice:
    """Up to `most` counters of one state, as of beyond the row key `after`, with their values (int64).

    Raises RowDamaged, and CounterOverflow for a value that does not fit in 64 bits.
    """
    limit = min(most, SCAN_SLICE) + 1
    while True:
        rows = bucket.scan(prefix, after, limit)
        whole = len(rows) < limit
        offsets, data, values, used, bad = cells_gather(rows, code, most, whole)
        if bad >= 0:
            name = rows[used][0][: rows[used][0].index(0)].decode()
            raise CounterOverflow(
                f"The value of the counter {name!r} does not fit in 64 bits.", hint="Read it by its handle."
            )
        if whole and used == len(rows):
            return (offsets, data), values, b""
        if used:
            return (offsets, data), values, rows[used - 1][0]
        limit *= 4  # a counter of more cells than that


def scan_singles(bucket: Bucket, prefix: bytes, after: bytes, code: bytes, most: int) -> Slice:
    """Up to `most` objects that are one row, of one state, with their images.  Raises RowDamaged."""
    limit = min(most, SCAN_SLICE) + 1
    rows = bucket.scan(prefix, after, limit)
    offsets, data, images, used = singles_gather(rows, code, most)
    return (offsets, data), images, b"" if used == len(rows) < limit else rows[used - 1][0]
