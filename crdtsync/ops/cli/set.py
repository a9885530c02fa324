"""`crdtsync set KEY VALUE`: writes a register."""

from __future__ import annotations

import click

from crdtsync.ops.cli.objects import given, write
from crdtsync.ops.cli.options import Remote, field_option, json_option, write_options


@click.command("set")
@click.argument("key")
@click.argument("value")
@click.option("--mv", is_flag=True, help="An MV-Register, which keeps what others write at the same time.")
@json_option
@field_option
@write_options
def command(
    remote: Remote, key: str, value: str, mv: bool, as_json: bool, field: tuple[str, ...], bucket: str, sync: bool,
    token: bool,
) -> None:  # fmt: skip
    """Set a register to a value.

    VALUE is text as it stands; with --json it is in the JSON form: 12, true, null, {"a": [1]}, {"$bytes": "AAE="}.
    """
    content = given(value, as_json)
    kind = "mvregister" if mv else "lwwregister"
    write(remote, bucket, key, field, kind, lambda register: register.set(content), sync=sync, token=token)
