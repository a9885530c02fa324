"""Reading beyond what handles offer: every type at a place, a listing page by page, and maps field by field."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from crdtsync.client.answers import plain, read
from crdtsync.client.calls import Call
from crdtsync.client.lines import line_of
from crdtsync.errors import BadFrame, InvalidToken, ValueTooLarge
from crdtsync.transport.pb import data_pb2 as pb

if TYPE_CHECKING:
    from crdtsync.client.buckets import RemoteBucket
    from crdtsync.node import Bucket

SETS = ("gset", "orset")
FIELDS_AT_ONCE = 64  # fields of a map that are read by one call, as long as their values fit into its answer


class Object(NamedTuple):
    """One object, with the fields that lead to it."""

    key: str
    path: tuple[str, ...]
    type: str
    value: Any


class Found(NamedTuple):
    """One page of a listing."""

    items: list[pb.Item]
    cursor: bytes  # where the next one begins; empty: this was the last


# ---- single places


def handle(bucket: RemoteBucket | Bucket, key: str, fields: Sequence[str], kind: str) -> Any:
    """The handle of an object under a key, or in a field of the map there."""
    holder: Any = bucket
    for name in (key, *fields)[:-1]:
        holder = holder.map(name)
    return getattr(holder, kind)((key, *fields)[-1])


def objects(bucket: RemoteBucket, key: str, path: Sequence[str], kind: str | None = None) -> list[Object]:
    """Every object at a place, or that of one type, in the order of types.  Raises InvalidKey, ValueTooLarge."""
    found = _at(bucket, key, [tuple(path)], kind)[0]
    return [Object(key, tuple(path), item.type, plain(item.value)) for item in found]


def _at(bucket: RemoteBucket, key: str, paths: Sequence[tuple[str, ...]], kind: str | None = None) -> list[Any]:
    """The items at each of several places."""
    queries = [pb.Query(place=pb.Place(key=key, path=path), value=True) for path in paths]
    results = _read(bucket, queries)
    return [[item for item in result.objects.items if kind in (None, item.type)] for result in results]


def _read(bucket: RemoteBucket, queries: list[pb.Query]) -> Sequence[pb.Result]:
    request = pb.ReadRequest(bucket=bucket.name, queries=queries, packed=True)
    (answer,) = _call(bucket, Call("Read", request.SerializeToString()))
    results = read(pb.ReadResponse, answer).results
    if len(results) != len(queries):
        raise BadFrame(f"A node answers {len(queries)} queries with {len(results)} results.")
    return results


def _call(bucket: RemoteBucket, call: Call) -> list[bytes]:
    line = line_of(bucket)
    _, answers, _ = line.run(line.caller.make(call))
    return answers


# ---- listings


def scan(bucket: RemoteBucket, prefix: str, cursor: bytes, limit: int, kind: str | None = None) -> Found:
    """At most `limit` objects behind `cursor`, in the order of keys, then of types."""
    items: list[pb.Item] = []
    while len(items) < limit:
        found = _page(bucket, prefix, cursor, limit - len(items), kind)
        items += found.items
        cursor = found.cursor
        if not cursor:
            break
    return Found(items, cursor)


def _page(bucket: RemoteBucket, prefix: str, cursor: bytes, limit: int, kind: str | None) -> Found:
    request = pb.ScanRequest(
        bucket=bucket.name, prefix=prefix, cursor=cursor, limit=limit, type=kind or "", packed=True
    )
    line = line_of(bucket)
    _, answers, complete = line.run(line.caller.make(Call("Scan", request.SerializeToString(), pages=True)))
    responses = [read(pb.ScanResponse, answer) for answer in answers]
    items = [item for response in responses for item in response.items]
    more = responses and (not complete or len(items) >= limit)
    return Found(items, responses[-1].cursor if more else b"")


def pages(bucket: RemoteBucket, prefix: str, cursor: bytes, limit: int) -> Iterator[Found]:
    """All pages from a cursor on."""
    while True:
        found = _page(bucket, prefix, cursor, limit, None)
        yield found
        cursor = found.cursor
        if not cursor:
            return


def listed(item: pb.Item) -> Object:
    """An object as a listing tells it; the value is None when it is too large for that."""
    return Object(item.key, (), item.type, None if item.omitted else plain(item.value))


def cursor_of(text: str | None) -> bytes:
    """The cursor of what `text_of` made.  Raises InvalidToken."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True) if text else b""
    except (binascii.Error, ValueError):
        raise InvalidToken("This is no cursor.", hint="Pass on what an earlier scan told, as it was.") from None


def text_of(cursor: bytes) -> str:
    """A cursor as text."""
    return base64.urlsafe_b64encode(cursor).decode().rstrip("=")


# ---- whole objects, with the type of every field


def whole(bucket: RemoteBucket, item: pb.Item, path: tuple[str, ...] = ()) -> Iterator[Object]:
    """An object of a listing, with every type told: a map as the objects in its fields, a set as its list of elements.

    Raises ValueTooLarge for an MV-Register whose values are larger than one answer may be.
    """
    if item.type == "map":
        yield from _inside(bucket, item.key, path)
        return
    if item.omitted and item.type in SETS:
        value: Any = list(handle(bucket, item.key, path, item.type))
    elif item.omitted:
        found = objects(bucket, item.key, path, item.type)
        if not found:
            return  # deleted since it was listed
        value = found[0].value
    else:
        value = [plain(each) for each in item.value.set.values] if item.type in SETS else plain(item.value)
    yield Object(item.key, path, item.type, value)


def _inside(bucket: RemoteBucket, key: str, path: tuple[str, ...]) -> Iterator[Object]:
    place = pb.Place(key=key, path=path, type="map")
    (result,) = _read(bucket, [pb.Query(place=place, fields=True)])
    names = list(result.fields.names)
    for start in range(0, len(names), FIELDS_AT_ONCE):
        inner = [(*path, name) for name in names[start : start + FIELDS_AT_ONCE]]
        for where, items in zip(inner, _fields(bucket, key, inner), strict=True):
            for item in items:
                yield from whole(bucket, item, where)


def _fields(bucket: RemoteBucket, key: str, paths: list[tuple[str, ...]]) -> list[Any]:
    """As `_at`, in as many calls as it takes."""
    try:
        return _at(bucket, key, paths)
    except ValueTooLarge:
        if len(paths) == 1:
            return [_types(bucket, key, paths[0])]
        half = len(paths) // 2
        return _fields(bucket, key, paths[:half]) + _fields(bucket, key, paths[half:])


def _types(bucket: RemoteBucket, key: str, path: tuple[str, ...]) -> list[pb.Item]:
    """What types live at a place that is too large to be told."""
    from crdtsync.datatypes.registry import BY_NAME

    kinds = sorted(BY_NAME)
    queries = [pb.Query(place=pb.Place(key=key, path=path, type=kind), exists=True) for kind in kinds]
    there = [kind for kind, result in zip(kinds, _read(bucket, queries), strict=True) if result.truth]
    return [pb.Item(key=key, type=kind, omitted=True) for kind in there]
