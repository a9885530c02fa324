"""`crdtsync backup create|verify|restore|merge`: copies of a store as files, and what comes of such files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from crdtsync.errors import BackupMismatch, StoreInUse
from crdtsync.ops.cli.options import ADMIN_SOCKET, FilePath, Remote, operator_options, output_option
from crdtsync.ops.cli.output import Printer
from crdtsync.ops.text import safe

if TYPE_CHECKING:
    from crdtsync.backup import Summary

INVALID = 5  # exit status: a backup is damaged, or backups do not go together
FILE = FilePath(exists=True)
Tell = Callable[[int, int | None], None]


@click.group("backup")
def command() -> None:
    """Make backups of a store, verify them, and restore them.

    A backup is one file with the state of one node at one moment.  Every member of a cluster holds everything.
    """


# ---- create


@command.command("create")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="[DIR] FILE")
@click.option("--since", metavar="PARENT", help="Hold only what came after this backup: its file, or its token.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@operator_options
def create(remote: Remote, paths: tuple[Path, ...], since: str | None, force: bool) -> None:
    """Write the state of a node to FILE.

    DIR is the directory of a store, whether a node runs in it or not; without it, --node says which node to ask.
    """
    if len(paths) > 2:
        raise click.UsageError("Name one directory and one file.")
    *directory, file = paths
    if directory and not directory[0].is_dir():
        raise click.UsageError(f"{safe(str(directory[0]))} is not a directory.")
    if directory:
        summary = _create_from(directory[0], file, since, force, remote)
    else:
        summary = _ask_for(remote, file, since, force)
    kind = "incremental" if summary.incremental else "full"
    lines = [f"{file}: {kind} backup {summary.id}, {summary.rows:,} rows, {summary.bytes:,} bytes."]
    remote.printer.one(summary.plain(), [*map(safe, lines), f"token {summary.token}"])


def _create_from(directory: Path, file: Path, since: str | None, force: bool, remote: Remote) -> Summary:
    """From a directory: opened, or through the node that has it open."""
    from crdtsync import open as open_node
    from crdtsync.backup.writing import check_free, write_file
    from crdtsync.storage.directory import Directory

    parent = _file_of(since)
    check_free(file, force, parent)
    try:
        Directory(directory, create=False).close()  # a mistyped name must not become a store
        with (
            open_node(directory) as node,
            node.backup_stream(since=parent or since) as stream,
            _progress("rows") as tell,
        ):
            return write_file(stream, file, force, tell, _check_bounds)
    except StoreInUse:
        if not (directory / ADMIN_SOCKET).is_socket():
            raise
    return _ask_for(Remote((str(directory),), remote.timeout, remote.output), file, since, force)


def _check_bounds(partial: Path) -> None:
    """Rows are judged by the settings of who wrote the file; here these are the defaults, not those of the node."""
    from crdtsync.backup import verify

    for problem in verify(partial).problems:
        hint = "If its cluster has settings of its own: start the node with them, and back it up then."
        raise BackupMismatch(f"The backup could not be restored: {problem}", hint=hint)


def _file_of(since: str | None) -> Path | None:
    """The file that --since names; None for a token, which may be longer than a name may."""
    return Path(since) if since and os.path.exists(since) else None


def _ask_for(remote: Remote, file: Path, since: str | None, force: bool) -> Summary:
    """From a running node."""
    from crdtsync.backup import read_summary, verify
    from crdtsync.backup.writing import check_free, write_pieces

    found: list[Summary] = []

    def check(partial: Path) -> None:
        report = verify(partial)
        report.refuse()
        found.append(report.backups[0])

    parent_file = _file_of(since)
    check_free(file, force, parent_file)
    token, parent = since or "", ""
    if parent_file is not None:
        summary = read_summary(parent_file)
        token, parent = summary.token, summary.id
    with remote.operator() as operator, _progress("bytes") as tell:
        write_pieces(_told(operator.backup(token, parent), tell), file, force, check)
    return found[0]


def _told(pieces: Iterator[bytes], tell: Tell | None) -> Iterator[bytes]:
    done = 0
    for piece in pieces:
        yield piece
        done += len(piece)
        if tell is not None:
            tell(done, None)


# ---- verify, restore, merge


@command.command("verify")
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="FILE...")
@output_option
def verify(files: tuple[Path, ...], output: str) -> int:
    """Read every byte of one or more backups and say what is wrong.

    Several must form a chain: a full backup, and others that build on it.  Exit status 5 when something is wrong.
    """
    from crdtsync.backup import verify

    with _progress("bytes") as tell:
        report = verify(files, tell)
    plain = {"ok": report.ok, "problems": report.problems, "backups": [backup.plain() for backup in report.backups]}
    Printer(output).one(plain, map(safe, report.lines()))
    return 0 if report.ok else INVALID


@command.command("restore")
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="FILE...")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--new-cluster", is_flag=True, help="Found a new cluster, instead of entering the old one again.")
@click.option("--name", default="", metavar="NAME", help="Name of the node; without it one is made up.")
@click.option("--force", is_flag=True, help="Replace the closed store in DIR.")
@output_option
def restore(files: tuple[Path, ...], directory: Path, new_cluster: bool, name: str, force: bool, output: str) -> None:
    """Make a store in the empty directory DIR from a full backup and those that build on it.

    The store belongs to the cluster of the backup, and is started with --join to be let in by a member; with
    --new-cluster it begins a cluster of its own.
    """
    from crdtsync.backup import restore

    with _progress("bytes") as tell:
        done = restore(files, directory, name=name, new_cluster=new_cluster, force=force, progress=tell)
    lines = [f"{directory}: node {done.node} of cluster {done.cluster:016x}, {done.rows:,} rows."]
    if not new_cluster:
        known = ", ".join(done.members) or "the address of a member"
        lines.append(f"Start it with --join ({known}), or with --new-cluster to found a new cluster.")
    plain = {**msgspec.structs.asdict(done), "cluster": f"{done.cluster:016x}", "backup": done.backup.plain()}
    Printer(output).one(plain, map(safe, lines))


@command.command("merge")
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="FILE...")
@operator_options
def merge(remote: Remote, files: tuple[Path, ...]) -> None:
    """Merge a full backup and those that build on it into a running node, and so into its cluster.

    What the cluster has deleted stays deleted, what it has lost comes back, and merging twice is merging once.
    """
    size = sum(file.stat().st_size for file in files)
    with remote.operator() as operator, _progress("bytes") as tell:
        done = operator.merge(files, (lambda sent: tell(sent, size)) if tell else lambda sent: None)
    lines = [f"{done['rows']:,} rows changed, {done['conflicts']:,} conflicts."]
    if done["rewritten"] or done["deleted"]:
        lines.append(f"{done['rewritten']:,} registers written again, {done['deleted']:,} counter cells deleted again.")
    remote.printer.one(done, lines)


@contextmanager
def _progress(what: str) -> Iterator[Tell | None]:
    """A bar on standard error when that is a terminal; nothing otherwise."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.completed:,.0f} " + what), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
