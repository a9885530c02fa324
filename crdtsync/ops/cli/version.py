"""`crdtsync version`: what is installed, for a bug report."""

from __future__ import annotations

import click

from crdtsync.ops.cli.options import output_option


@click.command("version")
@output_option
def command(output: str = "table") -> None:
    """Print the versions of crdtsync, its kernels and Python."""
    import platform

    from crdtsync import __version__, kernels
    from crdtsync.ops.cli.output import Printer

    system, python = platform.platform(terse=True), platform.python_version()
    Printer(output).one(
        {"crdtsync": __version__, "kernels": kernels.IMPLEMENTATION, "python": python, "system": system},
        [f"crdtsync {__version__} ({kernels.IMPLEMENTATION} kernels)", f"Python {python} on {system}"],
    )
