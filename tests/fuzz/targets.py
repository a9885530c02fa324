"""What is fuzzed: a decoder, the inputs to begin with, and the errors that may come of it.

A target is a function of bytes.  It returns nothing and raises only what it is meant to; where two decoders read the
same bytes, the compiled and the pure one, it also asserts that they say the same.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from crdtsync.clocks.tokens import read_token
from crdtsync.config import Config, make_config
from crdtsync.datatypes import keys, values
from crdtsync.datatypes.rows import PackedRows
from crdtsync.errors import BadFrame, BadTransfer, ConfigError, InvalidToken, StoreDamaged, UnsupportedFormat
from crdtsync.storage.disk import MemoryDisk
from crdtsync.storage.records import Position, decode_header, decode_record, segment_name, synced_after
from crdtsync.storage.replay import replay
from crdtsync.storage.rescue import decode_rescue
from crdtsync.storage.staging import check_part
from crdtsync.storage.table import decode_log, decode_meta, decode_row, rowkey_of
from crdtsync.transport.wire import decode_all
from tests.laws import implementations, load, outcome

from . import outside, seeds, serving

SETTINGS = Config()
READERS = (
    "row_kind", "row_context", "row_dead", "row_log_dots", "row_live_dots", "row_payloads", "row_latest", "row_cell",
    "row_cell_value",
)  # fmt: skip
PURE, COMPILED = load("pure"), load(implementations()[-1])
REFUSALS = ("ValueError", "OverflowError")  # what kernels may raise for bytes that are not well formed


class Target(NamedTuple):
    """One decoder."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    share: float = 1.0  # of a campaign's inputs: those that take milliseconds get fewer


def same(name: str, *arguments: Any) -> Any:
    """What a kernel gives, None when it refuses; the same on both implementations, down to the error's text."""
    compiled, plain = outcome(getattr(COMPILED, name), *arguments), outcome(getattr(PURE, name), *arguments)
    assert compiled == plain, f"{name}{arguments}: compiled {compiled}, pure {plain}"
    kind, result = compiled
    assert kind in REFUSALS or not kind.endswith("Error"), f"{name}{arguments}: {kind}: {result}"
    return None if kind in REFUSALS else result


def image(data: bytes) -> None:
    """Every reader of a row image."""
    for name in READERS:
        same(name, data)
    same("row_covered", data, {0: 5, 1: 2**63})


def join(data: bytes) -> None:
    """Two images: the length of the first comes first."""
    size = int.from_bytes(data[:2], "big")
    first, second = data[2 : 2 + size], data[2 + size :]
    ids = list(range(100, 400))
    for clock in ({}, {0: 9, 1: 9, 2: 9}):
        same("row_join", first, second, clock, ids)
    same("row_mend", first, second, ids)
    same("row_conflict", first, second)


def _pairs() -> list[bytes]:
    images = seeds.images()
    return [
        len(first).to_bytes(2, "big") + first + second for first, second in pairwise(images)
    ]


def columns(data: bytes) -> None:
    """The columns of a part, then all that is done with its rows before they are joined."""
    part = _part(data)
    rows = same("rows_unpack", part.count, part.keys, part.images, len(part.actors))
    if rows is not None:
        mapping = list(range(1, len(part.actors) + 1))
        same("rows_remap", rows, mapping)
        same("rows_actors", rows)
        same("rows_beyond", rows, {0: 3, 1: 9})
        same("rows_digest", rows)
    try:
        check_part(part, SETTINGS)
    except BadTransfer:
        pass


def _part(data: bytes) -> PackedRows:
    """Number of actors (1 byte), of rows (2), bytes of the keys (2), keys, images: whatever the bytes, it is a part."""
    actors, count, size = data[:1], int.from_bytes(data[1:3], "big"), int.from_bytes(data[3:5], "big")
    table = tuple(range(100, 100 + int.from_bytes(actors, "big")))
    return PackedRows(table, count, data[5 : 5 + size], data[5 + size :])


