"""`crdtsync digest`: whether nodes hold the same."""

from __future__ import annotations

import click

from crdtsync.ops.cli.options import Remote, remote_options


@click.command("digest")
@remote_options
def command(remote: Remote) -> int:
    """Print the digest of everything that each --node holds: equal replicas have equal ones.

    Exit status 1 when they differ.
    """
    rows = []
    for node in remote.nodes:
        with remote.client([node]) as client:
            rows.append({"node": client.name, "address": node, "digest": client.digest()})
    remote.printer.rows(rows, ("node", "digest"))
    return int(len({row["digest"] for row in rows}) > 1)
