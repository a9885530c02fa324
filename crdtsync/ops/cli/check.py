"""`crdtsync check DIR`: verifies a closed store and says what is wrong."""

from __future__ import annotations

from pathlib import Path

import click

from crdtsync.ops.cli.options import output_option
from crdtsync.ops.cli.output import Printer

INVALID = 5  # exit status: the data is damaged


@click.command("check")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
@output_option
def command(directory: Path, output: str) -> int:
    """Verify every row, log entry and clock of a closed store.

    DIR is the store's directory; nothing in it is changed.  Exit status 5 when something is wrong with the data.
    """
    from crdtsync.storage.check import check

    report = check(directory)
    plain = {"ok": report.ok, "problems": report.problems, "notes": report.notes, "figures": report.figures}
    Printer(output).one(plain, report.lines())
    return 0 if report.ok else INVALID
