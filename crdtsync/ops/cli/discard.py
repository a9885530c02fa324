"""`crdtsync discard KEY ELEMENT...`: takes elements out of a set."""

from __future__ import annotations

from typing import Any

import click

from crdtsync.ops.cli.objects import given, write
from crdtsync.ops.cli.options import Remote, field_option, json_option, write_options


@click.command("discard")
@click.argument("key")
@click.argument("elements", nargs=-1, required=True, metavar="ELEMENT...")
@json_option
@field_option
@write_options
def command(
    remote: Remote, key: str, elements: tuple[str, ...], as_json: bool, field: tuple[str, ...], bucket: str, sync: bool,
    token: bool,
) -> None:  # fmt: skip
    """Take elements out of an OR-Set, all or none; what is not in it is no error.

    An element that another node adds at the same time stays.
    """
    content = [given(element, as_json) for element in elements]

    def discard(holder: Any) -> None:
        for element in content:
            holder.discard(element)

    write(remote, bucket, key, field, "orset", discard, sync=sync, token=token)
