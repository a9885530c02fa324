"""The compiled kernels and the plain ones are equal: byte for byte, and error for error, on bytes good and bad."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.datatypes.values import encode, encode_element
from crdtsync.errors import InvalidValue, ValueTooLarge
from tests.kernels.histories import IDS, KINDS, History, Step, steps
from tests.laws import KERNELS, implementations, load, outcome

pytestmark = pytest.mark.skipif(implementations() == ["pure"], reason="built without a compiler: CRDTSYNC_PURE=1")
PURE = load("pure")
READERS = [name for name in KERNELS if name.startswith("row_") and name not in ("row_join", "row_mend", "row_conflict")]
CLOCKS = st.dictionaries(st.integers(0, 6), st.integers(1, 8) | st.just(2**64 - 1), max_size=5)


@pytest.fixture(scope="module")
def native() -> Any:
    return load("native")


def same(native: Any, name: str, *args: Any) -> Any:
    """The result of one kernel, after both have been seen to give it."""
    plain, compiled = outcome(getattr(PURE, name), *args), outcome(getattr(native, name), *args)
    assert plain == compiled, (name, args)
    return plain[1]


@st.composite
def images(draw: st.DrawFn, kind: int | None = None) -> bytes:
    """An image that some history reaches."""
    kind = draw(st.sampled_from(KINDS)) if kind is None else kind
    history = History(PURE, kind).play([("write", 0, 0, 1), *draw(steps(12))])
    return draw(st.sampled_from([image for states in history.states.values() for image in states]))


@st.composite
def mutated(draw: st.DrawFn, good: st.SearchStrategy[bytes]) -> bytes:
    """Good bytes with some flipped, cut off or added."""
    data = bytearray(draw(good))
    for place, byte in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=3)):
        data[place] = byte
    cut = draw(st.none() | st.integers(0, len(data)))
    return bytes(data[:cut]) + draw(st.just(b"") | st.binary(max_size=3))


def check_all(native: Any, x: bytes, y: bytes, clock: dict[int, int]) -> None:
    """Every kernel that reads images, on two of them."""
    for name in READERS:
        same(native, name, *((x, clock) if name == "row_covered" else (x,)))
    same(native, "row_join", None, x, clock, IDS)
    same(native, "row_join", x, y, clock, IDS)
    same(native, "rows_join", [x, None, y], [y, y, x], clock, IDS)
    same(native, "row_mend", x, y, IDS)
    same(native, "row_conflict", x, y)
    same(native, "rows_merge", [b"1", b"2", b"3"], [x, None, y], [y, y, x], clock, IDS, 5)
    rows = [(b"k\0p\0\0\0\1", x), (b"k\0x", y)]
    same(native, "rows_digest", rows)
    same(native, "rows_actors", rows)
    same(native, "rows_beyond", rows, clock)
    same(native, "rows_newer", rows, clock)
    same(native, "rows_pack", rows, {actor: 6 - actor for actor in range(7)})
    same(native, "rows_remap", rows, [200, 3, 2, 1, 0])
    for name, args in (
        ("presence_add", (3, 900)), ("presence_remove", (0, 900)), ("values_set", (1, 900, b"v")),
        ("values_set", (3, 2, None)), ("latest_set", (2, 900, 2**64 - 1, b"", 2**63)), ("latest_set", (0, 2, 5, None)),
        ("cell_add", (0, 900, 2**63 - 1, 1)), ("cell_add", (1, 2, 3, 2**62)), ("cell_reset", (2, 900)),
    ):  # fmt: skip
        same(native, name, x, *args)


@given(x=images(), y=images(), clock=CLOCKS)
@settings(max_examples=300, deadline=None)
def test_equal_on_reached_states(native: Any, x: bytes, y: bytes, clock: dict[int, int]) -> None:
    check_all(native, x, y, clock)


@given(x=mutated(images()), y=images() | mutated(images()), clock=CLOCKS)
@settings(max_examples=500, deadline=None)
def test_equal_on_mutated_bytes(native: Any, x: bytes, y: bytes, clock: dict[int, int]) -> None:
    check_all(native, x, y, clock)
    check_all(native, y, x, clock)


@given(x=st.binary(max_size=30), y=images())
@settings(max_examples=300, deadline=None)
def test_equal_on_any_bytes(native: Any, x: bytes, y: bytes) -> None:
    for kind in range(4):
        check_all(native, bytes((kind,)) + x, y, {0: 3})


@given(x=images(), clock=CLOCKS)
@settings(max_examples=40, deadline=None)
def test_equal_when_cut_at_every_byte(native: Any, x: bytes, clock: dict[int, int]) -> None:
    for cut in range(len(x)):
        check_all(native, x[:cut], x, clock)


@given(data=st.binary(max_size=12), offset=st.integers(-2, 14))
@settings(max_examples=500, deadline=None)
def test_equal_on_varints(native: Any, data: bytes, offset: int) -> None:
    same(native, "varint_decode", data, offset)
    same(native, "varint_decode", bytes(byte | 0x80 for byte in data), offset)


@given(value=st.integers(0, 2**64 - 1))
def test_equal_varints(native: Any, value: int) -> None:
    same(native, "varint_encode", value)


@given(x=CLOCKS, y=CLOCKS | st.dictionaries(st.integers(-1, 2**64), st.integers(-1, 2**64), max_size=5))
def test_equal_vectors(native: Any, x: dict[int, int], y: dict[int, int]) -> None:
    for name in ("vector_join", "vector_covers", "vector_missing"):
        for one, other in ((x, y), (y, x), (x, x), (x, dict(x))):
            found = same(native, name, one, other)
            assert not isinstance(found, dict) or list(found) == list(getattr(PURE, name)(one, other))


NAMES = st.text(st.characters(exclude_categories=()) | st.sampled_from("a\0\ud800\u00e9"), max_size=9)


@given(name=NAMES | st.binary(max_size=3) | st.none(), code=st.binary(max_size=2), most=st.integers(0, 12))
def test_equal_on_names(native: Any, name: Any, code: bytes, most: int) -> None:
    same(native, "name_prefix", name, code, most)


VALUES = (
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.binary(max_size=300) | NAMES
    | st.text(max_size=300) | st.lists(st.integers(), max_size=2) | st.integers(0, 66).map(lambda bits: -(2**bits) - 1)
)  # fmt: skip


@given(value=VALUES, most=st.integers(0, 400))
@settings(max_examples=500, deadline=None)
def test_equal_on_values(native: Any, value: Any, most: int) -> None:
    packed = same(native, "value_pack", value, most)
    if packed is not None:  # then it is what the types' own rules say
        assert packed == encode(value, bytes_max=most) == encode_element(value, bytes_max=most)
    elif type(value) in (str, bytes, bool, type(None)) or (type(value) is int and -(2**63) <= value < 2**63):
        with pytest.raises((InvalidValue, ValueTooLarge)):
            encode(value, bytes_max=most)


def test_values_of_any_length_are_equal(native: Any) -> None:
    for size in (31, 32, 255, 256, 65_535, 65_536, 70_000):
        for value in ("x" * size, "\u00e9" * (size // 2), b"x" * size):
            assert same(native, "value_pack", value, 100_000) == encode(value)


def test_values_of_subclasses_need_a_closer_look(native: Any) -> None:
    class Text(str):
        __slots__ = ()

    class Number(int):
        pass

    for value in (Text("a"), Number(3), 1 + 2j, (1,), {}, bytearray(b"a")):
        assert same(native, "value_pack", value, 100) is None


@given(data=st.data(), steps=steps(15), count=st.integers(-1, 6), actors=st.integers(0, 9))
@settings(max_examples=400, deadline=None)
def test_equal_on_columns(native: Any, data: st.DataObject, steps: list[Step], count: int, actors: int) -> None:
    rows = []
    for kind in KINDS:
        rows += [(key, states[-1]) for key, states in History(PURE, kind).play(steps).states.items()]
    positions = {actor: actor * 5 % 16 for actor in range(16)}
    keys, column = same(native, "rows_pack", rows, positions)
    unpacked = same(native, "rows_unpack", len(rows), keys, column, 16)
    same(native, "rows_remap", unpacked, [actor * 13 % 16 for actor in range(16)])
    same(native, "keys_pack", [key for key, _ in rows], positions)
    same(native, "keys_remap", [key for key, _ in unpacked], list(range(actors)))
    same(native, "rows_unpack", len(rows), keys, column, actors)
    same(native, "part_check", len(rows), keys, column, 16, 4, 1, 100)
    same(native, "part_rows", len(rows), keys, column, [actor * 13 % 16 for actor in range(16)])
    same(native, "pairs_pack", [key for key, _ in rows], [image for _, image in rows])
    if rows:
        bad_keys, bad_column = data.draw(mutated(st.just(keys))), data.draw(mutated(st.just(column)))
        for args in ((keys, bad_column), (bad_keys, column), (bad_keys, bad_column)):
            same(native, "rows_unpack", len(rows), *args, 16)
            same(native, "rows_unpack", count, *args, actors)
            same(native, "part_check", len(rows), *args, 16, 4, 1, 100)
            same(native, "part_check", count, *args, actors, 4, 1, 100)
        same(native, "keys_unpack", len(rows), bad_keys, actors)


def test_both_have_every_kernel(native: Any) -> None:
    for name in KERNELS:
        assert callable(getattr(native, name)) and callable(getattr(PURE, name))


@given(st.binary(max_size=40), st.data())
def test_equal_on_tokens(native: Any, content: bytes, data: st.DataObject) -> None:
    token = same(native, "token_wrap", content)
    assert same(native, "token_unwrap", token) == content
    altered = list(token)
    for place in data.draw(st.lists(st.integers(0, len(token) - 1), min_size=1, max_size=2)):
        altered[place] = data.draw(st.sampled_from("Aa0-_+/=é\ud800") | st.characters())
    cut = "".join(altered)[: data.draw(st.none() | st.integers(0, len(token)))]
    assert same(native, "token_unwrap", cut) in (None, content)
    same(native, "token_unwrap", data.draw(st.text(max_size=12)))
