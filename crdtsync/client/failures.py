"""How a call can fail: the error that the node raised, or what gRPC tells of a connection that did not carry it.

What matters for a write is whether the node can have taken it.  Three things say that it cannot: the node refused it
with an error of its own; gRPC refused it by a rule; or no connection came about, so that no byte of it left.
Everything else leaves it open.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from google.protobuf.message import DecodeError

from crdtsync import errors
from crdtsync.client.answers import plain
from crdtsync.errors import PASSING, Closed, CrdtsyncError, Denied, Refused, Unreachable, ValueTooLarge
from crdtsync.transport.pb import data_pb2 as pb

TRAILER = "crdtsync-error-bin"
# What gRPC says of a call for which no connection could be had: it never left this process.
NO_CONNECTION = "failed to connect to all addresses"
TOO_LARGE = ("message larger than max", "larger than max (")


class CallFailed(Exception):
    """One try of a call has failed.

    `error` is what to raise when nothing else is tried, `final` whether trying again is of no use, and `taken` whether
    the node can have carried the call out.
    """

    def __init__(self, text: str, error: Exception | None = None, *, final: bool = False, taken: bool = True) -> None:
        super().__init__(text)
        self.text, self.error, self.final, self.taken = text, error, final, taken
        self.late = False  # it was the time that ran out
        self.cut_off = False  # somebody was there, and ended the call without a word


def failed(error: Any) -> CallFailed:
    """The failure behind a gRPC error, which has code(), details() and trailing_metadata()."""
    trailer = next((value for key, value in error.trailing_metadata() or () if key == TRAILER), None)
    text = f"{error.code().name}: {error.details()}"
    if trailer is not None:
        return _of_node(trailer, text)
    found = _of_grpc(error.code().name, error.details() or "", text)
    found.late = error.code().name == "DEADLINE_EXCEEDED"
    found.cut_off = error.code().name == "CANCELLED"
    return found


def _of_node(trailer: bytes, text: str) -> CallFailed:
    try:
        message = pb.Error.FromString(trailer)
    except DecodeError:
        return CallFailed(text)
    return refused(message, text)


def refused(message: pb.Error, text: str = "") -> CallFailed:
    """The failure behind an error that a node tells of."""
    error = rebuilt(message)
    # A node that was closed while it waited for the disk says so, too, after it has carried the write out.
    taken = isinstance(error, Closed)
    return CallFailed(text or str(error), error, final=not isinstance(error, PASSING), taken=taken)


def _of_grpc(code: str, details: str, text: str) -> CallFailed:
    if code in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
        return CallFailed(text, Denied(f"The node refuses this client: {details}"), final=True, taken=False)
    if code == "UNIMPLEMENTED":
        hint = "Is this the address that the node serves data on (serve=), and not the one for its peers (listen=)?"
        error = Unreachable("What answers there does not serve data.", hint=hint)
        return CallFailed(text, error, final=True, taken=False)
    if code == "RESOURCE_EXHAUSTED" and any(words in details for words in TOO_LARGE):
        hint = "Read or write it in parts, or raise message_bytes_max here and on the node."
        return CallFailed(text, ValueTooLarge(f"A message is too large: {details}", hint=hint), final=True)
    if code in ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "OUT_OF_RANGE"):
        return CallFailed(text, Refused(f"The node answers {text}"), final=True)
    return CallFailed(text, taken=not details.startswith(NO_CONNECTION))


def rebuilt(message: pb.Error) -> Exception:
    """The error that the node raised.  One of a class that this version does not have is its family's base."""
    if message.name == "KeyError":
        return KeyError(plain(message.argument)) if message.HasField("argument") else KeyError(message.message)
    kind = getattr(errors, message.name, None)
    if not (isinstance(kind, type) and issubclass(kind, CrdtsyncError)) or kind is errors.OutcomeUnknown:
        return CrdtsyncError(f"{message.name}: {message.message}", hint=message.hint, changed=message.changed)
    return kind(message.message, hint=message.hint, changed=message.changed)


class Counters:
    """Figures of one client, and every refusal by its name."""

    def __init__(self) -> None:
        self._counted: Counter[str] = Counter()

    def count(self, name: str, by: int = 1) -> None:
        """Add to a figure."""
        self._counted[name] += by

    def refused(self, error: CrdtsyncError) -> CrdtsyncError:
        """Count a refusal, once; gives it back, to be raised."""
        if not getattr(error, "counted", False):
            error.counted = True
            self._counted[error.counter] += 1
        return error

    def of(self, error: Exception) -> Exception:
        """As `refused`, for any error."""
        if isinstance(error, CrdtsyncError):
            return self.refused(error)
        self._counted["key_error"] += 1
        return error

    def plain(self) -> dict[str, int]:
        """All of them."""
        return dict(sorted(self._counted.items()))
