"""A sound table made of what can be read of a damaged one (accept_damage): no guess, and nothing lost in silence.

Identity, actors and the records of buckets are small; without all of them nothing can be told, and the store is refused
as before.  Rows carry checksums of their own.  A row that the log or the tree still names is set aside like any other
that fails its checksum: peers mend it.  When more rows are missing than are named, the bucket has a row set aside
without a name, and the node starts over with a member's state: what it holds that the member does not is rescued.  A
store that was never published has nobody to mend it: there what is missing is forgotten, and counted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from crdtsync.errors import StoreDamaged
from crdtsync.kernels import LOG_KEY, NUMBER, encode_log, row_dead, row_log_dots
from crdtsync.storage.bucket import DROPPED, HIDDEN
from crdtsync.storage.files import sync_directory
from crdtsync.storage.lmdb_map import DATABASES
from crdtsync.storage.maps import Pairs
from crdtsync.storage.pages import Pages
from crdtsync.storage.table import (
    ACTORS,
    BUCKETS,
    DEAD,
    KEY_MAX,
    LOG,
    META,
    PREFIX,
    ROWS,
    decode_log,
    decode_meta,
    decode_row,
    encode_meta,
    rowkey_of,
)

log = logging.getLogger("crdtsync.storage")
HEADS = (b"identity", b"position", b"members")
WHOLE = (META, ACTORS, BUCKETS)  # databases without which nothing can be told
ROWS_AT, DEAD_AT, STATE_AT, CLOCK_AT, DAMAGED_AT, SCAN_AT = 1, 2, 4, 5, 8, 9  # fields of a bucket's record


# What such a file does to whoever reads it.
STUMBLES = (ValueError, LookupError, TypeError, struct.error, lmdb.Error, StoreDamaged)


class Salvaged(msgspec.Struct):
    """What became of a damaged table."""

    rows: int = 0  # that were found
    set_aside: int = 0  # rows missing whose keys are known; peers mend them
    unknown: int = 0  # rows missing without a key
    forgotten: int = 0  # rows missing from a store that was never published


def salvage(table: Path) -> Salvaged:
    """Put a sound table in the place of a damaged one, which stays beside it as `table.mdb.damaged`.

    Raises StoreDamaged when too much is gone.
    """
    new = table.with_name(table.name + ".new")
    _clear(new)
    try:
        done = _Salvage(table, new).run()
    except STUMBLES as error:
        _clear(new)
        raise _hopeless(table, str(error)) from error
    except BaseException:
        _clear(new)
        raise
    kept = table.with_name(table.name + ".damaged")
    with contextlib.suppress(FileNotFoundError):
        kept.unlink()
    os.link(table, kept)
    os.replace(new, table)
    sync_directory(table.parent)
    _clear(new)
    log.error("%s was damaged and has been salvaged, as accept_damage says: %s", table, done)
    return done


def _clear(new: Path) -> None:
    for path in (new, new.with_name(new.name + "-lock")):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _hopeless(table: Path, why: str) -> StoreDamaged:
    hint = "Start from a peer or a backup: without its meta entries nothing that is left can be relied on."
    return StoreDamaged(f"{table} is damaged beyond what can be salvaged: {why}.", hint=hint)


class _Salvage:
    """One run, from the damaged file into a new one."""

    def __init__(self, table: Path, new: Path) -> None:
        self.table, self.new, self.pages = table, new, Pages(table)
        self.trees = self.pages.databases()
        self.done = Salvaged()
        self.found: Counter[int] = Counter()  # rows by bucket
        self.dead: Counter[int] = Counter()
        self.lost: dict[int, dict[bytes, bytes]] = {}  # bucket -> physical key -> row key of rows that are named

    def run(self) -> Salvaged:
        whole = {name: list(self._pairs(name)) for name in WHOLE}
        if self.pages.losses:
            raise ValueError("pages of its meta entries, actors or buckets are lost")
        heads = {key: decode_meta(key, value, key.decode()) for key, value in whole[META] if key in HEADS}
        records = {
            NUMBER.unpack(key)[0]: decode_meta(key, value, "record of a bucket") for key, value in whole[BUCKETS]
        }
        if set(heads) != set(HEADS):
            raise ValueError("its meta entries are not all there")
        self._check_actors([NUMBER.unpack(key)[0] for key, _ in whole[ACTORS]], records)
        for key, value in whole[ACTORS]:
            decode_meta(key, value, "actor")
        size = max(4 * self.table.stat().st_size, 1 << 26)
        with contextlib.closing(lmdb.open(str(self.new), subdir=False, map_size=size, max_dbs=DATABASES)) as env:
            self._fill(env, whole, records, published=bool(heads[b"identity"][2]))
        return self.done

    def _pairs(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Entries of a database that can be read whole."""
        if name in self.trees:
            yield from ((key, value) for key, value in self.pages.entries(self.trees[name]) if value is not None)

    def _check_actors(self, indexes: list[int], records: dict[int, Any]) -> None:
        known = set(indexes) | {0}
        if known != set(range(len(known))):
            raise ValueError("actors are missing")
        for record in records.values():
            if not known.issuperset(record[CLOCK_AT][::2]):
                raise ValueError("a clock names an actor that is missing")

    def _fill(self, env: Any, whole: dict[str, Pairs], records: dict[int, Any], published: bool) -> None:
        names = {*self.trees, *WHOLE, ROWS, LOG, DEAD}
        handles = {name: env.open_db(name.encode()) for name in sorted(names)}
        with env.begin(write=True) as txn:
            for name in names - {ROWS, LOG, DEAD, BUCKETS}:  # requests, and what a later version may have added
                _put(txn, handles[name], whole[name] if name in WHOLE else list(self._pairs(name)))
            self._rows(txn, handles, set(records))
            self._log(txn, handles, published)
            for number, record in records.items():
                self._settle(record, number, published)
                key = NUMBER.pack(number)
                _put(txn, handles[BUCKETS], [(key, encode_meta(key, record))])

    def _rows(self, txn: Any, handles: dict[str, Any], buckets: set[int]) -> None:
        """All rows that can be read, and what follows from them: log entries, marks of dead ones."""
        if ROWS not in self.trees:
            return
        for key, value in self.pages.entries(self.trees[ROWS]):
            number = NUMBER.unpack_from(key)[0] if PREFIX < len(key) <= KEY_MAX else 0
            if number not in buckets:
                self.pages.losses += 1
            elif value is None:
                self._name_lost(number, key, b"")
            else:
                self._row(txn, handles, number, key, value)

    def _row(self, txn: Any, handles: dict[str, Any], number: int, key: bytes, value: bytes) -> None:
        self.found[number] += 1
        self.done.rows += 1
        _put(txn, handles[ROWS], [(key, value)])
        row = decode_row(key, value)
        if row is not None:  # else whoever reads it sets it aside
            for dot in row_log_dots(row[1]):
                at = LOG_KEY.pack(number, *dot)
                _put(txn, handles[LOG], [(at, encode_log(at, key))])
            if row_dead(row[1]):
                self.dead[number] += 1
                _put(txn, handles[DEAD], [(key, b"")])

    def _log(self, txn: Any, handles: dict[str, Any], published: bool) -> None:
        """Entries that lead to rows which fail their checksum, or are gone: these are named by them."""
        for at, value in self._pairs(LOG):
            key = decode_log(at, value)
            if key is None:
                continue
            if txn.get(key, db=handles[ROWS]) is None:
                self._name_lost(NUMBER.unpack_from(key)[0], key, b"")
                if not published:
                    continue
            if txn.get(at, db=handles[LOG]) is None:
                _put(txn, handles[LOG], [(at, value)])

    def _name_lost(self, number: int, key: bytes, value: bytes) -> None:
        self.lost.setdefault(number, {})[key] = rowkey_of(key, value) or b""

    def _settle(self, record: list[Any], number: int, published: bool) -> None:
        """What the record of a bucket has to say now."""
        lost, expected = self.lost.get(number, {}), record[ROWS_AT]
        missing = expected - self.found[number]
        if not missing and not lost and self.pages.both:
            record[DEAD_AT] = self.dead[number]
            return
        if record[STATE_AT] == HIDDEN:  # the scan comes again
            record[STATE_AT], record[SCAN_AT] = DROPPED, None
        elif record[STATE_AT] != DROPPED and published:
            self._set_aside(record, number, lost, missing)
        elif record[STATE_AT] != DROPPED:
            self.done.forgotten += missing
        record[0], record[DEAD_AT] = None, self.dead[number]
        record[ROWS_AT] = self.found[number] + (len(lost) if published else 0)

    def _set_aside(self, record: list[Any], number: int, lost: dict[bytes, bytes], missing: int) -> None:
        damaged = dict(zip(record[DAMAGED_AT][::2], record[DAMAGED_AT][1::2], strict=True)) | lost
        self.done.set_aside += len(lost)
        if missing != len(lost) or not self.pages.both:
            self.done.unknown += max(missing - len(lost), 1)
            damaged[NUMBER.pack(number)] = b""
        record[DAMAGED_AT] = [item for pair in damaged.items() for item in pair]


def _put(txn: Any, handle: Any, pairs: Pairs) -> None:
    for key, value in pairs:
        txn.put(key, value, db=handle)


