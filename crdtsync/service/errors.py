"""Errors across the wire: for every class a gRPC status, and a message that says the rest.

The status message is text for people.  The trailing metadata `crdtsync-error-bin` is a crdtsync.v1.Error: the name of
the class, its hint, and whether anything was changed, so that a caller raises what the node raised.
"""

from __future__ import annotations

import grpc

from crdtsync import errors as e
from crdtsync.errors import CrdtsyncError
from crdtsync.service.values import from_payload
from crdtsync.transport.pb import data_pb2 as pb

TRAILER = "crdtsync-error-bin"
TEXT_MAX = 1024  # bytes of a text that crosses: callers take 8 KiB of trailers in all
DETAILS_MAX = 512  # characters of the status message, which HTTP/2 carries as ASCII
EXTRA_MAX = 2048  # bytes of a token or an element that crosses with an error

Code = grpc.StatusCode
# A class that is not here has the status of the nearest of its bases that is.
STATUS: dict[type[Exception], grpc.StatusCode] = {
    e.Misuse: Code.INVALID_ARGUMENT,
    e.FieldTypeError: Code.FAILED_PRECONDITION,
    e.CounterOverflow: Code.OUT_OF_RANGE,
    e.BatchMisuse: Code.FAILED_PRECONDITION,
    e.Closed: Code.UNAVAILABLE,
    e.Forked: Code.UNAVAILABLE,
    e.MembershipMisuse: Code.FAILED_PRECONDITION,
    e.NotOffered: Code.UNIMPLEMENTED,
    e.EnvironmentFault: Code.FAILED_PRECONDITION,
    e.StoreDamaged: Code.DATA_LOSS,
    e.RowDamaged: Code.DATA_LOSS,
    e.DiskFull: Code.RESOURCE_EXHAUSTED,
    e.JournalFailed: Code.UNAVAILABLE,
    e.TableFailed: Code.UNAVAILABLE,
    e.Overloaded: Code.RESOURCE_EXHAUSTED,
    e.JoinError: Code.UNAVAILABLE,
    e.WaitTimeout: Code.DEADLINE_EXCEEDED,
    e.TokenLost: Code.DATA_LOSS,
    e.TokenTooOld: Code.OUT_OF_RANGE,
    e.SlowConsumer: Code.RESOURCE_EXHAUSTED,
    e.ServerBusy: Code.RESOURCE_EXHAUSTED,
    e.Unavailable: Code.UNAVAILABLE,
    e.StartingOver: Code.UNAVAILABLE,
    e.OtherInstance: Code.ABORTED,
    e.PeerFault: Code.INTERNAL,
    e.BadIdentity: Code.PERMISSION_DENIED,
    e.Denied: Code.PERMISSION_DENIED,
    e.InternalError: Code.INTERNAL,
    KeyError: Code.NOT_FOUND,
}


class Absent(Exception):
    """An operation raised KeyError: the element, in canonical bytes, is not in the set."""

    def __init__(self, element: bytes) -> None:
        super().__init__()
        self.element = element


def status_of(error: BaseException) -> grpc.StatusCode:
    """The gRPC status of an error; INTERNAL for one that is not of ours."""
    if isinstance(error, Absent):
        return STATUS[KeyError]
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), Code.INTERNAL)


def make_error(error: BaseException, token: str = "") -> pb.Error:
    """The message of an error.  One that is not of ours says nothing about our insides."""
    if isinstance(error, Absent):
        message = pb.Error(name="KeyError", message="The element is not in the set.", changed=CrdtsyncError.changed)
        if len(error.element) <= EXTRA_MAX:
            message.argument.CopyFrom(from_payload(error.element))
        return message
    if not isinstance(error, CrdtsyncError):
        return pb.Error(
            name="InternalError", message="A bug in crdtsync; its log has the rest.", hint=e.InternalError.hint
        )
    return pb.Error(
        name=type(error).__name__,
        message=_cut(error.message),
        hint=_cut(error.hint),
        changed=_cut(error.changed),
        token=token if len(token) <= EXTRA_MAX else "",
    )


def details(message: pb.Error) -> str:
    """The status message: what a person reads who sees nothing else."""
    text = f"{message.message} {message.hint}".strip()
    return text.encode("ascii", "backslashreplace").decode()[:DETAILS_MAX]


def _cut(text: str) -> str:
    return text.encode("utf-8", "backslashreplace")[:TEXT_MAX].decode("utf-8", "ignore")
