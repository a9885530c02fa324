"""`crdtsync keys [PREFIX]`: names that hold something."""

from __future__ import annotations

import click

from crdtsync.ops.cli.options import Remote, after_option, bucket_option, remote_options
from crdtsync.ops.text import safe


@click.command("keys")
@click.argument("prefix", default="")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
@bucket_option
@after_option
@remote_options
def command(remote: Remote, prefix: str, limit: int | None, bucket: str, after: str | None) -> None:
    """List the keys that start with PREFIX, each once, in the order of their UTF-8 bytes."""
    from itertools import islice

    with remote.client() as client:
        names = islice(remote.bucket(client, bucket, after).keys(prefix), limit)
        if remote.output == "table":
            for name in names:
                click.echo(safe(name))
        else:
            remote.printer.rows(({"key": name} for name in names), ("key",))
