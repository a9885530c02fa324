"""The `crdtsync` command: finds the commands, turns errors into one clear line and an exit code.

Exit codes: 0 done, 1 failure, 2 wrong usage, 3 unreachable, 4 denied, 5 invalid data, 130 interrupted.
Data goes to standard output, everything else to standard error.  Colours stay off with NO_COLOR or without a terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from crdtsync.errors import CrdtsyncError

COMMANDS = {
    "check": "Verify every row, log entry and clock of a closed store.",
    "demo": "Replay a year of real flights on three nodes, lose one, and compare to the last number.",
    "version": "Print the versions of crdtsync, its kernels and Python.",
}
FAILURE, USAGE, UNREACHABLE, DENIED, INTERRUPTED = 1, 2, 3, 4, 130


class LazyGroup(click.Group):
    """A group that imports a command's module when that command is called, so that `--help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"crdtsync.ops.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


def tell_version(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    """`--version` is the command `version`."""
    if wanted:
        ctx.invoke(import_module("crdtsync.ops.cli.version").command)
        ctx.exit()


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--version", is_flag=True, expose_value=False, callback=tell_version, help=COMMANDS["version"])
def crdtsync() -> None:
    """A replicated data store of CRDTs: nodes keep each other in step without a broker, a leader or a lock."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        status = crdtsync.main(args=arguments, prog_name="crdtsync", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:  # usage
        error.show(sys.stderr)
        return error.exit_code
    except CrdtsyncError as error:
        complain(str(error.message), error.hint)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        complain("interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left: nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except ConnectionError as error:
        complain(str(error))
        return UNREACHABLE
    except PermissionError as error:
        complain(str(error))
        return DENIED
    except OSError as error:
        complain(str(error))
        return FAILURE


def complain(message: str, hint: str = "") -> None:
    """One line on standard error, and a second one with what to do."""
    click.secho("crdtsync: ", fg="red", bold=True, nl=False, err=True, color=colours())
    click.echo(message, err=True)
    if hint:
        click.echo(f"  {hint}", err=True)


def colours() -> bool | None:
    """False where colours are unwanted; None lets click look for a terminal."""
    return False if os.environ.get("NO_COLOR") else None


if __name__ == "__main__":
    sys.exit(main())
