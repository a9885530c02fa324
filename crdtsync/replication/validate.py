"""Every incoming message is judged before anything is done with it: types are right, contents are hostile.

`check` raises a PeerFault: BadFrame for what no node says, BadRecord for members and announcements, BadTransfer for
rows and claims.  What depends on the state of a conversation (unknown transfers, parts out of order, starts that
decrease) is judged where that state lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from crdtsync.clocks.hybrid import STAMP_FLOOR_LAST
from crdtsync.clocks.members import RANK, Ballot, MemberRecord
from crdtsync.clocks.vector import covers
from crdtsync.config import Config
from crdtsync.datatypes.rows import PackedRows
from crdtsync.errors import BadFrame, BadRecord, BadTransfer, PeerFault
from crdtsync.replication import messages as m

SEQ_MAX = 2**63 - 1
ID_MAX = 2**64 - 1
NAME_BYTES_MAX = 255
BUCKET_BYTES_MAX = 64
SCAN_KEY_BYTES_MAX = 66_560  # a row key: see the bound of rows_unpack
NUMBER_MAX = 2**31
ABSENCE_MAX = 10**9  # s
WINDOW_MAX = 1024

Fault = type[PeerFault]


def check(message: m.Message, settings: Config) -> None:
    """Raise a PeerFault when `message` is not one that a correct node sends."""
    _CHECKS[type(message)](message, settings)


def _range(fault: Fault, what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise fault(f"{what} is {value}; it may be {low} to {high}.")


def check_name(fault: Fault, what: str, name: str, bytes_max: int = NAME_BYTES_MAX) -> None:
    """Names are 1 to `bytes_max` bytes of UTF-8 without NUL."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise fault(f"{what} is not UTF-8.") from error
    if not 1 <= size <= bytes_max or "\0" in name:
        raise fault(f"{what} of {size} bytes; it may have 1 to {bytes_max}, without NUL.")


def _clock(fault: Fault, what: str, clock: m.Clock, settings: Config) -> None:
    if len(clock) > settings.actors_per_part_max:
        raise fault(f"{what} names {len(clock)} actors.")
    if clock:
        for actor in (min(clock), max(clock)):
            _range(fault, f"an actor of {what}", actor, 1, ID_MAX)
        for seq in (min(clock.values()), max(clock.values())):
            _range(fault, f"a seq of {what}", seq, 1, SEQ_MAX)


def _text(what: str, text: str, chars_max: int = 4096) -> None:
    if len(text) > chars_max:
        raise BadFrame(f"{what} has {len(text)} characters.")


def _members(members: Iterable[MemberRecord], settings: Config) -> None:
    seen: set[str] = set()
    for record in members:
        check_name(BadRecord, "a member's name", record.node)
        _range(BadRecord, "an epoch", record.epoch, 1, SEQ_MAX)
        _range(BadRecord, "a start", record.start, 0, SEQ_MAX)
        _range(BadRecord, "a revision", record.revision, 0, SEQ_MAX)
        if record.state not in RANK or len(record.address) > NAME_BYTES_MAX or record.node in seen:
            raise BadRecord(f"The record of member {record.node!r} is not well formed.")
        if record.ballot is not None:
            _ballot(record.ballot)
        seen.add(record.node)
    if len(seen) > settings.members_max:
        raise BadRecord(f"{len(seen)} members; members_max is {settings.members_max}.")


def _ballot(ballot: Ballot) -> None:
    check_name(BadRecord, "a proposer's name", ballot.proposer)
    check_name(BadRecord, "a victim's name", ballot.victim)
    for what in ("epoch", "start", "number", "victim_epoch"):
        _range(BadRecord, f"a ballot's {what}", getattr(ballot, what), 0, SEQ_MAX)
    _range(BadRecord, "a ballot's config", ballot.config, 0, ID_MAX)
    _range(BadRecord, "a ballot's absence", ballot.absent, 0, ABSENCE_MAX)


