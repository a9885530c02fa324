"""What PEM files hold: whom a certificate is for, who signed it, when it ends, which key is its own, what is wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from crdtsync.errors import BadIdentity
from crdtsync.security.identity import ANY_NODE, NODE, Identity, identity_of, server_name
from crdtsync.security.making import is_authority, read_certificates, read_key
from crdtsync.security.x509 import ExtendedKeyUsageOID, InvalidSignature, x509

DAY = dt.timedelta(days=1)
SOON = 30  # days before its end at which a certificate is worth a word
AUTHORITY, KEY, STRANGER = "ca", "key", "other"


class Finding(msgspec.Struct):
    """One certificate or key in a file.  `problems` are what keeps it from being used, `notes` what is worth a word."""

    file: str
    kind: str  # ca, node, client, operator, key, other
    name: str = ""
    hosts: list[str] = []
    issuer: str = ""
    not_before: str = ""
    not_after: str = ""
    days_left: float | None = None
    serial: str = ""
    key_file: str = ""  # of the files looked at, the one with its private key
    signed_by: str = ""  # of the files looked at, the one with the authority that signed it
    problems: list[str] = []
    notes: list[str] = []


def inspect(paths: Iterable[Path], now: dt.datetime | None = None) -> list[Finding]:
    """Look at files, each by itself and at how they fit each other.  Raises OSError for one that cannot be read."""
    odd: list[Finding] = []
    certificates: list[tuple[Path, x509.Certificate]] = []
    keys: list[tuple[Path, Any]] = []
    for path in paths:
        text = path.read_bytes()
        found, key = read_certificates(text), read_key(text)
        if not found and key is None:
            problem = "holds neither a certificate nor a plain private key in PEM form"
            odd.append(Finding(file=str(path), kind=STRANGER, problems=[problem]))
        certificates += [(path, certificate) for certificate in found]
        keys += [(path, key)] if key is not None else []
    findings = [
        _certificate(path, each, certificates, keys, now or dt.datetime.now(dt.UTC)) for path, each in certificates
    ]
    return findings + [_key(path, key, certificates) for path, key in keys] + odd


def _certificate(
    path: Path,
    it: x509.Certificate,
    certificates: list[tuple[Path, x509.Certificate]],
    keys: list[tuple[Path, Any]],
    now: dt.datetime,
) -> Finding:
    owner = _owner(it)
    finding = Finding(
        file=str(path), kind=AUTHORITY if is_authority(it) else owner.role, name=owner.name, hosts=_hosts(it),
        issuer=it.issuer.rfc4514_string(), not_before=_date(it.not_valid_before_utc),
        not_after=_date(it.not_valid_after_utc), days_left=round((it.not_valid_after_utc - now) / DAY, 2),
        serial=f"{it.serial_number:X}", key_file=_key_file(it, keys), problems=[], notes=[],
    )  # fmt: skip
    _judge_time(finding, it, now)
    _judge_authority(finding, it, certificates)
    if finding.kind != AUTHORITY:
        _judge_leaf(finding, it, owner)
        if keys and not finding.key_file:
            finding.problems.append("none of the private keys belongs to it")
    return finding


def _judge_time(finding: Finding, it: x509.Certificate, now: dt.datetime) -> None:
    if now > it.not_valid_after_utc:
        finding.problems.append(f"expired {finding.not_after}")
    elif now < it.not_valid_before_utc:
        finding.problems.append(f"not valid before {finding.not_before}")
    elif (finding.days_left or 0) <= SOON:
        finding.notes.append(f"ends in {finding.days_left:.1f} days")


def _judge_authority(finding: Finding, it: x509.Certificate, certificates: list[tuple[Path, x509.Certificate]]) -> None:
    """Who signed it, as far as the files tell."""
    authorities = [(path, ca) for path, ca in certificates if is_authority(ca)]
    finding.signed_by = next((str(path) for path, ca in authorities if _signed(it, ca)), "")
    if authorities and not finding.signed_by:
        finding.problems.append("none of the authorities has signed it")


def _judge_leaf(finding: Finding, it: x509.Certificate, owner: Identity) -> None:
    if owner.role == STRANGER:
        finding.problems.append("names no crdtsync node, client or operator")
        return
    purposes = _purposes(it)
    needed = [("clients", ExtendedKeyUsageOID.CLIENT_AUTH)]
    if owner.role == NODE:
        needed.append(("servers", ExtendedKeyUsageOID.SERVER_AUTH))
        finding.problems += [
            f"lacks the DNS name {name}" for name in (ANY_NODE, server_name(owner.name)) if name not in finding.hosts
        ]
    if purposes is not None:
        finding.problems += [f"its extended key usage leaves out {what}" for what, oid in needed if oid not in purposes]
    elif owner.role != NODE:
        finding.notes.append("its extended key usage does not keep it to clients")


def _key(path: Path, key: Any, certificates: list[tuple[Path, x509.Certificate]]) -> Finding:
    owners = [(file, it) for file, it in certificates if it.public_key() == key.public_key()]
    finding = Finding(file=str(path), kind=KEY, name=_owner(owners[0][1]).name if owners else "", problems=[], notes=[])
    if certificates and not owners:
        finding.problems.append("belongs to none of the certificates")
    if path.stat().st_mode & 0o004:
        finding.notes.append("every user of this machine can read it")
    return finding


def _owner(it: x509.Certificate) -> Identity:
    """Whom a certificate is for; of one that is none of ours its common name."""
    names = _alternatives(it)
    try:
        return identity_of(names.get_values_for_type(x509.UniformResourceIdentifier) if names else [])
    except BadIdentity:
        common = it.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return Identity(STRANGER, str(common[0].value) if common else "")


def _hosts(it: x509.Certificate) -> list[str]:
    names = _alternatives(it)
    if names is None:
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def _alternatives(it: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return it.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _purposes(it: x509.Certificate) -> set[x509.ObjectIdentifier] | None:
    try:
        return set(it.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return None


def _signed(it: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        it.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _key_file(it: x509.Certificate, keys: list[tuple[Path, Any]]) -> str:
    return next((str(path) for path, key in keys if key.public_key() == it.public_key()), "")


def _date(when: dt.datetime) -> str:
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")
