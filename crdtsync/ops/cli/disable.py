"""`crdtsync disable KEY`: switches a flag off."""

from __future__ import annotations

import click

from crdtsync.ops.cli.objects import write
from crdtsync.ops.cli.options import Remote, field_option, write_options


@click.command("disable")
@click.argument("key")
@field_option
@write_options
def command(remote: Remote, key: str, field: tuple[str, ...], bucket: str, sync: bool, token: bool) -> None:
    """Switch a flag off.

    A node that switches it on at the same time wins.
    """
    write(remote, bucket, key, field, "flag", lambda flag: flag.disable(), sync=sync, token=token)
