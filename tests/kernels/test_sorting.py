"""Sorting in turns: the compiled sorter and the plain one give the same, and keep nothing that is not theirs."""

from __future__ import annotations

import gc
import importlib
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.laws import implementations


@pytest.fixture(scope="module", params=implementations())
def sorter(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module("crdtsync._native" if request.param == "native" else "crdtsync.pure.sorting").Sorter


def taken(sorter: Any, most: int) -> list[Any]:
    found = []
    while some := sorter.take(most):
        assert len(some) <= most
        found += some
    return found


@given(keys=st.lists(st.binary(max_size=20), unique=True), most=st.integers(1, 7))
def test_what_is_added_is_taken_in_order(sorter: Any, keys: list[bytes], most: int) -> None:
    for items in (keys, sorted(keys), [(key, 5) for key in keys]):
        order = sorter()
        order.add(items[: len(items) // 2])
        order.add(items[len(items) // 2 :])
        order.sort()
        assert taken(order, most) == sorted(items) and order.take(1) == []


def test_the_first_bytes_do_not_decide_alone(sorter: Any) -> None:
    keys = [b"", b"\0", b"\0\0", b"12345678", b"123456780", b"12345678\xff", b"\xff" * 8, b"\xff" * 9]
    order = sorter()
    order.add(keys[::-1])
    order.sort()
    assert order.take(100) == keys and order.take(0) == [] and order.take(-1) == []
    order.add([b"what all share " + key for key in keys[::-1]])
    order.sort()
    assert order.take(3) == [b"what all share " + key for key in keys[:3]]
    order.add([b"no", b"what all share \0\0\0"])
    order.sort()
    rest = [b"what all share " + key for key in (b"\0\0\0", *keys[3:])]
    assert order.take(100) == [b"no", *rest]


def test_keys_are_bytes(sorter: Any) -> None:
    for item in ("text", None, 3, (None, b""), ("text",)):
        with pytest.raises(TypeError):
            sorter().add([b"good", item])


def test_items_are_let_go_of(sorter: Any) -> None:
    items = [(b"%d" % number, object()) for number in range(50)]
    before = [sys.getrefcount(item) for item in items]
    order = sorter()
    order.add(items)
    order.sort()
    order.take(20)
    del order
    gc.collect()
    assert [sys.getrefcount(item) for item in items] == before
