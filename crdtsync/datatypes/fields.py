"""One type to a map field: a field written with a second type where one is visible is a FieldTypeError.

A field is visible while a row below it is live.  Two types can still meet on a field when two nodes write it at
the same time; both stay, and each may be written on.
"""

from __future__ import annotations

from crdtsync.datatypes.keys import MAP, Place, after_object
from crdtsync.datatypes.registry import TYPES
from crdtsync.datatypes.txn import Txn, first_live
from crdtsync.errors import FieldTypeError
from crdtsync.kernels import row_dead

WITNESSES_MAX = 16_384  # fields whose witness is remembered; then all are forgotten


class FieldGuard:
    """Checks the fields that an object lives in.

    For a field that it has passed it remembers one live row, the witness: while that row is live, the field is visible
    with its type, and a hot field costs one read.
    """

    def __init__(self) -> None:
        self._witness: dict[bytes, bytes] = {}

    def check(self, txn: Txn, place: Place) -> None:
        """Raise FieldTypeError when a field on the way to `place` is visible with other types only."""
        witness = self._witness.get(place.prefix)
        if witness is not None and _is_live(txn, witness):
            return
        code = place.code
        for level in place.levels:
            witness = _visible(txn, level, code)
            if witness is not None:
                # The rows of an inner field are rows of the fields around it: those are maps, and visible as maps.
                if level is place.levels[0]:
                    self._remember(place.prefix, witness)
                return
            code = MAP

    def _remember(self, prefix: bytes, witness: bytes) -> None:
        if len(self._witness) >= WITNESSES_MAX:
            self._witness.clear()
        self._witness[prefix] = witness


def _is_live(txn: Txn, rowkey: bytes) -> bool:
    image = txn.get(rowkey)
    return image is not None and not row_dead(image)


def _visible(txn: Txn, level: bytes, code: bytes) -> bytes | None:
    """A live row of type `code` in the field `level`, None for a field that is not visible; FieldTypeError else."""
    other, after = b"", b""
    while (rowkey := first_live(txn, level, after)) is not None:
        kind = rowkey[len(level) : len(level) + 1]
        if kind == code:
            return rowkey
        other, after = kind, after_object(level + kind)  # one live row tells all of its type
    if other:
        name = level[:-1].decode().replace("\0m", " / ")
        raise FieldTypeError(
            f"The field {name!r} holds a {TYPES[other].name}; it cannot hold a {TYPES[code].name} too."
        )
    return None
