"""`crdtsync add KEY ELEMENT...`: adds elements to a set."""

from __future__ import annotations

import click

from crdtsync.ops.cli.objects import given, write
from crdtsync.ops.cli.options import Remote, field_option, json_option, write_options


@click.command("add")
@click.argument("key")
@click.argument("elements", nargs=-1, required=True, metavar="ELEMENT...")
@click.option(
    "--type",
    "kind",
    type=click.Choice(("orset", "gset")),
    default="orset",
    metavar="TYPE",
    help="orset, from which elements can be taken, or gset.  [orset]",
)
@json_option
@field_option
@write_options
def command(
    remote: Remote, key: str, elements: tuple[str, ...], kind: str, as_json: bool, field: tuple[str, ...], bucket: str,
    sync: bool, token: bool,
) -> None:  # fmt: skip
    """Add elements to a set, all or none.

    They are text as they stand; with --json each is in the JSON form.
    """
    content = [given(element, as_json) for element in elements]
    write(remote, bucket, key, field, kind, lambda holder: holder.update(content), sync=sync, token=token)
