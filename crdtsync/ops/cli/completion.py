"""`crdtsync completion SHELL`: the script that lets a shell complete commands and options."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_CRDTSYNC_COMPLETE"  # click's own protocol: set when the shell asks for completions


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS), metavar="bash|zsh|fish")
def command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  eval "$(crdtsync completion bash)"        in ~/.bashrc
    zsh:   eval "$(crdtsync completion zsh)"         in ~/.zshrc
    fish:  crdtsync completion fish > ~/.config/fish/completions/crdtsync.fish
    """
    from click.shell_completion import get_completion_class

    from crdtsync.ops.cli.main import crdtsync

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(kind(crdtsync, {}, "crdtsync", VARIABLE).source())
