"""Options that commands share, and what they come to: which node to talk to, how, and the form of the output."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crdtsync.ops.cli.output import FORMS, Printer
from crdtsync.ops.text import safe

if TYPE_CHECKING:
    from crdtsync.client import Client
    from crdtsync.client.buckets import RemoteBucket
    from crdtsync.ops.operator import Operator

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]

DEFAULT_NODE = "127.0.0.1:7410"  # where `crdtsync start` serves programs when nothing else is said
CONNECT_TIMEOUT = 5.0  # s that a node may take to say who it is
ADMIN_SOCKET = "admin.sock"  # in the directory of a running node
TYPES = ("flag", "gcounter", "gset", "lwwregister", "map", "mvregister", "orset", "pncounter")

output_option: Decorator = click.option(
    "--output",
    "-o",
    type=click.Choice(FORMS),
    default="table",
    envvar="CRDTSYNC_OUTPUT",
    help="A table for people, one JSON document, or a line of JSON for each row.  [CRDTSYNC_OUTPUT; table]",
)
bucket_option: Decorator = click.option(
    "--bucket",
    "-b",
    default="default",
    envvar="CRDTSYNC_BUCKET",
    metavar="NAME",
    help="The group of keys to work in.  [CRDTSYNC_BUCKET; default]",
)
field_option: Decorator = click.option(
    "--field",
    "-f",
    multiple=True,
    metavar="NAME",
    help="A field of the map under KEY instead of KEY itself; given again, a field of the map in that field.",
)
after_option: Decorator = click.option(
    "--after", metavar="TOKEN", help="Wait first until the node holds all that TOKEN names."
)
json_option: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Values are in the JSON form, not plain text."
)
type_option: Decorator = click.option(
    "--type", "kind", type=click.Choice(TYPES), metavar="TYPE", help="Only objects of this type."
)


class FilePath(click.Path):
    """A file to be read from its beginning: no pipe that has a name, whose writer may never come, and no device."""

    def __init__(self, exists: bool = False) -> None:
        super().__init__(exists=exists, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        named_pipe = path.is_fifo() and path.resolve().exists()  # that of a shell, as in <(command), has no name
        if named_pipe or path.is_block_device() or (path.is_char_device() and str(path) != os.devnull):
            self.fail(f"{safe(str(path))} is a {'named pipe' if named_pipe else 'device'}, not a file.", param, ctx)
        return path


class NodeName(click.types.StringParamType):
    """What `--node` takes; in a variable, several are separated by commas, as a directory may have spaces."""

    envvar_list_splitter = ","


_CONNECTION: tuple[Decorator, ...] = (
    click.option(
        "--node",
        "-n",
        multiple=True,
        type=NodeName(),
        envvar="CRDTSYNC_NODE",
        metavar="ADDRESS",
        help="The node: host:port, unix:PATH, or the directory of a node on this machine.  Several: another to try."
        f"  [CRDTSYNC_NODE; {DEFAULT_NODE}]",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=15.0,
        envvar="CRDTSYNC_TIMEOUT",
        metavar="SECONDS",
        help="Longest that a call may take.  [CRDTSYNC_TIMEOUT; 15]",
    ),
    click.option("--insecure", is_flag=True, envvar="CRDTSYNC_INSECURE", help="Allow plaintext beyond this machine."),
    click.option("--tls-ca", envvar="CRDTSYNC_TLS_CA", metavar="FILE", help="Authorities that vouch for nodes, PEM."),
    click.option("--tls-cert", envvar="CRDTSYNC_TLS_CERT", metavar="FILE", help="This client's certificate, PEM."),
    click.option("--tls-key", envvar="CRDTSYNC_TLS_KEY", metavar="FILE", help="Its private key, PEM."),
)


class Remote:
    """The nodes that a command talks to."""

    def __init__(self, node: tuple[str, ...], timeout: float, output: str, **security: Any) -> None:
        self.nodes = [part for each in node or (DEFAULT_NODE,) for part in _listed(each)]
        self.named, self.timeout, self.output = bool(node), timeout, output
        self.security = {name: value for name, value in security.items() if value}

    def client(self, nodes: Sequence[str] = ()) -> Client:
        """A client of the first node that answers.  Raises Unreachable, Denied, ConfigError."""
        return self._connect([address_of(node) for node in nodes or self.nodes])

    def one_client(self) -> Client:
        """The same, which never goes on to another node."""
        with self.client() as client:
            return self._connect([client.address])

    def _connect(self, addresses: list[str], **settings: Any) -> Client:
        from crdtsync.client import connect

        patience = min(self.timeout, CONNECT_TIMEOUT)
        return connect(addresses, timeout=self.timeout, connect_timeout=patience, **settings, **self.security)

    @contextmanager
    def operator(self) -> Iterator[Operator]:
        """The Admin service of the one node that was named.  Raises as `client`, and click's UsageError."""
        from crdtsync.ops.operator import Operator

        if not self.named:
            raise click.UsageError("Which node?  Name it with --node DIR, its directory, or set CRDTSYNC_NODE.")
        if len(self.nodes) > 1:
            raise click.UsageError("This is said to one node: name one with --node.")
        with self._connect([address_of(node) for node in self.nodes], attempts=1) as client:
            yield Operator(client)

    def bucket(self, client: Client, name: str, after: str | None = None) -> RemoteBucket:
        """A bucket, once the node holds what a token names."""
        if after:
            client.wait_for(after, self.timeout)
        return client.bucket(name)

    @property
    def printer(self) -> Printer:
        """Prints in the form that was asked for."""
        return Printer(self.output)


