"""Canonical values: equal bytes exactly for equal type and content, and nothing else gets in."""

from __future__ import annotations

import enum
import math
import random
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal, localcontext
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.datatypes import values
from crdtsync.errors import InvalidValue, ValueTooLarge

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
zones = st.none() | st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**200), max_value=2**200)
    | st.floats(allow_nan=False)
    | text
    | st.binary(max_size=20)
    | st.datetimes(timezones=zones)
    | st.decimals(allow_nan=False)
    | st.uuids()
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(text, inner, max_size=4)
    ),
    max_leaves=12,
)


def exact(value: Any) -> Any:
    """A stand-in that is equal exactly when type and content are."""
    if isinstance(value, list | tuple):
        return (type(value), [exact(item) for item in value])
    if isinstance(value, dict):
        return (dict, sorted((key, exact(item)) for key, item in value.items()))
    if isinstance(value, datetime):
        return (datetime, value.replace(tzinfo=None, fold=0), value.utcoffset())
    if isinstance(value, Decimal):
        return (Decimal, value.as_tuple())
    if isinstance(value, float):
        return (float, value + 0.0)
    return (type(value), value)


@settings(max_examples=300, deadline=None)
@given(anything)
def test_a_value_comes_back_exactly(value: Any) -> None:
    packed = values.encode(value)
    assert exact(values.decode(packed)) == exact(value)
    assert exact(values.load(packed)) == exact(value)


@settings(max_examples=300, deadline=None)
@given(anything, anything)
def test_equal_values_and_only_they_have_equal_bytes(one: Any, other: Any) -> None:
    assert (values.encode(one) == values.encode(other)) == (repr(exact(one)) == repr(exact(other)))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_bytes_that_decode_are_canonical(data: bytes) -> None:
    try:
        value = values.decode(data)
    except ValueError:
        return
    assert values.encode(value) == data


