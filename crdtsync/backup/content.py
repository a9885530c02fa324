"""What the records of a backup say: header, sections, rows, kept keys.  FORMAT.md, the tables."""

from __future__ import annotations

from typing import Any

import msgspec

from crdtsync.clocks.hybrid import STAMP_FLOOR_LAST
from crdtsync.clocks.vector import Clock, covers
from crdtsync.config import ClusterSettings, Config
from crdtsync.datatypes.keys import check_bucket
from crdtsync.storage.staging import check_clock


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Who made a backup, when, and by which bounds."""

    id: str
    created: int  # ms since the epoch
    cluster: int
    node: str
    members: list[tuple[str, str, str]]  # name, state, address
    token: str
    parent: str = ""
    settings: ClusterSettings
    actors_max: int
    version: str

    def config(self) -> Config:
        """Settings by which the rows are judged.  Raises ConfigError."""
        message = max(self.settings.part_bytes_max + 2 * 1024 * 1024, 16 * 1024 * 1024)
        segment = max(2 * self.settings.batch_bytes_max, 16 * 1024 * 1024)
        config = Config(
            cluster=self.settings, actors_per_part_max=self.actors_max, message_bytes_max=message, segment_bytes=segment
        )
        return config.validate()


class Section(msgspec.Struct, frozen=True, array_like=True):
    """One bucket of a backup; clocks are flat lists of actor id, seq."""

    name: str
    flat_base: list[int]
    flat_clock: list[int]
    flat_floor: list[int]
    stamp_floor: int
    digest: bytes | None
    rows: int
    kept: bool

    @property
    def base(self) -> Clock:
        """What whoever takes the section must hold."""
        return _clock(self.flat_base)

    @property
    def clock(self) -> Clock:
        """What it holds then."""
        return _clock(self.flat_clock)

    @property
    def floor(self) -> Clock:
        """The contexts of all rows collected."""
        return _clock(self.flat_floor)

    def check(self) -> None:
        """Refuse what no store has.  Raises ValueError, BadTransfer, InvalidKey."""
        check_bucket(self.name)
        for flat in (self.flat_base, self.flat_clock, self.flat_floor):
            if len(flat) % 2 or len(_clock(flat)) != len(flat) // 2:
                raise ValueError("a clock is not made of pairs, or names an actor twice")
            check_clock(_clock(flat), "clock")
        if not self.flat_clock or not covers(self.clock, self.base) or not covers(self.clock, self.floor):
            raise ValueError("the clock is empty, or does not cover base and floor")
        if not self.kept and self.flat_base and not covers(self.base, self.floor):
            raise ValueError("it builds on a clock below its floor, and does not say what is gone")
        if not 0 <= self.stamp_floor <= STAMP_FLOOR_LAST or self.rows < 0:
            raise ValueError("a number is out of range")
        if self.digest is not None and len(self.digest) != 16:
            raise ValueError("the digest does not have 16 bytes")


class RowsRecord(msgspec.Struct, frozen=True, array_like=True):
    """Rows of a section, as on the wire."""

    section: int
    actors: list[int]
    count: int
    keys: bytes
    images: bytes


class KeptRecord(msgspec.Struct, frozen=True, array_like=True):
    """The end of a stretch of keys, and which of them are still there."""

    section: int
    until: bytes
    actors: list[int]
    count: int
    keys: bytes


class EndRecord(msgspec.Struct, frozen=True, array_like=True):
    """Totals, and the digest of the file before this record."""

    records: int
    rows: int
    kept: int
    digest: bytes


encode = msgspec.msgpack.Encoder().encode
decode_header = msgspec.msgpack.Decoder(Header).decode
decode_contents = msgspec.msgpack.Decoder(list[Section]).decode
decode_rows = msgspec.msgpack.Decoder(RowsRecord).decode
decode_kept = msgspec.msgpack.Decoder(KeptRecord).decode
decode_end = msgspec.msgpack.Decoder(EndRecord).decode


def flat(clock: Clock) -> list[int]:
    """A clock as one list, ascending: equal clocks give equal bytes."""
    return [number for entry in sorted(clock.items()) for number in entry]


def _clock(numbers: list[int]) -> Clock:
    return dict(zip(numbers[::2], numbers[1::2], strict=False))


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is, for people and programs."""

    id: str
    parent: str
    cluster: int
    node: str
    created: int  # ms since the epoch
    token: str  # where the cut stands: pass it as `since` to the next backup
    incremental: bool
    buckets: int
    rows: int  # in the file
    kept: int  # keys named as still there
    bytes: int

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {**msgspec.structs.asdict(self), "cluster": f"{self.cluster:016x}"}
