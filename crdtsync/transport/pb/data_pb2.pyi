from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Value(_message.Message):
    __slots__ = ("none", "boolean", "integer", "big_integer", "real", "text", "binary", "list", "tuple", "set", "dict", "timestamp", "decimal", "uuid", "packed")
    NONE_FIELD_NUMBER: _ClassVar[int]
    BOOLEAN_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    BIG_INTEGER_FIELD_NUMBER: _ClassVar[int]
    REAL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BINARY_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    TUPLE_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    DICT_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    DECIMAL_FIELD_NUMBER: _ClassVar[int]
    UUID_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    none: bool
    boolean: bool
    integer: int
    big_integer: str
    real: float
    text: str
    binary: bytes
    list: Values
    tuple: Values
    set: Values
    dict: Fields
    timestamp: str
    decimal: str
    uuid: bytes
    packed: bytes
    def __init__(self, none: bool = ..., boolean: bool = ..., integer: _Optional[int] = ..., big_integer: _Optional[str] = ..., real: _Optional[float] = ..., text: _Optional[str] = ..., binary: _Optional[bytes] = ..., list: _Optional[_Union[Values, _Mapping]] = ..., tuple: _Optional[_Union[Values, _Mapping]] = ..., set: _Optional[_Union[Values, _Mapping]] = ..., dict: _Optional[_Union[Fields, _Mapping]] = ..., timestamp: _Optional[str] = ..., decimal: _Optional[str] = ..., uuid: _Optional[bytes] = ..., packed: _Optional[bytes] = ...) -> None: ...

