"""`crdtsync enable KEY`: switches a flag on."""

from __future__ import annotations

import click

from crdtsync.ops.cli.objects import write
from crdtsync.ops.cli.options import Remote, field_option, write_options


@click.command("enable")
@click.argument("key")
@field_option
@write_options
def command(remote: Remote, key: str, field: tuple[str, ...], bucket: str, sync: bool, token: bool) -> None:
    """Switch a flag on.

    On wins over what switches it off at the same time.
    """
    write(remote, bucket, key, field, "flag", lambda flag: flag.enable(), sync=sync, token=token)
