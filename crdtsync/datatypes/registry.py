"""All types by name and by type byte, all verbs by name, and what rows mean as values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from crdtsync.datatypes import flag, gcounter, gset, lwwregister, map, mvregister, orset, pncounter
from crdtsync.datatypes.keys import Place, check_name
from crdtsync.datatypes.rows import Row
from crdtsync.datatypes.txn import Verb, remove_below
from crdtsync.errors import InvalidValue
from crdtsync.kernels import row_dead


class TypeInfo(NamedTuple):
    """One data type.

    `value(rows, skip)` is what the rows of one object mean; `skip` is the length of the object's prefix.  `plain` is
    the same where it stands among others (maps, listings, changes): it does not raise.
    """

    name: str
    code: bytes
    verbs: tuple[Verb, ...]
    value: Callable[[Sequence[Row], int], Any]
    plain: Callable[[Sequence[Row], int], Any]


def map_value(rows: Sequence[Row], skip: int) -> dict[str, Any]:
    """A map as a plain dict: {field: value}, or {field: {type name: value}} where several types live on one field."""
    plain = {}
    for field, below, start in map.by_field([row for row in rows if not row_dead(row[1])], skip):
        meanings = meanings_of(below, start)
        plain[field.decode()] = meanings if len(meanings) > 1 else next(iter(meanings.values()))
    return plain


def meanings_of(rows: Sequence[Row], start: int) -> dict[str, Any]:
    """{type name: value} of the objects whose type byte stands at `start` in their row keys."""
    return {
        TYPES[code].name: TYPES[code].plain(list(below), start + 1)
        for code, below in groupby(rows, lambda row: row[0][start : start + 1])
    }


_ALL = (
    TypeInfo(flag.NAME, flag.CODE, flag.VERBS, flag.value, flag.value),
    TypeInfo(gcounter.NAME, gcounter.CODE, gcounter.VERBS, gcounter.value, gcounter.value),
    TypeInfo(gset.NAME, gset.CODE, gset.VERBS, gset.value, gset.plain),
    TypeInfo(lwwregister.NAME, lwwregister.CODE, lwwregister.VERBS, lwwregister.value, lwwregister.value),
    TypeInfo(map.NAME, map.CODE, map.VERBS, map_value, map_value),
    TypeInfo(mvregister.NAME, mvregister.CODE, mvregister.VERBS, mvregister.value, mvregister.value),
    TypeInfo(orset.NAME, orset.CODE, orset.VERBS, orset.value, orset.plain),
    TypeInfo(pncounter.NAME, pncounter.CODE, pncounter.VERBS, pncounter.value, pncounter.value),
)
TYPES = {info.code: info for info in _ALL}
BY_NAME = {info.name: info for info in _ALL}
VERBS = {verb.name: verb for info in _ALL for verb in info.verbs}
DELETE = Verb("delete", lambda txn, place, _: remove_below(txn, place.prefix), writes=False, bulk=True)
VERBS[DELETE.name] = DELETE


def everything_under(key: str, type: str | None = None) -> Place:
    """Where `DELETE` removes all objects of a key, or the one of a type.  Raises InvalidKey, InvalidValue."""
    prefix = check_name(key) + b"\0"
    if type is None:
        return Place(key, (), b"", prefix, ())
    if type not in BY_NAME:
        raise InvalidValue(f"There is no type {type!r}.", hint=f"Types are {', '.join(sorted(BY_NAME))}.")
    code = BY_NAME[type].code
    return Place(key, (), code, prefix + code, ())
