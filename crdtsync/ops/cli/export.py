"""`crdtsync export [PREFIX]`: objects of a node into a file."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from crdtsync.ops.cli.options import FilePath, Remote, after_option, bucket_option, connection_options
from crdtsync.ops.cli.output import say

if TYPE_CHECKING:
    from crdtsync.ops.files.position import ExportPosition



class Form(click.Choice):  # type: ignore[type-arg]  # older releases of click have no argument here
    """What the file is; many another command takes the name of the file behind `-o`."""

    def __init__(self) -> None:
        super().__init__(("ndjson", "csv"))

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        return f"{super().get_invalid_choice_message(value, ctx)}  The file is named by --to FILE."


@click.command("export")
@click.argument("prefix", default="")
@click.option("--to", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default="-", metavar="FILE",
              help="Where to write; a file that is there is refused.  [standard output]")  # fmt: skip
@click.option("--format", "--output", "-o", "form", type=Form(),
              help="What to write.  [by the name of FILE; ndjson]")  # fmt: skip
@click.option("--resume", type=FilePath(), metavar="POSITION",
              help="Keep in this file how far the export has come, and go on from there when it is there.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE when it is there.")
@bucket_option
@after_option
@connection_options
def command(
    remote: Remote, prefix: str, to: Path, form: str | None, resume: Path | None, force: bool, bucket: str,
    after: str | None,
) -> None:  # fmt: skip
    """Write objects to a file: NDJSON, or CSV for flat data.

    Those whose key starts with PREFIX, in order, a line for each; a map is told field by field.  NDJSON holds every
    type and value exactly; CSV has no place for maps in maps.  Each object is of one state; what others write meanwhile
    may or may not be told.  docs/data-format.md has both forms.

    FILE is there once it is whole; until then what has been written is beside it.  With --resume that is FILE.partial,
    which an export that was cut off goes on with when it is started again with the same arguments.
    """
    from crdtsync.ops.cli.progress import Progress
    from crdtsync.ops.files.exporting import export
    from crdtsync.ops.files.position import ExportPosition, load, save
    from crdtsync.ops.files.whole import go_on, is_stream, write_export

    plain = str(to) == "-" or (force and is_stream(to))
    if resume is not None and plain:
        raise click.UsageError("--resume needs --to FILE.")
    kind = form or ("csv" if to.suffix.lower() == ".csv" else "ndjson")
    begun = load(resume, ExportPosition) if resume is not None else None
    position = begun or ExportPosition(prefix=prefix, bucket=bucket, format=kind)
    check(position, (prefix, bucket, kind), to, plain or force or position.done)
    with ExitStack() as stack:
        client = stack.enter_context(remote.client())
        within = remote.bucket(client, bucket, after)
        if begun is not None:
            say(f"Going on behind {begun.objects:,} objects, of which {resume} tells.")
        progress = stack.enter_context(Progress("Exporting", "Exported", None))
        keep = None if resume is None else (lambda at: save(resume, at))

        def write(file: BinaryIO) -> None:
            export(within, file, position, keep, progress.update)

        if str(to) == "-":
            write(sys.stdout.buffer)
        elif plain:
            with to.open("wb") as file:
                write(file)
        elif keep is None:
            write_export(to, force, write)
        else:
            go_on(to, force, position, begun is not None, keep, write)
    if resume is not None:
        resume.unlink(missing_ok=True)


def check(position: ExportPosition, wanted: tuple[str, str, str], to: Path, may_be_there: bool) -> None:
    """Refuse to overwrite a file, or to go on with another export.  Raises Misuse, FileThere."""
    from crdtsync.errors import FileThere, Misuse

    if (position.prefix, position.bucket, position.format) != wanted:
        raise Misuse(
            f"The position is of an export of {position.prefix!r} from bucket {position.bucket} as {position.format}.",
            hint="Give the same arguments, or another --resume file.",
        )
    if not may_be_there and os.path.lexists(to):  # a link to nowhere is a file as well: nothing is written through it
        raise FileThere(f"{to} is there.", hint="Name another file, or replace it with --force.")
