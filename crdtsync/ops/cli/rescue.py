"""`crdtsync rescue`: what a node set aside when it started over."""

from __future__ import annotations

import sys

import click

from crdtsync.ops.cli.options import Remote, operator_options
from crdtsync.ops.cli.output import say
from crdtsync.ops.text import safe


@click.group("rescue")
def command() -> None:
    """Show, replay or drop what a node set aside when it started over.

    A node that was evicted, or is an old copy of a directory, takes the cluster's state when it meets it; what it held
    that the cluster did not waits in a rescue file for a decision.
    """


@command.command("show")
@click.option("--contents", is_flag=True, help="Every object of each file; with --output json or ndjson.")
@operator_options
def show(remote: Remote, contents: bool) -> None:
    """List the rescue files of a node."""
    if contents and remote.output == "table":
        raise click.UsageError("--contents needs --output json or ndjson.")
    with remote.operator() as operator:
        files = operator.rescue(contents)
    remote.printer.rows(files, ("name", "bucket", "node", "rows"), empty="There is no rescue file.")


@command.command("replay")
@click.argument("name", metavar="NAME")
@operator_options
def replay(remote: Remote, name: str) -> None:
    """Write what a rescue file holds, once; the file is gone afterwards.

    Elements are added and removed, registers set where their write is later than what stands, counters moved by the
    difference to what the cluster already has.
    """
    with remote.operator() as operator:
        done = operator.replay(name, remote.timeout)
    remote.printer.one(done, [f"{done['applied']} rows applied, {done['skipped']} skipped"])


@command.command("drop")
@click.argument("name", metavar="NAME")
@click.option("--yes", is_flag=True, help="Do not ask.")
@operator_options
def drop(remote: Remote, name: str, yes: bool) -> None:
    """Give up what a rescue file holds."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("Nobody can be asked here: give --yes.")
        click.confirm(f"Give up what {safe(name)} holds?", abort=True, err=True)
    with remote.operator() as operator:
        operator.drop(name)
    say(f"{safe(name)} is dropped.")
