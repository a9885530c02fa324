"""`crdtsync wait-for TOKEN`: returns once a node holds what a token names."""

from __future__ import annotations

import click

from crdtsync.ops.cli.options import Remote, remote_options


@click.command("wait-for")
@click.argument("token", metavar="TOKEN")
@remote_options
def command(remote: Remote, token: str) -> None:
    """Return once a node holds all that a token names.

    Exit status 3 when it does not within --timeout.
    """
    with remote.client() as client:
        client.wait_for(token, remote.timeout)
