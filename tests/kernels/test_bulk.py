"""Kernels over columns: both are equal, and do what the single ones do, row by row."""

from __future__ import annotations

import importlib
import itertools
import random
from array import array
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.datatypes import values
from crdtsync.datatypes.keys import check_name
from crdtsync.errors import CrdtsyncError
from crdtsync.kernels import row_cell_value, row_dead
from tests.kernels.golden import images as golden_images
from tests.laws import BULK, implementations, load, outcome

MOST = 2**63 - 1
PARTS = {"pure": "crdtsync.pure.bulk", "native": "crdtsync._native"}
BOTH = [importlib.import_module(PARTS[name]) for name in implementations()]
ANY = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**66), 2**66),
    st.sampled_from([2**64 - 1, 2**64, -(2**63), -33, -32, 127]),
    st.floats(), st.text(max_size=40), st.text(min_size=300, max_size=300), st.binary(max_size=300), st.just("\ud800"),
    st.just([1]),
)  # fmt: skip


def same(name: str, *args: Any) -> Any:
    """What both kernels give."""
    answers = [outcome(getattr(module, name), *args) for module in BOTH]
    assert all(answer == answers[0] for answer in answers), name
    return answers[0][1]


def column(texts: list[bytes]) -> tuple[array[int], bytes]:
    ends = array("q", [0])
    for text in texts:
        ends.append(ends[-1] + len(text))
    return ends, b"".join(texts)


def test_both_have_every_kernel() -> None:
    assert all(callable(getattr(module, name)) for module in BOTH for name in BULK)


@given(texts=st.lists(st.text(max_size=6) | st.sampled_from(["\ud800", "k" * 9, "ж" * 4, 7, b"x", "a\0"]), max_size=6))
@settings(max_examples=300, deadline=None)
def test_texts_are_packed_as_names_are_checked(texts: list[Any]) -> None:
    offsets, data, bad = same("texts_pack", texts, 8)
    wrong = [number for number, text in enumerate(texts) if not is_name(text)]
    assert bad == (wrong[0] if wrong else -1)
    if bad < 0:
        assert (array("q", offsets), data) == column([text.encode() for text in texts])
        assert same("texts_check", offsets, data, 8) == -1


def is_name(text: Any) -> bool:
    try:
        check_name(text, most=8)
    except CrdtsyncError:
        return False
    return True


@given(ends=st.lists(st.integers(-2, 12), max_size=6), data=st.binary(max_size=12) | st.text().map(str.encode))
@settings(max_examples=500, deadline=None)
def test_columns_from_elsewhere_are_checked(ends: list[int], data: bytes) -> None:
    bad = same("texts_check", array("q", ends), data, 4)
    if ends and bad < 0:
        pieces = [data[start:end] for start, end in pairwise(ends)]
        assert all(start < end for start, end in pairwise(ends))
        assert all(is_name(piece.decode()) for piece in pieces)


@given(entries=st.lists(ANY, max_size=6), most=st.sampled_from([1, 9, 30, 2**20]))
@settings(max_examples=500, deadline=None)
def test_payloads_are_the_canonical_bytes(entries: list[Any], most: int) -> None:
    offsets, data, bad = same("payloads_pack", entries, most)
    if bad < 0:
        assert (array("q", offsets), data) == column([values.encode(entry, bytes_max=most) for entry in entries])
        return
    entry = entries[bad]
    try:
        packed = values.encode(entry, bytes_max=most)
    except CrdtsyncError:
        return
    assert type(entry) is list or (type(entry) is int and len(packed) > 9), "else it could have been packed"


NAMES = st.lists(st.sampled_from([b"a", b"b", b"ab", "ж".encode()]), max_size=8)


