"""Bulk calls: what the same single writes would do, in one batch; embedded and remote, blocking and on asyncio."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import crdtsync
from crdtsync import Node
from crdtsync.datatypes.columns import Texts
from crdtsync.errors import (
    BatchTooLarge,
    CounterOverflow,
    CrdtsyncError,
    InvalidKey,
    InvalidValue,
    NegativeStep,
    ValueTooLarge,
)
from tests.contract.conftest import Data, Place

MOST = 2**63 - 1
KEYS = ["b", "ключ", "a", "b"]
LAID_OUT = "bключab".encode()


class Awaited:
    """A node or client whose bulk calls are those of its asyncio half, run to their end one by one."""

    def __init__(self, data: Any, calls: Any, run: Callable[[Coroutine[Any, Any, Any]], Any], **where: Any) -> None:
        self._data, self._calls, self._run, self._where = data, calls, run, where

    def __getattr__(self, name: str) -> Any:
        if not name.endswith("_many"):
            return getattr(self._data, name)
        call = partial(getattr(self._calls, name), **self._where)
        return lambda *args, **kwargs: self._run(call(*args, **kwargs))

    def columns(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(gathered(self._calls.columns(*args, **kwargs, **self._where)))

    def status(self) -> Any:
        return getattr(self._calls, "status", self._data.status)()  # the one that counts refusals

    def bucket(self, name: str) -> Awaited:
        if hasattr(self._calls, "bucket"):
            return Awaited(self._data.bucket(name), self._calls.bucket(name), self._run)
        return Awaited(self._data.bucket(name), self._calls, self._run, bucket=name)


async def gathered(pages: AsyncIterator[Any]) -> list[Any]:
    return [page async for page in pages]


@pytest.fixture(params=["blocking", "asyncio"])
def open_data(request: pytest.FixtureRequest, place: Place) -> Callable[..., Any]:
    def opened(**settings: Any) -> Any:
        data = place.open(**settings)
        if request.param == "blocking":
            return data
        run = place.stack.enter_context(asyncio.Runner()).run
        if not place.remote:
            return Awaited(data, place.nodes[-1].aio, run)
        client = run(connected(place.addresses[-1]))
        place.stack.callback(lambda: run(client.close()))
        return Awaited(data, client, run)

    return opened


async def connected(address: str) -> Any:
    return await crdtsync.aio.connect(address)


@pytest.fixture
def node(open_data: Callable[..., Any]) -> Any:
    return open_data()


def texts() -> Texts:
    return Texts(np.array([0, 1, 9, 10, 11], np.int32), LAID_OUT)


KEY_COLUMNS: list[Callable[[], Any]] = [
    lambda: KEYS,
    lambda: tuple(KEYS),
    lambda: np.array(KEYS),
    lambda: np.array(KEYS, object),
    lambda: np.array([key.encode() for key in KEYS]),
    texts,
    lambda: iter(KEYS),
]


def test_columns_of_keys(node: Data) -> None:
    for time, column in enumerate(KEY_COLUMNS, 1):
        node.increment_many(column(), [1, 2, 3, 4])
        assert {key: node.pncounter(key).value for key in KEYS} == {"a": 3 * time, "b": 5 * time, "ключ": 2 * time}
        assert node.read_many(column()).tolist() == [5 * time, 2 * time, 3 * time, 5 * time]


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="numpy 1 has no StringDType")
def test_columns_of_string_dtype(node: Data) -> None:
    keys = np.array(KEYS, np.dtypes.StringDType())
    node.increment_many(keys, 7)
    assert node.read_many(keys).tolist() == [14, 7, 7, 14]


def test_columns_of_amounts(node: Data) -> None:
    for amounts in ([1, -2, 0, 4], np.array([1, -2, 0, 4], np.int8), iter([1, -2, 0, 4])):
        node.increment_many(KEYS, amounts)
    assert node.read_many(KEYS).tolist() == [15, -6, 0, 15]
    assert not node.pncounter("a").exists, "a step of 0 is no event"
    assert sum(node.clock().values()) == 9


def test_amounts_may_be_unsigned_and_as_large_as_a_step(node: Data) -> None:
    node.increment_many(["a", "b"], np.array([MOST, 1], np.uint64), type="gcounter")
    assert node.read_many(["b", "a", "none"], type="gcounter").tolist() == [1, MOST, 0]
    node.increment_many(["a", "b"], np.array([-MOST, MOST]))
    assert (node.pncounter("a").value, node.pncounter("b").value) == (-MOST, MOST)


def test_a_call_is_one_batch(node: Data, backing: Node) -> None:
    records = backing.status()["storage"]["last_record"]
    node.increment_many([f"k{number}" for number in range(500)])
    assert backing.status()["storage"]["last_record"] == records + (2 if records == 0 else 1)
    node.increment_many([], [])
    assert backing.status()["storage"]["last_record"] == records + (2 if records == 0 else 1)


def test_inside_a_batch_it_joins_it(place: Place) -> None:
    node = place.open()
    backing = place.nodes[0]
    node.gcounter("first").increment()
    records = backing.status()["storage"]["last_record"]
    with node.batch():
        node.pncounter("a").increment(5)
        node.increment_many(["a", "b"], [1, 2])
        node.add_many(["s"], ["x"])
        assert node.read_many(["a"]).tolist() == [0], "reads see the state before"
    assert backing.status()["storage"]["last_record"] == records + 1
    assert node.read_many(["a", "b"]).tolist() == [6, 2]
    with pytest.raises(ZeroDivisionError), node.batch():
        node.increment_many(["a", "b"])
        _ = 1 / 0
    assert node.read_many(["a", "b"]).tolist() == [6, 2]


@pytest.mark.parametrize("remote", [False, True])
def test_inside_a_batch_of_asyncio_it_joins_it(remote: bool) -> None:
    async def write(calls: Any, backing: Node) -> None:
        backing.gcounter("first").increment()
        records = backing.status()["storage"]["last_record"]
        async with calls.batch():
            await calls.increment_many(["a", "b"], [1, 2])
            await calls.set_many(["r"], ["x"])
            assert (await calls.read_many(["a"])).tolist() == [0], "reads see the state before"
        assert backing.status()["storage"]["last_record"] == records + 1
        with pytest.raises(ZeroDivisionError):
            async with calls.batch():
                await calls.increment_many(["a", "b"])
                _ = 1 / 0
        assert (await calls.read_many(["a", "b"])).tolist() == [1, 2]
        assert (await calls.read_many(["r"], type="lwwregister")).tolist() == ["x"]

    async def main() -> None:
        with crdtsync.open(None) as backing:
            if not remote:
                await write(backing.aio, backing)
                return
            with crdtsync.serve(backing, stop_grace=0.1) as server:
                async with crdtsync.aio.connect(server.address) as client:
                    await write(client, backing)

    asyncio.run(main())


@pytest.mark.parametrize("type", ["orset", "gset"])
def test_adding_to_sets(node: Data, type: str) -> None:
    node.add_many(["s", "t", "s", "s"], ["x", 1, (2, "y"), "x"], type=type)
    node.add_many(["t"], np.array([7]), type=type)
    found = node.read_many(["t", "s", "none"], type=type)
    assert found.tolist() == [{1, 7}, {"x", (2, "y")}, set()]
    assert getattr(node, type)("s").value == {"x", (2, "y")}
    node.add_many(["u", "u"], [1, True], type=type)
    [mixed] = node.read_many(["u"], type=type)
    assert sorted(map(type_name, mixed)) == ["bool", "int"], "a list, where a set would lose one"


@pytest.mark.parametrize("type", ["lwwregister", "mvregister"])
def test_setting_registers(node: Data, type: str) -> None:
    values = [None, True, -1, 2**70, 1.5, "text", b"\0", {"a": [1, "x"]}, -0.0, 2**64 - 1, -(2**63), "ж" * 300]
    keys = [f"r{number}" for number in range(len(values))]
    node.set_many(keys, values, type=type)
    found = node.read_many([*keys, "none"], type=type).tolist()
    wanted = [*values, None] if type == "lwwregister" else [*([value] for value in values), []]
    assert found == wanted
    assert [getattr(node, type)(key).value for key in keys] == wanted[:-1]
    node.set_many(["r0", "r0"], ["first", "second"], type=type)
    assert getattr(node, type)("r0").value == ("second" if type == "lwwregister" else ["second"])


def test_registers_take_arrays(node: Data) -> None:
    for values in (
        np.array([1, -300, 2**40]), np.array([0.5, -0.0, 1e300]), np.array([True, False, True]),
        np.array(["x", "", "ü"]), np.array([b"x", b"yy", b""]),
    ):  # fmt: skip
        node.set_many(["a", "b", "c"], values)
        found = node.read_many(["a", "b", "c"], type="lwwregister").tolist()
        assert found == values.tolist()
        assert list(map(type, found)) == list(map(type, values.tolist()))


def test_flags_and_maps_can_be_read(node: Data) -> None:
    node.flag("on").enable()
    node.map("m").lwwregister("f").set(1)
    flags = node.read_many(["on", "off"], type="flag")
    assert (flags.dtype, flags.tolist()) == (np.bool_, [True, False])
    assert node.read_many(["m", "none"], type="map").tolist() == [{"f": 1}, {}]


BAD: list[tuple[str, type[CrdtsyncError], str, Callable[[Data], Any]]] = [
    ("empty key", InvalidKey, r"keys\[1\] \(''\) is empty", lambda node: node.increment_many(["a", "", "b"])),
    ("NUL", InvalidKey, r"keys\[1\].*NUL", lambda node: node.add_many(["a", "b\0"], [1, 2])),
    ("surrogate", InvalidKey, r"keys\[0\].*surrogate", lambda node: node.increment_many(["\ud800"])),
    ("long key", InvalidKey, r"keys\[1\].*256 bytes", lambda node: node.increment_many(["a", "k" * 256])),
    ("not a str", InvalidKey, r"keys\[2\] \(b'c'\).*bytes", lambda node: node.set_many(["a", "b", b"c"], [1, 2, 3])),
    ("not UTF-8", InvalidKey, r"keys\[1\].*not UTF-8", lambda node: node.increment_many(np.array([b"a", b"\xff"]))),
    ("cut", InvalidKey, r"keys\[1\] lies outside", lambda node: node.increment_many(Texts([0, 1, 9], b"ab"))),
    ("backwards", InvalidKey, r"keys\[1\] lies outside", lambda node: node.read_many(Texts([0, 2, 1], b"ab"))),
    ("one str", InvalidValue, "keys is of type str", lambda node: node.increment_many("abc")),
    ("a table", InvalidValue, "2 dimensions", lambda node: node.increment_many(np.array([["a"]]))),
    ("short", InvalidValue, "amounts has 1 entries; keys has 2", lambda node: node.increment_many(["a", "b"], [1])),
    ("values short", InvalidValue, "values has 0 entries", lambda node: node.set_many(["a"], [])),
    ("bool", InvalidValue, r"amounts\[1\] \(True\)", lambda node: node.increment_many(["a", "b"], [1, True])),
    ("bools", InvalidValue, r"amounts\[0\]", lambda node: node.increment_many(["a"], np.array([True]))),
    ("float", InvalidValue, r"amounts\[0\] \(1.0\)", lambda node: node.increment_many(["a"], np.array([1.0]))),
    ("one float", InvalidValue, "amounts is of type float", lambda node: node.increment_many(["a"], 1.5)),
    ("step", CounterOverflow, r"amounts\[1\]", lambda node: node.increment_many(["a", "b"], [1, MOST + 1])),
    ("u64", CounterOverflow, r"amounts\[0\]", lambda node: node.increment_many(["a"], np.array([MOST + 1], "u8"))),
    ("i64", CounterOverflow, r"amounts\[0\]", lambda node: node.increment_many(["a"], np.array([-MOST - 1]))),
    ("down", NegativeStep, r"amounts\[1\]", lambda node: node.increment_many(["a", "b"], [1, -1], type="gcounter")),
    ("NaN", InvalidValue, r"values\[1\] \(nan\)", lambda node: node.set_many(["a", "b"], [1.0, float("nan")])),
    ("a list", InvalidValue, r"elements\[1\]", lambda node: node.add_many(["a", "b"], ["x", ["y"]])),
    ("text", InvalidValue, r"values\[0\]", lambda node: node.set_many(["a"], ["\ud800"])),
    ("large", ValueTooLarge, r"values\[0\]", lambda node: node.set_many(["a"], ["x" * 2**20])),
    ("element", ValueTooLarge, r"elements\[1\]", lambda node: node.add_many(["a", "b"], ["x", "y" * 65_536])),
    ("type", InvalidValue, "type is 'flag'", lambda node: node.increment_many(["a"], type="flag")),
    ("no type", InvalidValue, "no type 'list'", lambda node: node.read_many(["a"], type="list")),
    ("rows", InvalidValue, "rows is 0", lambda node: node.columns(rows=0)),
]  # fmt: skip


def test_bad_input_is_named_and_changes_nothing(node: Data) -> None:
    counted: Counter[str] = Counter()
    for what, error, text, call in BAD:
        with pytest.raises(error, match=text) as caught:
            call(node)
        assert caught.value.changed == "Nothing was changed.", what
        counted[caught.value.counter] += 1
        assert node.status()["counters"][caught.value.counter] == counted[caught.value.counter], what
    assert (node.clock(), list(node.keys())) == ({}, [])


def test_a_full_counter_leaves_nothing(node: Data) -> None:
    node.increment_many(["full"], MOST)
    before = (node.clock(), node.digest())
    with pytest.raises(CounterOverflow):
        node.increment_many(["new", "full", "other"])
    with pytest.raises(CounterOverflow):
        node.increment_many(["new", "new"], MOST)
    assert (node.clock(), node.digest(), list(node.keys())) == (*before, ["full"])


def test_too_much_for_a_batch_is_refused_whole(open_data: Callable[..., Data]) -> None:
    node = open_data(
        cluster=crdtsync.ClusterSettings(batch_bytes_max=65_536, value_bytes_max=1024, part_bytes_max=131_072)
    )
    keys = [f"key:{number:06}" for number in range(5000)]
    for write in (
        lambda some: node.increment_many(some),
        lambda some: node.set_many(some, some),
        lambda some: node.add_many(some, [key * 20 for key in some]),
    ):
        with pytest.raises(BatchTooLarge, match="at a time") as caught:
            write(keys)
        told = re.search(r"Write some ([\d,]+) at a time\.", caught.value.hint)
        assert told is not None
        step = int(told[1].replace(",", ""))
        assert 100 < step < 2000
        assert sum(node.clock().values()) % len(keys) == 0, "nothing is left of it"
        for at in range(0, len(keys), step):
            write(keys[at : at + step])
    assert int(node.read_many(keys).sum()) == len(keys)
    assert node.read_many(keys, type="lwwregister").tolist() == keys


def test_a_sum_of_two_nodes_that_does_not_fit_is_refused_and_counted(tmp_path: Path) -> None:
    async def main(address: str) -> None:
        async with crdtsync.aio.connect(address) as client:
            with pytest.raises(CounterOverflow, match=r"'full', keys\[1\]"):
                await client.read_many(["a", "full"])
            assert client.status()["counters"]["counter_overflow"] == 1

    for number in range(2):  # each start of a store that has left its directory once writes as an actor of its own
        with crdtsync.open(tmp_path / "d") as node:
            node.increment_many(["full"], MOST)
            node.backup(tmp_path / f"{number}.backup")
    with crdtsync.open(tmp_path / "d") as node, crdtsync.serve(node, stop_grace=0.1) as server:
        with crdtsync.connect(server.address) as client:
            assert client.pncounter("full").value == 2 * MOST
            for data in (node, client):
                with pytest.raises(CounterOverflow, match=r"'full', keys\[1\]"):
                    data.read_many(["a", "full"])
                assert data.status()["counters"]["counter_overflow"] == 1
        asyncio.run(main(server.address))


def test_scanning_columns(node: Data) -> None:
    keys = [f"k:{number:03}" for number in range(250)]
    node.increment_many(keys[::-1], np.arange(250)[::-1])
    node.set_many(["k:010", "z"], ["text", 3])
    node.flag("k:001").enable()
    pages = list(node.columns("k:", rows=100))
    assert [len(page.keys) for page in pages] == [100, 100, 49], "a step of 0 made no counter"
    assert [key for page in pages for key in page.keys.tolist()] == keys[1:]
    assert np.concatenate([page.values for page in pages]).tolist() == list(range(1, 250))
    [page] = node.columns(type="lwwregister")
    assert (page.keys.tolist(), page.values.tolist()) == (["k:010", "z"], ["text", 3])
    assert list(node.columns("none")) == []
    node.increment_many(page.keys, 9)
    assert node.pncounter("z").value == 9, "what a scan gives is what a call takes"


def test_buckets_are_apart(node: Data) -> None:
    node.bucket("b").increment_many(["a"], 3)
    assert node.read_many(["a"]).tolist() == [0]
    assert node.bucket("b").read_many(["a"]).tolist() == [3]
    assert list(node.bucket("none").columns()) == []


def type_name(value: Any) -> str:
    return type(value).__name__


# ---- the same as single writes

NAMES = st.sampled_from(["a", "b", "b\x01", "c" * 255, "ü"])
STEPS = st.integers(-3, 3) | st.sampled_from([2**40, -MOST])
ELEMENTS = st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats(allow_nan=False) | st.text(max_size=40)
WRITES = st.one_of(
    st.tuples(st.just("increment"), st.just("pncounter"), st.lists(st.tuples(NAMES, STEPS), max_size=8)),
    st.tuples(st.just("increment"), st.just("gcounter"), st.lists(st.tuples(NAMES, st.integers(0, 9)), max_size=8)),
    st.tuples(st.just("add"), st.sampled_from(["orset", "gset"]), st.lists(st.tuples(NAMES, ELEMENTS), max_size=8)),
    st.tuples(st.just("set"), st.sampled_from(["lwwregister", "mvregister"]),
              st.lists(st.tuples(NAMES, ELEMENTS), max_size=8)),
)  # fmt: skip


def in_bulk(node: Any, verb: str, type: str, rows: list[tuple[str, Any]]) -> None:
    getattr(node, f"{verb}_many")([key for key, _ in rows], [entry for _, entry in rows], type=type)


def one_by_one(node: Any, verb: str, type: str, rows: list[tuple[str, Any]]) -> None:
    with node.batch():
        for key, entry in rows:
            getattr(getattr(node, type)(key), verb)(entry)


def carried_out(call: Callable[..., None], *args: Any) -> str:
    try:
        call(*args)
    except CrdtsyncError as error:
        return type(error).__name__
    return ""


@given(writes=st.lists(WRITES, max_size=6))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equal_to_the_same_writes_one_by_one(writes: list[Any]) -> None:
    with crdtsync.open(None) as bulk, crdtsync.open(None) as single:
        for verb, type, rows in writes:
            ended = carried_out(in_bulk, bulk, verb, type, rows)
            assert carried_out(one_by_one, single, verb, type, rows) == ended
        assert list(bulk.items()) == list(single.items())
        assert bulk.clock() == single.clock()
        for _, type, rows in writes:
            items = {item.key: item.value for item in single.items() if item.type == type}
            keys = [key for key, _ in rows if key in items]
            assert bulk.read_many(keys, type=type).tolist() == [items[key] for key in keys]
            found = [(page.keys.tolist(), page.values.tolist()) for page in bulk.columns(type=type, rows=2)]
            assert {key: value for page in found for key, value in zip(*page, strict=True)} == items
            assert all(len(page[0]) == 2 for page in found[:-1])
        if not any(type == "lwwregister" for _, type, _ in writes):  # their stamps are of two moments
            assert dict(rows_of(bulk)) == dict(rows_of(single))


def rows_of(node: Node) -> list[tuple[bytes, bytes]]:
    bucket = node._store.bucket("default")
    return [] if bucket is None else list(bucket.all_rows())
