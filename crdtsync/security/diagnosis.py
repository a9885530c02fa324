"""Why a connection does not come about: gRPC says UNAVAILABLE for everything, a short look of our own says which.

The look is one or two connections, a few kilobytes, bounded in time.  It trusts nobody: it sends no data, and what it
finds is for people only.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from crdtsync.config import split_address
from crdtsync.errors import BadIdentity
from crdtsync.security.handshake import (
    EXPIRED,
    NO_CHECK_TIME,
    NOT_YET_VALID,
    UNKNOWN_AUTHORITY,
    WRONG_PURPOSE,
    client_context,
)
from crdtsync.security.identity import identity_of
from crdtsync.security.material import Material, distinguished, hosts_of, verdict

T = TypeVar("T")
TIMEOUT = 2.0  # s that a diagnosis may take
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"  # HTTP/2's, with empty SETTINGS
SETTINGS_FRAME = 4  # the type that a server's first HTTP/2 frame has
READ_BYTES = 4096
CONNECT_HEAD_MAX = 4096  # bytes of a proxy's answer
_VERDICTS = dict.fromkeys(UNKNOWN_AUTHORITY, "wrong_ca") | dict.fromkeys((EXPIRED, NOT_YET_VALID), "expired")
_VERDICTS[WRONG_PURPOSE] = "wrong_role"


class Diagnosis(msgspec.Struct, frozen=True):
    """What is wrong with an address.  `code` is stable, `text` is a sentence, `hint` says what to do.

    unreachable      nobody answers there, or not within the time
    needs_tls        it speaks TLS, and this side was to speak plaintext
    plaintext        it speaks plaintext, and this side was to speak TLS
    wrong_ca         its certificate is not signed by an authority of ours
    expired          its certificate, or that of its authority, is out of date
    wrong_role       its certificate is not made for a server: a client's, probably
    wrong_name       its certificate is not for the name that was wanted
    no_certificate   it asks for a certificate, and was shown none
    refused_ours     it does not accept our certificate
    odd              it does something else
    fine             a TLS connection can be made: the fault, if any, lies above
    """

    code: str
    text: str
    hint: str = ""

    def __str__(self) -> str:
        return self.text


def diagnose(
    address: str, material: Material | None, name: str = "", proxy: str = "", timeout: float = TIMEOUT
) -> Diagnosis:
    """Look at `address` and tell what stands in the way of TLS with `material`, or of plaintext when that is None.

    `name` is the DNS name that its certificate has to carry, "" for the dialled host.  `proxy` is the "host:port" of an
    HTTP CONNECT proxy on the way.  Blocks for `timeout` seconds at most; never raises for what it meets.
    """
    probe = Probe(address, name or split_address("The address", address)[0], proxy, time.monotonic() + timeout)
    try:
        return probe.of_plaintext() if material is None else probe.of_tls(material)
    except OSError as error:
        way = f" through {proxy}" if proxy else ""
        return Diagnosis("unreachable", f"{address} cannot be reached{way}: {error.strerror or error}.")


class TlsLine:
    """TLS over a connection, dialled.  Raises OSError, of which ssl.SSLError is one, when it does not come about.

    `ssl.SSLSocket` would do, but leaves a socket behind when the other side hangs up at the wrong moment.
    """

    def __init__(self, context: ssl.SSLContext, line: socket.socket, name: str) -> None:
        context.set_alpn_protocols(["h2"])
        self._line, self._in, self._out = line, ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        self._carry(self._tls.do_handshake)
        self.certificate = self._tls.getpeercert(binary_form=True) or b""  # DER
        self.said: dict[str, Any] = self._tls.getpeercert() or {}  # what it says, if it has been verified

    def answer(self, words: bytes) -> bytes:
        """Say something; the first words of the answer, or b"" when the other side ends the connection."""
        self._carry(lambda: self._tls.write(words))
        return self._carry(lambda: self._tls.read(READ_BYTES))

    def _carry(self, step: Callable[[], T]) -> T:
        """Take a step, and bring the bytes that it waits for."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._line.sendall(self._out.read())
                self._receive()
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # an alert is polite, and the error says more
                    self._line.sendall(self._out.read())
                raise
            else:
                self._line.sendall(self._out.read())
                return done

    def _receive(self) -> None:
        some = self._line.recv(READ_BYTES)
        if some:
            self._in.write(some)
        else:
            self._in.write_eof()


