"""Rows as Value messages: what `registry` makes as Python values, made for the wire without losing anything.

A set is a Value.set with every element told apart, where a Python set may take two of them for equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from crdtsync.datatypes import flag, gcounter, gset, lwwregister, mvregister, orset, pncounter
from crdtsync.datatypes import map as map_type
from crdtsync.datatypes.registry import TYPES
from crdtsync.datatypes.rows import Row
from crdtsync.kernels import row_dead, row_latest, row_payloads
from crdtsync.service.values import from_payload, from_payload_packed, make_value
from crdtsync.transport.pb import data_pb2 as pb

Meaning = Callable[[Sequence[Row], int], pb.Value]


class Answers:
    """How rows are told: stored values as Value messages of their kind, or packed."""

    def __init__(self, packed: bool) -> None:
        self.stored: Callable[[bytes], pb.Value] = from_payload_packed if packed else from_payload
        self._by_code: dict[bytes, Meaning] = {
            flag.CODE: lambda rows, skip: pb.Value(boolean=flag.value(rows, skip)),
            gcounter.CODE: lambda rows, skip: make_value(gcounter.value(rows, skip)),
            pncounter.CODE: lambda rows, skip: make_value(pncounter.value(rows, skip)),
            gset.CODE: self._set,
            orset.CODE: self._set,
            lwwregister.CODE: self._latest,
            mvregister.CODE: self._values,
            map_type.CODE: self._map,
        }

    def value(self, code: bytes, rows: Sequence[Row], skip: int) -> pb.Value:
        """What the rows of one object mean; `skip` is the length of the object's prefix."""
        return self._by_code[code](rows, skip)

    def _set(self, rows: Sequence[Row], skip: int) -> pb.Value:
        return pb.Value(set=pb.Values(values=map(self.stored, gset.members(rows, skip))))

    def _latest(self, rows: Sequence[Row], skip: int) -> pb.Value:
        payload = row_latest(rows[0][1])[3] if rows else None
        return pb.Value(none=True) if payload is None else self.stored(payload)

    def _values(self, rows: Sequence[Row], skip: int) -> pb.Value:
        payloads = [payload for _, image in rows for payload in dict.fromkeys(row_payloads(image))]
        return pb.Value(list=pb.Values(values=map(self.stored, payloads)))

    def _map(self, rows: Sequence[Row], skip: int) -> pb.Value:
        fields: dict[str, pb.Value] = {}
        for field, below, start in map_type.by_field([row for row in rows if not row_dead(row[1])], skip):
            told = dict(self.objects(below, start))
            fields[field.decode()] = next(iter(told.values())) if len(told) == 1 else _dict(told)
        return _dict(fields)

    def objects(self, rows: Sequence[Row], start: int) -> Iterator[tuple[str, pb.Value]]:
        """(type name, value) of the objects whose type byte stands at `start` in their row keys."""
        for code, below in groupby(rows, lambda row: row[0][start : start + 1]):
            yield TYPES[code].name, self.value(code, list(below), start + 1)


def _dict(fields: dict[str, pb.Value]) -> pb.Value:
    return pb.Value(dict=pb.Fields(fields=fields))


PLAIN, PACKED = Answers(packed=False), Answers(packed=True)
