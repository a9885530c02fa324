"""What handles, buckets and clients ask of a node, as generators of steps: written once, run blocking or on asyncio."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from crdtsync.client import requests
from crdtsync.client.answers import item_of, plain, value_of
from crdtsync.client.calls import Call, Caller
from crdtsync.client.steps import Steps
from crdtsync.config import milliseconds
from crdtsync.datatypes.keys import Place
from crdtsync.errors import BadFrame, BatchTooLarge, CrdtsyncError, InvalidToken, WaitTimeout
from crdtsync.handles import Item
from crdtsync.handles.batches import Operation
from crdtsync.transport.pb import data_pb2 as pb

# Verbs that leave the same when they are carried out at two nodes, if nobody else writes between the two.
IDEMPOTENT = frozenset(
    ("gset.add", "gset.update", "orset.add", "orset.update", "orset.discard", "lwwregister.set", "lwwregister.clear",
     "mvregister.set", "mvregister.resolve", "mvregister.clear", "flag.enable", "flag.disable")
)  # fmt: skip
WAIT_CHUNK = 30.0  # s of one wait at a node, after which a caller who is patient asks anew
FRAME_BYTES = 1024  # of a message that are not operations


class Answer(NamedTuple):
    """What became of a batch."""

    repeated: bool  # it had been carried out before, under its request id
    token: str  # names it


def write(
    caller: Caller, bucket: str, operations: list[Operation], request_id: str | None, sync: bool
) -> Steps[Answer]:
    """Carry operations out, all or none.  Under an id that somebody chose they are never sent to a second node."""
    encoded = [requests.operation(*operation) for operation in operations]
    anywhere = (
        caller.config.retry_elsewhere == "idempotent"
        and request_id is None
        and all(verb.name in IDEMPOTENT for verb, _, _ in operations)
    )
    chosen = request_id or caller.next_id()
    request = requests.apply(bucket, encoded, chosen, sync)
    if len(request) + requests.STAMP_BYTES > caller.message_bytes_max:
        size, most = len(request), caller.message_bytes_max
        raise caller.counters.refused(
            BatchTooLarge.fitting(
                f"A batch takes {size:,} bytes; one message may have {most:,}.", len(operations) * most / size
            )
        )
    there, [answer], _ = yield from caller.make(Call("Apply", request, True, bucket, chosen, anywhere))
    try:
        response = caller.read(pb.ApplyResponse, answer)
        yield from caller.note(response.token, there)
    except (BadFrame, InvalidToken) as error:
        error.changed = "The node says that it has carried the write out."
        raise
    return Answer(response.repeated, response.token)


def query(caller: Caller, bucket: str, asked: pb.Query) -> Steps[pb.Result]:
    """One question about one object."""
    [result] = yield from queries(caller, bucket, [asked])
    return result


def queries(caller: Caller, bucket: str, asked: list[pb.Query]) -> Steps[list[pb.Result]]:
    """Some questions, answered in their order."""
    remember = caller.session.mode == "reads"
    there, [answer], _ = yield from caller.make(Call("Read", requests.read(bucket, asked, remember)))
    response = caller.read(pb.ReadResponse, answer)
    if len(response.results) != len(asked):
        raise caller.counters.refused(
            BadFrame(f"A node answers {len(asked)} queries with {len(response.results)} results.")
        )
    if remember:
        yield from caller.note(response.token, there)
    return list(response.results)


def value(caller: Caller, bucket: str, place: Place) -> Steps[Any]:
    """The value of an object."""
    result = yield from query(caller, bucket, pb.Query(place=requests.place_of(place), value=True))
    try:
        return value_of(result.value)
    except CrdtsyncError as error:
        raise caller.counters.refused(error) from None


def values(caller: Caller, bucket: str, places: list[Place]) -> Steps[list[Any]]:
    """The values of some objects, each as where it stands among others."""
    asked = [pb.Query(place=requests.place_of(place), value=True) for place in places]
    results = yield from queries(caller, bucket, asked)
    try:
        return [plain(result.value) for result in results]
    except CrdtsyncError as error:
        raise caller.counters.refused(error) from None


def exists(caller: Caller, bucket: str, place: Place) -> Steps[bool]:
    """Whether anything of an object is stored."""
    return (yield from query(caller, bucket, pb.Query(place=requests.place_of(place), exists=True))).truth


def contains(caller: Caller, bucket: str, place: Place, element: bytes) -> Steps[bool]:
    """Whether an element, in canonical bytes, is in a set."""
    asked = pb.Query(place=requests.place_of(place), contains=pb.Value(packed=element))
    return (yield from query(caller, bucket, asked)).truth


def count(caller: Caller, bucket: str, place: Place) -> Steps[int]:
    """Number of a set's elements."""
    return (yield from query(caller, bucket, pb.Query(place=requests.place_of(place), count=True))).count


