"""`crdtsync decr KEY [N]`: counts down."""

from __future__ import annotations

import click

from crdtsync.ops.cli.objects import write
from crdtsync.ops.cli.options import Remote, field_option, write_options


@click.command("decr")
@click.argument("key")
@click.argument("n", type=click.IntRange(min=1), default=1, metavar="[N]")
@field_option
@write_options
def command(remote: Remote, key: str, n: int, field: tuple[str, ...], bucket: str, sync: bool, token: bool) -> None:
    """Count a PN-Counter down.

    It goes down by N, 1 unless given.  What others count at the same time counts, too.
    """
    write(remote, bucket, key, field, "pncounter", lambda counter: counter.decrement(n), sync=sync, token=token)
