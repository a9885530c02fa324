"""`crdtsync stop`: ends a running node."""

from __future__ import annotations

import click

from crdtsync.ops.cli.options import Remote, operator_options
from crdtsync.ops.cli.output import say


@click.command("stop")
@operator_options
def command(remote: Remote) -> None:
    """End a running node in good order, as SIGTERM does.

    It returns when the node has taken the request; the process ends a moment later.
    """
    with remote.operator() as operator:
        operator.stop()
    say("The node is stopping.")
