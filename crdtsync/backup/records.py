"""The frame of a backup file: records chained by their checksums.  FORMAT.md, first part."""

from __future__ import annotations

import struct
import zlib
from hashlib import blake2b
from typing import BinaryIO, NamedTuple

from crdtsync.errors import BackupDamaged, UnsupportedFormat

MAGIC = b"CRDTBKP1"
HEADER, CONTENTS, ROWS, KEPT, END = 1, 2, 3, 4, 5
KINDS = (HEADER, CONTENTS, ROWS, KEPT, END)
COMPRESSED = 1
HEAD = struct.Struct("<IIBB")  # length of the stored payload, crc, kind, flags
CHAIN = struct.Struct("<IBBI")  # what the crc covers before the payload: crc before, kind, flags, length
STORED_MAX = 2**31
SMALL_MAX = 64 * 1024 * 1024  # bytes of an expanded payload before the header has told what parts may hold
LEVEL = 1  # of zlib: rows compress well by any, and a backup should not wait for the processor
DIGEST_BYTES = 32


def _checksum(before: int, kind: int, flags: int, stored: bytes) -> int:
    return zlib.crc32(stored, zlib.crc32(CHAIN.pack(before, kind, flags, len(stored))))


class Framer:
    """Makes records, one after the other."""

    def __init__(self) -> None:
        self.records = 0
        self.bytes = len(MAGIC)
        self._crc = 0
        self._hash = blake2b(MAGIC, digest_size=DIGEST_BYTES)

    def record(self, kind: int, payload: bytes) -> bytes:
        """The bytes of the next record; compressed when that makes it smaller."""
        packed = zlib.compress(payload, LEVEL)
        flags = COMPRESSED if len(packed) < len(payload) else 0
        stored = packed if flags else payload
        self._crc = _checksum(self._crc, kind, flags, stored)
        framed = HEAD.pack(len(stored), self._crc, kind, flags) + stored
        self._hash.update(framed)
        self.records += 1
        self.bytes += len(framed)
        return framed

    def digest(self) -> bytes:
        """BLAKE2b-256 of everything so far."""
        return self._hash.digest()


class Record(NamedTuple):
    """One record, its checksum verified and its payload expanded."""

    kind: int
    payload: bytes
    before: bytes  # digest of the file before it; only of the end


class Unframer:
    """Reads records, one after the other.  Every fault is BackupDamaged, with the file and the place in it."""

    def __init__(self, file: BinaryIO, path: str, size: int) -> None:
        """Raises BackupDamaged, UnsupportedFormat."""
        self.path, self.records = path, 0
        self.expanded_max = SMALL_MAX
        self.offset = 0
        self._file, self._size, self._crc = file, size, 0
        self._hash = blake2b(digest_size=DIGEST_BYTES)
        magic = file.read(len(MAGIC))
        if magic and len(magic) < len(MAGIC) and MAGIC.startswith(magic):
            raise self.fault("the file is cut off")
        if magic[:7] == MAGIC[:7] and magic != MAGIC:
            raise UnsupportedFormat(f"{path} is a backup of format {magic[7:]!r}; this crdtsync reads {MAGIC[7:]!r}.")
        if magic != MAGIC:
            raise BackupDamaged(f"{path} is not a crdtsync backup.")
        self._hash.update(magic)

    def fault(self, what: str) -> BackupDamaged:
        """The error that says what is wrong with the record at hand."""
        return BackupDamaged(f"{self.path}: record {self.records + 1} at byte {self.offset:,}: {what}.")

    def go_on(self) -> BinaryIO:
        """Open the file again where it was left: another one in its place does not go on with our checksum."""
        self._file = open(self.path, "rb")  # noqa: SIM115 - closed by whom it is given to
        self._file.seek(self.offset)
        return self._file

    def _read(self, length: int) -> bytes:
        data = self._file.read(length)
        if len(data) < length:
            raise self.fault("the file is cut off")
        return data

    def next(self) -> Record:
        """The next record."""
        head = self._read(HEAD.size)
        length, crc, kind, flags = HEAD.unpack(head)
        if kind not in KINDS or flags not in (0, COMPRESSED):
            raise self.fault(f"its kind {kind} with flags {flags} is not known")
        if length > min(STORED_MAX, self._size - self.offset - HEAD.size):
            raise self.fault("the file is cut off, or the length is wrong")
        stored = self._read(length)
        if _checksum(self._crc, kind, flags, stored) != crc:
            raise self.fault("it fails its checksum")
        before = self._hash.digest() if kind == END else b""
        payload = self._expand(stored) if flags else stored
        self._crc = crc
        self._hash.update(head)
        self._hash.update(stored)
        self.records += 1
        self.offset = self._file.tell()
        return Record(kind, payload, before)

    def _expand(self, stored: bytes) -> bytes:
        machine = zlib.decompressobj()
        try:
            payload = machine.decompress(stored, self.expanded_max)
        except zlib.error as error:
            raise self.fault(f"it cannot be expanded ({error})") from error
        if machine.unconsumed_tail or machine.unused_data or not machine.eof:
            raise self.fault("it does not expand to what it should")
        return payload

    def at_end(self) -> bool:
        """Whether nothing follows."""
        return not self._file.read(1)
