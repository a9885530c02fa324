"""Scan: the keys or objects of a bucket in order, page by page; each page says where the next one begins.

A cursor is the version byte 1, CRC-32 of the rest, and a row key behind the last item.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from crdtsync.datatypes import keys
from crdtsync.datatypes.registry import TYPES
from crdtsync.datatypes.rows import Row
from crdtsync.errors import InvalidToken
from crdtsync.service.answers import PACKED, PLAIN, Answers
from crdtsync.service.places import code_of
from crdtsync.transport.pb import data_pb2 as pb

if TYPE_CHECKING:
    from crdtsync.config import ServeConfig
    from crdtsync.node.buckets import Bucket

VERSION = b"\x01"


class Scan:
    """One listing under way."""

    def __init__(self, bucket: Bucket, request: pb.ScanRequest, config: ServeConfig) -> None:
        """Raises InvalidKey, InvalidValue, InvalidToken."""
        self._config = config
        self._answers = PACKED if request.packed else PLAIN
        self._left = request.limit or None  # items to be told yet; None: no bound
        prefix, after = keys.check_prefix(request.prefix), read_cursor(request.cursor)
        code = code_of(request.type) if request.type else b""
        if request.keys_only and not code:
            self._found = _names(bucket, prefix, after)
        else:
            self._found = self._items(bucket, prefix, after, code, request.keys_only)
        self.ended = False

    def page(self) -> pb.ScanResponse:
        """The next items, about `page_bytes` of them; none at the end."""
        response = pb.ScanResponse()
        size, behind = 0, b""
        while size < self._config.page_bytes and self._left != 0:
            item, behind = next(self._found, (None, behind))
            if item is None:
                self.ended = True
                break
            response.items.append(item)
            size += item.ByteSize()
            self._left = self._left and self._left - 1
        self.ended = self.ended or self._left == 0
        if behind:
            response.cursor = make_cursor(behind)
        return response

    def _items(
        self, bucket: Bucket, prefix: bytes, after: bytes, code: bytes, bare: bool
    ) -> Iterator[tuple[pb.Item, bytes]]:
        for head, rows in bucket.objects(prefix, after):
            if code and head[-1:] != code:
                continue
            item = pb.Item(key=head[:-2].decode(), type=TYPES[head[-1:]].name)
            if not bare:
                tell_value(item, self._answers, head[-1:], rows, len(head), self._config.message_bytes_max // 2)
            yield item, keys.after_object(head)


def _names(bucket: Bucket, prefix: bytes, after: bytes) -> Iterator[tuple[pb.Item, bytes]]:
    for name in bucket.names(prefix, after):
        yield pb.Item(key=name.decode()), keys.after_name(name)


def tell_value(
    told: pb.Item | pb.Change, answers: Answers, code: bytes, rows: list[Row], skip: int, bytes_max: int
) -> None:
    """Give an item or a change its value, or mark it as omitted when it is larger than a response may be."""
    if sum(len(rowkey) + len(image) for rowkey, image in rows) > bytes_max:
        told.omitted = True
        return
    value = answers.value(code, rows, skip)
    if value.ByteSize() > bytes_max:
        told.omitted = True
    else:
        told.value.CopyFrom(value)


def make_cursor(behind: bytes) -> bytes:
    """The cursor of a place between row keys."""
    return VERSION + zlib.crc32(behind).to_bytes(4, "big") + behind


def read_cursor(cursor: bytes) -> bytes:
    """The place that a cursor stands for; empty: the beginning.  Raises InvalidToken."""
    if not cursor:
        return b""
    behind = cursor[5:]
    if cursor != make_cursor(behind) or not behind or len(behind) > keys.ROW_KEY_MAX:
        raise InvalidToken("A cursor is cut off or altered.", hint="Pass on what a response gave, as it was.")
    return behind
