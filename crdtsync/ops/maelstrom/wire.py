"""The outside of a Maelstrom node: JSON lines out, on standard output, and the errors that it may answer with."""

from __future__ import annotations

import threading
from typing import Any, BinaryIO

import msgspec

CRASH, NOT_SUPPORTED, UNAVAILABLE, MALFORMED = 13, 10, 11, 12


class RequestError(Exception):
    """A request that is answered with an error of the protocol."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class Wire:
    """Sends messages.  Any thread may call."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._lock, self._encode = out, threading.Lock(), msgspec.json.Encoder().encode
        self.node = ""

    def send(self, dest: str, body: dict[str, Any]) -> None:
        """One message."""
        line = self._encode({"src": self.node, "dest": dest, "body": body}) + b"\n"
        with self._lock:
            self._out.write(line)
            self._out.flush()

    def reply(self, dest: str, request: dict[str, Any], body: dict[str, Any]) -> None:
        """The answer to whom a request came from."""
        self.send(dest, {**body, "in_reply_to": request.get("msg_id")})