def _listed(node: str) -> list[str]:
    """Several nodes in one text are separated by commas, which the name of a directory may have, too."""
    return [node] if Path(node).is_dir() else [part.strip() for part in node.split(",") if part.strip()]


def address_of(node: str) -> str:
    """The address behind `--node`: that of the socket in a directory, or the text as it is."""
    if node.startswith("unix:"):
        return node
    if not Path(node).is_dir():
        if "/" in node or ":" not in node:
            raise click.UsageError(f"--node is {node!r}: there is no such directory, and it is no host:port.")
        return node
    socket = Path(node) / ADMIN_SOCKET
    if not socket.is_socket():
        raise ConnectionError(f"No node runs in {node}: there is no {ADMIN_SOCKET} in it.")
    if "," in str(socket):
        raise click.UsageError(f"gRPC cannot dial a path with a comma: change into {node}, and use --node .")
    return f"unix:{socket}"


def connection_options(function: Function) -> Function:
    """`--node` and what goes with it: the command gets a Remote as its first argument."""

    @functools.wraps(function)
    def command(node: tuple[str, ...], timeout: float, output: str = "table", **given: Any) -> Any:
        security = {name: given.pop(name) for name in ("insecure", "tls_ca", "tls_cert", "tls_key")}
        check_utf8(given)
        return function(Remote(node, timeout, output, **security), **given)

    decorated: Function = command
    for option in reversed(_CONNECTION):
        decorated = option(decorated)
    return decorated


def check_utf8(given: Mapping[str, Any]) -> None:
    """Refuse texts of the command line that are not UTF-8; paths may be any bytes.  Raises InvalidValue."""
    from crdtsync.errors import InvalidValue

    for name, value in given.items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and any("\ud800" <= character <= "\udfff" for character in text):
                raise InvalidValue(f"{name.upper()} is not UTF-8: {os.fsencode(text)!r}.", hint="")


def remote_options(function: Function) -> Function:
    """The same, and `--output`."""
    return connection_options(output_option(function))


# Operators talk to the Admin service, which only the socket in a node's directory has unless `--admin` says otherwise.
operator_options = remote_options


def wait_option(default: float) -> Decorator:
    """How long what was asked for may take in the node."""
    return click.option(
        "--wait", type=click.FloatRange(min=0, min_open=True), default=default, metavar="SECONDS",
        help=f"Longest that it may take.  [{default:g}]",
    )  # fmt: skip


def write_options(function: Function) -> Function:
    """What every write takes: the bucket, whether to wait for the disk, and whether to tell the token."""
    for option in (
        click.option("--token", is_flag=True, help="Print a token that names this write, for `--after` elsewhere."),
        click.option("--sync", is_flag=True, help="Return once the node has it on its disk."),
        bucket_option,
        remote_options,
    ):
        function = option(function)
    return function