class Changed:
    """What the kernels put, over rows of which some are in layers and some below."""

    def __init__(self, seen: list[dict[bytes, bytes | None]], below: dict[bytes, bytes]) -> None:
        self.layers, self.known = tuple(seen), below
        self.asked: list[bytes] = []

    def below(self, keys: list[bytes]) -> list[bytes | None]:
        self.asked += keys
        return [self.known.get(key) for key in keys]

    def run(self, module: Any, name: str, code: bytes, seq: int, names: list[bytes], *given: Any) -> Any:
        rows = module.BulkRows()
        args = (rows, self.layers, self.below, code, 3, seq)
        done = outcome(getattr(module, name), *args, *column(names), 0, len(names), *given)
        assert len(set(rows.keys)) == len(rows.keys) == len(rows.images) == len(rows.before)
        assert self.asked == [key for key in rows.keys if not any(key in layer for layer in self.layers)]
        for key, before in zip(rows.keys, rows.before, strict=True):
            upper = bool(self.layers) and key in self.layers[0]
            held = [layer[key] for layer in self.layers if key in layer]
            assert before == (None if upper else held[0] if held else self.known.get(key))
        return done, dict(zip(rows.keys, rows.images, strict=True)), rows.before, rows.events


def both(name: str, code: bytes, names: list[bytes], *given: Any) -> Any:
    """What both make of a first call on nothing, and of a second one on what the first has left, here and there."""
    first = [Changed([], {}).run(module, name, code, 1, names, *given) for module in BOTH]
    assert all(answer == first[0] for answer in first)
    rows = [(key, image) for key, image in first[0][1].items() if image is not None]  # one may have got no further
    upper: dict[bytes, bytes | None] = dict(rows[::3]) | {key: None for key, _ in rows[3::4]}  # some are gone
    lower = {key: image for key, image in rows[1::3] if image is not None}
    below = {key: image for key, image in rows[2::3] if image is not None}
    second = [Changed([upper, lower], below).run(module, name, code, 50, names, *given) for module in BOTH]
    assert all(answer == second[0] for answer in second)
    return first[0], second[0]


@given(names=NAMES, data=st.data())
@settings(max_examples=200, deadline=None)
def test_cells(names: list[bytes], data: st.DataObject) -> None:
    amounts = st.integers(-5, 5) | st.sampled_from([MOST, -MOST, 2**62])
    steps = array("q", data.draw(st.lists(amounts, min_size=len(names), max_size=len(names))))
    first, _ = both("cells_step", b"p", names, steps)
    (kind, (stopped, events, size)), rows, before, keys = first
    assert kind == "tuple" and events <= len(keys)
    assert not any(before), "there was nothing"
    assert list(rows) == list(dict.fromkeys(keys))
    if stopped < 0:
        assert events == len(keys)
        assert size >= sum(len(key) + len(image) for key, image in rows.items())
        assert events == sum(step != 0 for step in steps)
        out = array("q", bytes(8 * len(names)))
        assert same("cells_sum", (rows,), None, b"p", [9, 3], *column(names), 0, len(names), out) == -1
        for name, total in zip(names, out, strict=True):
            assert total == sum(step for other, step in zip(names, steps, strict=True) if other == name)


def test_a_sum_of_cells_that_does_not_fit() -> None:
    rows: dict[bytes, bytes | None] = {}
    for actor in (1, 2):
        put, steps = BOTH[0].BulkRows(), array("q", [1, 2**62])
        BOTH[0].cells_step(put, (), None, b"g", actor, 1, *column([b"a", b"b"]), 0, 2, steps)
        rows |= zip(put.keys, put.images, strict=True)
    out = array("q", [0, 0])
    assert same("cells_sum", (rows,), None, b"g", [1, 2], *column([b"a", b"b"]), 0, 2, out) == 1
    assert same("cells_sum", (rows,), None, b"g", [1], *column([b"a", b"b"]), 0, 2, out) == -1
    assert list(out) == [1, 2**62]


