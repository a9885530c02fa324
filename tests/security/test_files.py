"""The three files: what is wrong with them is told by name, and a changed set is used only when it is good."""

from __future__ import annotations

import datetime as dt
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import crdtsync
from crdtsync.errors import CertificateError, ConfigError
from crdtsync.security.files import DAY, TlsFiles
from crdtsync.security.identity import CLIENT, NODE, Identity
from crdtsync.security.making import Pair, issue, read_pair
from crdtsync.security.material import FILE_BYTES_MAX, Paths, load
from tests.security.support import (
    agree,
    authority,
    client_pair,
    closing,
    node_pair,
    open_node,
    settings,
    until,
    write,
)


def test_good_files(tmp_path: Path) -> None:
    material = load(write(tmp_path, node_pair("n1")))
    assert material.identity == Identity(NODE, "n1")
    assert set(material.hosts) == {"node.crdtsync", "n1.node.crdtsync", "127.0.0.1", "localhost"}
    assert 99 * DAY < material.not_after - time.time() < 101 * DAY < material.ca_not_after - time.time()
    assert load(write(tmp_path, client_pair("bob"))).identity == Identity(CLIENT, "bob")


@pytest.mark.parametrize(
    "given", [("tls_ca",), ("tls_cert",), ("tls_key",), ("tls_ca", "tls_cert"), ("tls_ca", "tls_key")]
)
def test_all_three_or_none(given: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        crdtsync.open(None, **dict.fromkeys(given, "/nowhere"))
    missing = {"tls_ca", "tls_cert", "tls_key"} - set(given)
    assert all(setting in caught.value.message.partition("missing")[2] for setting in missing)
    assert not any(setting in caught.value.message.partition("missing")[2] for setting in given)


# ---- what can be wrong, and what is said of it


def _without(setting: str) -> Callable[[Paths], None]:
    return lambda paths: os.unlink(getattr(paths, setting))


def _as(setting: str, text: bytes) -> Callable[[Paths], None]:
    def put(paths: Paths) -> None:
        Path(getattr(paths, setting)).write_bytes(text)

    return put


def _pair(pair: Pair) -> Callable[[Paths], None]:
    return lambda paths: [_as("tls_cert", pair.cert)(paths), _as("tls_key", pair.key)(paths), None][2]


def _encrypted() -> bytes:
    key = serialization.load_pem_private_key(node_pair("n1").key, None)
    secret = serialization.BestAvailableEncryption(b"secret")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)