def _rows(rows: PackedRows, settings: Config) -> None:
    if len(rows.actors) > settings.actors_per_part_max or rows.size() > settings.cluster.part_bytes_max + 2**20:
        raise BadTransfer(f"A part of {rows.size()} bytes and {len(rows.actors)} actors.")
    _range(BadTransfer, "a count of rows", rows.count, 0, len(rows.keys))
    if list(rows.actors) != sorted(set(rows.actors)) or (rows.actors and not 1 <= rows.actors[0] <= rows.actors[-1]):
        raise BadTransfer("The actors of a part do not ascend.")
    if rows.actors and rows.actors[-1] > ID_MAX:
        raise BadTransfer("An actor of a part is beyond 64 bits.")


def _hello(message: m.Hello, settings: Config) -> None:
    check_name(BadFrame, "a node's name", message.node)
    for what in ("cluster", "instance", "actor"):
        _range(BadFrame, what, getattr(message, what), 0, ID_MAX)
    _range(BadFrame, "a start", message.start, 0, SEQ_MAX)
    _range(BadFrame, "a wall clock", message.wall_ms, 0, SEQ_MAX)
    if message.state not in ("member", "joining", "starting_over"):
        raise BadFrame(f"A node in the state {message.state!r}.")
    if len(message.address) > NAME_BYTES_MAX or len(message.kinds) > 256 or len(message.settings) > 256:
        raise BadFrame("A Hello beyond all bounds.")
    _members(message.members, settings)


def _refuse(message: m.Refuse, settings: Config) -> None:
    _text("A refusal", message.code + message.text + message.hint, 16_384)
    _range(BadFrame, "a start", message.start, 0, SEQ_MAX)


def _announce(message: m.Announce, settings: Config) -> None:
    check_name(BadRecord, "an author's name", message.node)
    _range(BadRecord, "a start", message.start, 0, SEQ_MAX)
    _range(BadRecord, "an actor", message.actor, 0, ID_MAX)
    _range(BadRecord, "an announcement's number", message.seq, 0, SEQ_MAX)
    _range(BadRecord, "a wall clock", message.wall_ms, 0, SEQ_MAX)
    _members(message.members, settings)
    if len({clocks.bucket for clocks in message.buckets}) != len(message.buckets):
        raise BadRecord("An announcement names a bucket twice.")
    if len(message.buckets) > settings.buckets_max:
        raise BadRecord(f"An announcement of {len(message.buckets)} buckets.")
    for clocks in message.buckets:
        check_name(BadRecord, "a bucket's name", clocks.bucket, BUCKET_BYTES_MAX)
        _clock(BadRecord, "an announcement", clocks.clock, settings)
        _clock(BadRecord, "an announcement", clocks.synced, settings)
        if clocks.whole and not covers(clocks.clock, clocks.synced):
            raise BadRecord("An announcement has more on disk than in all.")


def _join_request(message: m.JoinRequest, settings: Config) -> None:
    check_name(BadRecord, "a joiner's name", message.node)
    _text("An address", message.address, NAME_BYTES_MAX)


def _join_accept(message: m.JoinAccept, settings: Config) -> None:
    _range(BadRecord, "a cluster", message.cluster, 1, ID_MAX)
    _members(message.members, settings)
    if len(set(message.buckets)) > settings.buckets_max or len(set(message.buckets)) != len(message.buckets):
        raise BadRecord(f"A sponsor with {len(message.buckets)} buckets.")
    for bucket in message.buckets:
        check_name(BadRecord, "a bucket's name", bucket, BUCKET_BYTES_MAX)


def _join_done(message: m.JoinDone, settings: Config) -> None:
    check_name(BadRecord, "a joiner's name", message.node)


def _pull(message: m.Pull, settings: Config) -> None:
    _range(BadTransfer, "a transfer's id", message.transfer, 0, SEQ_MAX)
    check_name(BadTransfer, "a bucket's name", message.bucket, BUCKET_BYTES_MAX)
    _clock(BadTransfer, "a pull", message.clock, settings)
    _clock(BadTransfer, "a scan", message.scan_clock, settings)
    if message.scan_from is not None and len(message.scan_from) > SCAN_KEY_BYTES_MAX:
        raise BadTransfer("A scan goes on after a key that cannot be.")


