"""Reading a backup file: every byte is checked before it is believed, and rows are judged like those of a stranger."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple, TypeVar

import msgspec

from crdtsync.backup import content, records
from crdtsync.backup.content import Header, Section, Summary
from crdtsync.config import Config
from crdtsync.datatypes.rows import PackedRows
from crdtsync.errors import BackupDamaged, CrdtsyncError
from crdtsync.kernels import keys_unpack
from crdtsync.storage.staging import Staged, check_part, check_table

EXPANDED = 4  # times part_bytes_max that a payload may expand to, beyond records.SMALL_MAX
T = TypeVar("T")


class Rows(NamedTuple):
    """Rows of a section."""

    section: int
    staged: Staged


class Kept(NamedTuple):
    """The end of a stretch of keys of a section: `keys` of it are still there."""

    section: int
    until: bytes
    keys: PackedRows


class Backup:
    """One backup file.  Header and sections are read at once, the rest by `parts`, which opens it again if need be."""

    header: Header
    sections: list[Section]
    config: Config

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises BackupDamaged, UnsupportedFormat, OSError."""
        self.path = os.fspath(path)
        if not stat.S_ISREG(os.stat(self.path).st_mode):  # what is no file may keep us waiting for ever
            raise BackupDamaged(f"{self.path} is not a crdtsync backup: it is no plain file.")
        self._file: BinaryIO = open(self.path, "rb")  # noqa: SIM115 - closed by close()
        try:
            self.bytes = os.fstat(self._file.fileno()).st_size
            self._records = records.Unframer(self._file, self.path, self.bytes)
            self._begin()
        except BaseException:
            self._file.close()
            raise
        self.rows = self.kept = 0

    def _begin(self) -> None:
        """The two records that every backup starts with."""
        self.header = self._decode(records.HEADER, content.decode_header)
        try:
            self.config = self.header.config()
        except CrdtsyncError as error:
            raise self._records.fault(error.message) from error
        self._records.expanded_max += EXPANDED * self.header.settings.part_bytes_max
        self.sections = self._decode(records.CONTENTS, content.decode_contents)
        for section in self.sections:
            self._check_section(section)
        names = [section.name.encode() for section in self.sections]
        if names != sorted(set(names)) or not 0 < self.header.cluster < 2**64:
            raise BackupDamaged(f"{self.path}: its buckets are not in order, or it names no cluster.")

    def _check_section(self, section: Section) -> None:
        try:
            section.check()
        except (CrdtsyncError, ValueError) as error:
            raise BackupDamaged(f"{self.path}: bucket {section.name!r}: {error}.") from error

    def _decode(self, kind: int, decode: Callable[[bytes], T]) -> T:
        record = self._records.next()
        if record.kind != kind:
            raise BackupDamaged(f"{self.path}: a record of kind {record.kind} where one of kind {kind} belongs.")
        return self._content(record.payload, decode)

    def _content(self, payload: bytes, decode: Callable[[bytes], T]) -> T:
        try:
            return decode(payload)
        except (msgspec.DecodeError, ValueError) as error:
            raise self._records.fault(f"its content does not fit ({error})") from error

    @property
    def incremental(self) -> bool:
        """Whether it builds on another backup."""
        return any(section.flat_base for section in self.sections)

    @property
    def offset(self) -> int:
        """Bytes read so far."""
        return self._records.offset

    # -- the rest

    def parts(self) -> Iterator[Rows | Kept]:
        """Everything after the contents; to be iterated to its end, where the whole file is known to be sound.

        Raises BackupDamaged.
        """
        if self._file.closed:
            self._file = self._records.go_on()
        at, ended = 0, False  # the section at hand, and whether its last stretch has ended
        while True:
            record = self._records.next()
            if record.kind == records.END:
                self._end(record)
                self._check_stretches(at, len(self.sections), ended)
                return
            if record.kind not in (records.ROWS, records.KEPT):
                raise BackupDamaged(f"{self.path}: a second record of kind {record.kind}.")
            part = self._rows(record) if record.kind == records.ROWS else self._kept(record)
            if part.section != at:
                self._check_stretches(at, part.section, ended)
                at, ended = part.section, False
            if ended:
                raise self._records.fault("it comes after the end of its bucket")
            ended = isinstance(part, Kept) and part.until == b""
            yield part

    def _check_stretches(self, first: int, stop: int, ended: bool) -> None:
        """Every section from `first` to before `stop` that names what is kept must have done so to its end."""
        for number in range(first, stop):
            if self.sections[number].kept and not (ended and number == first):
                raise BackupDamaged(f"{self.path}: bucket {self.sections[number].name!r} is not told to its end.")
        if stop < first:
            raise self._records.fault("its bucket was over before")

    def _section(self, number: int) -> Section:
        if not 0 <= number < len(self.sections):
            raise self._records.fault(f"there is no section {number}")
        return self.sections[number]

    def _rows(self, record: records.Record) -> Rows:
        told = self._content(record.payload, content.decode_rows)
        section = self._section(told.section)
        staged = self._checked(
            lambda: check_part(PackedRows(tuple(told.actors), told.count, told.keys, told.images), self.config)
        )
        at = staged.beyond(section.clock)
        if at >= 0:
            raise self._records.fault(f"row {staged.rows[at][0]!r} has an event beyond the clock of the backup")
        self.rows += told.count
        return Rows(told.section, staged)

    def _kept(self, record: records.Record) -> Kept:
        told = self._content(record.payload, content.decode_kept)
        if not self._section(told.section).kept:
            raise self._records.fault("its bucket does not say what is kept")
        self._checked(lambda: check_table(told.actors, self.header.actors_max))
        self._checked(lambda: keys_unpack(told.count, told.keys, len(told.actors)))
        self.kept += told.count
        return Kept(told.section, told.until, PackedRows(tuple(told.actors), told.count, told.keys, b""))

    def _checked(self, check: Callable[[], Any]) -> Any:
        try:
            return check()
        except CrdtsyncError as error:
            raise self._records.fault(error.message.removesuffix(".")) from error
        except (ValueError, OverflowError) as error:
            raise self._records.fault(str(error)) from error

    def _end(self, record: records.Record) -> None:
        end = self._content(record.payload, content.decode_end)
        found = content.EndRecord(self._records.records - 1, self.rows, self.kept, record.before)
        if end != found:
            raise BackupDamaged(f"{self.path}: the totals or the digest at its end do not fit what it holds.")
        if not self._records.at_end():
            raise BackupDamaged(f"{self.path}: something follows its end.")

    def summary(self) -> Summary:
        """What it is; rows and kept keys as read so far."""
        header = self.header
        return Summary(
            id=header.id, parent=header.parent, cluster=header.cluster, node=header.node, created=header.created,
            token=header.token, incremental=self.incremental, buckets=len(self.sections), rows=self.rows,
            kept=self.kept, bytes=self.bytes,
        )  # fmt: skip

    # -- the end

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Backup:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_summary(path: str | os.PathLike[str]) -> Summary:
    """What a backup is, by its beginning alone: rows and kept keys count 0.  Raises as Backup does."""
    with Backup(path) as backup:
        return backup.summary()