def _signed(*names: x509.GeneralName) -> Pair:
    """A certificate of the test authority with names of our choice."""
    ca, ca_key = read_pair(authority("test"))
    model = x509.load_pem_x509_certificate(node_pair("n1").cert)
    pair = node_pair("n1")
    key = serialization.load_pem_private_key(pair.key, None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(model.subject)
        .issuer_name(ca.subject)
        .public_key(key.public_key())  # type: ignore[arg-type]
        .serial_number(1)
        .not_valid_before(model.not_valid_before_utc)
        .not_valid_after(model.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return Pair(builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), pair.key)


URI = x509.UniformResourceIdentifier
MISTAKES = {
    "no ca": (_without("tls_ca"), r"tls_ca: '.*ca.crt' cannot be read: No such file"),
    "no cert": (_without("tls_cert"), r"tls_cert: '.*cert.crt' cannot be read: No such file"),
    "no key": (_without("tls_key"), r"tls_key: '.*cert.key' cannot be read: No such file"),
    "ca is no PEM": (_as("tls_ca", b"\xff\0garbage"), "tls_ca: .* holds no certificate in PEM form"),
    "ca is empty": (_as("tls_ca", b""), "tls_ca: .* holds no certificate"),
    "ca is a leaf": (_as("tls_ca", node_pair("n1").cert), "tls_ca: .* holds no certificate of an authority"),
    "cert is a key": (_as("tls_cert", node_pair("n1").key), "tls_cert: .* holds no certificate in PEM form"),
    "key is a cert": (_as("tls_key", node_pair("n1").cert), "tls_key: .* holds no private key"),
    "key of another": (_as("tls_key", node_pair("n1").key), "tls_key: .* does not belong to the certificate in"),
    "key with password": (_as("tls_key", _encrypted()), "tls_key: .* is encrypted"),
    "file too large": (_as("tls_ca", b"#" * (FILE_BYTES_MAX + 1)), "tls_ca: .* is larger than"),
    "other ca": (_pair(node_pair("n1", "other")), "tls_cert: .* is not signed by an authority in .*ca.crt"),
    "expired": (_pair(node_pair("n1", days=-1)), "tls_cert: .* expired on "),
    "no identity": (_pair(_signed(x509.DNSName("n1"))), "tls_cert: .* must have one URI .*; it has none"),
    "two identities": (
        _pair(_signed(URI("crdtsync://node/n1"), URI("crdtsync://node/n2"))),
        "must have one URI .*crdtsync://node/n2",
    ),
    "no server name": (_pair(_signed(URI("crdtsync://node/n1"))), "lacks the DNS name node.crdtsync"),
    "name of another": (
        _pair(_signed(URI("crdtsync://node/n1"), x509.DNSName("node.crdtsync"), x509.DNSName("n2.node.crdtsync"))),
        "is for node 'n1', but lacks the DNS name n1.node.crdtsync",
    ),
    "client": (_pair(client_pair("bob")), "is for client 'bob', not for a node"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_told_by_name(tmp_path: Path, mistake: str) -> None:
    make, said = MISTAKES[mistake]
    paths = write(tmp_path / "tls", node_pair("n1"))
    make(paths)
    with pytest.raises(CertificateError, match=said):
        crdtsync.open(tmp_path / "store", listen="127.0.0.1:0", **settings(paths))
    assert not (tmp_path / "store").exists()


def test_the_certificate_names_the_node(tmp_path: Path) -> None:
    paths = write(tmp_path / "tls", node_pair("n1"))
    with pytest.raises(CertificateError, match="is for node 'n1', not for node 'n2'"):
        crdtsync.open(None, name="n2", **settings(paths))
    with crdtsync.open(tmp_path / "store", name="n1", **settings(paths)) as node:
        assert node.name == "n1"


def _intermediate() -> tuple[Pair, Pair]:
    """A root, and an authority that it has signed."""
    key, root_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = dt.datetime.now(dt.UTC)
    made = []
    for subject, its_key in (("root", root_key), ("between", key)):
        name, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, "root"))
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(its_key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
        builder = builder.not_valid_after(now + dt.timedelta(days=50))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        text = builder.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        plain = serialization.NoEncryption()
        made.append(
            Pair(text, its_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
        )
    return made[0], made[1]


def test_intermediate_authorities_follow_the_certificate(tmp_path: Path) -> None:
    root, between = _intermediate()
    with closing([]) as nodes:
        for name in ("n1", "n2"):
            pair = issue(between, Identity(NODE, name), [], 10)
            paths = write(tmp_path / name, Pair(pair.cert + between.cert, pair.key))
            Path(paths.tls_ca).write_bytes(root.cert)
            nodes.append(open_node(paths, **({"join": nodes[0].address} if nodes else {})))
        agree(nodes)
        alone = write(tmp_path / "alone", pair)
        Path(alone.tls_ca).write_bytes(root.cert)
        with pytest.raises(CertificateError, match="is not signed by an authority"):
            load(alone)


# ---- looked at again


def test_a_changed_set_is_used(tmp_path: Path) -> None:
    files = TlsFiles(write(tmp_path, node_pair("n1")))
    told: list[int] = []
    files.on_change(lambda: told.append(1))
    assert not files.look() and not told
    fresh = node_pair("n1")
    write(tmp_path, fresh)
    assert files.look() and told == [1]
    assert files.material.cert == fresh.cert
    assert files.counters["tls_reloads"] == 1
    write(tmp_path, fresh)  # other files, the same in them
    assert not files.look() and told == [1]
    files.forget(told.clear)
    assert files.status()["last_error"] == ""


def test_a_broken_set_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = node_pair("n1")
    files = TlsFiles(write(tmp_path, first))
    second = node_pair("n1")
    (tmp_path / "cert.crt").write_bytes(second.cert)  # half of a change
    with caplog.at_level(logging.ERROR, "crdtsync.security"):
        assert not files.look() and not caplog.records  # it may be no more than half a change
        for _ in range(3):
            assert not files.look()
    assert files.material.cert == first.cert
    assert files.counters["tls_reloads_failed"] == 1 == len(caplog.records)
    assert "does not belong" in files.status()["last_error"] and "stay in use" in caplog.text
    (tmp_path / "cert.key").write_bytes(second.key)  # the other half
    assert files.look()
    assert files.material.cert == second.cert
    assert files.status()["last_error"] == ""


@pytest.mark.parametrize(
    "pair", [node_pair("n2"), client_pair("n1"), node_pair("n1", "other"), node_pair("n1", days=-1)]
)
def test_no_node_becomes_another(tmp_path: Path, pair: Pair) -> None:
    first = node_pair("n1")
    files = TlsFiles(write(tmp_path, first))
    write(tmp_path, pair)
    assert not files.look()
    assert files.material.cert == first.cert and files.identity == Identity(NODE, "n1")
    assert files.status()["last_error"]


def test_files_that_vanish_leave_what_is_in_use(tmp_path: Path) -> None:
    files = TlsFiles(write(tmp_path, node_pair("n1")))
    for path in tmp_path.iterdir():
        path.unlink()
    assert not files.look()
    assert "cannot be read" in files.status()["last_error"]


def test_it_looks_by_itself(tmp_path: Path) -> None:
    files = TlsFiles(write(tmp_path, node_pair("n1")), interval=0.01)
    files.start()
    try:
        write(tmp_path, node_pair("n1"))
        until(lambda: files.counters["tls_reloads"], "the change is seen")
    finally:
        files.stop()


@pytest.mark.parametrize(("days", "level"), [(200, None), (29, logging.WARNING), (6, logging.ERROR)])
def test_the_end_is_announced(tmp_path: Path, days: int, level: int | None, caplog: pytest.LogCaptureFixture) -> None:
    files = TlsFiles(write(tmp_path, node_pair("n1", days=days)))
    with caplog.at_level(logging.WARNING, "crdtsync.security"):
        files.look()
        files.look()
    assert [record.levelno for record in caplog.records] == ([level] if level else [])
    assert files.counters["tls_expiry_warnings"] == (1 if level else 0)
    assert days - 1 < files.status()["days_left"] <= days


def test_each_threshold_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = TlsFiles(write(tmp_path, node_pair("n1", days=100)))
    told = []
    for left in (99.0, 31.0, 30.0, 8.0, 7.0, 0.5, 0.0, -3.0):
        monkeypatch.setattr(files, "days_left", lambda left=left: left)
        files.look()
        told.append(files.counters["tls_expiry_warnings"])
    assert told == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_key_that_all_can_read_is_told(tmp_path: Path) -> None:
    paths = write(tmp_path, node_pair("n1"))
    os.chmod(paths.tls_key, 0o644)
    assert TlsFiles(paths).counters["tls_key_readable_by_others"] == 1


def test_an_authority_that_ends_first_is_what_counts(tmp_path: Path) -> None:
    pair = issue(authority("test"), Identity(NODE, "n1"), [], 36_000)
    material = load(write(tmp_path, pair))
    assert material.not_after == material.ca_not_after
