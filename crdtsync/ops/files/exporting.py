"""Objects of a node into a file, page by page; an export that was cut off goes on behind what its position names."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from crdtsync.ops.files.position import ExportPosition
from crdtsync.ops.files.rows import COLUMNS, to_csv, to_ndjson
from crdtsync.ops.reading import cursor_of, pages, text_of, whole

if TYPE_CHECKING:
    from crdtsync.client.buckets import RemoteBucket

PAGE_OBJECTS = 500  # objects that are asked for at a time
SAVE_INTERVAL = 1.0  # s between saved positions


def export(
    bucket: RemoteBucket, file: BinaryIO, position: ExportPosition, save: Callable[[ExportPosition], None] | None,
    told: Callable[[int], None],
) -> None:  # fmt: skip
    """Write every object behind the position; `save` keeps positions, `told` hears how many objects there are.

    Each object is of one state; a map is read field by field.  Raises InvalidValue for what CSV has no place for.
    """
    line = to_csv if position.format == "csv" else to_ndjson
    if position.format == "csv" and position.end == 0:
        position.end += file.write(",".join(COLUMNS).encode() + b"\r\n")
    saved_at = time.monotonic()
    for found in pages(bucket, position.prefix, cursor_of(position.cursor), PAGE_OBJECTS):
        for item in found.items:
            for one in whole(bucket, item):
                position.end += file.write(line(one).encode())
                position.objects += 1
        position.cursor = text_of(found.cursor)
        told(position.objects)
        if save is not None and found.cursor and time.monotonic() - saved_at > SAVE_INTERVAL:
            file.flush()
            os.fsync(file.fileno())
            save(position)
            saved_at = time.monotonic()
    file.flush()
