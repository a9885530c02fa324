"""What a replica answers: the same sections that `expected` has, read back from a node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crdtsync.node import Node

Sections = dict[str, dict[str, Any]]


def answers(node: Node) -> Sections:
    """{section: {name: number, text, or sorted list}}, with everything that the replica shows, wanted or not."""
    sections: Sections = {
        "flights per carrier": {name: node.gcounter(key).value for key, name in under(node, "flights:carrier:")},
        "flights per destination": {
            name: node.gcounter(key).value for key, name in under(node, "flights:destination:")
        },
        "delay minutes per carrier": {name: node.pncounter(key).value for key, name in under(node, "delay:carrier:")},
        "aircraft per carrier": {name: sorted(node.orset(key)) for key, name in under(node, "aircraft:carrier:")},
        "delayed over an hour on the last day": {name: sorted(node.orset(key)) for key, name in under(node, "late:")},
        "cancelled per month": {name: sorted(node.gset(key)) for key, name in under(node, "cancelled:")},
        "last departure per aircraft and airport": {},
        "last departure per aircraft": {},
    }
    for key, name in under(node, "last:"):
        one = "last departure per aircraft and airport" if ":" in name else "last departure per aircraft"
        sections[one][name.replace(":", " ")] = node.lwwregister(key).value
    for title in ("carrier", "destination"):
        sections.update(months(node, title))
    return sections


def under(node: Node, prefix: str) -> Iterator[tuple[str, str]]:
    """(key, rest of it) of every key that starts with `prefix`."""
    for key in node.keys(prefix):
        yield key, key.removeprefix(prefix)


def months(node: Node, title: str) -> Sections:
    """The maps per carrier or destination, one section per field."""
    sections: Sections = {
        f"{title}, month: {field}": {} for field in ("flights", "aircraft", "minutes in the air", "last departure")
    }
    for key, name in under(node, f"{title}:"):
        for month, fields in node.map(key).value.items():
            for field, value in fields.items():
                shown = sorted(value) if isinstance(value, set | frozenset) else value
                sections.setdefault(f"{title}, month: {field}", {})[f"{name} {month}"] = shown
    return sections
