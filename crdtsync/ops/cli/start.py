"""`crdtsync start DIR`: runs a node as a process of its own."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crdtsync.ops.cli.flags import SettingsCommand, config_option, given
from crdtsync.ops.cli.output import say

if TYPE_CHECKING:
    from crdtsync.node.shell import Node
    from crdtsync.ops.grpclog import GrpcLog
    from crdtsync.ops.process import Addresses


@click.command("start", cls=SettingsCommand)
@click.argument("directory", required=False, metavar="[DIR]")
@config_option
def command(directory: str | None, config: Path | None, **flags: Any) -> int:
    """Run a node: open DIR, join the cluster, serve programs and operators.

    DIR is made if it is not there.  Without --join it founds a cluster of one, which others join; with --join an empty
    DIR waits until a member lets it in, and a DIR that has been a member goes on as one.  Every setting has a flag, a
    variable and a name in a TOML file; flags win over variables, variables over the file.

    SIGTERM and ^C stop it in good order: what the other nodes lack is pushed, everything is written down.  A second one
    stops it at once, which loses nothing that was acknowledged.  Exit status 0 after SIGTERM, 130 after ^C.
    """
    from crdtsync.ops.grpclog import GrpcLog
    from crdtsync.ops.logs import configure
    from crdtsync.ops.process import run
    from crdtsync.ops.settings.sources import effective

    if directory is not None:
        flags["directory"] = directory
    settings = effective(given(config, flags))
    service = settings.service
    if not service.directory:
        raise click.UsageError("Missing argument 'DIR': the directory of the node's data.")
    tell = ready if service.log_format == "text" else ready_in_log
    with GrpcLog() if settings.config.tls_cert else nullcontext() as handshakes:
        log_as = partial(configure, service.log_format, service.log_level)
        log_as(settings.config.name)
        return run(settings, Path(service.directory), partial(opened, handshakes, tell), log_as)


def opened(
    handshakes: GrpcLog | None, tell: Callable[[Node, Addresses], None], node: Node, addresses: Addresses
) -> None:
    """Say that the node can be reached; from here on its status has what is counted of TLS handshakes."""
    if handshakes is not None and node.tls is not None:
        handshakes.count_into(node.tls.counters)
    tell(node, addresses)


def ready(node: Node, addresses: Addresses) -> None:
    """Say, on standard error, that the node can be reached, and where."""
    say(f"crdtsync: {told(node, addresses)}.  Try: crdtsync status --node {shlex.quote(addresses.hint)}")


def ready_in_log(node: Node, addresses: Addresses) -> None:
    """The same where standard error is for a machine."""
    logging.getLogger("crdtsync.process").info("%s", told(node, addresses))


def told(node: Node, addresses: Addresses) -> str:
    """Who is ready, and where."""
    reached = {name: address for name, address in addresses._asdict().items() if address and name != "hint"}
    return f"{node.name} is ready: " + ", ".join(f"{name} {address}" for name, address in reached.items())
