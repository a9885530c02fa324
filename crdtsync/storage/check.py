"""`check(path)`: verify all of a closed store that can be verified, and say in plain words what is wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from crdtsync.errors import CrdtsyncError, StoreDamaged
from crdtsync.kernels import NUMBER
from crdtsync.storage import facts, trust
from crdtsync.storage.bucket import DROPPED, LIVE
from crdtsync.storage.checkbucket import BucketRecord, check_bucket
from crdtsync.storage.checkpointing import IDENTITY, MEMBERS, POSITION
from crdtsync.storage.directory import JOURNAL, TABLE, Directory
from crdtsync.storage.facts import members_of
from crdtsync.storage.files import PlainDisk
from crdtsync.storage.lmdb_map import LmdbMap
from crdtsync.storage.maps import Snapshot
from crdtsync.storage.records import Position
from crdtsync.storage.replay import describe, replay
from crdtsync.storage.rescue import decode_rescue
from crdtsync.storage.table import ACTORS, BUCKETS, META, REQUESTS, decode_meta, unpack

SHOWN = 100  # problems that are told one by one


class Report(msgspec.Struct):
    """What a check found."""

    path: str
    problems: list[str] = []  # empty: the store is sound
    notes: list[str] = []  # what is worth knowing and not wrong
    figures: dict[str, int] = {}  # what was looked at: buckets, rows, dead_rows, log_entries, actors, journal_records

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def problem(self, text: str) -> None:
        """Something is wrong."""
        self.figures["problems"] = self.figures.get("problems", 0) + 1
        if len(self.problems) < SHOWN:
            self.problems.append(text)

    def count(self, what: str, by: int = 1) -> None:
        """Something was looked at."""
        self.figures[what] = self.figures.get(what, 0) + by

    def lines(self) -> list[str]:
        """The report as text, one finding a line."""
        told = [f"WRONG  {problem}" for problem in self.problems]
        hidden = self.figures.get("problems", 0) - len(self.problems)
        if hidden:
            told.append(f"WRONG  ... and {hidden} more.")
        told += [f"note   {note}" for note in self.notes]
        seen = ", ".join(counted(value, name.replace("_", " ")) for name, value in self.figures.items())
        verdict = "is sound" if self.ok else "is DAMAGED"
        return [*told, f"{self.path} {verdict} ({seen})."]


def counted(number: int, what: str) -> str:
    """The number before its noun, which is given in the plural."""
    one = what.removesuffix("ies") + "y" if what.endswith("ies") else what.removesuffix("s")
    return f"{number:,} {one if number == 1 else what}"


def check(path: str | os.PathLike[str]) -> Report:
    """Check a closed store.  Nothing is changed.

    Raises FileNotFoundError, StoreInUse, ForeignDirectory, UnsupportedFormat: there is nothing to check then.
    """
    report = Report(str(path))
    if not Path(path).is_dir():
        raise FileNotFoundError(f"{path} is not a directory")
    try:
        directory = Directory(path, create=False)
    except StoreDamaged as error:
        report.problem(error.message)
        return report
    try:
        if _structure(directory.path / TABLE, report):
            _table(directory.path, report)
        _rescue_files(directory.path, report)
    finally:
        directory.close()
    return report


def _structure(table: Path, report: Report) -> bool:
    """Whether LMDB may be let near the file: it aborts the process over some kinds of damage."""
    if not table.exists():
        report.problem(f"{table.name} is missing.")
        return False
    problems = trust.problems(table)
    for problem in problems:
        report.problem(f"{table.name}: {problem}.")
    return not problems


def _table(path: Path, report: Report) -> None:
    try:
        table = LmdbMap(path / TABLE, 1 << 30)
    except CrdtsyncError as error:
        report.problem(error.message)
        return
    try:
        snapshot = table.snapshot()
        try:
            _content(path, snapshot, report)
        finally:
            snapshot.close()
    finally:
        table.close()


def _content(path: Path, snapshot: Snapshot, report: Report) -> None:
    """The meta entries decide what the rest is compared with."""
    meta: dict[bytes, Any] = {}
    for key in (IDENTITY, POSITION, MEMBERS):
        value = snapshot.get(META, key)
        try:
            if value is None:
                raise StoreDamaged(f"The row table lacks its {key.decode()}.")
            meta[key] = decode_meta(key, value, key.decode())
        except StoreDamaged as error:
            report.problem(error.message)
    if len(meta) < 3:
        return
    members_of(meta[MEMBERS])
    actors = _actors(snapshot, report)
    buckets = _buckets(snapshot, report)
    for bucket in buckets.values():
        check_bucket(snapshot, bucket, actors, report)
    _requests(snapshot, actors, report)
    _journal(path, meta[IDENTITY][1], Position(*meta[POSITION]), set(buckets), report)


def _actors(snapshot: Snapshot, report: Report) -> int:
    """Number of actor indexes."""
    seen: dict[int, int] = {}
    expected = 0
    for key, value in snapshot.range(ACTORS, b""):
        index = NUMBER.unpack(key)[0]
        try:
            actor = decode_meta(key, value, f"actor {index}")
        except StoreDamaged as error:
            report.problem(error.message)
            actor = None
        if index != expected:
            report.problem(f"Actor index {index} follows where {expected} belongs.")
        if actor is not None and (actor in seen or (actor == 0 and index)):
            report.problem(f"Actor {index} has the id {actor:#x} of actor {seen.get(actor, 0)}.")
        if actor is not None:
            seen[actor] = index
        expected = index + 1
        report.count("actors")
    return expected


def _buckets(snapshot: Snapshot, report: Report) -> dict[int, BucketRecord]:
    found: dict[int, BucketRecord] = {}
    names: set[str] = set()
    for key, value in snapshot.range(BUCKETS, b""):
        number = NUMBER.unpack(key)[0]
        try:
            bucket = BucketRecord(number, decode_meta(key, value, f"record of bucket {number}"))
        except StoreDamaged as error:
            report.problem(error.message)
            continue
        if bucket.state == LIVE and bucket.name in names:
            report.problem(f"Two buckets have the name {bucket.name!r}.")
        if bucket.state == LIVE:
            names.add(bucket.name)
        if bucket.state != DROPPED:
            report.count("buckets")
            found[number] = bucket
    taking_in = {bucket.name for bucket in found.values() if bucket.staged is not None}
    for bucket in found.values():
        bucket.open_end = bucket.name in taking_in  # slices of a long transfer lie beyond the clock until its claim
    return found


def _requests(snapshot: Snapshot, actors: int, report: Report) -> None:
    """Ids of answered requests: each once in its bucket, under its own number, with an event of an actor we know."""
    seen: set[tuple[str, str]] = set()
    for key, value in snapshot.range(REQUESTS, b""):
        at = int.from_bytes(key, "big")
        try:
            number, bucket, request, _, _, actor, _ = decode_meta(key, value, f"entry of request {at}")
        except StoreDamaged as error:
            report.problem(error.message)
            continue
        if number != at or actor >= actors or (bucket, request) in seen:
            report.problem(f"The entry of request {at}, {request!r} of bucket {bucket!r}, contradicts the others.")
        seen.add((bucket, request))
        report.count("requests")


def _journal(path: Path, store: int, start: Position, buckets: set[int], report: Report) -> None:
    """Every record from the checkpoint on; a torn tail is what a crash leaves, and no problem."""

    def look(data: bytes) -> None:
        fields = unpack(data)
        if fields[0] == facts.BUCKET:
            buckets.add(fields[1])
        elif fields[0] == facts.ANSWER and fields[3] and fields[2] not in buckets:
            report.notes.append(f"A journal record tells of bucket {fields[2]}, which has been dropped.")
        elif fields[0] in (facts.WRITE, facts.JOIN, facts.COLLECT, facts.ROWS) and fields[1] not in buckets:
            report.notes.append(f"A journal record tells of bucket {fields[1]}, which has been dropped.")
        report.count("journal_records")

    try:
        ending = replay(PlainDisk(path / JOURNAL), store, start, look)
    except (OSError, CrdtsyncError) as error:
        report.problem(f"The journal cannot be read: {error}.")
        return
    if ending.damaged:
        report.problem(describe(ending))
    elif ending.problem:
        report.notes.append(f"The journal ends in a torn record, as a crash leaves it: {ending.problem}.")


def _rescue_files(path: Path, report: Report) -> None:
    journal = path / JOURNAL
    for name in sorted(os.listdir(journal)) if journal.is_dir() else []:
        if name.endswith(".damaged"):
            report.notes.append(f"{JOURNAL}/{name} was set aside as damaged.")
        elif name.startswith("rescue-"):
            try:
                rescue = decode_rescue((journal / name).read_bytes())
                rows = sum(part.count for part in rescue.parts)
                report.notes.append(f"{JOURNAL}/{name} holds {rows} rows rescued from bucket {rescue.bucket!r}.")
            except CrdtsyncError as error:
                report.problem(f"{JOURNAL}/{name}: {error.message}")
