"""Bad calls: keys, values, names, steps, depth, batches, tokens (list (d), items 1, 2 and 4)."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import crdtsync
from crdtsync import Node
from crdtsync.clocks.hybrid import STAMP_LAST
from crdtsync.clocks.tokens import make_token
from crdtsync.config import MIB
from crdtsync.errors import (
    BatchMisuse,
    BatchTooLarge,
    ConfigError,
    CounterOverflow,
    CrdtsyncError,
    FieldTypeError,
    InsecureAddress,
    InvalidKey,
    InvalidToken,
    InvalidValue,
    MembershipMisuse,
    Misuse,
    NegativeStep,
    ValueTooLarge,
)
from tests.hostile.watch import refusal

STEP_MAX = 2**63 - 1


class Colour(enum.StrEnum):
    RED = "red"


class Whole(int):
    pass


class Zone(datetime.tzinfo):
    def utcoffset(self, when: datetime.datetime | None) -> datetime.timedelta:
        raise RuntimeError("no idea")


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def wide() -> Any:
    """Small in memory, 4^16 items when written out."""
    value: Any = 1
    for _ in range(16):
        value = [value] * 4
    return value


def deep_map(node: Node, depth: int) -> Any:
    place = node.map("m")
    for number in range(depth):
        place = place.map(str(number))
    return place


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with crdtsync.open(None) as node:
        node.orset("s").add("x")
        node.gcounter("g").increment(STEP_MAX)
        node.pncounter("p").increment(STEP_MAX)
        node.map("m").lwwregister("f").set(1)
        node.map("m").map("n").flag("deep").enable()
        node.lwwregister("r").set("x")
        yield node


Call = Callable[[Node], Any]
Case = tuple[str, type[CrdtsyncError], Call]

BAD_NAMES: list[tuple[str, Any]] = [
    ("empty", ""),
    ("256 bytes", "x" * 256),
    ("512 bytes", "x" * 512),
    ("64 KiB", "x" * 65_536),
    ("86 characters of 3 bytes", "\u20ac" * 86),
    ("NUL", "a\0b"),
    ("lone surrogate", "a\ud800"),
    ("bytes", b"key"),
    ("int", 7),
    ("None", None),
    ("str subclass", Colour.RED),
]

NAMES: list[Case] = [
    *((f"key: {what}", InvalidKey, lambda n, k=k: n.orset(k)) for what, k in BAD_NAMES),
    *((f"field: {what}", InvalidKey, lambda n, k=k: n.map("m").flag(k)) for what, k in BAD_NAMES if k != ""),
    *((f"bucket: {what}", InvalidKey, lambda n, k=k: n.bucket(k)) for what, k in [*BAD_NAMES, ("65 bytes", "b" * 65)]
      if what != "str subclass"),
    *((f"delete: {what}", InvalidKey, lambda n, k=k: n.delete(k)) for what, k in BAD_NAMES),
    *((f"prefix: {what}", InvalidKey, lambda n, k=k: n.keys(k)) for what, k in BAD_NAMES if k != ""),
    ("items of a bad prefix", InvalidKey, lambda n: n.items("\0")),
    ("watch of a bad prefix", InvalidKey, lambda n: n.watch("\0")),
    ("watch of a bad bucket", InvalidKey, lambda n: n.watch(bucket="b" * 65)),
    ("delete of an unknown type", InvalidValue, lambda n: n.delete("s", "blob")),
    ("remove of a bad field", InvalidKey, lambda n: n.map("m").remove("\0")),
    ("a bad field asked for", InvalidKey, lambda n: "\0" in n.map("m")),
    ("a map deeper than the bound", InvalidKey, lambda n: deep_map(n, 17)),
]  # fmt: skip

BAD_VALUES: list[tuple[str, type[CrdtsyncError], Any]] = [
    ("NaN", InvalidValue, math.nan),
    ("NaN inside", InvalidValue, {"a": [1, math.nan]}),
    ("Decimal NaN", InvalidValue, decimal.Decimal("nan")),
    ("Decimal sNaN", InvalidValue, decimal.Decimal("snan")),
    ("an object", InvalidValue, object()),
    ("a function", InvalidValue, print),
    ("a set", InvalidValue, {1}),
    ("a date", InvalidValue, datetime.date(2026, 1, 1)),
    ("a time zone that raises", InvalidValue, datetime.datetime(2026, 1, 1, tzinfo=Zone())),
    ("a str enum", InvalidValue, Colour.RED),
    ("an int subclass", InvalidValue, Whole(1)),
    ("a bytearray", InvalidValue, bytearray(b"x")),
    ("complex", InvalidValue, 1j),
    ("a lone surrogate", InvalidValue, "\udfff"),
    ("a lone surrogate inside", InvalidValue, ["\udfff"]),
    ("a lone surrogate as dict key", InvalidValue, {"\udfff": 1}),
    ("int keys", InvalidValue, {1: 2}),
    ("one level too deep", InvalidValue, nested(17)),
    ("100000 levels", InvalidValue, nested(100_000)),
    ("itself", InvalidValue, cyclic()),
    ("1 MiB of text", ValueTooLarge, "x" * MIB),
    ("1 MiB of bytes", ValueTooLarge, b"x" * MIB),
    ("1 MiB inside", ValueTooLarge, [b"x" * MIB]),
    ("an int of 1 MiB", ValueTooLarge, 1 << 8 * MIB),
]

VALUES: list[Case] = [
    ("register: 4^16 items", ValueTooLarge, lambda n: n.lwwregister("r").set(wide())),
    *((f"register: {what}", error, lambda n, v=v: n.lwwregister("r").set(v)) for what, error, v in BAD_VALUES),
    *((f"values: {what}", error, lambda n, v=v: n.mvregister("v").set(v)) for what, error, v in BAD_VALUES),
    *((f"element: {what}", error, lambda n, v=v: n.orset("s").add(v)) for what, error, v in BAD_VALUES),
    ("element: a list", InvalidValue, lambda n: n.orset("s").add([1])),
    ("element: a dict in a tuple", InvalidValue, lambda n: n.gset("t").add(({},))),
    ("element: over 64 KiB", ValueTooLarge, lambda n: n.orset("s").add("x" * 65_536)),
    ("element asked for", InvalidValue, lambda n: [1] in n.orset("s")),
    ("one bad element of many", InvalidValue, lambda n: n.orset("s").update([1, 2, math.nan])),
    ("resolve with a bad value", InvalidValue, lambda n: n.mvregister("v").resolve(math.nan)),
    ("discard of a bad element", InvalidValue, lambda n: n.orset("s").discard([1])),
]

BAD_STEPS: list[tuple[str, type[CrdtsyncError], Any]] = [
    ("2^63", CounterOverflow, 2**63),
    ("2^64", CounterOverflow, 2**64),
    ("10^400", CounterOverflow, 10**400),
    ("True", InvalidValue, True),
    ("1.0", InvalidValue, 1.0),
    ("NaN", InvalidValue, math.nan),
    ("text", InvalidValue, "1"),
    ("None", InvalidValue, None),
    ("Decimal", InvalidValue, decimal.Decimal(1)),
]

COUNTERS: list[Case] = [
    *((f"gcounter: {what}", error, lambda n, v=v: n.gcounter("g2").increment(v)) for what, error, v in BAD_STEPS),
    *((f"pncounter: {what}", error, lambda n, v=v: n.pncounter("p2").increment(v)) for what, error, v in BAD_STEPS),
    *((f"decrement: {what}", error, lambda n, v=v: n.pncounter("p2").decrement(v)) for what, error, v in BAD_STEPS),
    ("gcounter: -1", NegativeStep, lambda n: n.gcounter("g2").increment(-1)),
    ("gcounter: -2^63", CounterOverflow, lambda n: n.gcounter("g2").increment(-(2**63))),
    ("pncounter: -2^63", CounterOverflow, lambda n: n.pncounter("p2").increment(-(2**63))),
    ("decrement: -2^63", CounterOverflow, lambda n: n.pncounter("p2").decrement(-(2**63))),
    ("a full gcounter", CounterOverflow, lambda n: n.gcounter("g").increment()),
    ("a full pncounter", CounterOverflow, lambda n: n.pncounter("p").increment()),
    ("a full pncounter goes down twice", CounterOverflow, lambda n: twice_down(n)),
]


def twice_down(node: Node) -> None:
    with node.batch():
        node.pncounter("p").decrement(STEP_MAX)
        node.pncounter("p").decrement()


def in_batch(*calls: Call) -> Call:
    def run(node: Node) -> None:
        with node.batch():
            for call in calls:
                call(node)

    return run


def enter_twice(node: Node) -> None:
    scope = node.batch()
    with scope:
        pass
    with scope:
        pass


FIELDS_AND_BATCHES: list[Case] = [
    ("a field of another type", FieldTypeError, lambda n: n.map("m").orset("f").add(1)),
    ("a map where a register is", FieldTypeError, lambda n: n.map("m").map("f").flag("x").enable()),
    ("a register where a map is", FieldTypeError, lambda n: n.map("m").lwwregister("n").set(1)),
    ("two types in one batch", FieldTypeError, in_batch(
        lambda n: n.flag("before").enable(), lambda n: n.map("m").flag("new").enable(),
        lambda n: n.map("m").gset("new").add(1))),
    ("a bad last operation", CounterOverflow, in_batch(
        lambda n: n.flag("before").enable(), lambda n: n.gcounter("g").increment())),
    ("two buckets", BatchMisuse, in_batch(
        lambda n: n.flag("x").enable(), lambda n: n.bucket("other").flag("x").enable())),
    ("a batch of another bucket inside", BatchMisuse, in_batch(
        lambda n: n.flag("x").enable(), lambda n: n.bucket("other").batch().__enter__())),
    ("entered twice", BatchMisuse, enter_twice),
    ("over 4 MiB of values", BatchTooLarge, in_batch(
        *(lambda n, k=k: n.lwwregister(f"big{k}").set(b"x" * (MIB - 16)) for k in range(5)))),
    ("100000 fields of one map", BatchTooLarge, in_batch(
        lambda n: [n.map("many").flag(f"field {k:06}").enable() for k in range(100_000)])),
    ("an update over 4 MiB", BatchTooLarge, lambda n: n.gset("t").update(f"{k:01000}" for k in range(5000))),
]  # fmt: skip


def own_token(node: Node) -> str:
    return node.token()


def wait(node: Node, token: Any) -> None:
    node.wait_for(token, timeout=0)


TOKENS: list[Case] = [
    ("not a token", InvalidToken, lambda n: wait(n, "hello")),
    ("empty", InvalidToken, lambda n: wait(n, "")),
    ("bytes", InvalidToken, lambda n: wait(n, b"c1.")),
    ("None", InvalidToken, lambda n: wait(n, None)),
    ("another version", InvalidToken, lambda n: wait(n, "c9" + own_token(n)[2:])),
    ("not ASCII", InvalidToken, lambda n: wait(n, own_token(n) + "\u00e9")),
    ("padded", InvalidToken, lambda n: wait(n, own_token(n) + "=")),
    ("17 MiB", InvalidToken, lambda n: wait(n, "c1." + "A" * (17 * MIB))),
    ("another cluster", InvalidToken, lambda n: wait(n, make_token(12345, {}))),
    ("another node", InvalidToken, lambda n: wait(n, make_token("other", {}))),
    ("seq 0", InvalidToken, lambda n: wait(n, make_token(n.name, {"default": {1: 0}}))),
    ("seq -1", InvalidToken, lambda n: wait(n, make_token(n.name, {"default": {1: -1}}))),
    ("actor -1", InvalidToken, lambda n: wait(n, make_token(n.name, {"default": {-1: 1}}))),
    ("watch after no token", InvalidToken, lambda n: n.watch(after="hello")),
    *((f"cut at {at}", InvalidToken, lambda n, at=at: wait(n, own_token(n)[:at])) for at in range(0, 20, 3)),
    ("one character altered", InvalidToken, lambda n: wait(n, own_token(n)[:-2] + "__")),
]

MEMBERSHIP: list[Case] = [
    ("leave alone", MembershipMisuse, lambda n: n.leave(timeout=0)),
    ("evict nobody", MembershipMisuse, lambda n: n.evict("nobody")),
    ("evict by a name of 64 KiB", MembershipMisuse, lambda n: n.evict("x" * 65_536)),
    ("evict itself", MembershipMisuse, lambda n: n.evict(n.name, force=True)),
]

CASES = [*NAMES, *VALUES, *COUNTERS, *FIELDS_AND_BATCHES, *TOKENS, *MEMBERSHIP]


@pytest.mark.parametrize(("error", "call"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_bad_call(node: Node, error: type[CrdtsyncError], call: Call) -> None:
    with refusal(node, error("").counter), pytest.raises(error) as raised:
        call(node)
    assert type(raised.value) is error
    assert len(str(raised.value)) < 1000, "an error does not repeat what is too large"


def test_a_refusal_counts_once(node: Node) -> None:
    for error, call in ((InvalidKey, NAMES[0][2]), (BatchTooLarge, FIELDS_AND_BATCHES[-1][2]),
                        (CounterOverflow, COUNTERS[-2][2]), (InvalidToken, TOKENS[0][2])):  # fmt: skip
        name = error("").counter
        before = node.status()["counters"].get(name, 0)
        with pytest.raises(error):
            call(node)
        assert node.status()["counters"][name] == before + 1, name


GOOD_NAMES = ["x" * 255, "a/b", "..", "a\nb", "\u00e9", "e\u0301", " ", "\x7f", "crdtsync", "\U0001f40d" * 63]


def test_strange_but_good_names_are_kept_apart(node: Node) -> None:
    for number, name in enumerate(GOOD_NAMES):
        node.lwwregister(name).set(number)
        node.map("names").lwwregister(name).set(number)
    assert [node.lwwregister(name).value for name in GOOD_NAMES] == list(range(len(GOOD_NAMES)))
    assert node.map("names").value == {name: number for number, name in enumerate(GOOD_NAMES)}
    assert set(GOOD_NAMES) <= set(node.keys())


def test_limits_themselves_are_allowed(node: Node) -> None:
    node.lwwregister("limit").set(b"x" * (MIB - 5))
    node.lwwregister("depth").set(nested(16))
    assert node.lwwregister("depth").value == nested(16)
    deep_map(node, 15).flag("f").enable()
    node.pncounter("limit").decrement(STEP_MAX)
    assert node.pncounter("limit").value == -STEP_MAX
    node.bucket("b" * 64).flag("f").enable()
    values = [0, -1, 2**31, 2**53, 2**63 - 1, 2**64 - 1, -(2**63), math.inf, -math.inf, -0.0]
    node.lwwregister("numbers").set(values)
    assert node.lwwregister("numbers").value == values


def test_many_tiny_fields_in_one_map(tmp_path: Any) -> None:
    with crdtsync.open(tmp_path / "a") as node:
        for first in range(0, 10_000, 5_000):
            with node.batch():
                for number in range(first, first + 5_000):
                    node.map("many").flag(str(number)).enable()
        assert node.map("many").value == {str(number): True for number in range(10_000)}


def test_too_many_buckets() -> None:
    with crdtsync.open(None, buckets_max=2) as node:
        node.flag("x").enable()
        node.bucket("b").flag("x").enable()
        with refusal(node, "value_too_large"), pytest.raises(ValueTooLarge):
            node.bucket("c").flag("x").enable()


def test_a_batch_does_not_follow_into_a_thread(node: Node) -> None:
    """What a thread started inside a batch writes is its own; it does not join, or break, the batch."""
    with node.batch():
        node.flag("batched").enable()
        thread = threading.Thread(target=lambda: node.flag("on its own").enable())
        thread.start()
        thread.join()
        assert (node.flag("on its own").value, node.flag("batched").value) == (True, False)
    assert node.flag("batched").value


@pytest.mark.parametrize("ahead", [0, 1, 10**9])
def test_a_local_clock_beyond_all_stamps(ahead: int) -> None:
    with crdtsync.open(None) as node:
        node.lwwregister("r").set("before")
        node.local.store.hybrid._now_ms = lambda: (STAMP_LAST >> 16) + 1 + ahead
        with refusal(node, "clock_exhausted"), pytest.raises(OverflowError):
            node.lwwregister("r").set("after")
        assert node.lwwregister("r").value == "before"


BAD_SETTINGS: list[tuple[str, type[CrdtsyncError], dict[str, Any]]] = [
    ("unknown", ConfigError, {"colour": "red"}),
    ("wrong type", ConfigError, {"heartbeat_interval": "fast"}),
    ("negative", ConfigError, {"heartbeat_interval": -1.0}),
    ("zero", ConfigError, {"pull_interval": 0}),
    ("NaN", ConfigError, {"pull_interval": math.nan}),
    ("infinite", ConfigError, {"pull_interval": math.inf}),
    ("unknown durability", ConfigError, {"durability": "never"}),
    ("batch above part", ConfigError, {"cluster": {"batch_bytes_max": 8 * MIB}}),
    ("value above batch", ConfigError, {"cluster": {"value_bytes_max": 3 * MIB}}),
    ("unknown cluster setting", ConfigError, {"cluster": {"colour": 1}}),
    ("port 65536", ConfigError, {"listen": "127.0.0.1:65536"}),
    ("no port", ConfigError, {"listen": "127.0.0.1"}),
    ("a port that is no number", ConfigError, {"listen": "127.0.0.1:\u0661"}),
    ("negative port", ConfigError, {"listen": "127.0.0.1:-1"}),
    ("all interfaces", InsecureAddress, {"listen": "0.0.0.0:0"}),
    ("a name that may be anywhere", InsecureAddress, {"listen": "example.invalid:1"}),
    ("looks like loopback", InsecureAddress, {"listen": "127.0.0.1.example:1"}),
    ("join without listen", ConfigError, {"join": ["127.0.0.1:1"]}),
    ("join at a public address", InsecureAddress, {"listen": "127.0.0.1:0", "join": ["192.0.2.1:1"]}),
    ("bad name: NUL", Misuse, {"name": "a\0b"}),
    ("bad name: 64 KiB", Misuse, {"name": "x" * 65_536}),
    ("bad name: surrogate", Misuse, {"name": "\ud800"}),
]


@pytest.mark.parametrize(("error", "settings"), [case[1:] for case in BAD_SETTINGS], ids=[c[0] for c in BAD_SETTINGS])
def test_bad_setting(error: type[CrdtsyncError], settings: dict[str, Any], tmp_path: Any) -> None:
    """There is no node to count on; but nothing is left behind either."""
    with pytest.raises(error):
        crdtsync.open(tmp_path / "a", **settings)
    crdtsync.open(tmp_path / "a").close()
