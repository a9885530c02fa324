"""The shapes that several messages share, both ways: strings, clocks, member records, packed rows, settings.

Encoding trusts its caller; decoding trusts nobody.  Each reader takes the decoded protobuf value, the limits and the
name of what it reads, and raises BadFrame with that name.  Lengths are looked at before anything is copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from crdtsync.clocks.members import EVICTED, EXPIRED, JOINING, LEFT, MEMBER, Ballot, MemberRecord
from crdtsync.config import Config
from crdtsync.datatypes.rows import NO_ROWS, PackedRows
from crdtsync.errors import BadFrame
from crdtsync.replication.messages import Clock
from crdtsync.transport.pb import replication_pb2 as pb

SEQ_MAX = 2**63 - 1  # seqs, counts and epochs; ids and stamps use all 64 bits
NAME_BYTES = 255  # node names and addresses, UTF-8
BUCKET_BYTES = 64
CODE_BYTES = 64  # tokens that programs read
TEXT_BYTES = 4096  # text that people read
SETTINGS_MAX = 64
KINDS_MAX = 64

MEMBER_STATES: dict[str, pb.MemberState] = {
    JOINING: pb.MEMBER_STATE_JOINING,
    MEMBER: pb.MEMBER_STATE_MEMBER,
    LEFT: pb.MEMBER_STATE_LEFT,
    EVICTED: pb.MEMBER_STATE_EVICTED,
    EXPIRED: pb.MEMBER_STATE_EXPIRED,
}
_KEYS, _IMAGES = pb.PackedRows.KEYS_FIELD_NUMBER, pb.PackedRows.IMAGES_FIELD_NUMBER
STATES_OF_MEMBERS = {number: name for name, number in MEMBER_STATES.items()}


class Limits(msgspec.Struct, frozen=True):
    """What a receiver takes; see Config for the reasons."""

    frame_bytes: int
    actors: int
    members: int
    buckets: int
    zstd: bool = True  # whether parts may come compressed

    @classmethod
    def of(cls, config: Config) -> Limits:
        """The limits that a node's settings stand for."""
        return cls(
            config.message_bytes_max, config.actors_per_part_max, config.members_max, config.buckets_max,
            config.compression != "off",
        )  # fmt: skip


DEFAULT_LIMITS = Limits.of(Config())


# ---- strings


def read_text(text: str, what: str, limit: int = TEXT_BYTES) -> str:
    """Any text of at most `limit` UTF-8 bytes."""
    if len(text) > limit or (not text.isascii() and len(text.encode()) > limit):
        raise BadFrame(f"{what} is longer than {limit} bytes.")
    return text


def read_name(name: str, what: str, limit: int = NAME_BYTES) -> str:
    """A name: not empty, no NUL, at most `limit` UTF-8 bytes."""
    if not name:
        raise BadFrame(f"{what} is empty.")
    if "\0" in name:
        raise BadFrame(f"{what} contains NUL.")
    return read_text(name, what, limit)


def read_bucket(name: str, what: str) -> str:
    """A bucket's name."""
    return read_name(name, what, BUCKET_BYTES)


def cut_text(text: str) -> str:
    """Text for people, cut to what fits and freed of what UTF-8 cannot carry."""
    return text.encode("utf-8", "replace")[:TEXT_BYTES].decode("utf-8", "ignore")


def read_number(number: int, what: str) -> int:
    """A number that is counted up: below 2^63."""
    if number > SEQ_MAX:
        raise BadFrame(f"{what} is {number}; it must be below 2^63.")
    return number


# ---- clocks


def put_clock(clock: Clock) -> pb.Clock | None:
    """A clock; an empty one takes no bytes."""
    return pb.Clock(actors=clock.keys(), seqs=clock.values()) if clock else None


def read_clock(clock: pb.Clock, limits: Limits, what: str) -> Clock:
    """{actor: seq}: every actor once and not 0, every seq from 1 to 2^63 - 1."""
    actors, seqs = clock.actors, clock.seqs
    if len(actors) != len(seqs):
        raise BadFrame(f"{what} has {len(actors)} actors and {len(seqs)} seqs.")
    if len(actors) > limits.actors:
        raise BadFrame(f"{what} names {len(actors)} actors, more than {limits.actors}.")
    found = dict(zip(actors[:], seqs[:], strict=False))
    if not found:
        return found
    if len(found) != len(actors):
        raise BadFrame(f"{what} names an actor twice.")
    if 0 in found:
        raise BadFrame(f"{what} names actor 0.")
    if min(found.values()) < 1 or max(found.values()) > SEQ_MAX:
        raise BadFrame(f"{what} has a seq outside 1 to 2^63 - 1.")
    return found


# ---- members