def elements(caller: Caller, bucket: str, place: Place, after: bytes, limit: int) -> Steps[list[bytes]]:
    """Elements of a set beyond one, in canonical bytes and in their order; fewer than `limit` only at the end."""
    found: list[bytes] = []
    where = requests.place_of(place)
    while True:
        page = pb.Page(after=after, limit=limit - len(found))
        told = (yield from query(caller, bucket, pb.Query(place=where, elements=page))).elements
        found += [element.packed for element in told.elements]
        after = told.cursor
        if not after or len(found) >= limit:
            return found
        if not told.elements:
            raise caller.counters.refused(BadFrame("A node answers with a page without elements that is not the last."))


def fields(caller: Caller, bucket: str, place: Place) -> Steps[list[str]]:
    """Names of a map's fields."""
    result = yield from query(caller, bucket, pb.Query(place=requests.place_of(place), fields=True))
    return list(result.fields.names)


class Listing(NamedTuple):
    """One page of keys or objects."""

    items: list[Any]
    cursor: bytes  # where the next one begins; empty: this was the last


def page(caller: Caller, bucket: str, prefix: str, cursor: bytes, keys_only: bool) -> Steps[Listing]:
    """The next keys, or objects, of a bucket."""
    limit = caller.config.page_items
    request = pb.ScanRequest(
        bucket=bucket, prefix=prefix, cursor=cursor, limit=limit, keys_only=keys_only, packed=True
    ).SerializeToString()
    _, answers, complete = yield from caller.make(Call("Scan", request, pages=True))
    responses = [caller.read(pb.ScanResponse, answer) for answer in answers]
    told = [item for response in responses for item in response.items]
    made: Callable[[pb.Item], str | Item] = _key_of if keys_only else item_of
    if caller.session.mode == "reads":
        yield from _remember(caller, bucket)
    more = not complete or len(told) >= limit
    try:
        items = list(map(made, told))
    except CrdtsyncError as error:
        raise caller.counters.refused(error) from None
    return Listing(items, responses[-1].cursor if responses and more else b"")


def _key_of(item: pb.Item) -> str:
    return item.key


def _remember(caller: Caller, bucket: str) -> Steps[None]:
    """What a listing has told is part of the session: a token that is taken after it covers it."""
    yield from position(caller, [bucket])


def position(caller: Caller, buckets: Iterable[str] = (), sync: bool = False) -> Steps[pb.PositionResponse]:
    """Where the node stands, in some buckets or in all."""
    request = pb.PositionRequest(buckets=buckets, sync=sync).SerializeToString()
    there, [answer], _ = yield from caller.make(Call("Position", request))
    response = caller.read(pb.PositionResponse, answer)
    if caller.session.mode == "reads":
        yield from caller.note(response.token, there)
    return response


def bucket_position(caller: Caller, bucket: str) -> Steps[pb.BucketPosition]:
    """The same of one bucket; an empty one for a bucket that nobody has written to."""
    response = yield from position(caller, [bucket])
    return next((found for found in response.buckets if found.bucket == bucket), pb.BucketPosition())


def wait_for(caller: Caller, token: str, timeout: float | None) -> Steps[None]:
    """Return once the node holds all that a token names; the session then asks that of the next node, too."""
    caller.check_token(token)
    deadline = None if timeout is None else caller.now() + timeout
    while True:
        left = WAIT_CHUNK if deadline is None else min(WAIT_CHUNK, max(0.001, deadline - caller.now()))
        request = pb.WaitForRequest(token=token, timeout_ms=milliseconds(left)).SerializeToString()
        try:
            there, _, _ = yield from caller.make(Call("WaitFor", request, patient=True), left + caller.config.timeout)
        except WaitTimeout:
            if deadline is not None and caller.now() >= deadline:
                raise
            continue
        yield from caller.note(token, there)
        return


def buckets(caller: Caller) -> Steps[list[str]]:
    """Names of the buckets that have been written to."""
    _, [answer], _ = yield from caller.make(Call("Describe", b""))
    return list(caller.read(pb.DescribeResponse, answer).buckets)