class Probe:
    """One look at one address."""

    def __init__(self, address: str, name: str, proxy: str, deadline: float) -> None:
        self.address, self.name, self._proxy, self._deadline = address, name, proxy, deadline

    # -- this side speaks plaintext
    def of_plaintext(self) -> Diagnosis:
        """What a plaintext caller meets."""
        answer = self._plain_answer()
        if _is_http2(answer):
            return Diagnosis("fine", f"{self.address} speaks plaintext, as this side does.")
        if self._speaks_tls():
            hint = "Give this side tls_ca, tls_cert and tls_key."
            return Diagnosis("needs_tls", f"{self.address} speaks TLS, and this side plaintext.", hint)
        return self._odd(answer)

    def _plain_answer(self) -> bytes:
        """The first bytes in answer to HTTP/2 in plaintext; b"" when the other side only hangs up."""
        with self._connect() as line:
            try:
                line.sendall(PREFACE)
                return line.recv(READ_BYTES)
            except ConnectionError:
                return b""

    def _speaks_tls(self) -> bool:
        try:
            with self._connect() as line:
                TlsLine(client_context(None, False), line, self.name)
            return True
        except ssl.SSLError as error:
            hung_up = isinstance(error, ssl.SSLEOFError)
            return not hung_up and not _is_plaintext(error)  # an alert, too, is TLS
        except OSError:
            return False

    # -- this side speaks TLS
    def of_tls(self, material: Material) -> Diagnosis:
        """What a caller with these certificates meets."""
        try:
            shown, answer = self._shake(material.dialling)
        except ssl.SSLError as error:
            return self._failed(error)
        bad = self._judge(material, shown)
        if bad is not None:
            return bad
        if isinstance(answer, ssl.SSLError):
            return self._failed(answer)
        if answer is None:  # gRPC hangs up on a certificate that it does not trust, without saying why
            text = f"{self.address} hangs up when it is shown our certificate, of {material.identity}."
            return Diagnosis("refused_ours", text, "Is our authority in its tls_ca, and has our certificate not ended?")
        return Diagnosis("fine", f"{self.address} accepts TLS with our certificate.")

    def _shake(self, context: ssl.SSLContext) -> tuple[bytes, bytes | ssl.SSLError | None]:
        """The certificate that the other side shows (DER), and its first words: bytes, an alert, None: it hangs up."""
        with self._connect() as plain:
            line = TlsLine(context, plain, self.name)
            try:
                return line.certificate, line.answer(PREFACE) or None
            except (ssl.SSLEOFError, ConnectionError):
                return line.certificate, None
            except ssl.SSLError as error:
                return line.certificate, error

    def _judge(self, material: Material, shown: bytes) -> Diagnosis | None:
        """What is wrong with the other side's certificate."""
        try:
            with self._connect() as line:
                said = TlsLine(material.verifying, line, self.name).said
        except ssl.SSLCertVerificationError as error:
            code = _VERDICTS.get(error.verify_code, "odd")
            return Diagnosis(code, f"{self.address} shows {self._whose(shown)}, which {verdict(error, 'our tls_ca')}.")
        except ssl.SSLError:
            return None  # it does not like ours: told from the first handshake
        names = hosts_of(said)
        if self.name.lower() in (name.lower() for name in names):
            return None
        text = f"{self.address} shows the certificate of {_owner(said)}, which does not carry the name {self.name!r}."
        return Diagnosis("wrong_name", text, f"It carries {', '.join(names[:8]) or 'no name'}.")

    def _whose(self, shown: bytes) -> str:
        """Whom a certificate is for that nobody vouches for: read by taking itself for its authority."""
        try:
            itself = ssl.DER_cert_to_PEM_cert(shown)
            context = client_context(itself, True, NO_CHECK_TIME | ssl.VERIFY_X509_PARTIAL_CHAIN)
            with self._connect() as line:
                return f"the certificate of {_owner(TlsLine(context, line, self.name).said)}"
        except (OSError, ValueError):
            return "a certificate"

    # -- words
    def _failed(self, error: ssl.SSLError) -> Diagnosis:
        """What an error of OpenSSL means, be it our own or an alert of the other side."""
        reason = error.reason or str(error)
        if _is_plaintext(error):
            hint = "Give the other side tls_ca, tls_cert and tls_key, or use its TLS port."
            return Diagnosis("plaintext", f"{self.address} speaks plaintext, and this side TLS.", hint)
        if "CERTIFICATE_REQUIRED" in reason:
            hint = "Give this side tls_cert and tls_key."
            return Diagnosis("no_certificate", f"{self.address} asks for a certificate, and was shown none.", hint)
        if "ALERT" in reason and ("CERT" in reason or "UNKNOWN_CA" in reason):
            said = reason.lower().replace("_", " ")
            return Diagnosis("refused_ours", f"{self.address} does not accept our certificate: {said}.")
        return Diagnosis("odd", f"{self.address} breaks off the TLS handshake: {reason.lower().replace('_', ' ')}.")

    def _odd(self, answer: bytes) -> Diagnosis:
        if not answer:
            text = f"{self.address} hangs up at once: it has as many connections as it takes, or speaks no gRPC."
            return Diagnosis("odd", text, "See connections_max there.")
        return Diagnosis("odd", f"{self.address} answers with {answer[:32]!r}: nothing that speaks gRPC.")

    # -- the way there
    def _connect(self) -> socket.socket:
        """A connection, through the proxy if there is one, that keeps to the deadline.  Raises OSError."""
        host, port = split_address("The address", self._proxy or self.address)
        line = socket.create_connection((host, port), self._left())
        try:
            line.settimeout(self._left())
            if self._proxy:
                self._ask_proxy(line)
        except BaseException:
            line.close()
            raise
        return line

    def _ask_proxy(self, line: socket.socket) -> None:
        line.sendall(f"CONNECT {self.address} HTTP/1.1\r\nHost: {self.address}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head and len(head) < CONNECT_HEAD_MAX:
            more = line.recv(1)  # not a byte beyond the head
            if not more:
                break
            head += more
        said = head.partition(b"\r\n")[0].decode("latin-1")
        if " 200" not in said:
            raise OSError(f"the proxy {self._proxy} says {said!r}")

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


def _is_plaintext(error: ssl.SSLError) -> bool:
    """What OpenSSL says when the answer to its hello is no TLS record."""
    return error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")


def _is_http2(answer: bytes) -> bool:
    return len(answer) >= 9 and answer[3] == SETTINGS_FRAME


def _owner(said: dict[str, Any]) -> str:
    """Whom a decoded certificate is for, for people."""
    try:
        return str(identity_of(name for kind, name in said.get("subjectAltName", ()) if kind == "URI"))
    except BadIdentity:
        return distinguished(said.get("subject", ())) or "somebody"
