"""Messages <-> frames.  Decoding is total: a frame is messages within the limits, or it is a BadFrame that says why.

A frame is one gRPC message, a pb.Frame: the messages that were waiting for a link, in order.  Frames joined byte by
byte are a frame again (protobuf merges repeated fields so), which makes batching a matter of b"".join.

Protobuf turns two bytes into an object of a hundred, so a large frame is walked over first and its fields are counted;
columns and clocks grow by less than nine times, and their lengths are checked before they become Python objects.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from crdtsync.errors import BadFrame, InvariantViolated, OversizedFrame
from crdtsync.replication.messages import Message, Part
from crdtsync.transport import compression
from crdtsync.transport.codecs import CODECS, NUMBERS, READERS, part_rows
from crdtsync.transport.pb import replication_pb2 as pb
from crdtsync.transport.shapes import DEFAULT_LIMITS, Limits, bytes_field

WALK_BYTES = 64 * 1024  # smaller frames cannot hold enough fields to matter
SMALL_FIELDS = WALK_BYTES // 2  # what a frame of small messages may hold
_MESSAGES = pb.Frame.MESSAGES_FIELD_NUMBER
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEPTH = 3  # frame, message, body: repeated messages occur no deeper


def encode(message: Message, compressed: int = 0) -> bytes:
    """The frame of one message.  InvariantViolated when a field does not fit its type: our own bug.

    `compressed`: which columns of a part are compressed already, as `compression.compress` tells it.
    """
    kind = type(message)
    try:
        pieces = [CODECS[kind][1](message).SerializeToString()]
        if isinstance(message, Part):
            pieces += part_rows(message, compressed)
    except (KeyError, TypeError, ValueError) as error:
        raise InvariantViolated(f"{kind.__name__} cannot be encoded: {error}.") from error
    return b"".join(bytes_field(_MESSAGES, *bytes_field(NUMBERS[kind], *pieces)))


def decode(frame: bytes, limits: Limits = DEFAULT_LIMITS) -> Message:
    """The message of a frame of one.  BadFrame otherwise."""
    messages = decode_all(frame, limits)
    if len(messages) != 1:
        raise BadFrame(f"The frame holds {len(messages)} messages, not one.")
    return messages[0]


def decode_all(frame: bytes, limits: Limits = DEFAULT_LIMITS) -> list[Message]:
    """The messages of a frame, in order, at least one.  All or nothing: BadFrame when any of them is bad."""
    if len(frame) > limits.frame_bytes:
        raise OversizedFrame(f"The frame has {len(frame)} bytes; message_bytes_max is {limits.frame_bytes}.")
    if len(frame) > WALK_BYTES:
        _Walk(frame, SMALL_FIELDS + limits.members + limits.buckets).over(0, len(frame), _DEPTH)
    try:
        parsed = pb.Frame.FromString(frame)
    except (DecodeError, UnicodeDecodeError) as error:
        raise BadFrame(f"The frame of {len(frame)} bytes is not protobuf: {error}.") from error
    if not parsed.messages:
        raise BadFrame(f"The frame of {len(frame)} bytes holds no message.")
    compression.expand_parts(parsed, limits)
    return [_read(message, limits) for message in parsed.messages]


def _read(message: pb.Message, limits: Limits) -> Message:
    field = message.WhichOneof("body")
    if field is None:
        raise BadFrame("A message is of no kind that is known here.")
    return READERS[field](getattr(message, field), limits)


class _Walk:
    """Counts the fields of the outer levels of a frame, without building anything."""

    def __init__(self, frame: bytes, fields_max: int) -> None:
        self.frame, self.fields_max = frame, fields_max
        self.fields = 0

    def over(self, start: int, end: int, depth: int) -> None:
        """Walk frame[start:end]; BadFrame when it is not protobuf or holds too many fields."""
        while start < end:
            self.fields += 1
            if self.fields > self.fields_max:
                raise BadFrame(f"The frame holds more than {self.fields_max} fields.")
            tag, start = self._varint(start, end)
            kind = tag & 7
            if kind == _BYTES:
                length, start = self._varint(start, end)
                if length > end - start:
                    raise BadFrame(f"A field at byte {start} claims {length} bytes, {end - start} are left.")
                if depth > 1 and (depth < _DEPTH or tag >> 3 == _MESSAGES):
                    self.over(start, start + length, depth - 1)
                start += length
            elif kind == _VARINT:
                _, start = self._varint(start, end)
            elif kind == _FIXED64:
                start += 8
            elif kind == _FIXED32:
                start += 4
            else:
                raise BadFrame(f"A field at byte {start} has wire type {kind}.")
        if start != end:
            raise BadFrame(f"A field runs past byte {end}.")

    def _varint(self, start: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while start < end and shift < 70:
            byte = self.frame[start]
            start += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, start
            shift += 7
        raise BadFrame(f"A number at byte {start} does not end.")
