"""Messages between nodes, as plain values.  transport/ turns them into frames and back; nothing else does.

Clocks are {actor id: seq}.  `start` is the sender's incarnation: it only grows over the starts of one directory, and
messages of an earlier start are dropped once a later one has been heard.
"""

from __future__ import annotations

import msgspec

from crdtsync.clocks.members import MemberRecord
from crdtsync.datatypes.rows import PackedRows

Clock = dict[int, int]
PROTOCOL_MIN = PROTOCOL_MAX = 1


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all messages."""


class Hello(Message, frozen=True):
    """First message on every link, both ways; the link carries nothing else before both are accepted."""

    node: str
    cluster: int  # 64-bit id; 0: none yet
    start: int  # incarnation: grows with every start of the directory
    instance: int  # random per start: tells two live copies of one directory apart
    actor: int  # 64-bit id that this start writes under; 0: none minted yet
    address: str  # where others reach the sender
    state: str  # "member", "joining" (wants a sponsor), "starting_over"
    protocol_min: int = PROTOCOL_MIN
    protocol_max: int = PROTOCOL_MAX
    kinds: tuple[int, ...] = (0, 1, 2, 3)  # row kinds the sender can hold
    settings: dict[str, int] = {}  # ClusterSettings, by name
    wall_ms: int = 0  # sender's wall clock
    members: tuple[MemberRecord, ...] = ()
    members_digest: int = 0  # of the sender's list, see clocks/members.py; 0: none told
    zstd: bool = False  # the sender takes compressed parts: said and heeded by transports (transport/compression.py)


class Refuse(Message, frozen=True):
    """The link is refused or ended; `code` is stable, `text` is for people."""

    code: str  # see replication/peers.py
    text: str
    hint: str = ""
    start: int = 0  # with "old_start": the later start that has been heard


class BucketClocks(msgspec.Struct, frozen=True):
    """One bucket in an announcement; deltas against what was sent before on this link unless `whole`."""

    bucket: str
    clock: Clock  # everything the author holds
    synced: Clock  # what is on the author's disk: the only thing collection may count
    whole: bool = True


class Announce(Message, frozen=True):
    """A heartbeat: the author's clocks with the author's member list.  May be passed on by others."""

    node: str  # author
    start: int
    actor: int
    wall_ms: int
    seq: int  # grows per start; an older announcement than one already heard is dropped
    answers: int = 0  # seq of the receiver's announcement that the author heard last; 0: none, or passed on
    members: tuple[MemberRecord, ...] = ()  # the author's list; left out to who has announced a list of that digest
    members_digest: int = 0  # of the author's list, see clocks/members.py; 0: none told
    buckets: tuple[BucketClocks, ...] = ()


class JoinRequest(Message, frozen=True):
    """A node without a cluster asks to be let in; the answer is JoinAccept or Refuse."""

    node: str
    address: str


class JoinAccept(Message, frozen=True):
    """The sponsor counts the joiner, durably, from before it sent this."""

    cluster: int
    members: tuple[MemberRecord, ...]
    buckets: tuple[str, ...]


class JoinDone(Message, frozen=True):
    """The joiner holds every bucket whole, durably."""

    node: str


class Pull(Message, frozen=True):
    """Ask for everything beyond `clock` in one bucket."""

    transfer: int  # id chosen by the asker, unique per link and start
    bucket: str
    clock: Clock
    scan_from: bytes | None = None  # resume of a long transfer: object prefix after which to go on
    scan_clock: Clock = {}  # T0 of the long transfer being resumed


class Part(Message, frozen=True):
    """One part of a transfer.  The last one carries the claim."""

    transfer: int
    bucket: str
    push: bool
    node: str  # sender
    start: int  # sender's incarnation
    number: int  # 0, 1, 2 ... within the transfer
    base: Clock  # clock that the transfer builds on; in part 0, empty in the others
    rows: PackedRows
    last: bool
    target: Clock = {}  # sender's clock at the one state that was read; last part only
    floor: Clock = {}  # last part only; of a scan every part
    stamp_floor: int = 0  # last part only
    synced: Clock = {}  # sender's announcement, last part only
    members: tuple[MemberRecord, ...] = ()  # last part only; left out as in an announcement
    members_digest: int = 0  # last part of a pull only
    scan: bool = False  # a part of a long transfer: rows come in key order, the claim comes by a later plain transfer
    scan_clock: Clock = {}  # T0, in every part of a scan
    scan_next: bytes = b""  # where the scan goes on after this part


class Credit(Message, frozen=True):
    """The receiver has taken parts up to `number`; the sender may have `window` more in flight."""

    transfer: int
    push: bool
    number: int
    window: int


class Abort(Message, frozen=True):
    """Either side gives a transfer up; nothing of it has been or will be applied."""

    transfer: int
    push: bool  # True: a push of the receiver of this message is meant; it pulls or resends as it sees fit
    code: str  # "stale_base", "below_floor", "busy", "bad", "gone", "catching_up"
    text: str = ""


class RepairRequest(Message, frozen=True):
    """Ask for single rows, whatever the clocks say; answered only by a member whose clock covers `clock`."""

    bucket: str
    clock: Clock
    keys: PackedRows  # keys only: images are empty


class RepairReply(Message, frozen=True):
    """Rows asked for by a RepairRequest, as they are; keys without a row do not exist here."""

    bucket: str
    clock: Clock
    keys: PackedRows  # the keys that were asked for
    rows: PackedRows


class MembersUpdate(Message, frozen=True):
    """Member records that changed: sent at once, not only with the next heartbeat."""

    members: tuple[MemberRecord, ...]


class Bye(Message, frozen=True):
    """The sender closes in good order; it has pushed what it could."""

    reason: str


ALL_MESSAGES: tuple[type[Message], ...] = (
    Hello, Refuse, Announce, JoinRequest, JoinAccept, JoinDone, Pull, Part, Credit, Abort, RepairRequest, RepairReply,
    MembersUpdate, Bye,
)  # fmt: skip
