"""`crdtsync evict NODE`: declares a member gone for good."""

from __future__ import annotations

import sys

import click

from crdtsync.ops.cli.options import Remote, operator_options
from crdtsync.ops.cli.output import say
from crdtsync.ops.text import safe


@click.command("evict")
@click.argument("name", metavar="NAME")
@click.option("--force", is_flag=True, help="Ask no member for its vote.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@operator_options
def command(remote: Remote, name: str, force: bool, yes: bool) -> None:
    """Declare a member gone for good, so that it no longer holds back the collection of deleted data.

    What only that member has is lost to the cluster, unless it comes back: then it starts over, and what the others
    lack goes to a rescue file there.  More than half of the members must vote for it within 5 seconds, or --force.
    """
    if not yes:
        confirm(name)
    with remote.operator() as operator:
        operator.evict(name, force)
    say(f"{safe(name)} is evicted.")


def confirm(name: str) -> None:
    """Ask on a terminal; anywhere else there is nobody to ask."""
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here: give --yes.")
    click.confirm(f"Evict {safe(name)} for good?", abort=True, err=True)
