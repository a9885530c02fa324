"""Every error that crdtsync raises, in four families that say whose move is next.

    CrdtsyncError
    |- Misuse            the caller asked for something that cannot be: mend the call
    |- EnvironmentFault  disk, memory, time or the cluster stand in the way: mend them, try again
    |- PeerFault         another node sent what no correct node sends: nothing here was changed
    '- InternalError     a bug of ours: please report it

Each class carries a ``hint`` (what to do), ``changed`` (what had happened when it was raised) and an ``exit_code`` for
the command line.  ``counter`` is the name under which ``Node.status()["counters"]`` counts every refusal of this kind.
"""

from __future__ import annotations

import re


class CrdtsyncError(Exception):
    """Base of all errors raised by crdtsync."""

    hint: str = ""
    changed: str = "Nothing was changed."
    exit_code: int = 1
    counted = False  # whether a store or node has counted and logged it: it may pass several that would

    def __init__(self, message: str, *, hint: str | None = None, changed: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint
        if changed is not None:
            self.changed = changed

    def __str__(self) -> str:
        return " ".join(part for part in (self.message, self.changed, self.hint) if part)

    @property
    def counter(self) -> str:
        """The name under which refusals of this class are counted: ``FieldTypeError`` -> ``field_type_error``."""
        return counter_name(type(self))


def counter_name(error: type[CrdtsyncError]) -> str:
    """``snake_case`` of an error class: its name in ``status()["counters"]``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", error.__name__).lower()


# ---- the four families -------------------------------------------------------------------------------------------


class Misuse(CrdtsyncError):
    """The call cannot be carried out as it was made."""

    exit_code = 2


class EnvironmentFault(CrdtsyncError):
    """Disk, memory, time or the cluster stand in the way."""


class PeerFault(CrdtsyncError):
    """Another node sent what no correct node sends."""

    hint = "The peer runs another version, has damaged memory, or is not a crdtsync node."


class InternalError(CrdtsyncError):
    """An invariant of ours does not hold."""

    hint = "This is a bug in crdtsync: please report it with the log."


# ---- misuse --------------------------------------------------------------------------------------------------------


class InvalidKey(Misuse, ValueError):
    """A key, field, bucket or node name or request id is empty, too long, not UTF-8, or contains NUL."""

    exit_code = 5


class InvalidValue(Misuse, TypeError):
    """A value cannot be stored: its type is unknown, or it is NaN, too deep or cyclic."""

    hint = (
        "Storable are None, bool, int, float, str, bytes, list, tuple, dict with str keys, datetime, Decimal and UUID."
    )
    exit_code = 5


class ValueTooLarge(Misuse, ValueError):
    """A value, element or row is larger than its bound."""

    exit_code = 5


class FieldTypeError(Misuse, TypeError):
    """A map field is written with a second type where one is visible."""

    hint = "Remove the field first, or use another field name."


class CounterOverflow(Misuse, OverflowError):
    """A counter cell would pass 2^63 - 1, or the step itself does."""


class NegativeStep(Misuse, ValueError):
    """A G-Counter only grows."""

    hint = "Use a pncounter to count down."


class BatchTooLarge(Misuse):
    """A batch is larger than ``batch_bytes_max``."""

    hint = "Split the batch, or raise batch_bytes_max (it must stay below part_bytes_max on every node)."

    @classmethod
    def fitting(cls, message: str, rows: float) -> BatchTooLarge:
        """With a hint that some so many rows like these would have fitted: how many to give at a time."""
        return cls(message, hint=f"Write some {max(1, int(rows * 0.75)):,} at a time. {cls.hint}")


class BatchMisuse(Misuse):
    """A batch spans two buckets, is used after its end, or its request id belongs to other operations."""


class Closed(Misuse):
    """The node or store has been closed."""

    hint = "Open it again with crdtsync.open()."


class Forked(Misuse):
    """A forked child uses a node that its parent opened."""

    hint = "Open the node after the fork (in gunicorn: in post_fork, without --preload), or use the spawn start method."


class InvalidToken(Misuse, ValueError):
    """A token is not one that crdtsync made, or was made by another cluster."""

    exit_code = 5


class ConfigError(Misuse, ValueError):
    """A setting is unknown, of the wrong type, out of range, or contradicts another."""


class InsecureAddress(ConfigError):
    """An address that is not loopback, without TLS."""

    hint = (
        "Give tls_ca, tls_cert and tls_key, listen on 127.0.0.1 or [::1], or allow plaintext by name: insecure=True, "
        "--insecure."
    )


class FileThere(Misuse, FileExistsError):
    """A file that was to be written is there already."""

    hint = "Choose another place, or replace it with --force."


class CertificateError(ConfigError):
    """A TLS file cannot be read, is not what it should be, does not fit the others, or has expired."""

    hint = "Look with `crdtsync tls inspect FILE ...`; docs/security.md says how to make certificates."


class BadRequest(Misuse, ValueError):
    """A request over the network cannot be decoded, or a part of it is missing or contradicts another."""

    hint = "proto/data.proto and proto/admin.proto say what a request holds; is the caller's copy of this version?"
    exit_code = 5


class NotOffered(Misuse):
    """The server does not offer what was asked for."""


class MembershipMisuse(Misuse):
    """leave, evict or rescue was asked for where it makes no sense."""


class BackupMismatch(Misuse):
    """Backups do not build on each other, or not on what the store holds."""


# ---- environment ---------------------------------------------------------------------------------------------------


class ExtraMissing(EnvironmentFault, ImportError):
    """A package is not installed that only this needs."""


class StoreInUse(EnvironmentFault):
    """Another process, or another handle in this one, has the directory open."""

    hint = "One process per directory: use one node per worker, each with its own directory."


class ForeignDirectory(EnvironmentFault):
    """The directory holds something else than a crdtsync store."""

    exit_code = 5


class UnsupportedFormat(EnvironmentFault):
    """The directory was written by a newer crdtsync."""

    hint = "Install the crdtsync that wrote it, or a newer one."
    exit_code = 5


class StoreDamaged(EnvironmentFault):
    """Files of the store do not check out."""

    hint = (
        "Look with `crdtsync check DIR`.  Start from a peer or a backup, or open with accept_damage=True to go on "
        "from the part that checks out."
    )
    exit_code = 5


class RowDamaged(EnvironmentFault):
    """A row on disk fails its checksum; it has been set aside until a peer repairs it."""

    hint = "The node asks its peers for the row; try again when status() shows no damaged rows."
    exit_code = 5


class DiskFull(EnvironmentFault):
    """There is no room for the write."""

    hint = "Free some space; what was written before stays readable, and writing works again when there is room."


class JournalFailed(EnvironmentFault):
    """The disk refused to make the journal durable; writes stop until the store is opened again."""

    hint = "Check the disk, then close and open the node again."
    changed = "Earlier writes are in the journal, but are not known to be on the disk."


class TableFailed(EnvironmentFault):
    """The disk refused to take a checkpoint of the row table; the journal still holds everything."""

    hint = "Check the disk; the checkpoint is tried again."
    changed = "Nothing is lost: the journal holds what the row table lacks."


class Overloaded(EnvironmentFault):
    """Journal or table stood at their bound for ``write_stall_max``."""

    hint = "Write more slowly, or raise dirty_bytes_max."


class ListenFailed(EnvironmentFault):
    """The address to listen on is taken, or is not one of this machine's."""

    hint = "Stop what listens there, or choose another address; port 0 picks a free one."
    exit_code = 3


class JoinError(EnvironmentFault):
    """No sponsor let this node in within ``join_timeout``."""

    hint = "Is one of the addresses in join= a running member, and reachable from here?"
    exit_code = 3


class ClusterMismatch(EnvironmentFault):
    """Two nodes belong to different clusters, or disagree on a setting that must agree."""

    hint = "A node joins one cluster for life: start from an empty directory to join another."


class WaitTimeout(EnvironmentFault, TimeoutError):
    """What was waited for has not happened in time."""

    exit_code = 3


class Unreachable(EnvironmentFault):
    """No node of those that a client knows answers, or none of them serves data."""

    hint = "Is a node with serve= running there, and reachable from here?"
    exit_code = 3


class DeadlineExceeded(EnvironmentFault, TimeoutError):
    """A call to a node had no answer in time; it was a read, or a write that no node can have taken."""

    hint = "Try again, or raise timeout."
    exit_code = 3


class OutcomeUnknown(EnvironmentFault):
    """A write was sent to a node, and no answer came: it may have been carried out, or not.

    Only that node can tell: `address` and `node` name it, and a batch in the same `bucket` with this `request_id` and
    the same operations takes effect there once, whatever became of the first.
    """

    changed = "The write was carried out once, or not at all."
    exit_code = 3

    def __init__(self, message: str, *, node: str, address: str, bucket: str, request_id: str) -> None:
        super().__init__(
            message, hint=f"Repeat it at {address} with request_id={request_id!r}: there it takes effect once."
        )
        self.node, self.address, self.bucket, self.request_id = node, address, bucket, request_id


class Denied(EnvironmentFault):
    """A node does not let this client in, or does not allow it what it asks for."""

    hint = "Look at the certificates and what the node allows this client."
    exit_code = 4


class RefusedRole(Denied):
    """Over TLS the Admin service is for operators and nodes, and a client's certificate is neither's."""

    hint = "Use a certificate of `crdtsync tls client NAME --operator`, or the node's socket on its own machine."


class TokenLost(EnvironmentFault):
    """A token names events that their author lost before anyone else saw them."""

    hint = "Read the current state and go on from a new token."


class TokenTooOld(EnvironmentFault):
    """A token lies below what has been collected; the changes since cannot be told one by one."""

    hint = "Read the current state with items(), then watch from the token taken before it."


class SlowConsumer(EnvironmentFault):
    """A watcher fell behind by more than ``watch_pending_max`` changes."""

    token = ""  # of a watch over the network: the last one that was sent

    hint = "Resume with watch(after=<the last token you handled>)."


class ServerBusy(EnvironmentFault):
    """A server carries as many calls or watches as it may."""

    hint = "Try again in a moment; calls_max and watchers_max are settings of the server."


class Unavailable(EnvironmentFault):
    """A server is stopping, or cannot be reached."""

    hint = "Try again, or use another node."
    exit_code = 3


class OtherInstance(EnvironmentFault):
    """A call was meant for another node, or for another start of this one: the connection leads elsewhere by now."""

    hint = "Ask who is there now (Describe), wait until it holds what you have written (WaitFor), then call again."
    exit_code = 3


class BackupDamaged(EnvironmentFault):
    """A backup file is cut off, altered, or holds what no backup holds."""

    hint = "Take another copy of the file, or an earlier backup; `crdtsync backup verify` shows which are sound."
    exit_code = 5


class BackupExpired(EnvironmentFault):
    """A backup was given up: it took longer than ``backup_time_max``, or the row table had to grow meanwhile."""

    hint = "Write to a faster disk or reader, or raise backup_time_max."


class QuorumMissing(EnvironmentFault):
    """An eviction needs the votes of more than half of the members, the evicted one not among them."""

    hint = "Wait until more members are in reach, or use force=True when you know that they are gone for good."


class StartingOver(EnvironmentFault):
    """The node was evicted, or is below the cluster's floor, and takes the cluster's state first."""

    hint = "Wait until status()['state'] is 'member' again; unsent writes are in the rescue file."


class ClockExhausted(EnvironmentFault, OverflowError):
    """A register carries the last stamp there is, or the local clock stands beyond it."""

    hint = "A node whose clock is broken wrote it: mend that clock, and use another key or field."


# ---- a peer's fault ------------------------------------------------------------------------------------------------


class BadFrame(PeerFault):
    """A message cannot be decoded."""


class OversizedFrame(BadFrame):
    """A frame is larger than ``message_bytes_max``."""

    hint = "Give all members the same message_bytes_max and cluster.part_bytes_max."


class BadTransfer(PeerFault):
    """A transfer's rows or claims contradict themselves or what is known."""


class BadRecord(PeerFault):
    """A membership record or announcement is not well formed."""


class BadIdentity(PeerFault):
    """A certificate names no node, client or operator, or more than one."""

    hint = "Make it with `crdtsync tls node NAME` or `crdtsync tls client NAME`."


class Refused(PeerFault):
    """The other side refused the handshake."""

    hint = ""


# ---- our bug -------------------------------------------------------------------------------------------------------


class InvariantViolated(InternalError):
    """A check between two of our own layers failed."""


# Errors of a node that is going away, coming up, full, or not the one that was meant: another node, or the same one
# later, may do what it does not.
PASSING = (Closed, Unavailable, ServerBusy, StartingOver, MembershipMisuse, NotOffered, Overloaded, OtherInstance)
