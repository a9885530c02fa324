"""TLS handshakes without a network: `ssl` on both ends of a piece of memory shows what a certificate is worth.

One such handshake says, with nothing but the standard library, whether a key belongs to its certificate, whether an
authority vouches for it in the role of a client or a server, and what names and dates it carries.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

NO_CHECK_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME: read an expired certificate all the same
ROUNDS = 10  # flights of a handshake; three are usual
EXPIRED, NOT_YET_VALID, WRONG_PURPOSE = 10, 9, 26  # OpenSSL's X509_V_ERR_*
UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})


def client_context(authorities: str | None, verify: bool, flags: int = 0) -> ssl.SSLContext:
    """The dialling side: it checks the other's certificate against `authorities` (PEM) if `verify`, but no name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    context.verify_flags |= ssl.VerifyFlags(flags)
    if authorities is not None:
        context.load_verify_locations(cadata=authorities)
    return context


def server_context(authorities: str | None, verify: bool, flags: int = 0) -> ssl.SSLContext:
    """The accepting side: it asks for a certificate if `verify`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    context.verify_flags |= ssl.VerifyFlags(flags)
    if authorities is not None:
        context.load_verify_locations(cadata=authorities)
    return context


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = None) -> dict[str, dict[str, Any]]:
    """Carry out a handshake; {"client": ..., "server": ...} with what each side has verified of the other.

    Raises ssl.SSLCertVerificationError by the side that does not trust the other, or another ssl.SSLError.
    """
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    for _ in range(ROUNDS):
        for end in list(waiting):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                waiting.remove(end)
        if not waiting:
            return {"client": ends[0].getpeercert() or {}, "server": ends[1].getpeercert() or {}}
    raise ssl.SSLError("the handshake does not come to an end")


def read_certificate(pem: str) -> dict[str, Any]:
    """What a certificate says, whoever signed it, as `SSLSocket.getpeercert` gives it.  Raises ssl.SSLError."""
    scratch = client_context(None, verify=False)
    scratch.load_verify_locations(cadata=pem)
    found = scratch.get_ca_certs()
    return found[0] if found else {}