@pytest.mark.parametrize("count", [1, 5, 90, 5_000, 50_000])
def test_rows_are_found_in_layers_of_any_size(count: int) -> None:
    """Look-ups by the layout of dicts: with indexes of one, two and four bytes, past what was there, and in chains."""
    rng = random.Random(count)
    names = [b"%d" % rng.getrandbits(40) for _ in range(count)]
    upper: dict[bytes, bytes | None] = {name + b"\0l": b"upper " + name for name in names}
    lower: dict[bytes, bytes | None] = {name + b"\0l": b"lower " + name for name in names[::2]}
    for name in names[::3]:
        del upper[name + b"\0l"]
    for name in names[::5]:
        upper[name + b"\0l"] = None
    asked = [*names, *(b"not " + name for name in names)]
    rng.shuffle(asked)
    rowkeys = [name + b"\0l" for name in asked]
    wanted = [upper[key] if key in upper else lower.get(key) for key in rowkeys]
    assert same("images_of", (upper, lower), None, b"l", *column(asked), 0, len(asked)) == wanted
    for module in BOTH:
        missed: list[bytes] = []
        found = module.images_of(({}, lower, upper), missed.append, b"l", *column(asked), 0, len(asked))
        assert found == [lower[key] if key in lower else upper.get(key) for key in rowkeys]
        assert missed == [key for key in rowkeys if key not in upper and key not in lower]


@given(names=NAMES, data=st.data())
@settings(max_examples=100, deadline=None)
def test_presences_and_registers(names: list[bytes], data: st.DataObject) -> None:
    payloads = data.draw(st.lists(st.binary(max_size=5), min_size=len(names), max_size=len(names)))
    first, _ = both("presences_add", b"o", names, *column(payloads))
    assert set(first[1]) == {name + b"\0o" + payload for name, payload in zip(names, payloads, strict=True)}
    for now, floor, most in ((10, 3, 2**64 - 1), (0, 2**40, 2**40 + 3), (0, 0, 1)):
        first, _ = both("latests_set", b"l", names, *column(payloads), now, floor, most)
        assert set(first[1]) <= {name + b"\0l" for name in names}
        assert first[0][1][0] >= 0 or None not in first[1].values()
        layers = ({b"a\0l": None}, first[1])
        assert same("images_of", layers, None, b"l", *column(names), 0, len(names)) == [
            None if name == b"a" else first[1].get(name + b"\0l") for name in names
        ]


def test_many_calls_on_the_same_rows() -> None:
    """Places are found again after they were moved to more room, in whichever call a row was met first."""
    names = [b"%d" % (number * number % 1500) for number in range(4000)]
    made = []
    for module, expected in itertools.product(BOTH, (0, 10, 5000)):
        rows, done, seq = module.BulkRows(expected), [], 1
        for first in range(0, 4000, 700):
            last = min(first + 700, 4000)
            asked = (rows, ({},), None, b"p", 7, seq, *column(names), first, last, array("q", [1, -2] * 2000))
            done.append(module.cells_step(*asked))
            seq += done[-1][1]
        made.append((done, rows.keys, rows.images, rows.before, rows.events))
    assert all(one == made[0] for one in made)
    _, keys, images, _, events = made[0]
    assert keys == list(dict.fromkeys(name + b"\0p\0\0\0\x07" for name in names)) and len(events) == 4000
    assert sum(map(row_cell_value, images)) == -2000


@pytest.mark.parametrize("module", BOTH)
def test_columns_that_contradict_themselves_are_refused(module: Any) -> None:
    ends, data = column([b"a", b"b"])
    for bad in ((array("q", [0, 9, 2]), data), (array("q", [0, -1, 2]), data), (array("q", [2, 1, 2]), data)):
        with pytest.raises(ValueError, match="offset"):
            module.images_of((), None, b"l", *bad, 0, 2)
    for first, last in ((0, 3), (-1, 1), (2, 1)):
        with pytest.raises(ValueError, match="rows asked for"):
            module.images_of((), None, b"l", ends, data, first, last)
    with pytest.raises((IndexError, ValueError)):
        module.cells_step(module.BulkRows(), (), None, b"p", 3, 1, ends, data, 0, 2, array("q", [1]))
    with pytest.raises((IndexError, ValueError)):
        module.cells_sum((), None, b"p", [3], ends, data, 0, 2, array("q", [1]))
    with pytest.raises((TypeError, ValueError, BufferError)):
        module.cells_sum((), None, b"p", [3], ends, data, 0, 2, bytes(16))


