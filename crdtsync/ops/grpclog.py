"""What gRPC writes on standard error about TLS handshakes, taken into the log: nowhere else does it say why one failed.

Only for a process of our own: descriptor 2 becomes a pipe, read by a thread.  What is not gRPC's is passed on, marked
and escaped: a stranger may ask for a name with line breaks, which gRPC repeats, and would write into our log.  Python's
`sys.stderr` goes past the pipe, to where descriptor 2 led before: neither the log nor last words wait for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
import time
from collections import Counter

from crdtsync.ops.text import safe

log = logging.getLogger("crdtsync.security")

VERBOSITY = "GRPC_VERBOSITY"
QUIET = "ERROR"  # what crdtsync chooses for itself, and child processes inherit
WORDY = "INFO"  # the level at which gRPC tells of handshakes; besides, of little else
LINE = re.compile(rb"^([IWEF])\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] (.*)$")
FAILED = b"Handshake failed with error"
WRONG_NAME = re.compile(rb"^No match found for server name: (.*)$")
TOLD_INTERVAL = 10.0  # s between two lines about the same mistake; all are counted
MARK = "stderr: "  # begins each line that is passed on
LINE_BYTES_MAX = 4096  # of a line; a longer one is passed on in pieces

# What OpenSSL's words mean, in the order in which they are looked for: (word, counter, sentence)
MEANINGS = (
    (b"PEER_DID_NOT_RETURN_A_CERTIFICATE", "no_certificate", "the other side showed no certificate"),
    (b"WRONG_VERSION_NUMBER", "plaintext", "the other side speaks plaintext"),
    (b"HTTP_REQUEST", "plaintext", "the other side speaks plaintext"),
    (b"has expired", "expired", "the other side's certificate, or its authority's, has expired"),
    (b"issuer certificate", "wrong_ca", "the other side's certificate is not signed by an authority in tls_ca"),
    (b"self signed", "wrong_ca", "the other side's certificate is not signed by an authority in tls_ca"),
    (b"self-signed", "wrong_ca", "the other side's certificate is not signed by an authority in tls_ca"),
    (b"purpose", "wrong_role", "the other side's certificate is not made for its role"),
    (b"ALERT_UNKNOWN_CA", "distrusted", "the other side does not know the authority of our certificate"),
    (b"ALERT_CERTIFICATE_EXPIRED", "distrusted", "the other side says that our certificate has expired"),
    (b"ALERT_BAD_CERTIFICATE", "distrusted", "the other side does not accept our certificate"),
    (b"ALERT_CERTIFICATE_UNKNOWN", "distrusted", "the other side does not accept our certificate"),
    (b"BAD_PACKET_LENGTH", "distrusted", "the other side broke off: it does not trust our certificate, perhaps"),
)


class GrpcLog:
    """Takes gRPC's lines from standard error for the length of a `with` block.

    It has to begin before gRPC is loaded, whose verbosity it raises unless somebody has chosen another than QUIET.
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()  # tls_handshakes_KIND
        self._told: dict[str, float] = {}
        self._chosen = os.environ.get(VERBOSITY, QUIET) != QUIET

    def __enter__(self) -> GrpcLog:
        if not self._chosen:
            os.environ[VERBOSITY] = WORDY
        self._python, self._real = sys.stderr, os.dup(2)
        sys.stderr.flush()
        sys.stderr = open(self._real, "w", buffering=1, errors="backslashreplace", closefd=False)
        reading, writing = os.pipe()
        os.dup2(writing, 2)
        os.close(writing)
        self._thread = threading.Thread(target=self._run, args=(reading,), name="crdtsync-stderr", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.dup2(self._real, 2)  # the pipe's last end for writing is gone, and the thread ends
        self._thread.join(timeout=1.0)
        sys.stderr.close()
        sys.stderr = self._python
        os.close(self._real)

    def count_into(self, counters: Counter[str]) -> None:
        """Count there from now on, and what has been counted so far."""
        counters.update(self.counters)
        self.counters = counters

    def _run(self, reading: int) -> None:
        with open(reading, "rb") as lines:
            begins = True
            while line := lines.readline(LINE_BYTES_MAX):
                if not begins or not self.take(line.rstrip(b"\n")):
                    self._pass_on(line, begins)
                begins = line.endswith(b"\n")

    def _pass_on(self, line: bytes, begins: bool) -> None:
        """A line, or a piece of a long one."""
        text = safe(line.rstrip(b"\n").decode("utf-8", "backslashreplace"))
        end = "\n" if line.endswith(b"\n") else ""
        with contextlib.suppress(OSError):  # nobody is there to read it, or the disk is full: what comes next may count
            os.write(self._real, f"{MARK if begins else ''}{text}{end}".encode())

    def take(self, line: bytes) -> bool:
        """Whether a line is gRPC's and has been dealt with."""
        found = LINE.match(line)
        if found is None:
            return False
        level, text = found[1], found[2]
        wrong_name = WRONG_NAME.match(text)
        if wrong_name is not None:
            name = wrong_name[1].decode("ascii", "backslashreplace")[:255]
            self._tell("wrong_name", f"the other side asks for {name!r}, which our certificate does not carry")
        elif FAILED in text:
            self._tell(*meaning(text))
        else:
            # Of what only our raised verbosity brings nobody is told.
            return not self._chosen and (level == b"I" or text.startswith(b"Log level INFO"))
        return True

    def _tell(self, kind: str, said: str) -> None:
        self.counters["tls_handshakes_" + kind] += 1
        now = time.monotonic()
        if now - self._told.get(kind, float("-inf")) >= TOLD_INTERVAL:
            self._told[kind] = now
            log.warning("A TLS handshake failed: %s.", said)


def meaning(text: bytes) -> tuple[str, str]:
    """What kind of mistake a line of gRPC's tells of, and a sentence about it."""
    for word, kind, said in MEANINGS:
        if word in text:
            return kind, said
    return "other", text.partition(b"OPENSSL_internal:")[2].decode("ascii", "backslashreplace")[:200] or "unknown"
