"""`crdtsync import FILE`: objects of a file into a node."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from uuid import uuid4

import click

from crdtsync.errors import CrdtsyncError
from crdtsync.ops.cli.options import FilePath, Remote, bucket_option, connection_options
from crdtsync.ops.cli.output import say

if TYPE_CHECKING:
    from crdtsync.ops.files.position import ImportPosition
    from crdtsync.ops.files.rows import Line, Wide

FORMATS = ("ndjson", "csv")


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path), metavar="FILE")
@click.option("--format", "form", type=click.Choice(FORMATS), help="What FILE is.  [by its name; ndjson]")
@click.option("--resume", type=FilePath(), metavar="POSITION",
              help="Keep in this file how far the import has come, and go on from there when it is there.")  # fmt: skip
@click.option("--key-column", metavar="NAME",
              help="CSV with a row for each key, in column NAME; each other column is a field of its map.")  # fmt: skip
@click.option("--key-prefix", default="", metavar="TEXT", help="Put before the keys of --key-column.")
@click.option(
    "--json", "as_json", is_flag=True, help="Cells of such a table are in the JSON form where they read as it."
)
@click.option("--line-bytes-max", type=click.IntRange(1, 2**32), metavar="BYTES", show_default=False,
              help="Most bytes that an object may have in FILE.  [268435456]")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Read the whole file, say what is wrong with it, and write nothing.")
@bucket_option
@connection_options
def command(
    remote: Remote, file: Path, form: str | None, resume: Path | None, key_column: str | None, key_prefix: str,
    as_json: bool, line_bytes_max: int | None, dry_run: bool, bucket: str,
) -> None:  # fmt: skip
    """Write objects from a file: NDJSON, or CSV for flat data.

    FILE is what `crdtsync export` writes; - is standard input.  Counters grow by the values in it, sets get the
    elements, registers and flags are set; what is there besides stays.  docs/data-format.md has both forms.

    With --resume an import that was cut off, whatever cut it off, goes on exactly where it was when it is started again
    with the same arguments: no line is left out, and none is counted twice.  It then stays with one node.
    """
    from crdtsync.ops.files.rows import LINE_BYTES_MAX, Wide

    kind = form or ("csv" if file.suffix.lower() == ".csv" else "ndjson")
    if key_column is not None and kind != "csv":
        raise click.UsageError("--key-column is for CSV.")
    wide = None if key_column is None else Wide(key_column, key_prefix, as_json)
    told = Told(file, kind, wide, line_bytes_max or LINE_BYTES_MAX)
    with ExitStack() as stack:
        stack.enter_context(named(file))
        source = sys.stdin.buffer if str(file) == "-" else stack.enter_context(file.open("rb"))
        if dry_run:
            from crdtsync.ops.files.importing import check

            count = check(told.lines(source))
            say(f"{count:,} objects can be read; nothing was written.")
        else:
            transfer(remote, source, told, resume, bucket)


@contextmanager
def named(file: Path) -> Iterator[None]:
    """An error that says which lines it is about also says of which file."""
    try:
        yield
    except CrdtsyncError as error:
        if hasattr(error, "lines"):
            error.message = f"{file}: {error.message}"
        raise


def transfer(remote: Remote, source: BinaryIO, told: Told, resume: Path | None, bucket: str) -> None:
    """Write what the source holds, from the position on."""
    from crdtsync.client.lines import line_of
    from crdtsync.ops.cli.progress import Progress
    from crdtsync.ops.files.importing import Importer
    from crdtsync.ops.files.position import save

    with remote.one_client() as client:
        position = begin(resume, client.name, bucket, line_of(client).batch_bytes_max)
        if resume is not None:
            save(resume, position)
            if position.line:
                say(f"Going on behind line {position.line:,}, of which {resume} tells.")
        total = os.fstat(source.fileno()).st_size if source.seekable() else None
        with Progress("Importing", "Imported", total, position.end) as progress:
            keep = (lambda at: save(resume, at)) if resume is not None else (lambda at: None)
            importer = Importer(client, position, keep, progress.update)
            importer.run(told.lines(source, position))


def begin(resume: Path | None, node: str, bucket: str, batch_bytes_max: int) -> ImportPosition:
    """Where to begin.  Raises InvalidValue, Misuse when the position belongs to another import."""
    from crdtsync.errors import Misuse
    from crdtsync.ops.files.importing import BATCH_BYTES, BATCH_OBJECTS
    from crdtsync.ops.files.position import ImportPosition, load

    position = load(resume, ImportPosition) if resume is not None else None
    if position is None:
        bounds = {"batch_objects": BATCH_OBJECTS, "batch_bytes": min(BATCH_BYTES, batch_bytes_max // 4)}
        return ImportPosition(id=f"import-{uuid4().hex}", node=node, bucket=bucket, **bounds)
    if (position.node, position.bucket) != (node, bucket):
        raise Misuse(
            f"{resume} is of an import into bucket {position.bucket} of node {position.node}, "
            f"not bucket {bucket} of {node}.",
            hint="Only the node that took the first part knows what it has taken: name it with --node.",
        )
    return position


class Told(NamedTuple):
    """What a file holds, as it was told."""

    file: Path
    kind: str
    wide: Wide | None
    line_bytes_max: int

    def lines(self, source: BinaryIO, position: ImportPosition | None = None) -> Iterator[Line]:
        """The objects of the file, behind the position.  Raises InvalidValue."""
        from crdtsync.ops.files.importing import only_once, skip
        from crdtsync.ops.files.rows import Source, check_head

        lines = Source(source, str(self.file), line_bytes_max=self.line_bytes_max)
        head: list[str] = []
        if self.kind == "csv":
            head = lines.head()
            check_head(head, self.wide)
        if position is not None and position.end:
            skip(source, position, lines.end)
            lines = Source(source, str(self.file), position.line, position.end, self.line_bytes_max)
        return only_once(lines.csv(head, self.wide) if self.kind == "csv" else lines.ndjson())
