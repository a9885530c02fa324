"""Options that commands share, and what they come to: which node to talk to, how, and the form of the output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from crdtsync.ops.cli.output import FORMS

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

output_option: Decorator = click.option(
    "--output",
    "-o",
    type=click.Choice(FORMS),
    default="table",
    envvar="CRDTSYNC_OUTPUT",
    help="A table for people, one JSON document, or a line of JSON for each row.  [CRDTSYNC_OUTPUT; table]",
)
