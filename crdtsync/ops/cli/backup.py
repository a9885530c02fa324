"""`crdtsync backup create|verify|restore`: copies of a store as files, and stores from such files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from crdtsync.ops.cli.options import output_option
from crdtsync.ops.cli.output import Printer, safe

INVALID = 5  # exit status: a backup is damaged, or backups do not go together
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("backup")
def command() -> None:
    """Make backups of a store, verify them, and restore them.

    A running node is backed up by its own program (Node.backup); these commands work on directories that no process
    has open.
    """


@command.command("create")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--since", metavar="PARENT", help="Hold only what came after this backup: its file, or its token.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@output_option
def create(directory: Path, file: Path, since: str | None, force: bool, output: str) -> None:
    """Write the state of the closed store in DIR to FILE."""
    from crdtsync import open as open_node
    from crdtsync.storage.directory import Directory

    Directory(directory, create=False).close()  # a mistyped name must not become a store
    parent: str | Path | None = Path(since) if since and Path(since).exists() else since
    with open_node(directory) as node, _progress("rows") as tell:
        summary = node.backup(file, since=parent, force=force, progress=tell)
    kind = "incremental" if summary.incremental else "full"
    lines = [f"{file}: {kind} backup {summary.id}, {summary.rows:,} rows, {summary.bytes:,} bytes."]
    Printer(output).one(summary.plain(), [*map(safe, lines), f"token {summary.token}"])


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
def restore(
    files: tuple[Path, ...], directory: Path, new_cluster: bool, name: str, force: bool, output: str
) -> None:
    """Make a store in the empty directory DIR from a full backup and those that build on it.

    The store belongs to the cluster of the backup and is opened with join=, to be let in by a member; with
    --new-cluster it begins a cluster of its own.
    """
    from crdtsync.backup import restore

    with _progress("bytes") as tell:
        done = restore(files, directory, name=name, new_cluster=new_cluster, force=force, progress=tell)
    lines = [f"{directory}: node {done.node} of cluster {done.cluster:016x}, {done.rows:,} rows."]
    if not new_cluster:
        known = ", ".join(done.members) or "the address of a member"
        lines.append(f"Open it with join= ({known}), or with new_cluster=True to found a new cluster.")
    plain = {**msgspec.structs.asdict(done), "cluster": f"{done.cluster:016x}", "backup": done.backup.plain()}
    Printer(output).one(plain, map(safe, lines))


Tell = Callable[[int, int | None], None]


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
