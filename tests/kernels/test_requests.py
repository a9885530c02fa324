"""Requests read, and batches carried out, by the kernels: as protobuf reads them, as verbs do it, and both alike."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.clocks.hybrid import HybridClock
from crdtsync.config import ClusterSettings
from crdtsync.datatypes import values
from crdtsync.datatypes.keys import top
from crdtsync.datatypes.registry import BY_NAME, VERBS
from crdtsync.kernels import IMPLEMENTATION
from crdtsync.pure import requests as pure
from crdtsync.service.operations import NONE, Operations
from crdtsync.service.places import Places
from crdtsync.storage.txn import Txn
from crdtsync.transport.pb import data_pb2 as pb
from tests.laws import implementations, load

MOST, BYTES_MAX = 5, 100
STEPS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=120) | st.binary()


@st.composite
def values_sent(draw: st.DrawFn) -> pb.Value:
    """Values as callers send them, bad ones among them."""
    kind = draw(st.sampled_from(("integer", "text", "packed", "bytes", "binary", "nothing")))
    if kind == "integer":
        return pb.Value(integer=draw(STEPS))
    if kind == "text":
        return pb.Value(text=draw(st.text(max_size=110)))
    if kind == "packed":
        value = draw(SCALARS | st.lists(SCALARS, max_size=2))
        try:
            return pb.Value(packed=values.encode(value))
        except Exception:  # NaN, integers beyond all bounds
            return pb.Value(packed=b"\xcb\x7f\xf8\0\0\0\0\0\0")
    if kind == "bytes":
        return pb.Value(packed=draw(st.binary(max_size=12)))
    return pb.Value(binary=b"x") if kind == "binary" else pb.Value()


@st.composite
def operations_sent(draw: st.DrawFn) -> pb.Operation:
    verb = draw(st.sampled_from(("pncounter.add", "gcounter.increment", "orset.add", "lwwregister.set", "flag.enable",
                                 "orset.update", "map.remove", "delete", "unknown")))  # fmt: skip
    operation = pb.Operation(place=pb.Place(key=draw(st.sampled_from("kKü")), type=verb.partition(".")[0]), verb=verb)
    operation.place.path.extend(draw(st.lists(st.just("f"), max_size=1)))
    if draw(st.booleans()):
        operation.argument.CopyFrom(draw(values_sent()))
    elif draw(st.booleans()):
        operation.arguments.values.extend(draw(st.lists(values_sent(), max_size=2)))
    return operation


@st.composite
def requests_sent(draw: st.DrawFn) -> bytes:
    """Requests as encoders write them, and some with bytes flipped, cut off or added."""
    request = pb.ApplyRequest(
        bucket=draw(st.sampled_from(("", "b"))), operations=draw(st.lists(operations_sent(), max_size=4)),
        request_id=draw(st.sampled_from(("", "id"))), sync=draw(st.booleans()), instance=draw(st.sampled_from((0, 9))),
    )  # fmt: skip
    data = bytearray(request.SerializeToString())
    if data and draw(st.booleans()):
        for place, byte in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=2)):
            data[place] = byte
        data += draw(st.just(b"") | st.binary(max_size=3))
        data = data[: draw(st.integers(0, len(data)))]
    return bytes(data)


def reader(read: Callable[..., Any], heads: dict[bytes, Any]) -> Callable[[bytes], Any]:
    """What a kernel makes of requests, with operations and errors in a form that can be compared."""

    def run(data: bytes) -> Any:
        asked = []

        def other(message: bytes, head: bytes | None) -> Any:
            asked.append((message, head))
            return None if len(message) % 3 == 0 else ("asked", message)

        return read(data, heads, other, MOST, BYTES_MAX), asked

    return run


def heads_of(*operations: tuple[str, str, int]) -> dict[bytes, Any]:
    """Heads of operations on some keys."""
    found = {}
    for name, key, takes in operations:
        message = pb.Operation(place=pb.Place(key=key, type=name.partition(".")[0]), verb=name)
        found[message.SerializeToString()] = name, key, takes
    return found


HEADS = heads_of(
    ("pncounter.add", "k", pure.TAKES_STEP), ("gcounter.increment", "k", pure.TAKES_GROWTH),
    ("orset.add", "k", pure.TAKES_VALUE), ("lwwregister.set", "ü", pure.TAKES_VALUE),
    ("flag.enable", "k", pure.TAKES_NOTHING),
)  # fmt: skip


@pytest.mark.skipif(implementations() == ["pure"], reason="built without a compiler: CRDTSYNC_PURE=1")
@given(data=requests_sent())
@settings(max_examples=200)
def test_both_read_alike(data: bytes) -> None:
    assert reader(load("native").operations_read, HEADS)(data) == reader(pure.operations_read, HEADS)(data)


@given(data=requests_sent() | st.binary(max_size=20))
@settings(max_examples=200)
def test_what_is_read_is_what_protobuf_reads(data: bytes) -> None:
    """With the kernels in use: twice, as the second time the heads are known."""
    cluster = ClusterSettings(value_bytes_max=BYTES_MAX, batch_bytes_max=MOST * 64)
    operations = Operations(cluster, Places(cluster))
    for _ in range(2):
        found = operations.read(data)
        if found is None:
            continue
        rest, made = found
        try:
            others = pb.ApplyRequest.FromString(rest)
        except DecodeError:
            with pytest.raises(DecodeError):
                pb.ApplyRequest.FromString(data)
            continue
        message = pb.ApplyRequest.FromString(data)
        wanted = operations.of(message.operations)
        assert [(v.name, p.prefix, a) for v, p, a in made] == [(v.name, p.prefix, a) for v, p, a in wanted]
        assert all(argument is not NONE for _, _, argument in made)
        del message.operations[:]
        assert others == message


def test_plain_requests_are_read_without_protobuf() -> None:
    """What the client sends is known by heart from the second time on."""
    cluster = ClusterSettings()
    operations = Operations(cluster, Places(cluster))
    sent = [
        pb.Operation(place=pb.Place(key="k", type=verb.partition(".")[0]), verb=verb, argument=argument)
        for verb, argument in (
            ("pncounter.add", pb.Value(integer=-5)), ("gcounter.increment", pb.Value(integer=2**61)),
            ("orset.add", pb.Value(text="é" * 40)), ("lwwregister.set", pb.Value(packed=values.encode(2**40))),
            ("mvregister.set", pb.Value(packed=values.encode("x" * 70_000))), ("flag.enable", None),
        )
    ]  # fmt: skip
    data = pb.ApplyRequest(operations=sent, request_id="id", instance=7).SerializeToString()
    first = operations.read(data)
    assert first is not None
    operations._other = None  # type: ignore[method-assign, assignment]  # nobody is asked
    assert operations.read(data) == first
    assert [argument for _, _, argument in first[1]] == [
        -5, 2**61, values.encode("é" * 40), values.encode(2**40), values.encode("x" * 70_000), None,
    ]  # fmt: skip


def test_heads_are_forgotten_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crdtsync.service.operations.KEPT_MAX", 3)
    cluster = ClusterSettings()
    operations = Operations(cluster, Places(cluster))
    for number in range(10):
        place = pb.Place(key=f"k{number}", type="flag")
        data = pb.ApplyRequest(operations=[pb.Operation(place=place, verb="flag.enable")]).SerializeToString()
        assert operations.read(data) is not None
        assert len(operations._heads) <= 3


# -- carrying out

ARGUMENTS: dict[str, st.SearchStrategy[Any]] = {
    "pncounter.add": st.integers(-5, 5).filter(bool) | st.just(2**63 - 1), "gcounter.increment": st.integers(1, 5),
    "orset.add": st.sampled_from((b"\xa1x", b"\xa1y", b"\xc5\xff\xff" + b"x" * 65_535)), "gset.add": st.just(b"\xa1x"),
    "orset.clear": st.none(), "orset.discard": st.just(b"\xa1x"), "lwwregister.set": st.just(b"\xa1x"),
    "mvregister.set": st.just(b"\xa1x"), "flag.enable": st.none(), "flag.disable": st.none(),
}  # fmt: skip
DONE = st.sampled_from(sorted(ARGUMENTS)).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from("ab"), ARGUMENTS[name])
)


class EmptyBucket:
    """What a transaction asks of a bucket."""

    def __init__(self) -> None:
        self.clock, self.stamp_floor, self.active = {3: 7}, 5, SimpleNamespace(rows={})

    def below(self, rowkey: bytes) -> bytes | None:
        return None

    def scan(self, prefix: bytes, after: bytes, limit: int) -> list[Any]:
        return []


def state_after(operations: list[tuple[str, str, Any]], run: Callable[..., int]) -> Any:
    """What a transaction holds, or how it was refused, when verbs that the kernel leaves go their own way."""
    made = [
        (VERBS[name], top(key, BY_NAME[name.partition(".")[0]].code), argument) for name, key, argument in operations
    ]
    bucket: Any = EmptyBucket()
    txn = Txn(bucket, 3, HybridClock(lambda: 1000))
    number, ways = run(txn, made, 0), 0
    try:
        while number < len(made):
            verb, place, argument = made[number]
            verb.run(txn, place, argument)
            ways += 1
            number = run(txn, made, number + 1)
    except Exception as error:
        return type(error), str(error)
    txn.check()
    return txn.rows, txn.before, txn.keys, txn.next


@pytest.mark.parametrize("name", sorted({"pure", IMPLEMENTATION}))  # places are those of the kernels in use
@given(operations=st.lists(DONE, max_size=12))
@settings(max_examples=200)
def test_a_batch_is_carried_out_as_its_verbs_do(name: str, operations: list[tuple[str, str, Any]]) -> None:
    run = pure.operations_run if name == "pure" else load("native").operations_run
    assert state_after(operations, run) == state_after(operations, lambda txn, made, first: first)


@pytest.mark.skipif(IMPLEMENTATION == "pure", reason="a matter of the compiled kernels")
def test_single_rows_take_the_short_way() -> None:
    short = [("pncounter.add", "a", 2), ("orset.add", "a", b"\xa1x"), ("lwwregister.set", "a", b"\xa1x"),
             ("mvregister.set", "a", b"\xa1x"), ("flag.enable", "a", None), ("gcounter.increment", "b", 1)]  # fmt: skip
    run, left = load("native").operations_run, []

    def noted(txn: Any, made: list[Any], first: int) -> int:
        left.append(run(txn, made, first))
        return left[-1]

    state_after(short, noted)
    assert left == [len(short)]
