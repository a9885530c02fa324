"""`crdtsync check DIR`: verifies a closed store and says what is wrong."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("check")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
def command(directory: Path) -> int:
    """Verify every row, log entry and clock of a closed store.

    DIR is the store's directory.  Exit status 5 when something is wrong with the data.
    """
    from crdtsync.storage.check import check

    raise NotImplementedError(check, directory)
