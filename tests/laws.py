"""Laws of joins and codecs, stated once, and both implementations of the kernels to hold them against."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

from crdtsync import kernels

State = TypeVar("State")
SHARED = {"decode_slots", "encode_log", "encode_row"}  # plain Python for both
# These take more than values, or fill what they get: test_requests.py, test_table.py, test_layers.py, test_bulk.py
OTHERWISE = {"operations_read", "operations_run", "table_rows", "layer_find", "layer_note", "layer_put", "layer_rows",
             "log_read", "row_read", "table_read", "wall_ms"}  # fmt: skip
BULK = {"cells_gather", "cells_step", "cells_sum", "images_of", "latests_set", "listings_merge", "payloads_pack",
        "presences_add", "singles_gather", "texts_check", "texts_pack"}
KERNELS = sorted(name for name in kernels.__all__ if name.islower() and name not in SHARED | OTHERWISE | BULK)
PURE_PARTS = ("varint", "vectors", "rows", "operations", "joins", "keys", "columns", "digest", "parts", "tokens",
              "values")


def implementations() -> list[str]:
    """Kernels to test: both, unless this is a build without a compiler."""
    return ["pure"] if os.environ.get("CRDTSYNC_PURE", "0") not in ("", "0") else ["pure", "native"]


def load(name: str) -> Any:
    """One implementation, whatever CRDTSYNC_KERNELS says.  ImportError when the compiled one is not there."""
    if name == "native":
        return importlib.import_module("crdtsync._native")
    parts = [importlib.import_module(f"crdtsync.pure.{part}") for part in PURE_PARTS]
    return SimpleNamespace(**{call: next(getattr(p, call) for p in parts if hasattr(p, call)) for call in KERNELS})


def outcome(call: Callable[..., Any], *args: Any) -> tuple[str, Any]:
    """What a call gives or raises, in a form that can be compared."""
    try:
        result = call(*args)
    except (ValueError, TypeError, OverflowError, LookupError) as error:
        return type(error).__name__, str(error)
    return type(result).__name__, result


def check_join_laws(join: Callable[[State, State], State], states: Sequence[State]) -> None:
    """Commutative, associative, idempotent, and inflating both sides, on all triples of `states`."""
    for x in states:
        assert join(x, x) == x, "not idempotent"
        for y in states:
            xy = join(x, y)
            assert xy == join(y, x), "not commutative"
            assert join(x, xy) == xy == join(xy, y), "does not inflate"
            for z in states:
                assert join(xy, z) == join(x, join(y, z)), "not associative"


def check_any_order(
    join: Callable[[State, State], State], states: Sequence[State], orders: Iterable[Sequence[int]]
) -> None:
    """Every order of `states`, with repetitions, joins to the same."""
    results = []
    for order in orders:
        joined = states[order[0]]
        for number in order[1:]:
            joined = join(joined, states[number])
        results.append(joined)
    assert all(result == results[0] for result in results)


def check_round_trip(encode: Callable[[Any], bytes], decode: Callable[[bytes], Any], value: Any) -> None:
    """What is decoded is what was encoded, and encodes to the same bytes."""
    data = encode(value)
    assert decode(data) == value
    assert encode(decode(data)) == data
