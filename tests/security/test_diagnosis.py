"""Each of the usual mistakes, made towards a real gRPC server, gets the words that say which."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from crdtsync.security.credentials import ServerCredentials, caller, channel_credentials, name_options
from crdtsync.security.diagnosis import diagnose
from crdtsync.security.files import TlsFiles
from crdtsync.security.handshake import client_context
from crdtsync.security.identity import ANY_NODE, server_name
from crdtsync.security.making import Pair
from crdtsync.security.material import Material, Paths, load
from tests.security.support import authority, client_pair, node_pair, write


class Answers(grpc.GenericRpcHandler):
    """A server that tells its callers who they are."""

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda request, context: caller(context).uri.encode())


class Server:
    """gRPC on two ports of loopback: TLS as node n1, and plaintext."""

    def __init__(self, paths: Paths) -> None:
        self._pool = ThreadPoolExecutor(2)
        self._server = grpc.server(self._pool, [Answers()], options=[("grpc.so_reuseport", 0)])
        self.credentials = ServerCredentials(TlsFiles(paths))
        self.tls = f"127.0.0.1:{self._server.add_secure_port('127.0.0.1:0', self.credentials.grpc)}"
        self.plain = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()
        self._pool.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(write(tmp_path_factory.mktemp("server"), node_pair("n1")))
    yield server
    server.stop()


def material(directory: Path, pair: Pair, *cas: str) -> Material:
    return load(write(directory, pair, *cas))


def test_a_good_caller_is_known_by_name(server: Server, tmp_path: Path) -> None:
    for pair, uri in (
        (client_pair("bob ü"), b"crdtsync://client/bob%20%C3%BC"),
        (node_pair("n2"), b"crdtsync://node/n2"),
    ):
        files = TlsFiles(write(tmp_path, pair))
        for name in (ANY_NODE, server_name("n1"), "localhost"):
            with grpc.secure_channel(server.tls, channel_credentials(files), name_options(name)) as channel:
                assert channel.unary_unary("/a/b")(b"", timeout=10) == uri
        assert diagnose(server.tls, files.material).code == "fine"
        assert diagnose(server.tls, files.material, ANY_NODE).code == "fine"


def test_handshakes_are_counted(server: Server, tmp_path: Path) -> None:
    before = server.credentials.begun
    diagnose(server.tls, None)
    assert server.credentials.begun > before


def test_plaintext_to_a_tls_port(server: Server) -> None:
    found = diagnose(server.tls, None)
    assert found.code == "needs_tls"
    assert found.text == f"{server.tls} speaks TLS, and this side plaintext."
    assert "tls_ca" in found.hint


def test_tls_to_a_plaintext_port(server: Server, tmp_path: Path) -> None:
    found = diagnose(server.plain, material(tmp_path, client_pair("bob")))
    assert (found.code, str(found)) == ("plaintext", f"{server.plain} speaks plaintext, and this side TLS.")


def test_plaintext_to_a_plaintext_port(server: Server) -> None:
    assert diagnose(server.plain, None).code == "fine"


def test_a_server_of_another_authority(server: Server, tmp_path: Path) -> None:
    found = diagnose(server.tls, material(tmp_path, client_pair("bob", "other"), "other"))
    assert found.code == "wrong_ca"
    assert "shows the certificate of node 'n1', which is not signed by an authority in our tls_ca" in found.text


def test_a_server_that_does_not_know_our_authority(server: Server, tmp_path: Path) -> None:
    found = diagnose(server.tls, material(tmp_path, client_pair("bob", "other"), "other", "test"))
    assert found.code == "refused_ours"
    assert "client 'bob'" in found.text and "tls_ca" in found.hint


@pytest.mark.parametrize("name", [server_name("n2"), "example.org"])
def test_a_server_of_another_name(server: Server, tmp_path: Path, name: str) -> None:
    found = diagnose(server.tls, material(tmp_path, client_pair("bob")), name)
    assert found.code == "wrong_name"
    assert "certificate of node 'n1'" in found.text and repr(name) in found.text
    assert "n1.node.crdtsync" in found.hint


def test_the_host_that_is_dialled_is_the_name(server: Server, tmp_path: Path) -> None:
    ours = material(tmp_path, client_pair("bob"))
    assert diagnose(server.tls.replace("127.0.0.1", "localhost"), ours).code == "fine"
    assert diagnose(server.tls.replace("127.0.0.1", "127.0.0.2"), ours).code in ("wrong_name", "unreachable")


def test_no_certificate(server: Server, tmp_path: Path) -> None:
    """gRPC only hangs up on a caller without one; others say so in an alert."""
    ours = material(tmp_path, client_pair("bob"))
    bare = msgspec.structs.replace(
        ours, dialling=client_context(None, False), verifying=client_context(ours.ca.decode(), True)
    )
    assert diagnose(server.tls, bare).code in ("refused_ours", "no_certificate")


def test_a_certificate_that_has_ended_since(tmp_path: Path) -> None:
    """What was good when the server loaded it may have ended; a client's, too."""
    ended = write(tmp_path / "ended", node_pair("n1"))
    server = Server(ended)
    try:
        pair = node_pair("n1", days=-1)
        expired = Paths(*(str(tmp_path / "ended" / name) for name in ("ca.crt", "cert.crt", "cert.key")))
        server.credentials._files._material = msgspec.structs.replace(
            load(ended), ca=authority("test").cert, cert=pair.cert, key=pair.key
        )
        found = diagnose(server.tls, load(expired))
        assert found.code == "expired"
        assert "has expired" in found.text
    finally:
        server.stop()


# ---- what is no gRPC at all


def test_nobody_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as line:
        address = f"127.0.0.1:{line.getsockname()[1]}"
    for ours in (None, material(tmp_path, client_pair("bob"))):
        found = diagnose(address, ours)
        assert (found.code, found.text) == ("unreachable", f"{address} cannot be reached: Connection refused.")


@pytest.mark.parametrize(
    "words", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 64, b"\x16\x03\x01", b"SSH-2.0-x\r\n"]
)
@pytest.mark.parametrize("encrypted", [True, False])
def test_somebody_else(tmp_path: Path, words: bytes, encrypted: bool) -> None:
    """Whatever a stranger says: a diagnosis comes back, in time, and nothing is raised."""
    ours = material(tmp_path, client_pair("bob")) if encrypted else None
    with socket.create_server(("127.0.0.1", 0)) as line:
        line.settimeout(10)

        def answer() -> None:
            try:
                while True:
                    with line.accept()[0] as caller:
                        caller.sendall(words)
            except OSError:
                return

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            found = diagnose(f"127.0.0.1:{line.getsockname()[1]}", ours, timeout=0.5)
        finally:
            line.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert found.code in ("odd", "plaintext", "unreachable", "needs_tls")
    assert found.text


def test_a_silent_one_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as line:
        found = diagnose(f"127.0.0.1:{line.getsockname()[1]}", material(tmp_path, client_pair("bob")), timeout=0.2)
    assert found.code == "unreachable" and "timed out" in found.text
