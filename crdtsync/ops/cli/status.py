"""`crdtsync status`: how a node and its cluster are doing."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from crdtsync.ops.cli.options import Remote, operator_options


@click.command("status")
@click.option("--watch", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Show it again so often, until ^C.")
@operator_options
def command(remote: Remote, watch: float | None) -> None:
    """Show how a node is doing: its members and peers, who is behind, storage, alarms.

    It also tells what the collection of deleted data waits for.  With --output json it is everything that the node
    tells; docs/python-api.md, "Status", has the fields.
    """
    with remote.operator() as operator:
        show(operator.status(), remote, watch is not None)
        while watch is not None:
            time.sleep(watch)
            show(operator.status(), remote, True)


def show(status: dict[str, Any], remote: Remote, again: bool) -> None:
    """One snapshot; on a terminal it takes the place of the one before."""
    from crdtsync.errors import BadFrame
    from crdtsync.ops.cli.summary import lines

    try:
        told = list(lines(status)) if remote.output == "table" else []
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadFrame(
            f"The node's status is not what this version shows: {error!r}.", hint="--output json shows it as it is."
        ) from None
    if again and remote.output == "table" and sys.stdout.isatty():
        click.clear()
    remote.printer.one(status, told)
    sys.stdout.flush()
