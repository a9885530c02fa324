"""`crdtsync token`: where a node stands."""

from __future__ import annotations

import click

from crdtsync.ops.cli.options import Remote, remote_options
from crdtsync.ops.text import safe


@click.command("token")
@remote_options
def command(remote: Remote) -> None:
    """Print a token that names everything that a node holds, for `--after` and `wait-for` on another."""
    with remote.client() as client:
        token = client.token()
    remote.printer.one({"token": token}, [safe(token)])
