"""Every handle on a single node: what it does, what it refuses, and that a refusal changes nothing."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import pytest

import crdtsync
from crdtsync.errors import (
    CounterOverflow,
    FieldTypeError,
    InvalidKey,
    InvalidValue,
    NegativeStep,
    ValueTooLarge,
)
from tests.contract.conftest import Data

MOST = 2**63 - 1


def test_counters(node: Data) -> None:
    up, both = node.gcounter("c"), node.pncounter("c")
    up.increment()
    up.increment(4)
    both.increment(10)
    both.decrement(3)
    both.decrement(-1)
    both.increment(-2)
    assert (up.value, both.value) == (5, 6)
    both.reset()
    assert (up.value, both.value, both.exists) == (5, 0, False)
    both.decrement()
    assert both.value == -1


def test_counter_steps_of_nothing_and_at_the_limits(node: Data) -> None:
    counter = node.pncounter("c")
    counter.increment(0)
    counter.decrement(0)
    node.gcounter("c").increment(0)
    assert node.clock() == {}
    counter.increment(MOST)
    counter.decrement(MOST)
    assert counter.value == 0
    before = node.clock()
    for step in (lambda: counter.increment(1), lambda: counter.decrement(1)):
        with pytest.raises(CounterOverflow):
            step()
    for step in (lambda: counter.increment(MOST + 1), lambda: counter.decrement(MOST + 1)):
        with pytest.raises(CounterOverflow):
            step()
    assert (counter.value, node.clock()) == (0, before)
    counter.reset()
    assert node.status()["counters"]["counter_overflow"] == 4


def test_a_gcounter_only_grows(node: Data) -> None:
    counter = node.gcounter("c")
    with pytest.raises(NegativeStep):
        counter.increment(-1)
    assert not hasattr(counter, "reset")
    assert not hasattr(counter, "decrement")
    assert node.clock() == {}


class Level(enum.IntEnum):
    LOW = 2


def test_what_counts_as_a_step(node: Data) -> None:
    numpy = pytest.importorskip("numpy")
    counter = node.pncounter("c")
    counter.increment(Level.LOW)
    counter.increment(numpy.int64(3))
    assert counter.value == 5
    for step in (True, 1.0, "1", None, numpy.float64(1)):
        with pytest.raises(InvalidValue):
            counter.increment(step)
        with pytest.raises(InvalidValue):
            node.gcounter("c").increment(step)
    assert counter.value == 5


def test_sets(node: Data) -> None:
    for handle in (node.gset("s"), node.orset("s")):
        handle.add("sale")
        handle.update(["new", "sale", "hot"])
        assert handle.value == {"sale", "new", "hot"}
        assert len(handle) == 3
        assert "new" in handle
        assert "old" not in handle
        assert sorted(handle) == ["hot", "new", "sale"]
    tags = node.orset("s")
    tags.discard("hot")
    tags.discard("never")
    tags.remove("new")
    with pytest.raises(KeyError, match="new"):
        tags.remove("new")
    assert tags.value == {"sale"}
    tags.clear()
    assert (tags.value, len(tags), list(tags), tags.exists) == (set(), 0, [], False)
    assert node.gset("s").value == {"sale", "new", "hot"}
    assert not hasattr(node.gset("s"), "discard")


def test_elements_are_told_apart_exactly(node: Data) -> None:
    tags, twins = node.orset("s"), [1, 1.0, True, "1", b"1", "caf\u00e9", "cafe\u0301", None, "", b"", (), ("", None)]
    tags.update(twins)
    assert len(tags) == len(twins)
    assert {(type(each), each) for each in tags} == {(type(each), each) for each in twins}
    with pytest.raises(InvalidValue, match=r"Iterate|iterate"):
        _ = tags.value
    tags.remove(1.0)
    tags.remove(True)
    assert 1 in tags
    assert 1.0 not in tags
    assert tags.value == {1, "1", b"1", "caf\u00e9", "cafe\u0301", None, "", b"", (), ("", None)}


def test_add_always_is_an_event_and_discard_of_the_absent_never(node: Data) -> None:
    tags = node.orset("s")
    tags.add("x")
    tags.add("x")
    assert sum(node.clock().values()) == 2
    tags.discard("y")
    tags.update([])
    node.orset("t").clear()
    assert sum(node.clock().values()) == 2


def test_elements_must_be_hashable_and_small_enough_for_a_row_key(node: Data) -> None:
    tags = node.orset("s")
    for element in ([1], {"a": 1}, (1, [2])):
        with pytest.raises(InvalidValue):
            tags.add(element)
        with pytest.raises(InvalidValue):
            _ = element in tags
    tags.add("x" * 65_000)
    assert "x" * 65_000 in tags
    with pytest.raises(ValueTooLarge):
        tags.add("x" * 65_536)
    with pytest.raises(ValueTooLarge):
        tags.update(["small", "x" * 65_536])
    assert len(tags) == 1, "an update is all or nothing"


def test_lww_register(node: Data) -> None:
    price = node.lwwregister("p")
    assert (price.value, price.exists) == (None, False)
    price.set({"amount": "25.00", "tags": ["a", ("b",)]})
    assert price.value == {"amount": "25.00", "tags": ["a", ("b",)]}
    price.set(None)
    assert (price.value, price.exists) == (None, True)
    price.clear()
    assert (price.value, price.exists) == (None, False)
    events = node.clock()
    price.clear()
    assert node.clock() == events
    with pytest.raises(ValueTooLarge):
        price.set("x" * (1024 * 1024))
    price.set("x" * (1024 * 1024 - 5))
    assert len(price.value) == 1024 * 1024 - 5


def test_mv_register(node: Data) -> None:
    owner = node.mvregister("o")
    assert owner.values == owner.value == []
    owner.set("ann")
    owner.set("bob")
    assert owner.values == ["bob"]
    events = node.clock()
    owner.resolve("bob")
    assert node.clock() == events
    owner.resolve(["cid"])
    assert owner.value == [["cid"]]
    owner.clear()
    assert (owner.values, owner.exists) == ([], False)


def test_flag(node: Data) -> None:
    shown = node.flag("f")
    assert not shown
    shown.enable()
    assert shown.value is True
    shown.disable()
    assert shown.value is False
    events = node.clock()
    shown.disable()
    assert node.clock() == events


def test_map_with_fields_of_every_type(node: Data) -> None:
    product = node.map("product:1")
    product.lwwregister("name").set("Widget")
    product.pncounter("views").increment(3)
    product.gcounter("sold").increment(2)
    product.orset("tags").add("sale")
    product.gset("seen").add(1)
    product.mvregister("owner").set("ann")
    product.flag("shown").enable()
    product.lwwregister("").set("no name")
    inner = product.map("size").map("cm")
    inner.lwwregister("width").set(3)
    inner.pncounter("checks").increment()
    assert product.value == {
        "": "no name", "name": "Widget", "views": 3, "sold": 2, "tags": {"sale"}, "seen": {1}, "owner": ["ann"],
        "shown": True, "size": {"cm": {"width": 3, "checks": 1}},
    }  # fmt: skip
    assert product.fields() == ["", "name", "owner", "seen", "shown", "size", "sold", "tags", "views"]
    assert "name" in product
    assert "nam" not in product
    assert len(product) == 9
    assert list(product.map("size")) == ["cm"]
    product.remove("size")
    product.remove("absent")
    assert "size" not in product
    assert inner.value == {}
    product.clear()
    assert (product.value, product.exists, product.fields()) == ({}, False, [])


def test_types_under_one_key_do_not_mix(node: Data) -> None:
    node.pncounter("k").increment()
    node.orset("k").add("x")
    node.map("k").flag("on").enable()
    node.delete("k", "orset")
    assert [(item.type, item.value) for item in node.items()] == [("map", {"on": True}), ("pncounter", 1)]
    node.delete("k")
    assert list(node.keys()) == []


WRITES: list[tuple[str, Callable[[Any], None]]] = [
    ("gcounter", lambda handle: handle.increment()), ("pncounter", lambda handle: handle.decrement()),
    ("gset", lambda handle: handle.add(1)), ("gset", lambda handle: handle.update([1, 2])),
    ("orset", lambda handle: handle.add(1)), ("orset", lambda handle: handle.update([1])),
    ("lwwregister", lambda handle: handle.set(1)), ("mvregister", lambda handle: handle.set(1)),
    ("mvregister", lambda handle: handle.resolve(1)), ("flag", lambda handle: handle.enable()),
    ("map", lambda handle: handle.flag("inner").enable()),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "write"), WRITES, ids=[f"{i}-{kind}" for i, (kind, _) in enumerate(WRITES)])
def test_a_field_has_one_type(node: Data, kind: str, write: Callable[[Any], None]) -> None:
    other = "flag" if kind != "flag" else "orset"
    product = node.map("p").map("inner")
    for holder in (product, node.map("q")):
        first = getattr(holder, other)("field")
        first.enable() if other == "flag" else first.add(1)
        before = (node.clock(), holder.value)
        with pytest.raises(FieldTypeError, match="field"):
            write(getattr(holder, kind)("field"))
        assert (node.clock(), holder.value) == before
        holder.remove("field")
        write(getattr(holder, kind)("field"))
        write(getattr(holder, kind)("field"))
        assert holder.fields() == ["field"]
    assert node.status()["counters"]["field_type_error"] == 2


def test_a_field_around_it_counts_too(node: Data) -> None:
    node.map("p").lwwregister("size").set(1)
    with pytest.raises(FieldTypeError, match="size"):
        node.map("p").map("size").map("cm").lwwregister("width").set(1)
    node.map("p").map("box").lwwregister("width").set(1)
    with pytest.raises(FieldTypeError):
        node.map("p").lwwregister("box").set(1)


def test_taking_away_never_asks_for_the_type(node: Data) -> None:
    product = node.map("p")
    product.lwwregister("x").set(1)
    product.orset("x").discard(1)
    product.orset("x").clear()
    product.pncounter("x").reset()
    product.flag("x").disable()
    product.mvregister("x").clear()
    assert product.value == {"x": 1}


BAD_NAMES: list[Any] = ["", "a\0b", "x" * 256, "\u00e9" * 128, "\ud800", b"bytes", None, 5, enum.Enum("E", "A").A]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name)[:12])
def test_bad_names_are_refused_and_counted(node: Data, name: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: node.pncounter(name), lambda: node.map(name), lambda: node.delete(name), lambda: node.bucket(name),
    ]  # fmt: skip
    if name != "":
        calls += [lambda: node.map("m").orset(name), lambda: node.map("m").remove(name), lambda: node.keys(name)]
    for call in calls:
        with pytest.raises(InvalidKey):
            call()
    assert node.status()["counters"]["invalid_key"] == len(calls)
    assert node.buckets() == []


def test_names_at_their_limits(node: Data) -> None:
    names = ["x" * 255, "\u00e9" * 127, "a/../b", "line\nbreak", " ", "caf\u00e9", "cafe\u0301", "\U0001f600"]
    for name in names:
        node.lwwregister(name).set(name)
        node.map("m").lwwregister(name).set(name)
    node.bucket("b" * 64).flag("f").enable()
    assert {item.key: item.value for item in node.items() if item.type == "lwwregister"} == {
        name: name for name in names
    }
    assert node.map("m").value == {name: name for name in names}
    assert list(node.keys()) == sorted([*names, "m"], key=str.encode)
    with pytest.raises(InvalidKey):
        node.bucket("b" * 65)


def test_a_cluster_may_set_narrower_bounds(open_data: Callable[..., Data]) -> None:
    node = open_data(cluster={"key_bytes_max": 10, "depth_max": 2, "value_bytes_max": 100})
    node.map("k" * 10).map("f" * 10).lwwregister("g" * 10).set("x" * 90)
    for call in (
        lambda: node.flag("k" * 11), lambda: node.map("k").flag("f" * 11),
        lambda: node.map("k").map("f").map("g").flag("h"),
    ):  # fmt: skip
        with pytest.raises(InvalidKey):
            call()
    with pytest.raises(ValueTooLarge):
        node.lwwregister("k").set("x" * 101)
    with pytest.raises(InvalidValue):
        node.lwwregister("k").set([[[]]])
    with pytest.raises(InvalidKey):
        crdtsync.open(None, name="n" * 65)


def test_maps_nest_to_a_depth(node: Data) -> None:
    deep = node.map("m")
    for level in range(15):
        deep = deep.map("f" * 255 if level % 2 else "")
    deep.lwwregister("leaf").set(1)
    assert deep.value == {"leaf": 1}
    with pytest.raises(InvalidKey, match="16"):
        deep.map("one").map("too many")


def test_buckets_are_apart(node: Data) -> None:
    flights, crew = node.bucket("flights"), node.bucket("crew")
    flights.pncounter("n").increment(2)
    crew.pncounter("n").increment(5)
    assert (flights.pncounter("n").value, crew.pncounter("n").value, node.pncounter("n").value) == (2, 5, 0)
    assert node.buckets() == ["crew", "flights"]
    assert list(flights.keys()) == ["n"]
    assert node.bucket("crew") is crew
    assert crew.digest() != flights.digest()


def test_values_of_every_kind_come_back(node: Data) -> None:
    from tests.datatypes.test_values import ALL_DIFFERENT, exact

    for number, value in enumerate(ALL_DIFFERENT):
        node.lwwregister(f"v{number}").set(value)
        assert exact(node.lwwregister(f"v{number}").value) == exact(value)


def test_handles_tell_what_they_are(node: Data) -> None:
    handle = node.map("product").orset("tags")
    assert (handle.key, handle.path, repr(handle)) == ("product", ("tags",), "<orset 'product'['tags']>")
    assert "default" in repr(node.bucket("default"))
    assert isinstance(handle, crdtsync.ORSet)
