"""Rows looked up in a bucket's layers, and put into one, column by column."""

from __future__ import annotations

from typing import Any

from crdtsync.pure.rows import row_log_dots
from crdtsync.pure.state import LayerState
from crdtsync.pure.table import NO_DOTS

Images = list[bytes | None]


def layer_find(bucket: Any, keys: list[bytes]) -> Images:
    """Images of rows of a BucketState, or None; under the store's lock.  Raises RowDamaged."""
    active = bucket.active.rows
    if bucket.frozen is None and not bucket.table_dirty:
        return [active.get(key) for key in keys]
    missing = [key for key in keys if key not in active]
    below = dict(zip(missing, bucket.below_many(missing), strict=True)) if missing else {}
    return [active[key] if key in active else below[key] for key in keys]


def layer_rows(layer: LayerState, keys: list[bytes]) -> list[tuple[bytes, bytes | None]]:
    """Rows of a layer that has all of them."""
    return list(zip(keys, map(layer.rows.__getitem__, keys), strict=True))


def layer_put(layer: LayerState, keys: list[bytes], images: Images, before: Images) -> None:
    """Take in rows: images (None: collected), and what each row was until now; None will do for what the layer has."""
    if not len(keys) == len(images) == len(before):
        raise ValueError("lists differ in length")
    mine, origin, pending = layer.rows, layer.origin, layer.pending
    for key, image, old in zip(keys, images, before, strict=True):
        if key not in mine:
            layer._fresh.append(key)
            if old is not None:
                origin[key] = old
        if pending is not None and key not in pending:
            pending[key] = mine.get(key, old)
        mine[key] = image


def layer_note(layer: LayerState, keys: list[bytes], images: Images, before: Images) -> None:
    """Log those maximal events of rows that were not there before."""
    if not len(keys) == len(images) == len(before):
        raise ValueError("lists differ in length")
    for key, image, old in zip(keys, images, before, strict=True):
        if image is None:
            continue
        known = NO_DOTS if old is None else row_log_dots(old)
        for actor, seq in row_log_dots(image):
            if (actor, seq) not in known:
                layer.log.setdefault(actor, {})[seq] = key
                layer._ragged.add(actor)
