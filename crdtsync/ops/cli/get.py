"""`crdtsync get KEY`: every object that lives under a key."""

from __future__ import annotations

import click

from crdtsync.ops.cli.objects import bare, for_table, row
from crdtsync.ops.cli.options import Remote, after_option, bucket_option, field_option, remote_options, type_option
from crdtsync.ops.cli.output import say
from crdtsync.ops.text import safe


@click.command("get")
@click.argument("key")
@field_option
@type_option
@bucket_option
@after_option
@remote_options
def command(remote: Remote, key: str, field: tuple[str, ...], kind: str | None, bucket: str, after: str | None) -> int:
    """Print every type that lives under a key.

    With --type only that object, and in a table its bare value: a line for each element of a set.  Exit status 1 when
    there is nothing.
    """
    from crdtsync.ops.reading import objects

    with remote.client() as client:
        found = objects(remote.bucket(client, bucket, after), key, field, kind)
        rows = [row(key, field, item.type, item.value) for item in found]
    if not rows:
        say(f"There is nothing under {safe('/'.join([key, *field]))}.")
        return 1
    if kind is not None:
        remote.printer.one(rows[0], bare(rows[0]["value"]))
    else:
        remote.printer.rows(for_table(rows) if remote.output == "table" else rows, ("type", "value"))
    return 0