class Values(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[Value]
    def __init__(self, values: _Optional[_Iterable[_Union[Value, _Mapping]]] = ...) -> None: ...

class Fields(_message.Message):
    __slots__ = ("fields",)
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.MessageMap[str, Value]
    def __init__(self, fields: _Optional[_Mapping[str, Value]] = ...) -> None: ...

class Place(_message.Message):
    __slots__ = ("key", "path", "type")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    key: str
    path: _containers.RepeatedScalarFieldContainer[str]
    type: str
    def __init__(self, key: _Optional[str] = ..., path: _Optional[_Iterable[str]] = ..., type: _Optional[str] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("instance",)
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    instance: int
    def __init__(self, instance: _Optional[int] = ...) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("node", "cluster", "version", "state", "depth_max", "key_bytes_max", "value_bytes_max", "batch_bytes_max", "message_bytes_max", "buckets", "instance", "store")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DEPTH_MAX_FIELD_NUMBER: _ClassVar[int]
    KEY_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    VALUE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    BATCH_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    node: str
    cluster: int
    version: str
    state: str
    depth_max: int
    key_bytes_max: int
    value_bytes_max: int
    batch_bytes_max: int
    message_bytes_max: int
    buckets: _containers.RepeatedScalarFieldContainer[str]
    instance: int
    store: int
    def __init__(self, node: _Optional[str] = ..., cluster: _Optional[int] = ..., version: _Optional[str] = ..., state: _Optional[str] = ..., depth_max: _Optional[int] = ..., key_bytes_max: _Optional[int] = ..., value_bytes_max: _Optional[int] = ..., batch_bytes_max: _Optional[int] = ..., message_bytes_max: _Optional[int] = ..., buckets: _Optional[_Iterable[str]] = ..., instance: _Optional[int] = ..., store: _Optional[int] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("place", "verb", "argument", "arguments")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    ARGUMENT_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    place: Place
    verb: str
    argument: Value
    arguments: Values
    def __init__(self, place: _Optional[_Union[Place, _Mapping]] = ..., verb: _Optional[str] = ..., argument: _Optional[_Union[Value, _Mapping]] = ..., arguments: _Optional[_Union[Values, _Mapping]] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("bucket", "operations", "request_id", "sync", "after", "instance")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SYNC_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    request_id: str
    sync: bool
    after: str
    instance: int
    def __init__(self, bucket: _Optional[str] = ..., operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., request_id: _Optional[str] = ..., sync: bool = ..., after: _Optional[str] = ..., instance: _Optional[int] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("token", "repeated", "error")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    token: str
    repeated: bool
    error: Error
    def __init__(self, token: _Optional[str] = ..., repeated: bool = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("bucket", "queries", "after", "packed", "token", "instance")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    queries: _containers.RepeatedCompositeFieldContainer[Query]
    after: str
    packed: bool
    token: bool
    instance: int
    def __init__(self, bucket: _Optional[str] = ..., queries: _Optional[_Iterable[_Union[Query, _Mapping]]] = ..., after: _Optional[str] = ..., packed: bool = ..., token: bool = ..., instance: _Optional[int] = ...) -> None: ...

class Query(_message.Message):
    __slots__ = ("place", "value", "exists", "contains", "count", "elements", "fields")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EXISTS_FIELD_NUMBER: _ClassVar[int]
    CONTAINS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    place: Place
    value: bool
    exists: bool
    contains: Value
    count: bool
    elements: Page
    fields: bool
    def __init__(self, place: _Optional[_Union[Place, _Mapping]] = ..., value: bool = ..., exists: bool = ..., contains: _Optional[_Union[Value, _Mapping]] = ..., count: bool = ..., elements: _Optional[_Union[Page, _Mapping]] = ..., fields: bool = ...) -> None: ...

class Page(_message.Message):
    __slots__ = ("after", "limit")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    after: bytes
    limit: int
    def __init__(self, after: _Optional[bytes] = ..., limit: _Optional[int] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("results", "token")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Result]
    token: str
    def __init__(self, results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ..., token: _Optional[str] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("value", "truth", "count", "elements", "fields", "objects")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TRUTH_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    value: Value
    truth: bool
    count: int
    elements: Elements
    fields: Names
    objects: Objects
    def __init__(self, value: _Optional[_Union[Value, _Mapping]] = ..., truth: bool = ..., count: _Optional[int] = ..., elements: _Optional[_Union[Elements, _Mapping]] = ..., fields: _Optional[_Union[Names, _Mapping]] = ..., objects: _Optional[_Union[Objects, _Mapping]] = ...) -> None: ...

class Elements(_message.Message):
    __slots__ = ("elements", "cursor")
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    elements: _containers.RepeatedCompositeFieldContainer[Value]
    cursor: bytes
    def __init__(self, elements: _Optional[_Iterable[_Union[Value, _Mapping]]] = ..., cursor: _Optional[bytes] = ...) -> None: ...

class Names(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class Objects(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("key", "type", "value", "omitted")
    KEY_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    OMITTED_FIELD_NUMBER: _ClassVar[int]
    key: str
    type: str
    value: Value
    omitted: bool
    def __init__(self, key: _Optional[str] = ..., type: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ..., omitted: bool = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("bucket", "prefix", "cursor", "limit", "keys_only", "type", "after", "packed", "instance")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    KEYS_ONLY_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    prefix: str
    cursor: bytes
    limit: int
    keys_only: bool
    type: str
    after: str
    packed: bool
    instance: int
    def __init__(self, bucket: _Optional[str] = ..., prefix: _Optional[str] = ..., cursor: _Optional[bytes] = ..., limit: _Optional[int] = ..., keys_only: bool = ..., type: _Optional[str] = ..., after: _Optional[str] = ..., packed: bool = ..., instance: _Optional[int] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("items", "cursor")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    cursor: bytes
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., cursor: _Optional[bytes] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("bucket", "all_buckets", "prefix", "after", "no_values", "packed", "heartbeat_ms", "instance")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    ALL_BUCKETS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    NO_VALUES_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_MS_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    all_buckets: bool
    prefix: str
    after: str
    no_values: bool
    packed: bool
    heartbeat_ms: int
    instance: int
    def __init__(self, bucket: _Optional[str] = ..., all_buckets: bool = ..., prefix: _Optional[str] = ..., after: _Optional[str] = ..., no_values: bool = ..., packed: bool = ..., heartbeat_ms: _Optional[int] = ..., instance: _Optional[int] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("changes", "token")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    token: str
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., token: _Optional[str] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("bucket", "place", "value", "deleted", "omitted")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    OMITTED_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    place: Place
    value: Value
    deleted: bool
    omitted: bool
    def __init__(self, bucket: _Optional[str] = ..., place: _Optional[_Union[Place, _Mapping]] = ..., value: _Optional[_Union[Value, _Mapping]] = ..., deleted: bool = ..., omitted: bool = ...) -> None: ...

class WaitForRequest(_message.Message):
    __slots__ = ("token", "timeout_ms", "instance")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    token: str
    timeout_ms: int
    instance: int
    def __init__(self, token: _Optional[str] = ..., timeout_ms: _Optional[int] = ..., instance: _Optional[int] = ...) -> None: ...

class WaitForResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PositionRequest(_message.Message):
    __slots__ = ("buckets", "sync", "instance")
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    SYNC_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    buckets: _containers.RepeatedScalarFieldContainer[str]
    sync: bool
    instance: int
    def __init__(self, buckets: _Optional[_Iterable[str]] = ..., sync: bool = ..., instance: _Optional[int] = ...) -> None: ...

class PositionResponse(_message.Message):
    __slots__ = ("token", "digest", "buckets")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    token: str
    digest: bytes
    buckets: _containers.RepeatedCompositeFieldContainer[BucketPosition]
    def __init__(self, token: _Optional[str] = ..., digest: _Optional[bytes] = ..., buckets: _Optional[_Iterable[_Union[BucketPosition, _Mapping]]] = ...) -> None: ...

class BucketPosition(_message.Message):
    __slots__ = ("bucket", "digest", "actors", "seqs")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    SEQS_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    digest: bytes
    actors: _containers.RepeatedScalarFieldContainer[int]
    seqs: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, bucket: _Optional[str] = ..., digest: _Optional[bytes] = ..., actors: _Optional[_Iterable[int]] = ..., seqs: _Optional[_Iterable[int]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("name", "message", "hint", "changed", "argument", "token")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    ARGUMENT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    message: str
    hint: str
    changed: str
    argument: Value
    token: str
    def __init__(self, name: _Optional[str] = ..., message: _Optional[str] = ..., hint: _Optional[str] = ..., changed: _Optional[str] = ..., argument: _Optional[_Union[Value, _Mapping]] = ..., token: _Optional[str] = ...) -> None: ...
