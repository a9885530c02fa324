"""`crdtsync maelstrom`: a node for the Maelstrom test bench."""

from __future__ import annotations

import click


@click.command("maelstrom")
def command() -> int:
    """Speak the Maelstrom protocol, so that its tests can judge a cluster.

    JSON messages come on standard input and go to standard output.  For the workloads broadcast, g-set, g-counter,
    pn-counter, unique-ids and echo, as in `maelstrom test -w g-set --bin crdtsync-maelstrom.sh`, where the script runs
    `crdtsync maelstrom`.  The node keeps its data in memory.
    """
    from crdtsync.ops.maelstrom.program import main

    main()
    return 0
