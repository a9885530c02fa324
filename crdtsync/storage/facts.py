"""What the journal tells: one kind of payload a change, as MessagePack arrays.  FORMAT.md, "Payloads"."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec

from crdtsync.clocks.members import Ballot, MemberRecord
from crdtsync.kernels import cell_at, pairs_pack, row_context
from crdtsync.storage.table import pack, unpack

WRITE = 1  # bucket, actor, last seq, rows: local events
JOIN = 2  # bucket, clock, floor, stamp floor, rows: a transfer with its claim
COLLECT = 3  # bucket, floor, stamp floor, row keys
ACTORS = 4  # first index, ids
BUCKET = 5  # number, name, state
PUBLISH = 6  # cluster, id of the private actor (0: it never wrote), whether members are forgotten
MEMBERS = 7  # records
ADOPT = 8  # number of a hidden bucket, number of the bucket that it takes the place of
ROWS = 9  # bucket, rows: a slice of a long transfer, or rows repaired; no claim
START = 10  # the start counts as this one
STAGED = 11  # number of a hidden bucket, state of its scan (None: the scan is dropped), rows
ANSWER = 12  # request, bucket (0: it changed nothing), actor, last seq, rows: a write that came with a request id
RUN = 13  # bucket, actor, row key, image after the first step; the last step follows in the record's slots


def rows_flat(rows: dict[bytes, bytes | None]) -> list[bytes | None]:
    """Key, image, key, image, ...; None is a row that is gone."""
    return list(chain.from_iterable(rows.items()))


def rows_of(items: list[bytes]) -> dict[bytes, bytes | None]:
    """The rows back."""
    return dict(zip(items[::2], items[1::2], strict=True))


def members_flat(records: list[MemberRecord]) -> list[list[Any]]:
    """Member records as plain lists."""
    return [_member_flat(record) for record in records]


def _member_flat(record: MemberRecord) -> list[Any]:
    flat = [record.node, record.epoch, record.state, record.address, record.start]
    if record.revision:  # most have never voted
        ballot = record.ballot
        flat += [record.revision, None if ballot is None else list(msgspec.structs.astuple(ballot))]
    return flat


def members_of(items: list[list[Any]]) -> list[MemberRecord]:
    """The records back."""
    return [_member_of(*item) for item in items]


def _member_of(
    node: str, epoch: int, state: str, address: str, start: int, revision: int = 0, ballot: list[Any] | None = None
) -> MemberRecord:
    return MemberRecord(node, epoch, state, address, start, revision, None if ballot is None else Ballot(*ballot))


def run_as_write(data: bytes, step: tuple[int, int, int]) -> bytes:
    """The payload of a run, with its last step (seq, ups, downs), as that of the one write that it amounts to."""
    _, bucket, actor, rowkey, image = unpack(data)
    seq, ups, downs = step
    if seq > dict(row_context(image))[actor]:
        image = cell_at(image, actor, seq, ups, downs)
    return payload(WRITE, bucket, actor, seq, [rowkey, image])


def payload(*items: Any) -> bytes:
    """A payload: its kind, then its fields."""
    return pack(items)


def payload_of(parts: Sequence[tuple[list[bytes], Sequence[bytes | None]]], *items: Any) -> bytes:
    """`payload` of items and, as the last one, rows as `rows_flat` has them, which come as columns."""
    count = 2 * sum(len(keys) for keys, _ in parts)
    if count < 16:
        head = bytes((0x90 | count,))
    else:
        head = b"\xdc" + count.to_bytes(2, "big") if count < 1 << 16 else b"\xdd" + count.to_bytes(4, "big")
    told = pack((*items, msgspec.Raw(head)))  # the rows follow upon the head of their array
    columns = [(keys, images if type(images) is list else list(images)) for keys, images in parts]
    if len(columns) == 1:  # of most: one copy less
        return pairs_pack(*columns[0], told)
    return b"".join((told, *(pairs_pack(keys, images) for keys, images in columns)))