def test_mutated_values_are_refused_or_canonical() -> None:
    rng = random.Random(7)
    seeds = [
        values.encode(v) for v in (("a", 1, b"x"), Decimal("1.50"), 2**90, {"a": [1.5, None]}, datetime(2026, 1, 2))
    ]
    for _ in range(20_000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            value = values.decode(bytes(data))
        except ValueError:
            continue
        assert values.encode(value) == bytes(data)


ALL_DIFFERENT = [
    1,
    1.0,
    True,
    0,
    0.0,
    False,
    None,
    "",
    b"",
    [],
    (),
    {},
    "1",
    b"1",
    [1],
    (1,),
    {"1": 1},
    Decimal(1),
    Decimal("1.0"),
    Decimal("-0"),
    Decimal(0),
    Decimal("Infinity"),
    Decimal("-Infinity"),
    math.inf,
    -math.inf,
    "caf\u00e9",
    "cafe\u0301",
    datetime(2026, 1, 1),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    UUID(int=5),
    UUID(int=5).bytes,
    str(UUID(int=5)),
    2**63,
    2**64 - 1,
    2**64,
    -(2**63),
    -(2**63) - 1,
    10**300,
    ((),),
    [[]],
]


def test_twins_are_told_apart() -> None:
    packed = [values.encode(value) for value in ALL_DIFFERENT]
    assert len(set(packed)) == len(ALL_DIFFERENT)


def test_minus_zero_dict_order_and_fold_do_not_matter() -> None:
    assert values.encode(-0.0) == values.encode(0.0)
    assert values.encode({"a": 1, "b": 2, "\U0001f600": 0, "\uffff": 0}) == values.encode(
        {"\uffff": 0, "\U0001f600": 0, "b": 2, "a": 1}
    )
    assert values.encode(datetime(2026, 1, 1, fold=1)) == values.encode(datetime(2026, 1, 1))


def test_a_decimal_does_not_depend_on_the_callers_context() -> None:
    value = Decimal("123456789012345678901234567890.50E+7")
    plain = values.encode(value)
    with localcontext() as context:
        context.prec, context.capitals, context.Emax = 2, 0, 5
        assert values.encode(value) == plain
        assert values.load(plain).as_tuple() == value.as_tuple()


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Names(dict[str, int]):
    pass


class BrokenZone(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta:
        raise RuntimeError("no idea")


REFUSED = [
    math.nan,
    Decimal("NaN"),
    Decimal("sNaN"),
    Colour.RED,
    Level.LOW,
    Names(),
    {1: 2},
    {Colour.RED: 1},
    {1},
    frozenset(),
    bytearray(b"x"),
    memoryview(b"x"),
    date(2026, 1, 1),
    timedelta(1),
    object(),
    1j,
    range(3),
    "\ud800",
    ["\udfff"],
    {"\ud800": 1},
    datetime(2026, 1, 1, tzinfo=BrokenZone()),
    [math.nan],
    (object(),),
    Ellipsis,
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: f"{type(value).__name__}")
def test_what_cannot_be_stored_is_a_type_error(value: Any) -> None:
    with pytest.raises(InvalidValue):
        values.encode(value)


def test_numpy_scalars_are_refused_with_their_full_name() -> None:
    numpy = pytest.importorskip("numpy")
    for value in (numpy.float64(1.5), numpy.int64(1), numpy.str_("a"), numpy.bool_(True)):
        with pytest.raises(InvalidValue, match="numpy"):
            values.encode(value)


def test_depth_is_bounded_and_a_cycle_is_too_deep() -> None:
    def nest(depth: int) -> list[Any]:
        value: list[Any] = []
        for _ in range(depth - 1):
            value = [value]
        return value

    assert values.decode(values.encode(nest(16))) == nest(16)
    with pytest.raises(InvalidValue):
        values.encode(nest(17))
    loop: list[Any] = []
    loop.append(loop)
    circle: dict[str, Any] = {}
    circle["again"] = (circle,)
    for value in (loop, circle):
        with pytest.raises(InvalidValue):
            values.encode(value)
    with pytest.raises(InvalidValue):
        deep: Any = ()
        for _ in range(200_000):
            deep = (deep,)
        values.encode_element(deep)


def test_size_is_bounded_also_for_values_that_share_their_parts() -> None:
    assert len(values.encode("x" * 95, bytes_max=97)) == 97
    for value in ("x" * 96, b"x" * 96, ["x" * 96], {"x" * 96: 1}, 1 << 800, Decimal(10**100), list(range(100))):
        with pytest.raises(ValueTooLarge):
            values.encode(value, bytes_max=97)
    many: list[Any] = [0] * 10
    for _ in range(14):
        many = [many] * 10
    with pytest.raises(ValueTooLarge):
        values.encode(many)


def test_elements_are_hashable() -> None:
    for value in ([1], {"a": 1}, (1, [2])):
        with pytest.raises(InvalidValue):
            values.encode_element(value)
        with pytest.raises(ValueError, match="set element"):
            values.decode_element(values.encode(value))
    assert values.decode_element(values.encode_element((1, ("a", None)))) == (1, ("a", None))


NOT_CANONICAL = [
    b"",
    b"\xc1",
    b"\xcc\x01",
    b"\xd9\x01a",
    b"\x82\xa1b\x01\xa1a\x01",
    b"\x82\xa1a\x01\xa1a\x01",
    b"\x81\x01\x01",
    b"\xca\x00\x00\x00\x00",
    b"\xcb\x80" + bytes(7),
    b"\xcb\x7f\xf8" + bytes(6),
    b"\x01\x01",
    b"\xa1\xff",
    b"\x91" * 100_000,
    b"\xd6\xff\x00\x00\x00\x01",
    b"\xd4\x07\x00",
    b"\xd4\x01\x05",
    b"\xc7\x09\x01" + bytes(9),
    b"\xd4\x02\x01",
    b"\xd6\x03" + bytes(4),
    b"\xd8\x04" + b"\x7f" * 16,
    b"\xc7\x03\x0501E",
    b"\xc7\x04\x0501E0",
    b"\xc7\x04\x05\xd9\xa0E0",
    b"\xdd\xff\xff\xff\xff",
    b"\xc7\x08\x05Infinite",
    b"\xc7\x19\x05" + b"1E" + b"9" * 23,
]


@pytest.mark.parametrize("data", NOT_CANONICAL, ids=lambda data: data[:8].hex())
def test_bytes_that_encode_would_not_make_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        values.decode(data)
