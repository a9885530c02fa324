"""TLS from the command line: certificates made by it, a node that asks for them, and callers that it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import crdtsync
from tests.cli.running import Done, Process, call, started


def security(folder: Path, authority: str, name: str) -> tuple[str, ...]:
    """The flags for one certificate."""
    where = folder / authority
    return ("--tls-ca", f"{where}/ca.crt", "--tls-cert", f"{where}/{name}.crt", "--tls-key", f"{where}/{name}.key")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities that know nothing of each other, with a node and a client each."""
    made = tmp_path_factory.mktemp("tls")
    for authority in ("ours", "theirs"):
        where = str(made / authority)
        assert call("tls", "ca", where).code == 0
        for kind, name in (("node", "alpha"), ("node", "beta"), ("client", "app")):
            assert call("tls", kind, name, "--ca", where).code == 0
    return made


@pytest.fixture(scope="module")
def secured(folder: Path) -> Iterator[Process]:
    with started(folder / "a", "--name", "alpha", *security(folder, "ours", "alpha")) as node:
        yield node
        assert node.end() == 0


def asked(node: Process, *security: str) -> Done:
    return call("incr", "k", "--node", node.addresses["programs"], "--timeout", "3", *security)


def test_a_client_with_a_certificate_of_the_authority_is_served(folder: Path, secured: Process) -> None:
    mine = security(folder, "ours", "app")
    assert asked(secured, *mine) == Done(0, "", "")
    assert call("get", "k", "--type", "pncounter", "--node", secured.addresses["programs"], *mine).out == "1\n"
    assert call("status", "--node", str(folder / "a")).out.startswith("alpha ")  # a socket needs none


@pytest.mark.parametrize("authority", ["", "theirs"])
def test_anybody_else_is_denied(folder: Path, secured: Process, authority: str) -> None:
    done = asked(secured, *(security(folder, authority, "app") if authority else ()))
    assert (done.code, done.out) == (4, ""), done.err
    assert done.err.startswith("crdtsync: ") and "Traceback" not in done.err


def test_a_node_joins_with_its_certificate(folder: Path, secured: Process) -> None:
    join = ("--join", secured.addresses["peers"])
    with started(folder / "b", "--name", "beta", *join, *security(folder, "ours", "beta")) as node:
        rows = call("members", "--node", str(folder / "b")).out.splitlines()
        assert [row.split()[:2] for row in rows[1:]] == [["alpha", "member"], ["beta", "member"]]
        assert node.end() == 0


def test_files_that_are_not_there_or_not_together_are_wrong_usage(folder: Path, secured: Process) -> None:
    assert asked(secured, "--tls-ca", str(folder / "ours" / "ca.crt")).code == 2
    done = asked(secured, *security(folder, "ours", "nobody"))
    assert done.code == 2 and "nobody.crt" in done.err


def test_the_admin_service_over_tcp_is_for_operators_and_nodes(folder: Path) -> None:
    assert call("tls", "client", "boss", "--operator", "--ca", str(folder / "ours")).code == 0
    files = {"tls_ca": "ca.crt", "tls_cert": "alpha.crt", "tls_key": "alpha.key"}
    own = {setting: str(folder / "ours" / file) for setting, file in files.items()}
    with crdtsync.open(None, **own) as node, crdtsync.serve(node, serve="", admin="127.0.0.1:0") as server:
        there = ("--node", server.admin_address)
        for command in (
            ("status", *there), ("evict", "beta", "--yes", *there), ("stop", *there),
            ("backup", "create", str(folder / "backup"), *there),
        ):  # fmt: skip
            done = call(*command, *security(folder, "ours", "app"))
            assert (done.code, done.out) == (4, ""), done.err
            assert "is for operators and nodes" in done.err and "--operator" in done.err
        for name in ("boss", "beta"):
            done = call("status", *there, *security(folder, "ours", name))
            assert done.out.startswith("alpha "), done.err
        assert call("incr", "k", *there, *security(folder, "ours", "app")).code == 0
