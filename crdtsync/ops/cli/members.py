"""`crdtsync members`: who belongs to the cluster."""

from __future__ import annotations

import click

from crdtsync.ops.cli.options import Remote, operator_options


@click.command("members")
@operator_options
def command(remote: Remote) -> None:
    """List the members of the cluster as a node knows them.

    States are joining, expired (it never became whole), member, left and evicted.
    """
    with remote.operator() as operator:
        remote.printer.rows(operator.members(), ("node", "state", "address", "epoch"))
