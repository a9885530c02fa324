"""`crdtsync join ADDRESS...`: has a running node join a cluster."""

from __future__ import annotations

import click

from crdtsync.ops.cli.options import Remote, operator_options, wait_option
from crdtsync.ops.cli.output import say


@click.command("join")
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@wait_option(30.0)
@operator_options
def command(remote: Remote, addresses: tuple[str, ...], wait: float) -> None:
    """Have a running node join a cluster through the members at these addresses.

    It takes part from then on.  A node that has a cluster dials them, too; it cannot change clusters.
    """
    with remote.operator() as operator:
        state = operator.join(list(addresses), wait)
    if remote.output == "table":
        say(f"The node is now: {state}.")
    else:
        remote.printer.one({"state": state}, ())
