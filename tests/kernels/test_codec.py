"""Varints and images: what is encoded is read back, and bytes that no encoder makes are refused, at every offset."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.pure import image as codec
from crdtsync.pure.varint import varint_encode
from tests.kernels.histories import KINDS, History, Step, steps
from tests.laws import check_round_trip

U64 = st.integers(0, 2**64 - 1) | st.sampled_from([2**n + d for n in range(0, 64, 7) for d in (-1, 0)])


@given(value=U64)
def test_varints_are_read_back(kernels: Any, value: int) -> None:
    data = kernels.varint_encode(value)
    assert len(data) == max(1, -(-value.bit_length() // 7))
    assert kernels.varint_decode(b"\xff" + data + b"\xff", 1) == (value, 1 + len(data))
    for cut in range(len(data)):
        with pytest.raises(ValueError, match="cut off at offset 0"):
            kernels.varint_decode(data[:cut], 0)


@pytest.mark.parametrize(
    ("data", "offset", "message"),
    [
        (b"", 0, "varint is cut off at offset 0"),
        (b"\x01", 1, "varint is cut off at offset 1"),
        (b"\x01", -1, "varint is cut off at offset -1"),
        (b"\x80\x00", 0, "varint is not minimal at offset 0"),
        (b"\xff\x80\x00", 1, "varint is not minimal at offset 1"),
        (b"\x80" * 9 + b"\x00", 0, "varint is not minimal at offset 0"),
        (b"\xff" * 9 + b"\x02", 0, "varint is too large at offset 0"),
        (b"\xff" * 10, 0, "varint is too large at offset 0"),
    ],
)
def test_bad_varints(kernels: Any, data: bytes, offset: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kernels.varint_decode(data, offset)


@pytest.mark.parametrize("kind", KINDS)
@given(steps=steps())
@settings(max_examples=60, deadline=None)
def test_images_are_read_back_and_cut_images_are_refused(kernels: Any, kind: int, steps: list[Step]) -> None:
    for states in History(kernels, kind).play(steps).states.values():
        for image in states:
            check_round_trip(codec.encode, codec.decode, codec.decode(image))
            for cut in range(len(image)):
                with pytest.raises(ValueError):
                    kernels.row_dead(image[:cut])
            with pytest.raises(ValueError, match=f"trailing bytes at offset {len(image)}"):
                kernels.row_dead(image + b"\0")


def raw(*numbers: int | bytes) -> bytes:
    """Varints and plain bytes in a row."""
    return b"".join(n if isinstance(n, bytes) else varint_encode(n) for n in numbers)


BAD_IMAGES = {
    "image is empty at offset 0": b"",
    "unknown row kind 4 at offset 0": b"\x04",
    "unknown row kind 255 at offset 0": b"\xff\x01",
    "context is empty at offset 1": raw(0, 0, 0),
    "actors are not ascending at offset 4": raw(0, 2, 5, 1, 5, 2, 0),
    "actors are not ascending at offset 5": raw(0, 2, 300, 3, 300, 3, 0),
    "seq is zero at offset 2": raw(0, 1, 5, 0, 0),
    "actor is too large at offset 2": raw(0, 1, 2**32, 1, 0),
    "varint is not minimal at offset 1": b"\x00\x81\x00\x05\x01\x00",
    "varint is not minimal at offset 3": b"\x00\x01\x05\x81\x00\x00",
    "live dot is beyond the context at offset 5": raw(0, 1, 5, 1, 1, 5, 2),
    "live dot is beyond the context at offset 5 ": raw(0, 1, 5, 1, 1, 6, 1),
    "actors are not ascending at offset 7": raw(0, 1, 5, 9, 2, 5, 2, 5, 3),
    "payload is cut off at offset 7": raw(1, 1, 5, 1, 1, 5, 1, 3, b"ab"),
    "payload is cut off at offset 7 ": raw(1, 1, 5, 1, 1, 5, 1, 2**64 - 1, b"ab"),
    "winner is beyond the context at offset 4": raw(2, 1, 5, 1, 5, 2, 9, b"\x00", 0),
    "winner is beyond the context at offset 4 ": raw(2, 1, 5, 1, 4, 1, 9, b"\x00", 0),
    "flags are cut off at offset 7": raw(2, 1, 5, 1, 5, 1, 9),
    "unknown flags 3 at offset 7": raw(2, 1, 5, 1, 5, 1, 9, b"\x03", 7, 0),
    "expiry is zero at offset 8": raw(2, 1, 5, 1, 5, 1, 9, b"\x02", 0, 0),
    "deleted register has a payload at offset 8": raw(2, 1, 5, 1, 5, 1, 9, b"\x01", 1, b"x"),
    "trailing bytes at offset 5": raw(0, 1, 5, 1, 0, 0),
}


@pytest.mark.parametrize("message", BAD_IMAGES)
def test_bad_images_are_refused_with_what_and_where(kernels: Any, message: str) -> None:
    for call in (
        kernels.row_dead,
        kernels.row_log_dots,
        lambda image: kernels.row_join(None, image, {}, []),
        lambda image: kernels.row_mend(None, image, []),
        lambda image: kernels.rows_digest([(b"k\0f", image)]),
    ):
        with pytest.raises(ValueError) as caught:
            call(BAD_IMAGES[message])
        assert str(caught.value) == message.strip()


@pytest.mark.parametrize(
    "cell",
    [
        (6, 1, 1, 1, 1, 0, 0, 0),  # owner not in the context
        (5, 0, 1, 1, 1, 0, 0, 0),  # starts before its first event
        (5, 3, 2, 1, 1, 0, 0, 0),  # ends before it starts
        (5, 1, 10, 1, 1, 0, 0, 0),  # beyond the context
        (5, 1, 2, 2**63, 1, 0, 0, 0),
        (5, 1, 2, 1, 2**63, 0, 0, 0),
        (5, 1, 2, 1, 1, 0, 1, 0),  # a base that nobody observed
        (5, 1, 2, 1, 1, 0, 0, 1),
        (5, 2, 3, 1, 1, 1, 0, 0),  # a base from an earlier incarnation
        (5, 1, 2, 1, 1, 3, 0, 0),  # a base from the future
        (5, 1, 2, 1, 1, 2, 2, 0),  # a base that has seen more than there is
        (5, 1, 2, 1, 1, 2, 0, 2),
        (5, 1, 3, 1, 1, 2, 2**63, 0),
        (5, 1, 3, 1, 1, 2, 0, 2**63),
        (2**32, 1, 1, 1, 1, 0, 0, 0),
    ],
)
def test_bad_cells_are_refused(kernels: Any, cell: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cell contradicts itself at offset 4"):
        kernels.row_cell(raw(3, 1, 5, 9, *cell))
    assert kernels.row_cell(raw(3, 1, 5, 9, 5, 1, 2, 1, 1, 2, 1, 1)) == (5, 1, 2, 1, 1, 2, 1, 1)
