"""An authority, a certificate and its key, read from files and proven to fit each other before anybody uses them."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

import msgspec

from crdtsync.config import TLS_FILES
from crdtsync.errors import BadIdentity, CertificateError
from crdtsync.security.handshake import (
    EXPIRED,
    NO_CHECK_TIME,
    NOT_YET_VALID,
    UNKNOWN_AUTHORITY,
    WRONG_PURPOSE,
    client_context,
    server_context,
    shake,
)
from crdtsync.security.identity import ANY_NODE, NODE, Identity, identity_of, server_name

FILE_BYTES_MAX = 1 << 20  # of a certificate or key file: chains of a few certificates take some KiB


class Paths(msgspec.Struct, frozen=True):
    """Where the three files are, by the names of the settings."""

    tls_ca: str
    tls_cert: str
    tls_key: str

    def __str__(self) -> str:
        return f"{self.tls_cert}, {self.tls_key} and {self.tls_ca}"


class Material(msgspec.Struct, frozen=True):
    """Files that fit each other, and what they say.  Times are seconds since the epoch."""

    ca: bytes  # PEM, one certificate or several
    cert: bytes  # PEM, the leaf first
    key: bytes  # PEM
    identity: Identity
    hosts: tuple[str, ...]  # DNS names and IP addresses of the certificate
    issuer: str
    serial: str
    not_after: float
    ca_not_after: float  # of the authority that ends first
    dialling: ssl.SSLContext  # shows the certificate, verifies nothing: for probes
    verifying: ssl.SSLContext  # shows the certificate, verifies against `ca`, but no name: for probes


def load(paths: Paths, now: float | None = None) -> Material:
    """Read and check.  Raises CertificateError that names the setting, the file and what is wrong with it."""
    texts = _read(paths)
    dialling, verifying, trusting = _contexts(paths, texts)
    if _read(paths) != texts:
        raise CertificateError(f"{paths} change while they are being read.", hint="Try again.")
    said = _said(paths, dialling, trusting)
    identity = _identity(paths, said)
    _check_times(paths, said, time.time() if now is None else now)
    _check_trust(paths, texts, identity)
    authorities = verifying.get_ca_certs()
    return Material(
        ca=texts["tls_ca"], cert=texts["tls_cert"], key=texts["tls_key"], identity=identity, hosts=hosts_of(said),
        issuer=distinguished(said["issuer"]), serial=said["serialNumber"], not_after=_seconds(said["notAfter"]),
        ca_not_after=min(_seconds(each["notAfter"]) for each in authorities), dialling=dialling, verifying=verifying,
    )  # fmt: skip


# ---- reading


def _read(paths: Paths) -> dict[str, bytes]:
    return {setting: _read_file(setting, getattr(paths, setting)) for setting in TLS_FILES}


def _read_file(setting: str, path: str) -> bytes:
    try:
        if Path(path).is_fifo():  # its writer may never come, and the files are read again and again
            raise ValueError("it is a named pipe")
        with Path(path).open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CertificateError(f"{setting}: {path!r} cannot be read: {reason}.") from error
    if len(text) > FILE_BYTES_MAX:
        raise CertificateError(f"{setting}: {path!r} is larger than {FILE_BYTES_MAX} bytes.")
    return text


def _contexts(paths: Paths, texts: dict[str, bytes]) -> tuple[ssl.SSLContext, ssl.SSLContext, ssl.SSLContext]:
    """Contexts that show the certificate: one verifies nothing, one the other side, one whoever dials, at any time."""
    ca = _authorities(paths, texts)
    contexts = (client_context(None, False), client_context(ca, True), server_context(ca, True, NO_CHECK_TIME))
    for context in contexts:
        _take(context, paths, texts)
    return contexts


def _authorities(paths: Paths, texts: dict[str, bytes]) -> str:
    text = _certificates("tls_ca", paths.tls_ca, texts["tls_ca"])
    if not client_context(text, True).get_ca_certs():
        raise CertificateError(f"tls_ca: {paths.tls_ca!r} holds no certificate of an authority.")
    return text


def _certificates(setting: str, path: str, text: bytes) -> str:
    """The text, when it holds certificates in PEM."""
    try:
        plain = text.decode("ascii", "ignore")  # comments around the PEM blocks may be in any language
        client_context(plain, False)
    except (ssl.SSLError, ValueError) as error:
        raise CertificateError(f"{setting}: {path!r} holds no certificate in PEM form.") from error
    return plain


def _take(context: ssl.SSLContext, paths: Paths, texts: dict[str, bytes]) -> None:
    _certificates("tls_cert", paths.tls_cert, texts["tls_cert"])
    try:
        context.load_cert_chain(paths.tls_cert, paths.tls_key, password=_no_password)
    except _Encrypted:
        hint = "Give the plain key, in a file that only the node can read."
        raise CertificateError(f"tls_key: {paths.tls_key!r} is encrypted.", hint=hint) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            text = f"tls_key: {paths.tls_key!r} does not belong to the certificate in {paths.tls_cert!r}."
        else:
            text = f"tls_key: {paths.tls_key!r} holds no private key in PEM form that fits {paths.tls_cert!r}."
        raise CertificateError(text) from error
    except OSError as error:
        raise CertificateError(f"tls_key: {paths.tls_key!r} cannot be read: {error.strerror}.") from error


class _Encrypted(Exception):
    pass


def _no_password() -> str:
    raise _Encrypted


# ---- checking


def _said(paths: Paths, dialling: ssl.SSLContext, trusting: ssl.SSLContext) -> dict[str, Any]:
    """What the certificate says, read by a server that trusts the authority; dates are looked at later."""
    try:
        return shake(dialling, trusting)["server"]
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(f"tls_cert: {paths.tls_cert!r} {verdict(error, paths.tls_ca)}.") from error
    except ssl.SSLError as error:
        raise CertificateError(f"tls_cert: {paths.tls_cert!r} cannot be used: {error.reason or error}.") from error


def verdict(error: ssl.SSLCertVerificationError, ca: str) -> str:
    """Why a certificate is not trusted, as the end of a sentence about it."""
    code = error.verify_code
    if code in UNKNOWN_AUTHORITY:
        return f"is not signed by an authority in {ca}"
    if code == EXPIRED:
        return "has expired, or its authority has"
    if code == NOT_YET_VALID:
        return "is not valid yet, or its authority is not; or this machine's clock is behind"
    if code == WRONG_PURPOSE:
        return "is not made for this role, by its extended key usage: a client's cannot serve"
    return f"is not trusted: {error.verify_message}"


def _identity(paths: Paths, said: dict[str, Any]) -> Identity:
    names = said.get("subjectAltName", ())
    try:
        identity = identity_of(name for kind, name in names if kind == "URI")
    except BadIdentity as error:
        raise CertificateError(f"tls_cert: {paths.tls_cert!r}: {error.message}", hint=error.hint) from error
    needed = [ANY_NODE, server_name(identity.name)] if identity.role == NODE else []
    for name in needed:
        if ("DNS", name) not in names:
            raise CertificateError(f"tls_cert: {paths.tls_cert!r} is for {identity}, but lacks the DNS name {name}.")
    return identity


def _check_times(paths: Paths, said: dict[str, Any], now: float) -> None:
    if now >= _seconds(said["notAfter"]):
        raise CertificateError(f"tls_cert: {paths.tls_cert!r} expired on {said['notAfter']}.")
    if now < _seconds(said["notBefore"]):
        raise CertificateError(f"tls_cert: {paths.tls_cert!r} is not valid before {said['notBefore']}.")


def _check_trust(paths: Paths, texts: dict[str, bytes], identity: Identity) -> None:
    """As a peer will look at it: dates of the whole chain, and a node in both roles."""
    ca = texts["tls_ca"].decode("ascii", "ignore")
    try:
        context = server_context(ca, True)
        context.load_cert_chain(paths.tls_cert, paths.tls_key, password=_no_password)
        dialling = client_context(ca, identity.role == NODE)
        dialling.load_cert_chain(paths.tls_cert, paths.tls_key, password=_no_password)
        shake(dialling, context)
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(f"tls_cert: {paths.tls_cert!r} {verdict(error, paths.tls_ca)}.") from error
    except (ssl.SSLError, OSError, _Encrypted) as error:
        raise CertificateError(f"{paths} cannot be used: {error}.") from error


def hosts_of(said: dict[str, Any]) -> tuple[str, ...]:
    """DNS names and IP addresses of a decoded certificate."""
    return tuple(name for kind, name in said.get("subjectAltName", ()) if kind in ("DNS", "IP Address"))


def _seconds(text: Any) -> float:
    return float(ssl.cert_time_to_seconds(text))


def distinguished(name: Any) -> str:
    """A subject or issuer, of the nested tuples of `ssl`: `organizationName=crdtsync CA, commonName=shop`."""
    return ", ".join(f"{key}={value}" for part in name for key, value in part)
