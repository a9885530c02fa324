"""Nanoseconds per call (per row for whole columns) of each kernel, compiled and plain, on rows of a shop's stock.

    python -m benchmarks.micro.kernels [--repetitions N] [KERNEL ...]

Times are medians of the repetitions, in CPU time of the thread, so that a busy machine disturbs them less; both kernels
run on the same arguments and must give the same results.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

PURE_PARTS = ("varint", "rows", "operations", "joins", "keys", "columns", "digest")
ROWS = 1000  # rows of the column kernels
NATIVE_NS = 2e7  # time that one repetition aims at, in ns
IDS = (11, 5, 7, 3)
Args = tuple[Any, ...]


def pure_kernel(name: str) -> Callable[..., Any]:
    """A kernel of crdtsync.pure by its name."""
    for part in PURE_PARTS:
        module = importlib.import_module(f"crdtsync.pure.{part}")
        if hasattr(module, name):
            return getattr(module, name)  # type: ignore[no-any-return]
    raise LookupError(name)


def single_cases(k: Any) -> dict[str, Args]:
    """Kernels on one row: a hot cell, an element with two writers, a register with 40 bytes of value."""
    cell = k.cell_add(None, 0, 1, 5, 0)
    for seq in range(2, 1000):
        cell = k.cell_add(cell, 0, seq, 3, 0)
    added = k.presence_add(k.presence_add(None, 1, 70_000), 0, 9)
    register = k.latest_set(None, 1, 5, 112_000_000_000_000_000, b"v" * 40)
    values = k.row_mend(k.values_set(None, 0, 3, b"v" * 40), k.values_set(None, 1, 5, b"w" * 40), IDS)
    clock = {0: 999, 1: 70_000}
    return {
        "varint_encode": (112_000_000_000_000_000,),
        "varint_decode": (k.varint_encode(112_000_000_000_000_000), 0),
        "row_kind": (cell,),
        "row_context": (added,),
        "row_dead": (cell,),
        "row_log_dots": (added,),
        "row_live_dots": (added,),
        "row_covered": (added, clock),
        "row_payloads": (values,),
        "row_latest": (register,),
        "row_cell": (cell,),
        "row_cell_value": (cell,),
        "presence_add": (added, 0, 1000),
        "presence_remove": (added, 0, 1000),
        "values_set": (values, 0, 1000, b"x" * 40),
        "latest_set": (register, 0, 1000, 112_000_000_000_000_001, b"x" * 40),
        "cell_add": (cell, 0, 1000, 1, 0),
        "cell_reset": (cell, 1, 70_001),
        "row_join": (cell, k.cell_add(cell, 0, 1000, 1, 0), clock, IDS),
        "row_join (element)": (added, k.presence_add(added, 2, 4), clock, IDS),
        "row_join (register)": (register, k.latest_set(register, 0, 1, 112_000_000_000_000_002, b"y"), clock, IDS),
        "row_join (new)": (None, k.presence_add(None, 2, 4), clock, IDS),
        "row_join (covered)": (added, added, clock, IDS),
        "row_mend": (cell, k.cell_add(cell, 0, 1000, 1, 0), IDS),
        "row_conflict": (register, k.latest_set(None, 0, 1, 112_000_000_000_000_002, b"y")),
    }


def column_cases(k: Any) -> dict[str, Args]:
    """Kernels on a thousand elements of sets, each with two writers."""
    old = [(b"product:%06d:tags\0o\xa4sale" % n, k.presence_add(None, 0, n + 1)) for n in range(ROWS)]
    rows = [(key, k.presence_add(image, 1, n + 1)) for n, (key, image) in enumerate(old)]
    positions, mapping = {0: 1, 1: 0}, [1, 0]
    keys, images = k.rows_pack(rows, positions)
    unpacked = k.rows_unpack(ROWS, keys, images, 2)
    news = [image for _, image in rows]
    return {
        "rows_join": ([image for _, image in old], news, {0: ROWS}, IDS),
        "rows_join (new)": ([None] * ROWS, news, {}, IDS),
        "keys_pack": ([key for key, _ in rows], positions),
        "keys_unpack": (ROWS, keys, 2),
        "keys_remap": ([key for key, _ in unpacked], mapping),
        "rows_pack": (rows, positions),
        "rows_unpack": (ROWS, keys, images, 2),
        "rows_remap": (unpacked, mapping),
        "part_check": (ROWS, keys, images, 2, 2**62, 16, 2**20),
        "part_rows": (ROWS, keys, images, mapping),
        "rows_merge": ([key for key, _ in rows], [image for _, image in old], news, {0: ROWS}, IDS, 0),
        "rows_merge (new)": ([key for key, _ in rows], [None] * ROWS, news, {}, IDS, 0),
        "pairs_pack": ([key for key, _ in rows], news),
        "rows_newer": (rows, {}),
        "rows_actors": (rows,),
        "rows_beyond": (rows, {0: ROWS, 1: ROWS}),
        "rows_digest": (rows,),
    }


def per_call(call: Callable[..., Any], args: Args, repetitions: int) -> float:
    """Median nanoseconds of one call, with the loop around it."""
    begin = time.thread_time_ns()
    call(*args)
    calls = max(1, int(NATIVE_NS / max(time.thread_time_ns() - begin, 100)))
    return statistics.median(loop(call, args, calls) for _ in range(repetitions))


def loop(call: Callable[..., Any], args: Args, calls: int) -> float:
    """Mean nanoseconds of one call in a loop."""
    begin = time.thread_time_ns()
    for _ in range(calls):
        call(*args)
    return (time.thread_time_ns() - begin) / calls


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernels", nargs="*", help="names to measure; all of them without")
    parser.add_argument("--repetitions", type=int, default=7, help="default 7")
    options = parser.parse_args(argv)
    native = importlib.import_module("crdtsync._native")
    singles, columns = single_cases(native), column_cases(native)
    print(f"Python {platform.python_version()}, {platform.machine()}, median of {options.repetitions} repetitions")
    print(f"{'kernel':<22} {'native ns':>10} {'pure ns':>10} {'ratio':>7}")
    for label, args in (singles | columns).items():
        name = label.split()[0]
        if options.kernels and name not in options.kernels:
            continue
        compiled, plain = getattr(native, name), pure_kernel(name)
        if compiled(*args) != plain(*args):
            raise SystemExit(f"{label}: the two kernels differ")
        share = 1 if label in singles else ROWS
        fast, slow = (per_call(call, args, options.repetitions) / share for call in (compiled, plain))
        unit = "" if label in singles else "  a row"
        print(f"{label:<22} {fast:>10.0f} {slow:>10.0f} {slow / fast:>6.0f}x{unit}")


if __name__ == "__main__":
    main()
