"""The one switch between the compiled kernels (crdtsync._native) and the plain ones (crdtsync.pure).

The compiled ones are used when they can be imported.  The environment variable CRDTSYNC_KERNELS=native|pure forces one;
a forced choice that cannot be loaded is an ImportError.  `IMPLEMENTATION` names the one in use.

A clock is {local actor index: seq}.  Malformed bytes raise ValueError with what and where; numbers beyond their range
raise OverflowError.  See crdtsync.pure for the format and the rules.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from crdtsync.pure.requests import TAKES_GROWTH, TAKES_NOTHING, TAKES_STEP, TAKES_VALUE
from crdtsync.pure.table import LENGTH, LOG_KEY, NUMBER, PLAIN, PLAIN_MAX, TableChanges, encode_log, encode_row
from crdtsync.pure.tail import RECORD, RUN, SEALED, SLOTS_SIZE, decode_slots
from crdtsync.pure.writing import BY_ELEMENT, BY_GROWTH, BY_PRESENCE, BY_STEP, BY_VALUE, BY_VALUES, LONG_WAY

PRESENCE, VALUES, LATEST, CELL = 0, 1, 2, 3

_forced = os.environ.get("CRDTSYNC_KERNELS", "")
if _forced not in ("", "native", "pure"):
    raise ImportError(f"CRDTSYNC_KERNELS must be native or pure, not {_forced!r}")


def _native_loads() -> bool:
    """Whether to take the compiled kernels; ImportError when they are forced and missing."""
    if _forced == "pure":
        return False
    try:
        import crdtsync._native  # noqa: F401
    except ImportError as error:
        if _forced == "native":
            raise ImportError(
                "CRDTSYNC_KERNELS=native, but the compiled kernels cannot be loaded: "
                f"{error}.  Build them with `python setup.py build_ext --inplace`."
            ) from error
        return False
    return True


IMPLEMENTATION = "native" if _native_loads() else "pure"

if TYPE_CHECKING or IMPLEMENTATION == "pure":
    from crdtsync.pure.bulk import (
        BulkRows,
        cells_gather,
        cells_step,
        cells_sum,
        images_of,
        latests_set,
        listings_merge,
        payloads_pack,
        presences_add,
        singles_gather,
        texts_check,
        texts_pack,
    )
    from crdtsync.pure.columns import rows_actors, rows_beyond, rows_newer, rows_pack, rows_remap, rows_unpack
    from crdtsync.pure.digest import rows_digest
    from crdtsync.pure.entries import Entries
    from crdtsync.pure.handles import Handles, Places
    from crdtsync.pure.joins import row_conflict, row_join, row_mend, rows_join
    from crdtsync.pure.keys import keys_pack, keys_remap, keys_unpack, name_prefix
    from crdtsync.pure.layers import layer_find, layer_note, layer_put, layer_rows
    from crdtsync.pure.operations import (
        cell_add,
        cell_at,
        cell_reset,
        latest_set,
        presence_add,
        presence_remove,
        values_set,
    )
    from crdtsync.pure.parts import pairs_pack, part_check, part_rows, rows_merge
    from crdtsync.pure.requests import operations_read, operations_run
    from crdtsync.pure.rows import (
        row_cell,
        row_cell_value,
        row_context,
        row_covered,
        row_dead,
        row_kind,
        row_latest,
        row_live_dots,
        row_log_dots,
        row_payloads,
    )
    from crdtsync.pure.sorting import Sorter
    from crdtsync.pure.state import BucketState, HandleState, LayerState, PlaceState
    from crdtsync.pure.table import log_read, row_read, table_read, table_rows
    from crdtsync.pure.tail import Tail
    from crdtsync.pure.tokens import token_unwrap, token_wrap
    from crdtsync.pure.values import value_pack
    from crdtsync.pure.varint import varint_decode, varint_encode
    from crdtsync.pure.vectors import vector_covers, vector_join, vector_missing
    from crdtsync.pure.writing import Growing, Signal, Stepping, Writer, wall_ms
else:
    from crdtsync._native import (
        BucketState,
        BulkRows,
        Entries,
        Growing,
        Handles,
        HandleState,
        LayerState,
        Places,
        PlaceState,
        Signal,
        Sorter,
        Stepping,
        Tail,
        Writer,
        cell_add,
        cell_at,
        cell_reset,
        cells_gather,
        cells_step,
        cells_sum,
        images_of,
        keys_pack,
        keys_remap,
        keys_unpack,
        latest_set,
        latests_set,
        layer_find,
        layer_note,
        layer_put,
        layer_rows,
        listings_merge,
        log_read,
        name_prefix,
        operations_read,
        operations_run,
        pairs_pack,
        part_check,
        part_rows,
        payloads_pack,
        presence_add,
        presence_remove,
        presences_add,
        row_cell,
        row_cell_value,
        row_conflict,
        row_context,
        row_covered,
        row_dead,
        row_join,
        row_kind,
        row_latest,
        row_live_dots,
        row_log_dots,
        row_mend,
        row_payloads,
        row_read,
        rows_actors,
        rows_beyond,
        rows_digest,
        rows_join,
        rows_merge,
        rows_newer,
        rows_pack,
        rows_remap,
        rows_unpack,
        singles_gather,
        table_read,
        table_rows,
        texts_check,
        texts_pack,
        token_unwrap,
        token_wrap,
        value_pack,
        values_set,
        varint_decode,
        varint_encode,
        vector_covers,
        vector_join,
        vector_missing,
        wall_ms,
    )

__all__ = [
    "BY_ELEMENT",
    "BY_GROWTH",
    "BY_PRESENCE",
    "BY_STEP",
    "BY_VALUE",
    "BY_VALUES",
    "CELL",
    "IMPLEMENTATION",
    "LATEST",
    "LENGTH",
    "LOG_KEY",
    "LONG_WAY",
    "NUMBER",
    "PLAIN",
    "PLAIN_MAX",
    "PRESENCE",
    "RECORD",
    "RUN",
    "SEALED",
    "SLOTS_SIZE",
    "TAKES_GROWTH",
    "TAKES_NOTHING",
    "TAKES_STEP",
    "TAKES_VALUE",
    "VALUES",
    "BucketState",
    "BulkRows",
    "Entries",
    "Growing",
    "HandleState",
    "Handles",
    "LayerState",
    "PlaceState",
    "Places",
    "Signal",
    "Sorter",
    "Stepping",
    "TableChanges",
    "Tail",
    "Writer",
    "cell_add",
    "cell_at",
    "cell_reset",
    "cells_gather",
    "cells_step",
    "cells_sum",
    "decode_slots",
    "encode_log",
    "encode_row",
    "images_of",
    "keys_pack",
    "keys_remap",
    "keys_unpack",
    "latest_set",
    "latests_set",
    "layer_find",
    "layer_note",
    "layer_put",
    "layer_rows",
    "listings_merge",
    "log_read",
    "name_prefix",
    "operations_read",
    "operations_run",
    "pairs_pack",
    "part_check",
    "part_rows",
    "payloads_pack",
    "presence_add",
    "presence_remove",
    "presences_add",
    "row_cell",
    "row_cell_value",
    "row_conflict",
    "row_context",
    "row_covered",
    "row_dead",
    "row_join",
    "row_kind",
    "row_latest",
    "row_live_dots",
    "row_log_dots",
    "row_mend",
    "row_payloads",
    "row_read",
    "rows_actors",
    "rows_beyond",
    "rows_digest",
    "rows_join",
    "rows_merge",
    "rows_newer",
    "rows_pack",
    "rows_remap",
    "rows_unpack",
    "singles_gather",
    "table_read",
    "table_rows",
    "texts_check",
    "texts_pack",
    "token_unwrap",
    "token_wrap",
    "value_pack",
    "values_set",
    "varint_decode",
    "varint_encode",
    "vector_covers",
    "vector_join",
    "vector_missing",
    "wall_ms",
]
