"""`crdtsync tls`: an authority, certificates for nodes, clients and operators, and a look at what files hold."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click
import msgspec

from crdtsync.errors import FileThere
from crdtsync.ops.cli.options import Decorator, FilePath, output_option
from crdtsync.ops.cli.output import Printer, say
from crdtsync.ops.text import safe

if TYPE_CHECKING:
    from crdtsync.security.making import Pair

INVALID = 5  # exit status: something is wrong with a certificate
CA_DAYS, LEAF_DAYS = 3650, 365
CA_CERT, CA_KEY = "ca.crt", "ca.key"
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = FilePath(exists=True)

force_option: Decorator = click.option("--force", is_flag=True, help="Replace files that are there.")
ca_option: Decorator = click.option(
    "--ca", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, metavar="DIR",
    help=f"Where `crdtsync tls ca` has put {CA_CERT} and {CA_KEY}.",
)  # fmt: skip
ca_key_option: Decorator = click.option(
    "--ca-key", type=FILE, metavar="FILE", help=f"The authority's private key.  [DIR/{CA_KEY}]"
)
out_option: Decorator = click.option("--out", type=FOLDER, metavar="DIR", help="Where to write.  [the authority's]")


def days_option(default: int) -> Decorator:
    """How long a certificate is good for."""
    return click.option(
        "--days", type=click.FloatRange(0, 36_500, min_open=True), default=default, metavar="N",
        help=f"How long it is good for.  [{default}]",
    )  # fmt: skip


@click.group("tls")
def command() -> None:
    """Make and inspect certificates for nodes, clients and operators.

    Making them needs the package cryptography: pip install 'crdtsync[tls]'.
    """


@command.command("ca")
@click.argument("directory", type=FOLDER, metavar="DIR")
@click.option("--name", default="crdtsync", metavar="NAME", help="What the authority is called.  [crdtsync]")
@days_option(CA_DAYS)
@force_option
@output_option
def ca(directory: Path, name: str, days: float, force: bool, output: str) -> None:
    """Make an authority: DIR/ca.crt for every node and client, DIR/ca.key for nobody but you.

    Whoever has the key can make himself a node of the cluster: keep it off the nodes.
    """
    from crdtsync.security.making import make_authority

    _put(directory / CA_CERT, directory / CA_KEY, make_authority(name, days), force, output)


@command.command("node")
@click.argument("name", metavar="NAME")
@ca_option
@ca_key_option
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="A name or address that clients dial; repeatable.")
@days_option(LEAF_DAYS)
@out_option
@force_option
@output_option
def node(
    name: str, ca: Path, ca_key: Path | None, hosts: tuple[str, ...], days: float, out: Path | None, force: bool,
    output: str,
) -> None:  # fmt: skip
    """Make the certificate of node NAME, and its private key.

    Nodes know each other by NAME, wherever they are; --host is for clients that check the host they dial.
    """
    if not hosts:
        say("Without --host, clients that check the host they dial will not accept it.")
    _issue("node", name, ca, ca_key, hosts, days, out, force, output)


@command.command("client")
@click.argument("name", metavar="NAME")
@ca_option
@ca_key_option
@click.option("--operator", is_flag=True, help="It may use the Admin service, too: status, evict, backup, stop ...")
@days_option(LEAF_DAYS)
@out_option
@force_option
@output_option
def client(
    name: str, ca: Path, ca_key: Path | None, operator: bool, days: float, out: Path | None, force: bool, output: str
) -> None:
    """Make the certificate of client NAME, and its private key.  It cannot be used as a node's.

    Without --operator it is for data alone, and the Admin service of a node, where that is on TCP, refuses it.
    """
    _issue("operator" if operator else "client", name, ca, ca_key, (), days, out, force, output)


@command.command("inspect")
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="FILE...")
@output_option
def inspect(files: tuple[Path, ...], output: str) -> int:
    """Show what certificates and keys say, and whether they fit each other.

    Given together, every certificate must be signed by one of the authorities and have one of the keys.
    Exit status 5 when something is wrong.
    """
    from crdtsync.security.inspecting import inspect as look

    findings = look(files)
    rows: list[dict[str, Any]] = [msgspec.to_builtins(finding) for finding in findings]
    if output == "table":
        rows = [{**row, "verdict": "; ".join(row["problems"] or row["notes"]) or "good"} for row in rows]
        rows = [{**row, "hosts": " ".join(row["hosts"]) or None} for row in rows]
    Printer(output).rows(rows, ("file", "kind", "name", "not_after", "verdict", "hosts"))
    return INVALID if any(finding.problems for finding in findings) else 0


# ---- files


def _issue(
    role: str, name: str, ca: Path, ca_key: Path | None, hosts: Iterable[str], days: float, out: Path | None,
    force: bool, output: str,
) -> None:  # fmt: skip
    from crdtsync.security.identity import Identity
    from crdtsync.security.making import Pair, issue

    authority = Pair((ca / CA_CERT).read_bytes(), (ca_key or ca / CA_KEY).read_bytes())
    pair = issue(authority, Identity(role, name), hosts, days)
    stem = quote(name, safe=" ")  # no name leads out of the folder, or hides in it
    stem = "%2E" + stem[1:] if stem.startswith(".") else stem
    folder = out or ca
    for own in (ca / CA_CERT, ca_key or ca / CA_KEY):
        if any(_same(folder / f"{stem}{ending}", own) for ending in (".crt", ".key")):
            raise FileThere(f"{str(own)!r} is the authority's: it is not replaced by a {role}'s.", hint="Use --out.")
    _put(folder / f"{stem}.crt", folder / f"{stem}.key", pair, force, output)


def _same(one: Path, other: Path) -> bool:
    return one.exists() and one.samefile(other)


def _put(cert: Path, key: Path, pair: Pair, force: bool, output: str) -> None:
    """Write certificate and key, both or neither, and say where they are.  Raises FileThere."""
    for path in (cert, key):
        if path.exists() and not force:
            raise FileThere(f"{str(path)!r} is there already.")
    cert.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(key, pair.key, 0o600)
    _write(cert, pair.cert, 0o644)
    Printer(output).one({"cert": str(cert), "key": str(key)}, [safe(f"{cert}"), safe(f"{key}")])


def _write(path: Path, text: bytes, mode: int) -> None:
    """Put a whole file in place: nobody reads half of it, and nobody reads a key before its mode is right."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
