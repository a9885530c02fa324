"""What listings and watchers tell of objects, here or from elsewhere."""

from __future__ import annotations

from typing import Any, NamedTuple


class Item(NamedTuple):
    """One object of `items()`."""

    key: str
    type: str  # "gcounter", "orset", ...
    value: Any


class Change(NamedTuple):
    """An object whose state has changed, with its state now."""

    bucket: str
    key: str
    type: str  # "gcounter", "orset", ...; objects inside a map have their own type
    path: tuple[str, ...]  # fields inside the key's map; () for an object of its own
    value: Any  # None when deleted, and when the watcher was asked to leave values out
    deleted: bool  # nothing of it is live
    token: str  # resume here: watch(after=token)
