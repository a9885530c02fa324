"""A chain of backups: one full backup, and further ones that each build on what those before it hold."""

from __future__ import annotations

import os
from collections.abc import Sequence

from crdtsync.backup.content import Section
from crdtsync.backup.reading import Backup
from crdtsync.clocks.vector import Clock, covers
from crdtsync.errors import BackupMismatch

Path = str | os.PathLike[str]


def as_list(paths: Path | Sequence[Path]) -> list[Path]:
    """One path or several as a list."""
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)


class Chain:
    """Backups in the order in which they build on each other; their files are closed until somebody reads on."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """`paths` in any order.  Raises BackupMismatch, BackupDamaged, UnsupportedFormat, OSError."""
        if not paths:
            raise BackupMismatch("No backup was named.")
        self.backups = _in_order([_look_at(path) for path in paths])

    @property
    def last(self) -> Backup:
        """The one whose state the chain leads to."""
        return self.backups[-1]


def _look_at(path: Path) -> Backup:
    """What a file says of itself.  Of a long chain not all may be open at once: a process has only so many."""
    with Backup(path) as backup:
        return backup


def _in_order(backups: list[Backup]) -> list[Backup]:
    full = [backup for backup in backups if not backup.incremental]
    if len(full) > 1:  # what builds on a backup of nothing is a full one
        full = [backup for backup in full if backup.sections] or full[:1]
    if len(full) != 1:
        names = ", ".join(backup.path for backup in full) or "none"
        raise BackupMismatch(f"A chain begins with one full backup; here that is {names}.")
    ordered, left = full, sorted((backup for backup in backups if backup.incremental), key=_events)
    state = {section.name: section.clock for section in full[0].sections}
    while left:
        following = next((backup for backup in left if _builds_on(backup, state)), None)
        if following is None:
            raise _misfit(left[0], ordered[-1])
        for section in following.sections:
            state[section.name] = section.clock
        ordered.append(following)
        left.remove(following)
    return ordered


def _builds_on(backup: Backup, state: dict[str, Clock]) -> bool:
    """Whether the backup leads on from `state`: its base is there, and nothing that it has not seen or cannot drop."""
    reached = {section.name: section.clock for section in backup.sections}
    based = all(_can_follow(section, state.get(section.name, {})) for section in backup.sections)
    return based and all(covers(reached.get(name, {}), clock) for name, clock in state.items())


def _can_follow(section: Section, held: Clock) -> bool:
    """Whether the section makes its own state of one at `held`: it names what is gone, or nothing of that can be."""
    return covers(held, section.base) and (section.kept or not held or covers(held, section.floor))


def _events(backup: Backup) -> int:
    return sum(sum(section.flat_clock[1::2]) for section in backup.sections)


def _misfit(backup: Backup, before: Backup) -> BackupMismatch:
    parent = f" It names {backup.header.parent} as its parent." if backup.header.parent else ""
    return BackupMismatch(
        f"{backup.path} does not build on {before.path} ({before.header.id}).{parent}",
        hint="Name the full backup and every one between; `crdtsync backup verify` shows what builds on what.",
    )
