"""Nodes that must not get in: each is refused, and both sides say why."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

import crdtsync
from crdtsync.config import Config
from crdtsync.errors import InsecureAddress, JoinError
from crdtsync.node import shell
from crdtsync.security.credentials import channel_credentials, name_options
from crdtsync.security.files import TlsFiles
from crdtsync.security.handshakes import Handshakes
from crdtsync.security.identity import ANY_NODE
from crdtsync.security.making import Pair
from crdtsync.security.material import Paths
from crdtsync.transport.encryption import Encryption
from crdtsync.transport.grpc import EXCHANGE, INTRODUCE, GrpcTransport
from tests.security.support import client_pair, closing, node_pair, open_node, operator_pair, until, write
from tests.transport.support import Owner

JOIN_TIMEOUT = 0.6


def join_fails(paths: Paths | None, address: str, **more: Any) -> str:
    with pytest.raises(JoinError) as caught:
        open_node(paths, join=address, join_timeout=JOIN_TIMEOUT, **more)
    return caught.value.message


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes nodes that call themselves something else than their certificates do."""

    def lie(name: str) -> None:
        monkeypatch.setattr(TlsFiles, "require", lambda *_: None)
        monkeypatch.setattr(shell, "named", lambda config, files: msgspec.structs.replace(config, name=name))

    yield lie


# ---- the four usual mistakes, between nodes


def test_no_certificate(tmp_path: Path) -> None:
    with closing([open_node(write(tmp_path, node_pair("n1")), connect_timeout=0.2)]) as (node,):
        assert f"{node.address} speaks TLS, and this side plaintext" in join_fails(None, node.address)
        until(lambda: node.status()["counters"].get("tls_handshakes_failed"), "the server has noticed")


def test_other_authority(tmp_path: Path) -> None:
    with closing([open_node(write(tmp_path / "1", node_pair("n1")))]) as (node,):
        stranger = write(tmp_path / "2", node_pair("n2", "other"), "other")
        assert "certificate of node 'n1', which is not signed by an authority" in join_fails(stranger, node.address)
        stranger = write(tmp_path / "2", node_pair("n2", "other"), "other", "test")
        assert "hangs up when it is shown our certificate, of node 'n2'" in join_fails(stranger, node.address)
        assert node.members() == {}


def test_plaintext_node_dialled_with_tls(tmp_path: Path) -> None:
    with closing([open_node(None)]) as (node,):
        said = join_fails(write(tmp_path, node_pair("n2")), node.address)
        assert f"{node.address} speaks plaintext, and this side TLS" in said


def test_the_reason_is_in_status_and_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing([open_node(None)]) as nodes:
        address = nodes[0].address
        with caplog.at_level(logging.WARNING, "crdtsync.transport"):
            transport, owner = GrpcTransport(Config(listen="127.0.0.1:0", **tls(tmp_path)).validate()), Owner()
            transport.start(owner)
            try:
                for times in (1, 2, 3):
                    transport.connect(address)
                    until(lambda times=times: len(owner.failures) == times, "the dial has failed")  # type: ignore[misc]
                said = transport.stats()["unreachable"][address]
            finally:
                transport.stop()
    assert "speaks plaintext" in said["reason"] and said["times"] == 3
    assert transport.counters["tls_mistakes_plaintext"] == 3
    assert len([record for record in caplog.records if "speaks plaintext" in record.getMessage()]) == 1


def tls(directory: Path) -> dict[str, str]:
    paths = write(directory, node_pair("n9"))
    return {"tls_ca": paths.tls_ca, "tls_cert": paths.tls_cert, "tls_key": paths.tls_key}


# ---- a name that is not in the certificate


def test_acceptor_refuses_a_name_that_is_not_in_the_certificate(tmp_path: Path, lying: Any) -> None:
    with closing([open_node(write(tmp_path / "1", node_pair("n1")))]) as (node,):
        lying("n3")
        said = join_fails(write(tmp_path / "2", node_pair("n2")), node.address)
        assert "the certificate is for node 'n2', and the name told is 'n3'" in said
        assert node.status()["counters"]["refused_identity"] >= 1
        assert node.members() == {} and node.status()["peers"] == {}