IMAGES = golden_images(load("pure"))
BY_KIND = {kind: [image for image in IMAGES.values() if image[0] == kind] for kind in range(4)}


@st.composite
def listings(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    """Rows in order, of some objects of every type under a few names, among them maps."""
    rows: dict[bytes, bytes] = {}
    for _ in range(draw(st.integers(0, 8))):
        name = draw(st.sampled_from([b"a", b"b", "ж".encode()]))
        code = draw(st.sampled_from([b"p", b"g", b"l", b"f", b"o"]))
        inner = draw(st.sampled_from([b"", b"", b"mfield\0"]))
        kind = {b"p": 3, b"g": 3, b"l": 2}.get(code, 0)
        tail = {3: bytes((0, 0, 0, draw(st.integers(0, 3)))), 0: b"x" if code == b"o" else b""}.get(kind, b"")
        rows[name + b"\0" + inner + code + tail] = draw(st.sampled_from(BY_KIND[kind]))
    return sorted(rows.items())


@given(rows=listings(), most=st.integers(0, 4), whole=st.booleans())
@settings(max_examples=300, deadline=None)
def test_listings_are_gathered(rows: list[tuple[bytes, bytes]], most: int, whole: bool) -> None:
    for code in (b"p", b"g"):
        offsets, data, found, used, bad = same("cells_gather", rows, code, most, whole)
        assert len(found) // 8 == len(offsets) // 8 - 1 <= most
        if most == 4 and whole and bad < 0:
            assert used == len(rows)
            wanted = {key[: key.index(0)] for key, image in rows if key[key.index(0) + 1 :][:1] == code}
            assert set(texts_of(offsets, data)) <= wanted
            for name, value in zip(texts_of(offsets, data), array("q", found), strict=True):
                cells = [image for key, image in rows if key.startswith(name + b"\0" + code)]
                assert value == sum(map(row_cell_value, cells)) and not all(map(row_dead, cells))
    for code in (b"l", b"f"):
        offsets, data, images, used = same("singles_gather", rows, code, most)
        assert len(images) == len(offsets) // 8 - 1 <= most
        listed = [(key[:-2], image) for key, image in rows[:used] if key[key.index(0) :] == b"\0" + code]
        assert list(zip(texts_of(offsets, data), images, strict=True)) == [
            (name, image) for name, image in listed if not row_dead(image)
        ]


def texts_of(offsets: bytes, data: bytes) -> list[bytes]:
    return [data[start:end] for start, end in pairwise(array("q", offsets))]


def key_of(row: tuple[bytes, bytes | None]) -> bytes:
    return row[0]


LAYER = st.dictionaries(st.binary(max_size=2), st.none() | st.binary(max_size=2), max_size=8)


@given(layers=st.lists(LAYER, max_size=3), horizon=st.none() | st.binary(max_size=2))
@settings(max_examples=300, deadline=None)
def test_listings_are_merged(layers: list[dict[bytes, bytes | None]], horizon: bytes | None) -> None:
    merged: dict[bytes, bytes | None] = {}
    for layer in layers:
        merged |= layer
    wanted = [(key, image) for key, image in sorted(merged.items(), key=key_of) if image is not None]
    found = same("listings_merge", [sorted(layer.items(), key=key_of) for layer in layers], horizon)
    assert found == [row for row in wanted if horizon is None or row[0] <= horizon]
