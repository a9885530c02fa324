"""`crdtsync scan [PREFIX]`: objects in order, in pages."""

from __future__ import annotations

import click

from crdtsync.ops.cli.objects import for_table, row
from crdtsync.ops.cli.options import Remote, after_option, bucket_option, remote_options, type_option
from crdtsync.ops.cli.output import say


@click.command("scan")
@click.argument("prefix", default="")
@click.option("--limit", type=click.IntRange(min=1), default=100, metavar="N", help="At most so many.  [100]")
@click.option("--cursor", metavar="CURSOR", help="Go on behind what an earlier scan has told.")
@type_option
@bucket_option
@after_option
@remote_options
def command(
    remote: Remote, prefix: str, limit: int, cursor: str | None, kind: str | None, bucket: str, after: str | None
) -> None:
    """List the objects whose key starts with PREFIX, in the order of keys, then of types.

    When there are more than --limit, standard error says with which --cursor to go on.
    """
    from crdtsync.ops.reading import cursor_of, listed, scan, text_of

    with remote.client() as client:
        found = scan(remote.bucket(client, bucket, after), prefix, cursor_of(cursor), limit, kind)
    rows = [{**row(*listed(item)), **({"omitted": True} if item.omitted else {})} for item in found.items]
    remote.printer.rows(for_table(rows) if remote.output == "table" else rows, ("key", "type", "value"))
    if any(item.omitted for item in found.items):
        say("Values that are too large for a listing are left out; `crdtsync export` has them.")
    if found.cursor:
        say(f"There is more: --cursor {text_of(found.cursor)}")