def _parts() -> list[bytes]:
    small = [part for part in seeds.harvest().parts if len(part.keys) < 2**16 and part.count < 2**16]
    return [
        bytes([len(part.actors)]) + part.count.to_bytes(2, "big") + len(part.keys).to_bytes(2, "big")
        + part.keys + part.images
        for part in small
    ]  # fmt: skip


def frame(data: bytes) -> None:
    """Frames between nodes."""
    try:
        decode_all(data)
    except BadFrame:
        pass


def journal(data: bytes) -> None:
    """One segment of a journal, header and records, as recovery reads it."""
    header = decode_header(data)
    decode_record(data, 80, 1, 0)
    synced_after(data, 80, 1)
    disk = MemoryDisk()
    disk.write(segment_name(header.segment if header else 2), data)
    start = Position(header.segment, 80, header.first, header.seed) if header else Position(2, 80, 1, 0)
    try:
        replay(disk, header.store if header else 1, start, lambda payload: None)
    except UnsupportedFormat:
        pass


def table(data: bytes) -> None:
    """Rows, log entries and records of the row table: a key and a value."""
    size = int.from_bytes(data[:2], "big")
    key, value = data[2 : 2 + size], data[2 + size :]
    if len(key) < 5:
        return
    if decode_row(key, value) is None and len(key) <= 511:
        rowkey_of(key, value)
    decode_log(key, value)
    try:
        decode_meta(key, value, "it")
    except StoreDamaged:
        pass


def value(data: bytes) -> None:
    """Stored values: refused, or exactly what encoding gives again."""
    try:
        found = values.decode(data)
    except ValueError:
        return
    assert values.encode(found) == data


def token(data: bytes) -> None:
    """Tokens."""
    try:
        read_token(data.decode("latin-1"), (5, "node-a"))
    except InvalidToken:
        pass


def rowkey(data: bytes) -> None:
    """Row keys that the kernels let through can be read."""
    if same("keys_unpack", 1, _framed(data), 8) is not None:
        parsed = keys.parse(data)
        assert data.startswith(parsed.prefix) and keys.object_prefix(data) == parsed.prefix


def _framed(key: bytes) -> bytes:
    """A column of one row key (FORMAT.md, "Columns")."""
    return bytes(PURE.varint_encode(0) + PURE.varint_encode(len(key)) + key)


def rescue(data: bytes) -> None:
    """Rescue files, with and without a checksum that fits."""
    for content in (data, seeds.sealed(data[12:])):
        try:
            for part in decode_rescue(content).parts:
                check_part(part, SETTINGS)
        except (StoreDamaged, BadTransfer):
            pass


def config(data: bytes) -> None:
    """Settings, as they come from a file."""
    try:
        plain = msgspec.toml.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    try:
        make_config(plain)
    except ConfigError:
        pass


def _settings() -> list[bytes]:
    return [
        b'listen = "127.0.0.1:0"\njoin = ["127.0.0.1:7401"]\nflush_interval = 0.01\n[cluster]\nkey_bytes_max = 200\n',
        b'durability = "each"\nname = "a"\njournal_mapped = true\nsegment_bytes = 16777216\n',
    ]


TARGETS: dict[str, Target] = {
    "image": Target(image, seeds.images),
    "join": Target(join, _pairs),
    "columns": Target(columns, _parts),
    "frame": Target(frame, lambda: seeds.harvest().frames),
    "journal": Target(journal, lambda: seeds.harvest().segments),
    "table": Target(table, seeds.stored_rows),
    "value": Target(value, seeds.payloads),
    "token": Target(token, seeds.tokens),
    "rowkey": Target(rowkey, seeds.row_keys),
    "rescue": Target(rescue, seeds.rescues),
    "config": Target(config, _settings),
    "request": Target(serving.request, serving.requests, 0.2),
    **{name: Target(run, made, share) for name, (run, made, share) in outside.OUTSIDE.items()},
}
