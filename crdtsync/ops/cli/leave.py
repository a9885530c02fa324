"""`crdtsync leave`: has a running node leave its cluster."""

from __future__ import annotations

import click

from crdtsync.ops.cli.options import Remote, operator_options, wait_option
from crdtsync.ops.cli.output import say


@click.command("leave")
@wait_option(60.0)
@operator_options
def command(remote: Remote, wait: float) -> None:
    """Have a running node leave its cluster in good order.

    It returns once another member holds everything that was written there.  The node takes no more writes; what it
    holds can be read.  Started again with --join, it comes back.
    """
    with remote.operator() as operator:
        operator.leave(wait)
    say("The node has left the cluster.")
