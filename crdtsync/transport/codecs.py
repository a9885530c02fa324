"""Each message both ways, between its plain value and its protobuf body.

One pair of functions a message, in the order of messages.ALL_MESSAGES.  Readers check shapes and ranges; what a value
means, and which fields belong together, is for the engine to judge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crdtsync.errors import BadFrame
from crdtsync.replication import messages as m
from crdtsync.transport.pb import replication_pb2 as pb
from crdtsync.transport.shapes import (
    CODE_BYTES,
    KINDS_MAX,
    NAME_BYTES,
    Limits,
    cut_text,
    put_clock,
    put_members,
    put_rows,
    put_settings,
    read_bucket,
    read_clock,
    read_members,
    read_name,
    read_number,
    read_rows,
    read_settings,
    read_text,
    rows_field,
)

NODE_STATES: dict[str, pb.NodeState] = {
    "member": pb.NODE_STATE_MEMBER,
    "joining": pb.NODE_STATE_JOINING,
    "starting_over": pb.NODE_STATE_STARTING_OVER,
}
STATES_OF_NODES = {number: name for name, number in NODE_STATES.items()}


# ---- handshake


def put_hello(x: m.Hello) -> pb.Hello:
    return pb.Hello(
        node=x.node, cluster=x.cluster, start=x.start, instance=x.instance, actor=x.actor, address=x.address,
        state=NODE_STATES[x.state], protocol_min=x.protocol_min, protocol_max=x.protocol_max, kinds=x.kinds,
        settings=put_settings(x.settings), wall_ms=x.wall_ms, members=put_members(x.members),
        members_digest=x.members_digest, zstd=x.zstd,
    )  # fmt: skip


def read_hello(b: pb.Hello, limits: Limits) -> m.Hello:
    state = STATES_OF_NODES.get(b.state)
    if state is None:
        raise BadFrame(f"hello.state is {b.state}, which is none.")
    if len(b.kinds) > KINDS_MAX:
        raise BadFrame(f"hello.kinds has {len(b.kinds)} entries, more than {KINDS_MAX}.")
    if b.protocol_min > b.protocol_max:
        raise BadFrame(f"hello.protocol_min is {b.protocol_min}, above protocol_max, {b.protocol_max}.")
    return m.Hello(
        node=read_name(b.node, "hello.node"),
        cluster=b.cluster,
        start=read_number(b.start, "hello.start"),
        instance=b.instance,
        actor=b.actor,
        address=read_text(b.address, "hello.address", NAME_BYTES),
        state=state,
        protocol_min=b.protocol_min,
        protocol_max=b.protocol_max,
        kinds=tuple(b.kinds),
        settings=read_settings(b.settings, "hello.settings"),
        wall_ms=read_number(b.wall_ms, "hello.wall_ms"),
        members=read_members(b.members, limits, "hello.members"),
        members_digest=b.members_digest,
        zstd=b.zstd,
    )


def put_refuse(x: m.Refuse) -> pb.Refuse:
    return pb.Refuse(code=x.code, text=cut_text(x.text), hint=cut_text(x.hint), start=x.start)


def read_refuse(b: pb.Refuse, limits: Limits) -> m.Refuse:
    return m.Refuse(
        code=read_name(b.code, "refuse.code", CODE_BYTES),
        text=read_text(b.text, "refuse.text"),
        hint=read_text(b.hint, "refuse.hint"),
        start=read_number(b.start, "refuse.start"),
    )


# ---- membership and announcements


def _put_bucket_clocks(x: m.BucketClocks) -> pb.BucketClocks:
    return pb.BucketClocks(bucket=x.bucket, clock=put_clock(x.clock), synced=put_clock(x.synced), whole=x.whole)


def _read_bucket_clocks(b: pb.BucketClocks, limits: Limits) -> m.BucketClocks:
    return m.BucketClocks(
        bucket=read_bucket(b.bucket, "announce.buckets.bucket"),
        clock=read_clock(b.clock, limits, "announce.buckets.clock"),
        synced=read_clock(b.synced, limits, "announce.buckets.synced"),
        whole=b.whole,
    )


def put_announce(x: m.Announce) -> pb.Announce:
    return pb.Announce(
        node=x.node, start=x.start, actor=x.actor, wall_ms=x.wall_ms, seq=x.seq, answers=x.answers,
        members=put_members(x.members), buckets=[_put_bucket_clocks(entry) for entry in x.buckets],
        members_digest=x.members_digest,
    )  # fmt: skip


def read_announce(b: pb.Announce, limits: Limits) -> m.Announce:
    if len(b.buckets) > limits.buckets:
        raise BadFrame(f"announce.buckets has {len(b.buckets)} entries, more than {limits.buckets}.")
    buckets = tuple(_read_bucket_clocks(entry, limits) for entry in b.buckets)
    if len({entry.bucket for entry in buckets}) != len(buckets):
        raise BadFrame("announce.buckets names a bucket twice.")
    return m.Announce(
        node=read_name(b.node, "announce.node"),
        start=read_number(b.start, "announce.start"),
        actor=b.actor,
        wall_ms=read_number(b.wall_ms, "announce.wall_ms"),
        seq=read_number(b.seq, "announce.seq"),
        answers=read_number(b.answers, "announce.answers"),
        members=read_members(b.members, limits, "announce.members"),
        members_digest=b.members_digest,
        buckets=buckets,
    )


def put_join_request(x: m.JoinRequest) -> pb.JoinRequest:
    return pb.JoinRequest(node=x.node, address=x.address)


def read_join_request(b: pb.JoinRequest, limits: Limits) -> m.JoinRequest:
    return m.JoinRequest(
        node=read_name(b.node, "join_request.node"), address=read_text(b.address, "join_request.address", NAME_BYTES)
    )


def put_join_accept(x: m.JoinAccept) -> pb.JoinAccept:
    return pb.JoinAccept(cluster=x.cluster, members=put_members(x.members), buckets=x.buckets)


def read_join_accept(b: pb.JoinAccept, limits: Limits) -> m.JoinAccept:
    if len(b.buckets) > limits.buckets:
        raise BadFrame(f"join_accept.buckets has {len(b.buckets)} entries, more than {limits.buckets}.")
    buckets = tuple(read_bucket(name, "join_accept.buckets") for name in b.buckets)
    if len(set(buckets)) != len(buckets):
        raise BadFrame("join_accept.buckets names a bucket twice.")
    members = read_members(b.members, limits, "join_accept.members")
    return m.JoinAccept(cluster=b.cluster, members=members, buckets=buckets)


def put_join_done(x: m.JoinDone) -> pb.JoinDone:
    return pb.JoinDone(node=x.node)


def read_join_done(b: pb.JoinDone, limits: Limits) -> m.JoinDone:
    return m.JoinDone(node=read_name(b.node, "join_done.node"))


# ---- transfers


def put_pull(x: m.Pull) -> pb.Pull:
    return pb.Pull(
        transfer=x.transfer, bucket=x.bucket, clock=put_clock(x.clock), scan_from=x.scan_from,
        scan_clock=put_clock(x.scan_clock),
    )  # fmt: skip


def read_pull(b: pb.Pull, limits: Limits) -> m.Pull:
    return m.Pull(
        transfer=b.transfer,
        bucket=read_bucket(b.bucket, "pull.bucket"),
        clock=read_clock(b.clock, limits, "pull.clock"),
        scan_from=b.scan_from if b.HasField("scan_from") else None,
        scan_clock=read_clock(b.scan_clock, limits, "pull.scan_clock"),
    )


def put_part(x: m.Part) -> pb.Part:
    """All but the rows, which follow as `part_rows`."""
    return pb.Part(
        transfer=x.transfer, bucket=x.bucket, push=x.push, node=x.node, start=x.start, number=x.number,
        base=put_clock(x.base), last=x.last, target=put_clock(x.target), floor=put_clock(x.floor),
        stamp_floor=x.stamp_floor, synced=put_clock(x.synced), members=put_members(x.members), scan=x.scan,
        scan_clock=put_clock(x.scan_clock), scan_next=x.scan_next, members_digest=x.members_digest,
    )  # fmt: skip


def part_rows(x: m.Part, compressed: int) -> list[bytes]:
    """The rows of a part, in encoded pieces: protobuf takes fields in any order."""
    return rows_field(pb.Part.ROWS_FIELD_NUMBER, x.rows, compressed)


def read_part(b: pb.Part, limits: Limits) -> m.Part:
    return m.Part(
        transfer=b.transfer,
        bucket=read_bucket(b.bucket, "part.bucket"),
        push=b.push,
        node=read_name(b.node, "part.node"),
        start=read_number(b.start, "part.start"),
        number=read_number(b.number, "part.number"),
        base=read_clock(b.base, limits, "part.base"),
        rows=read_rows(b.rows, limits, "part.rows"),
        last=b.last,
        target=read_clock(b.target, limits, "part.target"),
        floor=read_clock(b.floor, limits, "part.floor"),
        stamp_floor=b.stamp_floor,
        synced=read_clock(b.synced, limits, "part.synced"),
        members=read_members(b.members, limits, "part.members"),
        members_digest=b.members_digest,
        scan=b.scan,
        scan_clock=read_clock(b.scan_clock, limits, "part.scan_clock"),
        scan_next=b.scan_next,
    )


def put_credit(x: m.Credit) -> pb.Credit:
    return pb.Credit(transfer=x.transfer, push=x.push, number=x.number, window=x.window)


def read_credit(b: pb.Credit, limits: Limits) -> m.Credit:
    return m.Credit(
        transfer=b.transfer,
        push=b.push,
        number=read_number(b.number, "credit.number"),
        window=read_number(b.window, "credit.window"),
    )


def put_abort(x: m.Abort) -> pb.Abort:
    return pb.Abort(transfer=x.transfer, push=x.push, code=x.code, text=cut_text(x.text))


def read_abort(b: pb.Abort, limits: Limits) -> m.Abort:
    return m.Abort(
        transfer=b.transfer,
        push=b.push,
        code=read_name(b.code, "abort.code", CODE_BYTES),
        text=read_text(b.text, "abort.text"),
    )


# ---- repair, news, goodbye


def put_repair_request(x: m.RepairRequest) -> pb.RepairRequest:
    return pb.RepairRequest(bucket=x.bucket, clock=put_clock(x.clock), keys=put_rows(x.keys))


def read_repair_request(b: pb.RepairRequest, limits: Limits) -> m.RepairRequest:
    return m.RepairRequest(
        bucket=read_bucket(b.bucket, "repair_request.bucket"),
        clock=read_clock(b.clock, limits, "repair_request.clock"),
        keys=read_rows(b.keys, limits, "repair_request.keys"),
    )


def put_repair_reply(x: m.RepairReply) -> pb.RepairReply:
    return pb.RepairReply(bucket=x.bucket, clock=put_clock(x.clock), keys=put_rows(x.keys), rows=put_rows(x.rows))


def read_repair_reply(b: pb.RepairReply, limits: Limits) -> m.RepairReply:
    return m.RepairReply(
        bucket=read_bucket(b.bucket, "repair_reply.bucket"),
        clock=read_clock(b.clock, limits, "repair_reply.clock"),
        keys=read_rows(b.keys, limits, "repair_reply.keys"),
        rows=read_rows(b.rows, limits, "repair_reply.rows"),
    )


def put_members_update(x: m.MembersUpdate) -> pb.MembersUpdate:
    return pb.MembersUpdate(members=put_members(x.members))


def read_members_update(b: pb.MembersUpdate, limits: Limits) -> m.MembersUpdate:
    return m.MembersUpdate(members=read_members(b.members, limits, "members_update.members"))


def put_bye(x: m.Bye) -> pb.Bye:
    return pb.Bye(reason=cut_text(x.reason))


def read_bye(b: pb.Bye, limits: Limits) -> m.Bye:
    return m.Bye(reason=read_text(b.reason, "bye.reason"))


# The field of pb.Message that carries a message, and its two functions.  Any: the table mixes fourteen types, and each
# pair is only ever called with its own.
Put = Callable[[Any], Any]
Read = Callable[[Any, Limits], m.Message]

CODECS: dict[type[m.Message], tuple[str, Put, Read]] = {
    m.Hello: ("hello", put_hello, read_hello),
    m.Refuse: ("refuse", put_refuse, read_refuse),
    m.Announce: ("announce", put_announce, read_announce),
    m.JoinRequest: ("join_request", put_join_request, read_join_request),
    m.JoinAccept: ("join_accept", put_join_accept, read_join_accept),
    m.JoinDone: ("join_done", put_join_done, read_join_done),
    m.Pull: ("pull", put_pull, read_pull),
    m.Part: ("part", put_part, read_part),
    m.Credit: ("credit", put_credit, read_credit),
    m.Abort: ("abort", put_abort, read_abort),
    m.RepairRequest: ("repair_request", put_repair_request, read_repair_request),
    m.RepairReply: ("repair_reply", put_repair_reply, read_repair_reply),
    m.MembersUpdate: ("members_update", put_members_update, read_members_update),
    m.Bye: ("bye", put_bye, read_bye),
}
NUMBERS = {kind: pb.Message.DESCRIPTOR.fields_by_name[field].number for kind, (field, _, _) in CODECS.items()}
READERS: dict[str, Read] = {field: read for field, _, read in CODECS.values()}
