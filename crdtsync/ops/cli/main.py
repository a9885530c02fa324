"""The `crdtsync` command: finds the commands, turns errors into one clear line and an exit code.

Exit codes: 0 done, 1 failure, 2 wrong usage, 3 unreachable, 4 denied, 5 invalid data, 130 interrupted, 143 terminated.
Data goes to standard output, everything else to standard error.  Colours stay off with NO_COLOR or without a terminal.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType

import click

from crdtsync.errors import CrdtsyncError
from crdtsync.ops.cli.groups import LazyGroup
from crdtsync.ops.cli.output import colours
from crdtsync.ops.text import safe

SECTIONS = {
    "Running a node": {
        "start": "Run a node: open DIR, join the cluster, serve programs and operators.",
        "stop": "End a running node in good order, as SIGTERM does.",
        "backup": "Make backups of a store, verify them, and restore them.",
        "check": "Verify every row, log entry and clock of a closed store.",
    },
    "Data": {
        "get": "Print every type that lives under a key.",
        "set": "Set a register to a value.",
        "incr": "Count a counter up.",
        "decr": "Count a PN-Counter down.",
        "add": "Add elements to a set, all or none.",
        "discard": "Take elements out of an OR-Set, all or none; what is not in it is no error.",
        "enable": "Switch a flag on.",
        "disable": "Switch a flag off.",
        "delete": "Remove everything under a key that the node knows, or only one type of it.",
        "keys": "List the keys that start with PREFIX, each once, in the order of their UTF-8 bytes.",
        "scan": "List the objects whose key starts with PREFIX, in the order of keys, then of types.",
        "import": "Write objects from a file: NDJSON, or CSV for flat data.",
        "export": "Write objects to a file: NDJSON, or CSV for flat data.",
        "watch": "Print changes of objects whose key starts with PREFIX, until ^C.",
    },
    "Cluster": {
        "status": "Show how a node is doing: its members and peers, who is behind, storage, alarms.",
        "members": "List the members of the cluster as a node knows them.",
        "join": "Have a running node join a cluster through the members at these addresses.",
        "leave": "Have a running node leave its cluster in good order.",
        "evict": "Declare a member gone for good, so that it no longer holds back the collection of deleted data.",
        "rescue": "Show, replay or drop what a node set aside when it started over.",
        "digest": "Print the digest of everything that each --node holds: equal replicas have equal ones.",
        "token": "Print a token that names everything that a node holds, for `--after` and `wait-for` on another.",
        "wait-for": "Return once a node holds all that a token names.",
    },
    "This program": {
        "bench": "Measure workloads on this machine, beside other systems, and report.",
        "completion": "Print the completion script of a shell.",
        "config": "Show, check and list settings.",
        "maelstrom": "Speak the Maelstrom protocol, so that its tests can judge a cluster.",
        "demo": "Replay a year of real flights on three nodes, lose one, and compare to the last number.",
        "simulate": "Run clusters in virtual time, with every fault, from a seed.",
        "tls": "Make and inspect certificates for nodes, clients and operators.",
        "version": "Print the versions of crdtsync, its kernels and Python.",
    },
}
COMMANDS = {name: summary for section in SECTIONS.values() for name, summary in section.items()}
EXIT_CODES = {
    0: "done",
    1: "failure",
    2: "wrong usage: a flag, an argument or a setting",
    3: "no node could be reached, or not in time",
    4: "denied: by the node, by TLS, or by the file system",
    5: "invalid data: a key, a value, a token, a file",
    130: "interrupted by ^C",
    143: "ended by SIGTERM; `start` ends with 0",
}
FAILURE, UNREACHABLE, DENIED, INTERRUPTED, TERMINATED = 1, 3, 4, 130, 143


def tell_version(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    """`--version` is the command `version`."""
    if wanted:
        ctx.invoke(import_module("crdtsync.ops.cli.version").command)
        ctx.exit()


@click.command(
    cls=LazyGroup,
    package="crdtsync.ops.cli",
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option("--version", is_flag=True, expose_value=False, callback=tell_version, help=COMMANDS["version"])
def crdtsync() -> None:
    """A replicated data store of CRDTs: nodes keep each other in step without a broker, a leader or a lock."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` are those of the process unless given."""
    if arguments is None:
        speak_utf8()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where the terminal has fewer characters than the data
    try:
        with terminable():
            status = crdtsync.main(args=arguments, prog_name="crdtsync", standalone_mode=False)
        flush()
        return status if isinstance(status, int) else 0
    except click.ClickException as error:  # usage
        error.show(sys.stderr)
        if isinstance(error, click.NoSuchOption) and error.option_name[1:2].isdigit():
            click.echo("What begins with - and is no option goes behind --, as in: crdtsync set KEY -- -5", err=True)
        return error.exit_code
    except CrdtsyncError as error:
        complain(str(error.message), error.hint)
        return error.exit_code
    except Terminated:
        complain("terminated.")
        return TERMINATED
    except (KeyboardInterrupt, click.Abort):
        complain("interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left: nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except OSError as error:
        complain(str(error))
        return exit_code(error)


def speak_utf8() -> None:
    """Start again in Python's UTF-8 mode where the locale is not: keys and values are UTF-8 everywhere."""
    if sys.getfilesystemencoding() != "utf-8" and sys.executable:
        arguments = Path("/proc/self/cmdline").read_bytes().split(b"\0")[1:-1]  # sys.orig_argv has lost bytes of some
        os.execv(sys.executable, [os.fsencode(sys.executable), b"-X", b"utf8", *arguments])


class Terminated(BaseException):
    """SIGTERM came: commands end as they do after ^C."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM is an exception, so that what a command has begun is brought to an end in good order."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def exit_code(error: OSError) -> int:
    """The exit code of what the system refused."""
    if isinstance(error, ConnectionError | TimeoutError):
        return UNREACHABLE
    return DENIED if isinstance(error, PermissionError) else FAILURE


def flush() -> None:
    """Write out what is left, here where a closed pipe is met with silence, and not at the end of Python."""
    sys.stdout.flush()


def complain(message: str, hint: str = "") -> None:
    """One line on standard error, and a second one with what to do."""
    click.secho("crdtsync: ", fg="red", bold=True, nl=False, err=True, color=colours())
    click.echo(safe(message), err=True)
    if hint:
        click.echo(f"  {safe(hint)}", err=True)


if __name__ == "__main__":
    sys.exit(main())
