"""What gRPC says on standard error of failed handshakes is in the log of `crdtsync start`, in words and counted."""

from __future__ import annotations

import logging
import os
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from crdtsync.ops.grpclog import GrpcLog
from crdtsync.security.credentials import channel_credentials, name_options
from crdtsync.security.files import TlsFiles
from crdtsync.security.handshake import client_context
from tests.cli.running import environment, started
from tests.security.support import authority, client_pair, node_pair, write

HEAD = b"I1126 03:30:00.047057   10202 ssl_transport_security.cc:2563] "
FAILED = HEAD + b"Handshake failed with error SSL_ERROR_SSL: error:1:SSL routines:OPENSSL_internal:"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (FAILED + b"PEER_DID_NOT_RETURN_A_CERTIFICATE: Invalid certificate verification context", "no_certificate"),
        (FAILED + b"WRONG_VERSION_NUMBER: Invalid certificate verification context", "plaintext"),
        (FAILED + b"HTTP_REQUEST", "plaintext"),
        (FAILED + b"CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate", "wrong_ca"),
        (FAILED + b"CERTIFICATE_VERIFY_FAILED: self signed certificate in certificate chain", "wrong_ca"),
        (FAILED + b"CERTIFICATE_VERIFY_FAILED: certificate has expired", "expired"),
        (FAILED + b"CERTIFICATE_VERIFY_FAILED: unsupported certificate purpose", "wrong_role"),
        (FAILED + b"TLSV1_ALERT_UNKNOWN_CA", "distrusted"),
        (FAILED + b"BAD_PACKET_LENGTH: Invalid certificate verification context", "distrusted"),
        (FAILED + b"SOMETHING_NEW", "other"),
        (HEAD.replace(b"I", b"E", 1) + b"No match found for server name: n2.node.crdtsync\x1b", "wrong_name"),
    ],
)
def test_each_line_has_a_meaning(line: bytes, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    taken = GrpcLog()
    with caplog.at_level(logging.WARNING, "crdtsync.security"):
        assert taken.take(line) and taken.take(line)
    assert taken.counters == {"tls_handshakes_" + kind: 2}
    (told,) = caplog.records  # once in a while
    assert told.getMessage().startswith("A TLS handshake failed: ") and "\x1b" not in told.getMessage()


@pytest.mark.parametrize("line", [b"", b"Traceback", b"I am not gRPC] Handshake failed with error", b"\xff\0"])
def test_other_lines_are_left_alone(line: bytes) -> None:
    taken = GrpcLog()
    assert not taken.take(line) and not taken.counters


def test_standard_error_is_passed_on_and_given_back() -> None:
    code = (
        "import os, sys\n"
        "from crdtsync.ops.grpclog import GrpcLog\n"
        "with GrpcLog() as taken:\n"
        "    os.write(2, b'below\\n' + b'x' * 10000 + b'\\n')\n"
        f"    os.write(2, {FAILED + b'HTTP_REQUEST'!r} + b'\\n')\n"
        "    print('above', file=sys.stderr)\n"
        "os.write(2, b'after\\n')\n"
        "print('end', taken.counters, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 0
    assert {"stderr: below", "stderr: " + "x" * 10000, "above", "after"} <= set(done.stderr.splitlines())
    assert "OPENSSL_internal" not in done.stderr
    assert done.stderr.splitlines()[-1] == "end Counter({'tls_handshakes_plaintext': 1})"


def test_a_stranger_writes_no_lines_of_its_own(tmp_path: Path) -> None:
    """gRPC repeats the name that it asks for, before anybody has shown a certificate."""
    paths = write(tmp_path / "n1", node_pair("n1"))
    files = ("--tls-ca", paths.tls_ca, "--tls-cert", paths.tls_cert, "--tls-key", paths.tls_key)
    context, forged = client_context(None, False), "2026-01-01 00:00:00,000 INFO crdtsync.node: all is well\x1b[2J"
    context.set_alpn_protocols(["h2"])
    answer, hello = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(answer, hello, server_hostname=f"x\n{forged}").do_handshake()
    with started(tmp_path / "data", *files) as process:
        host, _, port = process.addresses["peers"].rpartition(":")
        with socket.create_connection((host, int(port)), 10) as line:
            line.sendall(hello.read())
            process.wait_for("asks for 'x'")
            process.wait_for("stderr: .*all is well")
        assert process.end() == 0
    assert not any(line.startswith(forged[:4]) and "all is well" in line for line in process.stderr.splitlines())
    assert "\x1b" not in process.stderr


def test_a_process_says_which_mistake_it_was(tmp_path: Path) -> None:
    paths = write(tmp_path / "n1", node_pair("n1"))
    stranger = TlsFiles(write(tmp_path / "bob", client_pair("bob", "other"), "other", "test"))
    files = ("--tls-ca", paths.tls_ca, "--tls-cert", paths.tls_cert, "--tls-key", paths.tls_key)
    with started(tmp_path / "data", *files) as process:
        address = process.addresses["peers"]
        attempts = [
            (grpc.insecure_channel(address), "speaks plaintext"),
            (
                grpc.secure_channel(address, grpc.ssl_channel_credentials(authority("test").cert)),
                "showed no certificate",
            ),
            (grpc.secure_channel(address, channel_credentials(stranger)), "not signed by an authority in tls_ca"),
            (
                grpc.secure_channel(address, channel_credentials(stranger), name_options("example.org")),
                re.escape("asks for 'example.org', which our certificate does not carry"),
            ),
        ]
        for channel, said in attempts:
            with channel, pytest.raises(grpc.RpcError):
                channel.unary_unary("/a/b")(b"", timeout=10)
            process.wait_for(f"A TLS handshake failed: .*{said}")
        assert process.end() == 0
    assert "OPENSSL" not in process.stderr and os.linesep + "E1126" not in process.stderr
