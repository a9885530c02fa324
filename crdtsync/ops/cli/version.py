"""`crdtsync version`: what is installed, for a bug report."""

from __future__ import annotations

import platform

import click


@click.command("version")
def command() -> None:
    """Print the versions of crdtsync, its kernels and Python."""
    from crdtsync import __version__, kernels

    click.echo(f"crdtsync {__version__} ({kernels.IMPLEMENTATION} kernels)")
    click.echo(f"Python {platform.python_version()} on {platform.platform(terse=True)}")
