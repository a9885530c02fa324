"""Entries of one database: what is added is read back in the order of keys, by both kernels alike."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.laws import implementations

KEYS = st.lists(st.binary(max_size=20) | st.sampled_from([b"", b"a" * 7, b"a" * 8, b"a" * 9, b"a" * 8 + b"\0"]))
BEGINNINGS = st.sampled_from([b"", b"shared by all", b"\0" * 300, b"\xff" * 8])


@pytest.fixture(params=implementations())
def make(request: pytest.FixtureRequest) -> Callable[[], Any]:
    return importlib.import_module(  # type: ignore[no-any-return]
        "crdtsync._native" if request.param == "native" else "crdtsync.pure.entries"
    ).Entries


@given(KEYS, BEGINNINGS, st.integers(0, 50))
def test_what_is_added_is_read_in_order_and_twice_in_the_order_of_adding(
    keys: list[bytes], beginning: bytes, extra: int
) -> None:
    for which in implementations():
        module = importlib.import_module("crdtsync._native" if which == "native" else "crdtsync.pure.entries")
        entries = module.Entries()
        pairs = [(beginning + key, b"%d" % number * extra) for number, key in enumerate(keys)]
        half = len(pairs) // 2
        entries.add(pairs[:half])
        entries.sort()
        entries.add(pairs[half:])
        entries.sort()
        expected = sorted(pairs[:half], key=lambda pair: pair[0]) + pairs[half:]
        expected.sort(key=lambda pair: pair[0])
        assert len(entries) == len(pairs)
        for _ in range(2):
            assert list(entries.pairs(0, len(pairs))) == expected
            assert list(entries) == [key for key, _ in expected]
        assert list(entries.pairs(half, len(pairs) + 5)) == expected[half:]
        assert list(entries.pairs(-3, half)) == expected[:half]
        for key in (b"", beginning, *(beginning + key for key in keys), beginning + b"a" * 8, b"\xff" * 9):
            assert entries.after(key) == sum(other <= key for other, _ in expected)


def test_keys_alone_have_empty_values(make: Callable[[], Any]) -> None:
    entries = make()
    entries.add_keys([b"b", b"a"])
    entries.sort()
    assert list(entries.pairs(0, 2)) == [(b"a", b""), (b"b", b"")]


def test_many_and_large_ones(make: Callable[[], Any]) -> None:
    rng = random.Random(1)
    entries, pairs = make(), {}
    for _ in range(50):
        some = {rng.randbytes(rng.choice((3, 8, 500))): rng.randbytes(rng.choice((0, 10, 100_000))) for _ in range(40)}
        some = {key: value for key, value in some.items() if key not in pairs}
        pairs.update(some)
        entries.add(list(some.items()))
    entries.sort()
    assert list(entries.pairs(0, len(entries))) == sorted(pairs.items())


@pytest.mark.parametrize("size", [255, 256, 257, 3000])
@pytest.mark.parametrize("width", [1, 2, 7, 9, 12])
def test_long_ones_are_sorted_whatever_their_keys_share(make: Callable[[], Any], size: int, width: int) -> None:
    rng = random.Random(size * width)
    for letters in (bytes(range(256)), b"\0\xff", b"ab"):
        keys = [b"the same" + bytes(rng.choices(letters, k=rng.choice((width, width // 2)))) for _ in range(size)]
        entries = make()
        entries.add([(key, b"%d" % number) for number, key in enumerate(keys)])
        entries.sort()
        expected = sorted(((key, b"%d" % number) for number, key in enumerate(keys)), key=lambda pair: pair[0])
        assert list(entries.pairs(0, size)) == expected
        entries.sort()
        assert list(entries.pairs(0, size)) == expected


def test_what_is_not_bytes_is_refused_and_nothing_of_it_stays(make: Callable[[], Any]) -> None:
    entries = make()
    for bad in ("a", None, 3):
        with pytest.raises(TypeError):
            entries.add([(bad, b"")])
        with pytest.raises(TypeError):
            entries.add([(b"", bad)])
        with pytest.raises(TypeError):
            entries.add_keys([bad])
    assert len(entries) == 0 and list(entries) == []
