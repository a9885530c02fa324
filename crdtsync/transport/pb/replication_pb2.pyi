from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MemberState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEMBER_STATE_UNSPECIFIED: _ClassVar[MemberState]
    MEMBER_STATE_JOINING: _ClassVar[MemberState]
    MEMBER_STATE_MEMBER: _ClassVar[MemberState]
    MEMBER_STATE_LEFT: _ClassVar[MemberState]
    MEMBER_STATE_EVICTED: _ClassVar[MemberState]
    MEMBER_STATE_EXPIRED: _ClassVar[MemberState]

class NodeState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NODE_STATE_UNSPECIFIED: _ClassVar[NodeState]
    NODE_STATE_MEMBER: _ClassVar[NodeState]
    NODE_STATE_JOINING: _ClassVar[NodeState]
    NODE_STATE_STARTING_OVER: _ClassVar[NodeState]
MEMBER_STATE_UNSPECIFIED: MemberState
MEMBER_STATE_JOINING: MemberState
MEMBER_STATE_MEMBER: MemberState
MEMBER_STATE_LEFT: MemberState
MEMBER_STATE_EVICTED: MemberState
MEMBER_STATE_EXPIRED: MemberState
NODE_STATE_UNSPECIFIED: NodeState
NODE_STATE_MEMBER: NodeState
NODE_STATE_JOINING: NodeState
NODE_STATE_STARTING_OVER: NodeState

class IntroduceRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class IntroduceResponse(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: str
    def __init__(self, node: _Optional[str] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("hello", "refuse", "announce", "join_request", "join_accept", "join_done", "pull", "part", "credit", "abort", "repair_request", "repair_reply", "members_update", "bye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    REFUSE_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCE_FIELD_NUMBER: _ClassVar[int]
    JOIN_REQUEST_FIELD_NUMBER: _ClassVar[int]
    JOIN_ACCEPT_FIELD_NUMBER: _ClassVar[int]
    JOIN_DONE_FIELD_NUMBER: _ClassVar[int]
    PULL_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    ABORT_FIELD_NUMBER: _ClassVar[int]
    REPAIR_REQUEST_FIELD_NUMBER: _ClassVar[int]
    REPAIR_REPLY_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_UPDATE_FIELD_NUMBER: _ClassVar[int]
    BYE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    refuse: Refuse
    announce: Announce
    join_request: JoinRequest
    join_accept: JoinAccept
    join_done: JoinDone
    pull: Pull
    part: Part
    credit: Credit
    abort: Abort
    repair_request: RepairRequest
    repair_reply: RepairReply
    members_update: MembersUpdate
    bye: Bye
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., refuse: _Optional[_Union[Refuse, _Mapping]] = ..., announce: _Optional[_Union[Announce, _Mapping]] = ..., join_request: _Optional[_Union[JoinRequest, _Mapping]] = ..., join_accept: _Optional[_Union[JoinAccept, _Mapping]] = ..., join_done: _Optional[_Union[JoinDone, _Mapping]] = ..., pull: _Optional[_Union[Pull, _Mapping]] = ..., part: _Optional[_Union[Part, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., abort: _Optional[_Union[Abort, _Mapping]] = ..., repair_request: _Optional[_Union[RepairRequest, _Mapping]] = ..., repair_reply: _Optional[_Union[RepairReply, _Mapping]] = ..., members_update: _Optional[_Union[MembersUpdate, _Mapping]] = ..., bye: _Optional[_Union[Bye, _Mapping]] = ...) -> None: ...

class Clock(_message.Message):
    __slots__ = ("actors", "seqs")
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    SEQS_FIELD_NUMBER: _ClassVar[int]
    actors: _containers.RepeatedScalarFieldContainer[int]
    seqs: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, actors: _Optional[_Iterable[int]] = ..., seqs: _Optional[_Iterable[int]] = ...) -> None: ...

class MemberRecord(_message.Message):
    __slots__ = ("node", "epoch", "state", "address", "start", "revision", "ballot")
    NODE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    node: str
    epoch: int
    state: MemberState
    address: str
    start: int
    revision: int
    ballot: Ballot
    def __init__(self, node: _Optional[str] = ..., epoch: _Optional[int] = ..., state: _Optional[_Union[MemberState, str]] = ..., address: _Optional[str] = ..., start: _Optional[int] = ..., revision: _Optional[int] = ..., ballot: _Optional[_Union[Ballot, _Mapping]] = ...) -> None: ...

class Ballot(_message.Message):
    __slots__ = ("proposer", "epoch", "start", "number", "victim", "victim_epoch", "config", "absent")
    PROPOSER_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    VICTIM_FIELD_NUMBER: _ClassVar[int]
    VICTIM_EPOCH_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    proposer: str
    epoch: int
    start: int
    number: int
    victim: str
    victim_epoch: int
    config: int
    absent: int
    def __init__(self, proposer: _Optional[str] = ..., epoch: _Optional[int] = ..., start: _Optional[int] = ..., number: _Optional[int] = ..., victim: _Optional[str] = ..., victim_epoch: _Optional[int] = ..., config: _Optional[int] = ..., absent: _Optional[int] = ...) -> None: ...

class PackedRows(_message.Message):
    __slots__ = ("actors", "count", "keys", "images", "compressed")
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    COMPRESSED_FIELD_NUMBER: _ClassVar[int]
    actors: _containers.RepeatedScalarFieldContainer[int]
    count: int
    keys: bytes
    images: bytes
    compressed: int
    def __init__(self, actors: _Optional[_Iterable[int]] = ..., count: _Optional[int] = ..., keys: _Optional[bytes] = ..., images: _Optional[bytes] = ..., compressed: _Optional[int] = ...) -> None: ...

class Setting(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: int
    def __init__(self, name: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("node", "cluster", "start", "instance", "actor", "address", "state", "protocol_min", "protocol_max", "kinds", "settings", "wall_ms", "members", "members_digest", "zstd")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    WALL_MS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ZSTD_FIELD_NUMBER: _ClassVar[int]
    node: str
    cluster: int
    start: int
    instance: int
    actor: int
    address: str
    state: NodeState
    protocol_min: int
    protocol_max: int
    kinds: _containers.RepeatedScalarFieldContainer[int]
    settings: _containers.RepeatedCompositeFieldContainer[Setting]
    wall_ms: int
    members: _containers.RepeatedCompositeFieldContainer[MemberRecord]
    members_digest: int
    zstd: bool
    def __init__(self, node: _Optional[str] = ..., cluster: _Optional[int] = ..., start: _Optional[int] = ..., instance: _Optional[int] = ..., actor: _Optional[int] = ..., address: _Optional[str] = ..., state: _Optional[_Union[NodeState, str]] = ..., protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., kinds: _Optional[_Iterable[int]] = ..., settings: _Optional[_Iterable[_Union[Setting, _Mapping]]] = ..., wall_ms: _Optional[int] = ..., members: _Optional[_Iterable[_Union[MemberRecord, _Mapping]]] = ..., members_digest: _Optional[int] = ..., zstd: bool = ...) -> None: ...

class Refuse(_message.Message):
    __slots__ = ("code", "text", "hint", "start")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    code: str
    text: str
    hint: str
    start: int
    def __init__(self, code: _Optional[str] = ..., text: _Optional[str] = ..., hint: _Optional[str] = ..., start: _Optional[int] = ...) -> None: ...

class Bye(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class BucketClocks(_message.Message):
    __slots__ = ("bucket", "clock", "synced", "whole")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    SYNCED_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    clock: Clock
    synced: Clock
    whole: bool
    def __init__(self, bucket: _Optional[str] = ..., clock: _Optional[_Union[Clock, _Mapping]] = ..., synced: _Optional[_Union[Clock, _Mapping]] = ..., whole: bool = ...) -> None: ...

class Announce(_message.Message):
    __slots__ = ("node", "start", "actor", "wall_ms", "seq", "answers", "members", "buckets", "members_digest")
    NODE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    WALL_MS_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    node: str
    start: int
    actor: int
    wall_ms: int
    seq: int
    answers: int
    members: _containers.RepeatedCompositeFieldContainer[MemberRecord]
    buckets: _containers.RepeatedCompositeFieldContainer[BucketClocks]
    members_digest: int
    def __init__(self, node: _Optional[str] = ..., start: _Optional[int] = ..., actor: _Optional[int] = ..., wall_ms: _Optional[int] = ..., seq: _Optional[int] = ..., answers: _Optional[int] = ..., members: _Optional[_Iterable[_Union[MemberRecord, _Mapping]]] = ..., buckets: _Optional[_Iterable[_Union[BucketClocks, _Mapping]]] = ..., members_digest: _Optional[int] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("node", "address")
    NODE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    node: str
    address: str
    def __init__(self, node: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class JoinAccept(_message.Message):
    __slots__ = ("cluster", "members", "buckets")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    cluster: int
    members: _containers.RepeatedCompositeFieldContainer[MemberRecord]
    buckets: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cluster: _Optional[int] = ..., members: _Optional[_Iterable[_Union[MemberRecord, _Mapping]]] = ..., buckets: _Optional[_Iterable[str]] = ...) -> None: ...

class JoinDone(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: str
    def __init__(self, node: _Optional[str] = ...) -> None: ...

class MembersUpdate(_message.Message):
    __slots__ = ("members",)
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[MemberRecord]
    def __init__(self, members: _Optional[_Iterable[_Union[MemberRecord, _Mapping]]] = ...) -> None: ...

class Pull(_message.Message):
    __slots__ = ("transfer", "bucket", "clock", "scan_from", "scan_clock")
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    SCAN_FROM_FIELD_NUMBER: _ClassVar[int]
    SCAN_CLOCK_FIELD_NUMBER: _ClassVar[int]
    transfer: int
    bucket: str
    clock: Clock
    scan_from: bytes
    scan_clock: Clock
    def __init__(self, transfer: _Optional[int] = ..., bucket: _Optional[str] = ..., clock: _Optional[_Union[Clock, _Mapping]] = ..., scan_from: _Optional[bytes] = ..., scan_clock: _Optional[_Union[Clock, _Mapping]] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("transfer", "bucket", "push", "node", "start", "number", "base", "rows", "last", "target", "floor", "stamp_floor", "synced", "members", "scan", "scan_clock", "scan_next", "members_digest")
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    PUSH_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    STAMP_FLOOR_FIELD_NUMBER: _ClassVar[int]
    SYNCED_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    SCAN_FIELD_NUMBER: _ClassVar[int]
    SCAN_CLOCK_FIELD_NUMBER: _ClassVar[int]
    SCAN_NEXT_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    transfer: int
    bucket: str
    push: bool
    node: str
    start: int
    number: int
    base: Clock
    rows: PackedRows
    last: bool
    target: Clock
    floor: Clock
    stamp_floor: int
    synced: Clock
    members: _containers.RepeatedCompositeFieldContainer[MemberRecord]
    scan: bool
    scan_clock: Clock
    scan_next: bytes
    members_digest: int
    def __init__(self, transfer: _Optional[int] = ..., bucket: _Optional[str] = ..., push: bool = ..., node: _Optional[str] = ..., start: _Optional[int] = ..., number: _Optional[int] = ..., base: _Optional[_Union[Clock, _Mapping]] = ..., rows: _Optional[_Union[PackedRows, _Mapping]] = ..., last: bool = ..., target: _Optional[_Union[Clock, _Mapping]] = ..., floor: _Optional[_Union[Clock, _Mapping]] = ..., stamp_floor: _Optional[int] = ..., synced: _Optional[_Union[Clock, _Mapping]] = ..., members: _Optional[_Iterable[_Union[MemberRecord, _Mapping]]] = ..., scan: bool = ..., scan_clock: _Optional[_Union[Clock, _Mapping]] = ..., scan_next: _Optional[bytes] = ..., members_digest: _Optional[int] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("transfer", "push", "number", "window")
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    PUSH_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    transfer: int
    push: bool
    number: int
    window: int
    def __init__(self, transfer: _Optional[int] = ..., push: bool = ..., number: _Optional[int] = ..., window: _Optional[int] = ...) -> None: ...

class Abort(_message.Message):
    __slots__ = ("transfer", "push", "code", "text")
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    PUSH_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    transfer: int
    push: bool
    code: str
    text: str
    def __init__(self, transfer: _Optional[int] = ..., push: bool = ..., code: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class RepairRequest(_message.Message):
    __slots__ = ("bucket", "clock", "keys")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    clock: Clock
    keys: PackedRows
    def __init__(self, bucket: _Optional[str] = ..., clock: _Optional[_Union[Clock, _Mapping]] = ..., keys: _Optional[_Union[PackedRows, _Mapping]] = ...) -> None: ...

class RepairReply(_message.Message):
    __slots__ = ("bucket", "clock", "keys", "rows")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    clock: Clock
    keys: PackedRows
    rows: PackedRows
    def __init__(self, bucket: _Optional[str] = ..., clock: _Optional[_Union[Clock, _Mapping]] = ..., keys: _Optional[_Union[PackedRows, _Mapping]] = ..., rows: _Optional[_Union[PackedRows, _Mapping]] = ...) -> None: ...
