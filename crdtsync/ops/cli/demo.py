"""`crdtsync demo`: the main job on real input, on three nodes that lose one of their own."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("demo")
@click.option("--rows", type=click.IntRange(min=1), metavar="N", help="Replay the first N flights only.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the data in DIR; started again on it, the demo goes on where it was.",
)
def command(rows: int | None, keep: Path | None) -> int:
    """Replay a year of real flights on three nodes, lose one, and compare to the last number.

    One process per New York airport replays its departures of 2013 into its own node.  Half-way one process is killed
    and another is cut off; at the end every replica is compared with what the file alone says.
    Exit status 1 on any difference.
    """
    from crdtsync.ops.demo.conductor import run

    return run(rows, keep)
