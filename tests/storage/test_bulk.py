"""Many rows read at once: found in the layers, in the cache, or asked of the table together."""

from __future__ import annotations

from array import array
from typing import Any, cast

import pytest

from crdtsync.datatypes.columns import keys_of
from crdtsync.errors import RowDamaged
from crdtsync.kernels import cell_add
from crdtsync.storage import bulk
from crdtsync.storage.bucket import Bucket
from crdtsync.storage.cache import ROW_OVERHEAD, Cache
from tests.storage.test_damage import damaged_pair

MOST = 2**63 - 1


class TwoPlaces:
    """A bucket some of whose rows are in a layer, the others in a table that is only asked for many."""

    def __init__(self, layer: dict[bytes, bytes | None], table: dict[bytes, bytes]) -> None:
        self.clock = {1: 1, 2: 1, 3: 1}
        self._layer, self._table = layer, table
        self.asked: list[list[bytes]] = []

    def layers(self) -> Any:
        return (self._layer,), self.below

    def below(self, rowkey: bytes) -> bytes | None:
        raise AssertionError(f"{rowkey!r} is asked for alone")

    def fetch(self, rowkeys: list[bytes]) -> dict[bytes, bytes | None]:
        self.asked.append(rowkeys)
        return {key: self._table.get(key) for key in rowkeys}


def cell(name: str, actor: int) -> bytes:
    return name.encode() + b"\0p" + actor.to_bytes(4, "big")


def test_what_only_the_table_has_is_asked_for_at_once() -> None:
    layer = {cell("a", 1): cell_add(None, 1, 1, 5, 0), cell("b", 1): None}
    table = {cell("a", 2): cell_add(None, 2, 1, 0, 2), cell("c", 3): cell_add(None, 3, 1, 9, 0)}
    bucket, out = TwoPlaces(layer, table), array("q", [0] * 3)
    keys = keys_of(["a", "b", "c"])
    assert bulk.read_counters(cast(Bucket, bucket), b"p", keys.buffers, 0, 3, out) == -1
    assert out.tolist() == [3, 0, 9]
    [asked] = bucket.asked
    assert set(asked) == {cell(name, actor) for name in "abc" for actor in (1, 2, 3)} - layer.keys()


def test_a_sum_is_judged_with_all_its_cells() -> None:
    layer = {cell("a", 1): cell_add(None, 1, 1, MOST, 0), cell("a", 2): cell_add(None, 2, 1, 10, 0)}
    table = {cell("a", 3): cell_add(None, 3, 1, 0, 10)}
    bucket, out = TwoPlaces({**layer}, table), array("q", [0])
    keys = keys_of(["a"])
    assert bulk.read_counters(cast(Bucket, bucket), b"p", keys.buffers, 0, 1, out) == -1
    assert out.tolist() == [MOST]
    assert bulk.read_counters(cast(Bucket, TwoPlaces({**layer}, {})), b"p", keys.buffers, 0, 1, out) == 0


def test_damaged_rows_are_refused() -> None:
    a, _, _ = damaged_pair([b"r\0l"])
    bucket = a.bucket("default")
    assert bucket is not None
    for _ in range(2):
        with pytest.raises(RowDamaged), a.lock:
            bulk.read_images(bucket, b"l", keys_of(["none", "r"]).buffers, 0, 2)
    with a.lock:
        assert bulk.read_images(bucket, b"l", keys_of(["none"]).buffers, 0, 1) == [None]


def test_the_cache_takes_many_within_its_bound() -> None:
    cache = Cache(10 * (ROW_OVERHEAD + 3))
    cache.put_many({b"a": b"11", b"b": None})
    assert (cache.get(b"a", b""), cache.get(b"b", b""), cache.size) == (b"11", None, 2 * ROW_OVERHEAD + 4)
    cache.put_many({b"%d" % number: b"22" for number in range(6)})
    assert len(cache) == 2, "more than a generation: not worth what it would drop"
    cache.put_many({b"%d" % number: b"22" for number in range(5)})
    assert (len(cache), cache.get(b"a", b"")) == (7, b"11"), "the older generation is still there"
    assert cache.size <= cache.bytes_max + ROW_OVERHEAD + 3
