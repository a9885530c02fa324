"""`crdtsync watch [PREFIX]`: changes as they come."""

from __future__ import annotations

import sys
from typing import Any

import click

from crdtsync.ops.cli.objects import row
from crdtsync.ops.cli.options import Remote, bucket_option, remote_options
from crdtsync.ops.cli.output import as_json, cell, say

TOKEN_INTERVAL = 5.0  # s of silence after which a later token is taken up


@click.command("watch")
@click.argument("prefix", default="")
@click.option("--after", metavar="TOKEN", help="Begin with what TOKEN lacks, not with what changes from now on.")
@click.option("--all-buckets", is_flag=True, help="Watch all buckets.")
@click.option("--no-values", is_flag=True, help="Leave the values out.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after so many changes.")
@bucket_option
@remote_options
def command(
    remote: Remote, prefix: str, after: str | None, all_buckets: bool, no_values: bool, limit: int | None, bucket: str
) -> int:
    """Print changes of objects whose key starts with PREFIX, until ^C.

    With --output json or ndjson each is a line {"bucket", "key", "path", "type", "value", "deleted", "token"}.  Changes
    are of state: one that changes often is told with its latest value.  Every change is told at least once; go on later
    with the last token, --after TOKEN, which standard error has at the end, whatever ends it.
    """
    told, token, following = 0, after or "", ""
    written: list[int] = []
    with remote.client() as client:
        watcher = client.watch(prefix, after=after, bucket=None if all_buckets else bucket, values=not no_values)
        say(f"Watching {client.name}; ^C ends it.")
        try:
            with watcher:
                while told != limit and not watcher.closed:
                    token = watcher.token or token  # all up to here has been shown
                    change = watcher.next(TOKEN_INTERVAL)
                    if change is None:
                        continue
                    line, following = line_of(change, remote.output), watcher.token
                    written.extend(map(sys.stdout.write, [line]))  # one step: an interruption finds it done, or not
                    told, token = told + 1, following
                    sys.stdout.flush()
        except KeyboardInterrupt:  # its usual end
            return 130
        finally:  # whatever ends it
            token = following if len(written) > told else token
            say(f"Go on with --after {token}" if token else "Ended.")
    return 0


def line_of(change: Any, output: str) -> str:
    """One change."""
    plain = row(change.key, change.path, change.type, change.value)
    if output == "table":
        value = "deleted" if change.deleted else cell(plain["value"])
        name = cell("/".join([change.key, *change.path]))
        return f"{name}  {cell(change.type)}  {value}\n"
    return as_json({"bucket": change.bucket, **plain, "deleted": change.deleted, "token": change.token}) + "\n"
