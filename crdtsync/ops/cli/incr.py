"""`crdtsync incr KEY [N]`: counts up."""

from __future__ import annotations

import click

from crdtsync.ops.cli.objects import write
from crdtsync.ops.cli.options import Remote, field_option, write_options


@click.command("incr")
@click.argument("key")
@click.argument("n", type=click.IntRange(min=1), default=1, metavar="[N]")
@click.option(
    "--type",
    "kind",
    type=click.Choice(("pncounter", "gcounter")),
    default="pncounter",
    metavar="TYPE",
    help="pncounter, which also goes down, or gcounter.  [pncounter]",
)
@field_option
@write_options
def command(
    remote: Remote, key: str, n: int, kind: str, field: tuple[str, ...], bucket: str, sync: bool, token: bool
) -> None:
    """Count a counter up.

    It goes up by N, 1 unless given.  What others count at the same time counts, too.
    """
    write(remote, bucket, key, field, kind, lambda counter: counter.increment(n), sync=sync, token=token)