def test_dialler_refuses_a_name_that_is_not_in_the_certificate(
    tmp_path: Path, lying: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying("n3")
    with closing([open_node(write(tmp_path / "2", node_pair("n2")))]) as (liar,):
        monkeypatch.undo()
        assert liar.name == "n3"
        said = join_fails(write(tmp_path / "1", node_pair("n1")), liar.address)
        assert "No member at" in said
        counters = liar.status()["counters"]
        assert counters["refused_by_peer_identity"] >= 1 and liar.members() == {}


def test_dialler_refuses_a_server_that_introduces_itself_as_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Encryption, "name", "n1")
    with closing([open_node(write(tmp_path / "2", node_pair("n2")))]) as (liar,):
        said = join_fails(write(tmp_path / "3", node_pair("n3")), liar.address)
        assert "certificate of node 'n2', which does not carry the name 'n1.node.crdtsync'" in said
        assert liar.members() == {}


# ---- a client is no node


@pytest.mark.parametrize("pair", [client_pair, operator_pair])
def test_no_other_certificate_speaks_node_to_node(tmp_path: Path, lying: Any, pair: Callable[[str], Pair]) -> None:
    with closing([open_node(write(tmp_path / "1", node_pair("n1")))]) as (node,):
        lying("bob")
        said = join_fails(write(tmp_path / "2", pair("bob")), node.address)
        assert "'bob', and only nodes may speak node-to-node" in said
        assert node.status()["counters"]["bad_identity"] >= 1


@pytest.mark.parametrize("method", [EXCHANGE, INTRODUCE, "/crdtsync.v1.Replication/Other"])
def test_no_method_is_open_to_clients(tmp_path: Path, method: str) -> None:
    files = TlsFiles(write(tmp_path / "2", client_pair("bob")))
    with (
        closing([open_node(write(tmp_path / "1", node_pair("n1")))]) as (node,),
        grpc.secure_channel(node.address, channel_credentials(files), name_options(ANY_NODE)) as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            list(channel.stream_stream(method)(iter([b"x"]), timeout=10))
        wanted = grpc.StatusCode.UNIMPLEMENTED if method.endswith("Other") else grpc.StatusCode.PERMISSION_DENIED
        assert caught.value.code() == wanted


def test_a_server_with_a_client_certificate_is_nobodys_node(tmp_path: Path, lying: Any) -> None:
    lying("bob")
    with closing([open_node(write(tmp_path / "2", client_pair("bob")))]) as (false,):
        lying("n1")
        said = join_fails(write(tmp_path / "1", node_pair("n1")), false.address)
        assert "is not made for this role" in said


# ---- plaintext beyond loopback


def test_plaintext_beyond_loopback_needs_its_name() -> None:
    with pytest.raises(InsecureAddress, match=r"0\.0\.0\.0"):
        crdtsync.open(None, listen="0.0.0.0:0")
    with pytest.raises(InsecureAddress, match=r"192\.0\.2\.1"):
        crdtsync.open(None, listen="127.0.0.1:0", join="192.0.2.1:7000")


def test_plaintext_beyond_loopback_is_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    counted: list[str] = []
    encryption = Encryption(Config(insecure=True), None, lambda name, amount: counted.append(name))
    with caplog.at_level(logging.WARNING, "crdtsync.transport"):
        for what, address in (("listens", "0.0.0.0:1"), ("dials", "127.0.0.1:1"), ("dials", "192.0.2.1:1")):
            encryption.note_plaintext(what, address)
    assert counted == ["insecure_listens", "insecure_dials"]
    assert len(caplog.records) == 1 and "without TLS" in caplog.text


def test_tls_may_listen_anywhere(tmp_path: Path) -> None:
    config = Config(listen="0.0.0.0:0", join=("example.org:7000",), **tls(tmp_path)).validate()
    assert config.anywhere
    encryption = Encryption(config, None, lambda name, amount: pytest.fail(name))
    encryption.note_plaintext("listens", "0.0.0.0:1")
    assert encryption.kind == "tls"


# ---- connections that bring no call


def test_connections_without_a_call_are_counted_once() -> None:
    counted: list[int] = []
    handshakes = Handshakes(lambda name, amount: counted.append(amount))
    handshakes.look(3)  # they may still be shaking hands
    assert counted == []
    handshakes.arrived()
    handshakes.look(4)
    assert counted == [2]
    handshakes.arrived()  # the fourth was in time
    for _ in range(3):
        handshakes.look(4)
    assert counted == [2]
    handshakes.look(5)
    handshakes.look(5)
    assert counted == [2, 1]
