"""`crdtsync delete KEY`: removes what lives under a key."""

from __future__ import annotations

import click

from crdtsync.ops.cli.options import Remote, field_option, type_option, write_options
from crdtsync.ops.text import safe


@click.command("delete")
@click.argument("key")
@field_option
@type_option
@write_options
def command(
    remote: Remote, key: str, field: tuple[str, ...], kind: str | None, bucket: str, sync: bool, token: bool
) -> None:
    """Remove everything under a key that the node knows, or only one type of it.

    It goes away on every node; what others write under the key at the same time survives.  Nothing under the key is
    no error.
    """
    if field and kind is not None:
        raise click.UsageError("--type and --field do not go together: a field has one type.")
    from crdtsync.ops.reading import handle

    with remote.client() as client:
        within = client.bucket(bucket)
        with within.batch(sync=sync) as scope:
            if field:
                handle(within, key, field[:-1], "map").remove(field[-1])
            else:
                within.delete(key, kind)
        if token or remote.output != "table":
            remote.printer.one({"token": scope.token}, [safe(scope.token)])