def put_members(members: Iterable[MemberRecord]) -> list[pb.MemberRecord]:
    return [
        pb.MemberRecord(
            node=record.node, epoch=record.epoch, state=MEMBER_STATES[record.state], address=record.address,
            start=record.start, revision=record.revision,
            ballot=None if record.ballot is None else pb.Ballot(**msgspec.structs.asdict(record.ballot)),
        )
        for record in members
    ]  # fmt: skip


def read_members(members: Sequence[pb.MemberRecord], limits: Limits, what: str) -> tuple[MemberRecord, ...]:
    """Member records, every node once."""
    if len(members) > limits.members:
        raise BadFrame(f"{what} has {len(members)} records, more than {limits.members}.")
    found = tuple(_read_member(record, what) for record in members)
    if len({record.node for record in found}) != len(found):
        raise BadFrame(f"{what} names a node twice.")
    return found


def _read_member(record: pb.MemberRecord, what: str) -> MemberRecord:
    state = STATES_OF_MEMBERS.get(record.state)
    if state is None:
        raise BadFrame(f"{what} has a record with state {record.state}, which is none.")
    return MemberRecord(
        node=read_name(record.node, f"{what}.node"),
        epoch=read_number(record.epoch, f"{what}.epoch"),
        state=state,
        address=read_text(record.address, f"{what}.address", NAME_BYTES),
        start=read_number(record.start, f"{what}.start"),
        revision=read_number(record.revision, f"{what}.revision"),
        ballot=_read_ballot(record.ballot, f"{what}.ballot") if record.HasField("ballot") else None,
    )


def _read_ballot(ballot: pb.Ballot, what: str) -> Ballot:
    return Ballot(
        proposer=read_name(ballot.proposer, f"{what}.proposer"),
        epoch=read_number(ballot.epoch, f"{what}.epoch"),
        start=read_number(ballot.start, f"{what}.start"),
        number=read_number(ballot.number, f"{what}.number"),
        victim=read_name(ballot.victim, f"{what}.victim"),
        victim_epoch=read_number(ballot.victim_epoch, f"{what}.victim_epoch"),
        config=ballot.config,
        absent=read_number(ballot.absent, f"{what}.absent"),
    )


# ---- rows


def put_rows(rows: PackedRows) -> pb.PackedRows | None:
    """Columns of rows; none takes no bytes."""
    if rows == NO_ROWS:
        return None
    return pb.PackedRows(actors=rows.actors, count=rows.count, keys=rows.keys, images=rows.images)


def rows_field(number: int, rows: PackedRows, compressed: int) -> list[bytes]:
    """The same as the pieces of field `number`, encoded: the columns, which are megabytes, are not copied.

    `compressed`: as in pb.PackedRows, which of the columns are compressed already.
    """
    if rows == NO_ROWS:
        return []
    head = pb.PackedRows(actors=rows.actors, count=rows.count, compressed=compressed).SerializeToString()
    return bytes_field(number, head, *bytes_field(_KEYS, rows.keys), *bytes_field(_IMAGES, rows.images))


def bytes_field(number: int, *pieces: bytes) -> list[bytes]:
    """A length-delimited field with a number up to 15, encoded, in pieces."""
    return [bytes((number << 3 | 2,)), varint(sum(map(len, pieces))), *pieces]


def varint(number: int) -> bytes:
    """An unsigned LEB128 number."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_rows(rows: pb.PackedRows, limits: Limits, what: str) -> PackedRows:
    """Columns with an ascending actor table and a count that they can hold; the kernels check what is in them."""
    keys, images, count = rows.keys, rows.images, rows.count
    if rows.compressed:  # those of a part have been expanded before
        raise BadFrame(f"{what} says that columns are compressed; only those of a part may be.")
    if len(rows.actors) > limits.actors:
        raise BadFrame(f"{what} names {len(rows.actors)} actors, more than {limits.actors}.")
    actors = tuple(rows.actors)
    if actors and actors[0] == 0:
        raise BadFrame(f"{what} names actor 0.")
    if any(map(int.__ge__, actors, actors[1:])):
        raise BadFrame(f"{what} has actors that are not ascending.")
    if 2 * count > len(keys):  # a key column has two lengths a row
        raise BadFrame(f"{what} claims {count} rows in {len(keys)} bytes of keys.")
    if count == 0 and (keys or images):
        raise BadFrame(f"{what} has columns but no rows.")
    return PackedRows(actors=actors, count=count, keys=keys, images=images)


# ---- settings


def put_settings(settings: dict[str, int]) -> list[pb.Setting]:
    return [pb.Setting(name=name, value=value) for name, value in settings.items()]


def read_settings(settings: Sequence[pb.Setting], what: str) -> dict[str, int]:
    """{name: value}, every name once."""
    if len(settings) > SETTINGS_MAX:
        raise BadFrame(f"{what} has {len(settings)} entries, more than {SETTINGS_MAX}.")
    found = {read_name(entry.name, what, CODE_BYTES): read_number(entry.value, what) for entry in settings}
    if len(found) != len(settings):
        raise BadFrame(f"{what} names a setting twice.")
    return found
