"""Certificates made: an authority, and what it signs for nodes, clients and operators.  Keys are ECDSA P-256.

Needs `cryptography`, which nothing else in crdtsync does: a running node only reads certificates, through `ssl`.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable

import msgspec

from crdtsync.errors import CertificateError
from crdtsync.security.identity import ANY_NODE, NAME_BYTES, NODE, Identity, parse_uri, server_name
from crdtsync.security.x509 import (
    CertificateIssuerPrivateKeyTypes,
    ExtendedKeyUsageOID,
    NameOID,
    UnsupportedAlgorithm,
    ec,
    hashes,
    serialization,
    x509,
)

BACKDATED = dt.timedelta(hours=1)  # clocks that are a little behind take a new certificate at once
COMMON_NAME_MAX = 64  # characters, says X.520
ODD = (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)  # what X.509 does not know


class Pair(msgspec.Struct, frozen=True):
    """A certificate and its private key, in PEM."""

    cert: bytes
    key: bytes


def make_authority(name: str, days: float) -> Pair:
    """A new certificate authority: it signs leaves only."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _named(name, "crdtsync CA")
    builder = _lasting(days).subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return _pair(builder.sign(key, hashes.SHA256()), key)


def issue(authority: Pair, identity: Identity, hosts: Iterable[str], days: float) -> Pair:
    """A certificate for a node, reachable at `hosts` (names and IP addresses), for a client or for an operator.

    It ends when the authority does, if that is sooner.  Raises CertificateError for an authority that is none, a name
    that is empty or too long, and a host that is neither a name nor an address.
    """
    if parse_uri(identity.uri) != identity:
        rule = f"it may have 1 to {NAME_BYTES} bytes of UTF-8, without NUL"
        raise CertificateError(f"{identity.name!r} is no name: {rule}.", hint="")
    ca, ca_key = read_pair(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _lasting(days, ca.not_valid_after_utc).subject_name(_named(identity.name, f"crdtsync {identity.role}"))
    builder = builder.issuer_name(ca.subject).public_key(key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(_purposes(identity.role)), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(_names(identity, hosts)), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return _pair(builder.add_extension(issuer, critical=False).sign(ca_key, hashes.SHA256()), key)


def read_certificates(text: bytes) -> list[x509.Certificate]:
    """The certificates in a PEM text; none when there are none that can be read, all of them and to their ends."""
    try:
        certificates = x509.load_pem_x509_certificates(text)
        for each in certificates:  # cryptography decodes these only when they are asked for
            _ = each.extensions, each.issuer, each.subject, each.public_key(), each.not_valid_after_utc
    except (ValueError, UnsupportedAlgorithm, *ODD):
        return []
    return certificates


def read_key(text: bytes) -> CertificateIssuerPrivateKeyTypes | None:
    """The private key in a PEM text; None when there is none that can be read without a password."""
    try:
        return serialization.load_pem_private_key(text, None)  # type: ignore[return-value]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def read_pair(authority: Pair) -> tuple[x509.Certificate, CertificateIssuerPrivateKeyTypes]:
    """Certificate and key of an authority.  Raises CertificateError when they are not that, or not of each other."""
    certificates, key = read_certificates(authority.cert), read_key(authority.key)
    if not certificates or key is None:
        raise CertificateError("The authority's files hold no certificate, or no plain private key, in PEM form.")
    ca = certificates[0]
    if key.public_key() != ca.public_key():
        raise CertificateError("The authority's private key does not belong to its certificate.")
    if not is_authority(ca):
        raise CertificateError("The authority's certificate is not that of a certificate authority.")
    return ca, key


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may sign others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _names(identity: Identity, hosts: Iterable[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    if identity.role == NODE:
        names += [x509.DNSName(name) for name in (ANY_NODE, server_name(identity.name))]
    return names + [_host(host) for host in dict.fromkeys(hosts)]


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode().lower()  # before the look: it also maps odd characters to plain ones
    except UnicodeError as error:
        raise CertificateError(f"{host!r} is neither a host name nor an IP address: {error}.", hint="") from error
    if not name or any(mark in name for mark in ":/@ ") or name.removesuffix(".").endswith(ANY_NODE):
        raise CertificateError(f"{host!r} is neither a host name nor an IP address.", hint="")
    return x509.DNSName(name)


def _purposes(role: str) -> list[x509.ObjectIdentifier]:
    """A node dials and serves; any other's certificate must be of no use to a server."""
    return [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if role == NODE else [])]


def _named(common_name: str, organization: str) -> x509.Name:
    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name[:COMMON_NAME_MAX]),
    ])  # fmt: skip


def _lasting(days: float, at_most: dt.datetime | None = None) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    end = now + dt.timedelta(days=days)
    start = min(now, end) - BACKDATED
    builder = x509.CertificateBuilder().serial_number(x509.random_serial_number())
    return builder.not_valid_before(start).not_valid_after(min(end, at_most or end))


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _pair(cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    text = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    return Pair(cert.public_bytes(encoding), text)
