"""Places of requests: where one object lives, checked as handles check it, and kept for the next request."""

from __future__ import annotations

from crdtsync.config import ClusterSettings
from crdtsync.datatypes import keys
from crdtsync.datatypes.keys import MAP, Place
from crdtsync.datatypes.registry import BY_NAME
from crdtsync.errors import BadRequest, InvalidValue
from crdtsync.transport.pb import data_pb2 as pb

KEPT_MAX = 16_384  # places remembered; then all are forgotten
KEPT_BYTES_MAX = 512  # of a place that is remembered: 8 MiB in all


class Places:
    """Places of one node.  A place remembers a row key of its own (Place.cell), so nodes do not share them."""

    def __init__(self, cluster: ClusterSettings) -> None:
        self._depth_max, self._key_max = cluster.depth_max, cluster.key_bytes_max
        self._kept: dict[bytes, Place] = {}  # by the message's bytes: one lookup, where its parts would be three

    def of(self, message: pb.Place) -> Place:
        """The object's place.  Raises InvalidKey, BadRequest, InvalidValue for an unknown type."""
        return self._kept.get(message.SerializeToString()) or self._keep(message)

    def _keep(self, message: pb.Place) -> Place:
        if message.path:
            place = self.inner(message, message.type)
        else:
            place = keys.top(message.key, code_of(message.type), self._key_max)
        if message.ByteSize() <= KEPT_BYTES_MAX:
            if len(self._kept) >= KEPT_MAX:
                self._kept.clear()
            self._kept[message.SerializeToString()] = place
        return place

    def inner(self, message: pb.Place, kind: str) -> Place:
        """A place inside a map."""
        place = keys.top(message.key, MAP, self._key_max)
        *around, last = message.path
        for field in around:
            place = place.inside(field, MAP, self._depth_max, self._key_max)
        return place.inside(last, code_of(kind), self._depth_max, self._key_max)

    def every(self, message: pb.Place) -> Place:
        """The place of all types: everything under a key, or in a field."""
        if not message.path:
            return Place(message.key, (), b"", keys.check_name(message.key, "A key", self._key_max) + b"\0", ())
        inner = self.inner(message, "map")
        return Place(inner.name, inner.fields, b"", inner.levels[0], ())


def code_of(kind: str) -> bytes:
    """The type byte of a type's name.  Raises BadRequest, InvalidValue."""
    info = BY_NAME.get(kind)
    if info is not None:
        return info.code
    if not kind:
        raise BadRequest("place.type is not set.", hint=f"Types are {', '.join(sorted(BY_NAME))}.")
    raise InvalidValue(f"There is no type {kind[:64]!r}.", hint=f"Types are {', '.join(sorted(BY_NAME))}.")
