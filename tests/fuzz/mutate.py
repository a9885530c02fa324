"""Spoils bytes: a few random edits of a well-formed input, of the kinds that decoders are known to stumble over."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**53, 2**63 - 1, 2**63)
EDITS_MAX = 6
GROWTH_MAX = 4096  # bytes: what is spoilt stays small, and a campaign quick

Edit = Callable[[bytearray, random.Random, Sequence[bytes]], None]


def mutate(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """`data` with one to EDITS_MAX edits; `others` are inputs to borrow pieces from."""
    spoilt = bytearray(data)
    for _ in range(rng.randint(1, EDITS_MAX)):
        rng.choice(EDITS)(spoilt, rng, others)
    return bytes(spoilt[: len(data) + GROWTH_MAX])


def _at(data: bytearray, rng: random.Random) -> int:
    return rng.randrange(len(data)) if data else 0


def _flip(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    if data:
        data[_at(data, rng)] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    if data:
        data[_at(data, rng)] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))


def _step(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    if data:
        at = _at(data, rng)
        data[at] = (data[at] + rng.choice((-2, -1, 1, 2))) % 256


def _insert(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    at = _at(data, rng)
    data[at:at] = rng.randbytes(rng.randint(1, 8))


def _delete(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    at = _at(data, rng)
    del data[at : at + rng.randint(1, 16)]


def _cut(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    del data[_at(data, rng) :]


def _repeat(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    at = _at(data, rng)
    piece = data[at : at + rng.randint(1, 32)]
    data[at:at] = piece * rng.choice((1, 2, 8))


def _number(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    number, size = rng.choice(NUMBERS), rng.choice((1, 2, 4, 8))
    piece = (number % 256**size).to_bytes(size, rng.choice(("little", "big")))
    at = _at(data, rng)
    data[at : at + size] = piece


def _varint(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    number, piece = rng.choice(NUMBERS), bytearray()
    while number >= 0x80:
        piece.append(number & 0x7F | 0x80)
        number >>= 7
    piece.append(number)
    at = _at(data, rng)
    data[at : at + rng.randint(0, 2)] = piece


def _splice(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    other = rng.choice(others)
    start = rng.randrange(len(other) + 1)
    at = _at(data, rng)
    data[at : at + rng.randint(0, 32)] = other[start : start + rng.randint(1, 64)]


def _swap(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    if data:
        a, b = _at(data, rng), _at(data, rng)
        data[a], data[b] = data[b], data[a]


EDITS: tuple[Edit, ...] = (
    _flip, _flip, _byte, _step, _insert, _delete, _cut, _repeat, _number, _varint, _splice, _swap
)  # fmt: skip
