"""Rows put into a layer, and looked up through layers: the compiled way and the plain one do the same."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from crdtsync.pure.layers import layer_find, layer_note, layer_put, layer_rows
from crdtsync.pure.state import LayerState
from tests.kernels.golden import IDS, images
from tests.laws import implementations, load

WAYS: dict[str, Any] = {
    "pure": SimpleNamespace(
        layer_put=layer_put, layer_find=layer_find, layer_note=layer_note, layer_rows=layer_rows, LayerState=LayerState
    )
}
if "native" in implementations():
    WAYS["native"] = load("native")


def empty(way: Any) -> Any:
    """The structure of a layer without rows."""
    layer = way.LayerState()
    layer.rows, layer.origin, layer.log, layer._fresh, layer._ragged = {}, {}, {}, [], set()
    layer.pending = None
    return layer


def filled(way: Any, seed: int) -> Any:
    """A layer after some puts of rows of every kind, each upon what was there."""
    rng, k, layer = random.Random(seed), load("pure"), empty(way)
    shapes = list(images(k).values())
    held: dict[bytes, bytes | None] = {}
    for _ in range(6):
        chosen: dict[bytes, bytes | None] = {}
        for _ in range(20):
            image = rng.choice(shapes)
            key = b"%d %d" % (rng.randrange(8), k.row_kind(image))
            old = held.get(key)
            whole = k.row_mend(old, image, IDS) if old is not None and k.row_kind(image) != 3 else image
            chosen[key] = rng.choice((whole, whole, whole, None))
        columns = list(chosen), list(chosen.values()), [held.get(key) for key in chosen]
        way.layer_put(layer, *columns)
        if rng.random() < 0.7:
            way.layer_note(layer, *columns)
        held |= chosen
        if rng.random() < 0.3:
            layer.pending = {}  # as it is once the digest has been asked for
    return layer


def test_both_put_the_same() -> None:
    for seed in range(30):
        layers = [filled(way, seed) for way in WAYS.values()]
        told = [
            (list(layer.rows.items()), layer.origin, layer.pending, layer.log, layer._ragged, layer._fresh)
            for layer in layers
        ]  # fmt: skip
        assert all(one == told[0] for one in told) and layers[0].log


@pytest.mark.skipif("native" not in WAYS, reason="built without a compiler: CRDTSYNC_PURE=1")
def test_both_find_the_same() -> None:
    from crdtsync import _native

    class Compiled(_native.BucketState):
        def below_many(self, keys: list[bytes]) -> list[bytes | None]:
            return [b"below " + key for key in keys]


    for frozen, dirty in ((None, False), (None, True), (empty(_native), False)):
        bucket = Compiled()
        bucket.active, bucket.frozen, bucket.table_dirty = empty(_native), frozen, dirty
        bucket.active.rows = {b"here": b"image", b"gone": None}
        keys = [b"here", b"gone", b"elsewhere"]
        found = _native.layer_find(bucket, keys)
        assert found == layer_find(bucket, keys)
        assert found == [b"image", None, b"below elsewhere" if dirty or frozen is not None else None]


def test_rows_come_in_the_order_of_their_keys() -> None:
    for way in WAYS.values():
        layer = filled(way, 1)
        keys = sorted(layer.rows)[2:]
        assert way.layer_rows(layer, keys) == [(key, layer.rows[key]) for key in keys]
        with pytest.raises(KeyError, match="elsewhere"):
            way.layer_rows(layer, [keys[0], b"elsewhere"])


def test_columns_of_unequal_length_are_refused() -> None:
    for way in WAYS.values():
        for columns in (([b"k"], [], []), ([b"k"], [None], []), ([], [None], [None])):
            for call in (way.layer_put, way.layer_note):
                with pytest.raises(ValueError, match="lists differ in length"):
                    call(empty(way), *columns)


def test_what_the_layer_has_need_not_be_told() -> None:
    for way in WAYS.values():
        layer = empty(way)
        way.layer_put(layer, [b"a"], [b"1"], [None])
        layer.pending = {}
        way.layer_put(layer, [b"a", b"b"], [b"2", b"3"], [None, b"0"])
        way.layer_put(layer, [b"a", b"b", b"c"], [b"4", b"5", b"6"], [None, None, None])
        assert layer.pending == {b"a": b"1", b"b": b"0", b"c": None}
        assert layer.origin == {b"b": b"0"}
