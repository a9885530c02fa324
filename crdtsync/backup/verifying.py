"""`verify`: read every byte of backups, and say in plain words what is wrong."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from crdtsync.backup.chain import Chain, Path, as_list
from crdtsync.backup.content import Summary
from crdtsync.backup.reading import Backup, Rows
from crdtsync.backup.writing import Progress
from crdtsync.errors import BackupDamaged, CrdtsyncError
from crdtsync.kernels import rows_digest


class Report(msgspec.Struct):
    """What a verification found."""

    problems: list[str] = []  # empty: all is sound
    notes: list[str] = []
    backups: list[Summary] = []  # of those that are sound

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def refuse(self) -> None:
        """Raise BackupDamaged when something is wrong."""
        if self.problems:
            raise BackupDamaged(self.problems[0])

    def lines(self) -> list[str]:
        """The report as text, one finding a line."""
        told = [f"WRONG  {problem}" for problem in self.problems]
        return [*told, *(f"note   {note}" for note in self.notes)]


def verify(paths: Path | Sequence[Path], progress: Progress | None = None) -> Report:
    """Check one backup, or several and that they form a chain.  Nothing is changed.  Raises OSError.

    `progress` is told bytes read and bytes in all of the file at hand.
    """
    files = as_list(paths)
    report = Report()
    for path in files:
        _verify_file(path, report, progress)
    if report.ok and (len(files) > 1 or not report.backups[0].incremental):
        try:
            report.notes.append(_restorable(Chain(files)))
        except CrdtsyncError as error:
            report.problems.append(error.message)
    elif report.ok:
        report.notes.append("This backup builds on another: name those before it, too, to check the chain.")
    return report


def _verify_file(path: Path, report: Report, progress: Progress | None) -> None:
    try:
        with Backup(path) as backup:
            _read_all(backup, report, progress)
            summary = backup.summary()
    except CrdtsyncError as error:
        report.problems.append(error.message)
        return
    report.backups.append(summary)
    kind = "incremental" if summary.incremental else "full"
    when = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(summary.created / 1000))
    parent = f", built on {summary.parent}" if summary.parent else ""
    report.notes.append(
        f"{backup.path}: {kind} backup {summary.id}{parent} of node {summary.node}, cluster {summary.cluster:016x}, "
        f"{when}: {summary.rows:,} rows in {summary.buckets:,} buckets, {summary.bytes:,} bytes."
    )


def _read_all(backup: Backup, report: Report, progress: Progress | None) -> None:
    """Every record; of full buckets also that rows and digest go together."""
    digests = [0] * len(backup.sections)
    counts = [0] * len(backup.sections)
    for part in backup.parts():
        if isinstance(part, Rows):
            digests[part.section] += rows_digest(part.staged.rows)  # type: ignore[arg-type]
            counts[part.section] += len(part.staged.rows)
        if progress is not None:
            progress(backup.offset, backup.bytes)
    for section, digest, count in zip(backup.sections, digests, counts, strict=True):
        full = not section.flat_base
        if full and section.digest is not None and section.digest != (digest % 2**128).to_bytes(16, "big"):
            report.problems.append(f"{backup.path}: the rows of bucket {section.name!r} do not make its digest.")
        if full and count != section.rows:
            report.problems.append(f"{backup.path}: bucket {section.name!r} has {count} rows, not {section.rows}.")


def _restorable(chain: Chain) -> str:
    steps = len(chain.backups)
    what = "This backup restores" if steps == 1 else f"These {steps} backups restore"
    return f"{what} {sum(section.rows for section in chain.last.sections):,} rows."