def _part(message: m.Part, settings: Config) -> None:
    check_name(BadTransfer, "a sender's name", message.node)
    check_name(BadTransfer, "a bucket's name", message.bucket, BUCKET_BYTES_MAX)
    _range(BadTransfer, "a transfer's id", message.transfer, 0, SEQ_MAX)
    _range(BadTransfer, "a part's number", message.number, 0, NUMBER_MAX)
    _range(BadTransfer, "a start", message.start, 0, SEQ_MAX)
    _range(BadTransfer, "a stamp floor", message.stamp_floor, 0, STAMP_FLOOR_LAST)
    _rows(message.rows, settings)
    for what in ("base", "target", "floor", "synced", "scan_clock"):
        _clock(BadTransfer, what, getattr(message, what), settings)
    _members(message.members, settings)
    if message.push and (message.number or not message.last or message.scan):
        raise BadTransfer("A push is one part.")
    if message.scan:
        _scan_part(message)
    else:
        _plain_part(message)


def _scan_part(message: m.Part) -> None:
    if message.base or message.target or message.synced or message.members:
        raise BadTransfer("A part of a scan makes a claim.")
    if len(message.scan_next) > SCAN_KEY_BYTES_MAX or message.last != (not message.scan_next):
        raise BadTransfer("A part of a scan does not say where it goes on.")


def _plain_part(message: m.Part) -> None:
    if message.scan_clock or message.scan_next:
        raise BadTransfer("A part of a plain transfer goes on like a scan.")
    if not message.last and (message.target or message.floor or message.stamp_floor or message.synced):
        raise BadTransfer("A claim before the last part.")
    if message.number and message.base:
        raise BadTransfer("A base after the first part.")
    if not covers(message.target, message.floor) or not covers(message.target, message.synced):
        raise BadTransfer("A transfer has forgotten or synced more than it claims.")


def _credit(message: m.Credit, settings: Config) -> None:
    _range(BadTransfer, "a transfer's id", message.transfer, 0, SEQ_MAX)
    _range(BadTransfer, "a part's number", message.number, 0, NUMBER_MAX)
    _range(BadTransfer, "a window", message.window, 1, WINDOW_MAX)


def _abort(message: m.Abort, settings: Config) -> None:
    _range(BadTransfer, "a transfer's id", message.transfer, 0, SEQ_MAX)
    _text("An abort", message.code + message.text, 16_384)


def _repair_request(message: m.RepairRequest, settings: Config) -> None:
    check_name(BadTransfer, "a bucket's name", message.bucket, BUCKET_BYTES_MAX)
    _clock(BadTransfer, "a repair", message.clock, settings)
    _rows(message.keys, settings)


def _repair_reply(message: m.RepairReply, settings: Config) -> None:
    check_name(BadTransfer, "a bucket's name", message.bucket, BUCKET_BYTES_MAX)
    _clock(BadTransfer, "a repair", message.clock, settings)
    _rows(message.keys, settings)
    _rows(message.rows, settings)


def _members_update(message: m.MembersUpdate, settings: Config) -> None:
    _members(message.members, settings)


def _bye(message: m.Bye, settings: Config) -> None:
    _text("A farewell", message.reason)


_CHECKS: dict[type[m.Message], Callable[[Any, Config], None]] = {
    m.Hello: _hello,
    m.Refuse: _refuse,
    m.Announce: _announce,
    m.JoinRequest: _join_request,
    m.JoinAccept: _join_accept,
    m.JoinDone: _join_done,
    m.Pull: _pull,
    m.Part: _part,
    m.Credit: _credit,
    m.Abort: _abort,
    m.RepairRequest: _repair_request,
    m.RepairReply: _repair_reply,
    m.MembersUpdate: _members_update,
    m.Bye: _bye,
}
