"""Read: the answers to queries about single objects, each of one state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdtsync.datatypes.keys import ROW_KEY_MAX, Place
from crdtsync.datatypes.registry import BY_NAME
from crdtsync.datatypes.rows import Row
from crdtsync.errors import BadRequest, CrdtsyncError, InvalidToken, ValueTooLarge
from crdtsync.kernels import row_dead
from crdtsync.service.answers import PACKED, PLAIN, Answers
from crdtsync.service.values import at
from crdtsync.transport.pb import data_pb2 as pb

if TYPE_CHECKING:
    from crdtsync.config import ServeConfig
    from crdtsync.node.buckets import Bucket
    from crdtsync.service.operations import Operations
    from crdtsync.service.places import Places

SETS = (BY_NAME["gset"].code, BY_NAME["orset"].code)
MAP = BY_NAME["map"].code
QUICK_ROWS = 64  # rows that a query may read on the event loop
QUICK_QUERIES = 16  # of a request that may be answered there


class Large(Exception):
    """An object has more rows than may be read here: ask again on a thread."""


class Reading:
    """The queries of one server."""

    def __init__(self, config: ServeConfig, places: Places, operations: Operations) -> None:
        self._config, self._places, self._operations = config, places, operations

    def answer(self, bucket: Bucket, request: pb.ReadRequest, quick: bool) -> pb.ReadResponse:
        """All results.  Raises Large when `quick` and there is much to read, BadRequest, InvalidKey, ValueTooLarge."""
        answers = PACKED if request.packed else PLAIN
        response = pb.ReadResponse()
        left = self._config.message_bytes_max
        for number, query in enumerate(request.queries):
            try:
                result = self._result(bucket, query, answers, quick)
            except CrdtsyncError as error:
                raise at(f"queries[{number}]", error) from None
            left -= result.ByteSize()
            if left < 0:
                raise ValueTooLarge(
                    f"The answers to the first {number + 1} queries take more than a response may.",
                    hint="Ask for fewer objects at a time; read large sets page by page, with elements.",
                )
            response.results.append(result)
        if request.token:
            response.token = bucket.token()
        return response

    def _result(self, bucket: Bucket, query: pb.Query, answers: Answers, quick: bool) -> pb.Result:
        what = query.WhichOneof("what")
        if what is None:
            raise BadRequest("What to tell of the place is not set.")
        if what in ("value", "exists", "count", "fields") and not getattr(query, what):
            raise BadRequest(f"{what} is false; it is always true.")
        if what == "value":
            return self._value(bucket, query.place, answers, quick)
        if what == "exists":
            return self._exists(bucket, self._any(query.place), quick)
        place = self._places.of(query.place)
        if what == "fields":
            return self._fields(bucket, place, quick)
        if place.code not in SETS:
            raise BadRequest(f"{what} is a question about a gset or an orset.")
        if what == "contains":
            return pb.Result(truth=bucket.contains(place, self._operations.element(query.contains, "contains")))
        if what == "count":
            self._rows(bucket, place, quick)
            return pb.Result(count=bucket.count(place))
        return self._elements(bucket, place, query.elements, answers, quick)

    def _any(self, message: pb.Place) -> Place:
        return self._places.of(message) if message.type else self._places.every(message)

    def _rows(self, bucket: Bucket, place: Place, quick: bool) -> list[Row]:
        """The object's rows, as far as they are few.  Raises Large."""
        if not quick:
            return []
        rows = bucket.rows(place, QUICK_ROWS + 1)
        if len(rows) > QUICK_ROWS:
            raise Large
        return rows

    def _exists(self, bucket: Bucket, place: Place, quick: bool) -> pb.Result:
        if quick and not any(not row_dead(image) for _, image in self._rows(bucket, place, quick)):
            return pb.Result(truth=False)
        return pb.Result(truth=bucket.exists(place))

    def _value(self, bucket: Bucket, message: pb.Place, answers: Answers, quick: bool) -> pb.Result:
        place = self._any(message)
        rows = self._rows(bucket, place, True) if quick else bucket.rows(place)
        check_size(rows, self._config.message_bytes_max)
        if place.code:
            return pb.Result(value=answers.value(place.code, rows, len(place.prefix)))
        live = [row for row in rows if not row_dead(row[1])]
        told = answers.objects(live, len(place.prefix))
        return pb.Result(objects=pb.Objects(items=[pb.Item(key=place.name, type=t, value=v) for t, v in told]))

    def _fields(self, bucket: Bucket, place: Place, quick: bool) -> pb.Result:
        if place.code != MAP:
            raise BadRequest("fields is a question about a map.")
        self._rows(bucket, place, quick)
        return pb.Result(fields=pb.Names(names=bucket.fields(place)))

    def _elements(self, bucket: Bucket, place: Place, page: pb.Page, answers: Answers, quick: bool) -> pb.Result:
        """A page of a set; its cursor is its last element."""
        self._rows(bucket, place, quick)
        if len(page.after) > ROW_KEY_MAX:
            raise InvalidToken("A cursor of elements is longer than an element may be.")
        skip, size, last = len(place.prefix), 0, b""
        result = pb.Result(elements=pb.Elements())
        told = result.elements.elements
        for rows in bucket.slices(place.prefix, place.prefix + page.after if page.after else b""):
            for rowkey, image in rows:
                if row_dead(image):
                    continue
                if size >= self._config.page_bytes or (page.limit and len(told) >= page.limit):
                    result.elements.cursor = last
                    return result
                last = rowkey[skip:]
                told.append(answers.stored(last))
                size += len(last)
        return result


def check_size(rows: list[Row], bytes_max: int) -> None:
    """Raise ValueTooLarge when the value of these rows is sure to be larger than a response may be."""
    size = sum(len(rowkey) + len(image) for rowkey, image in rows)
    if size > bytes_max:
        raise ValueTooLarge(
            f"The object takes {size:,} bytes, more than a response may.",
            hint="Read it piece by piece: elements of a set, fields of a map.",
        )
