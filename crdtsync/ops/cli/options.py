"""Options that commands share."""

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
    help="A table for people, one JSON document, or a line of JSON for each row.  [table]",
)
