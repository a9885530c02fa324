"""A deterministic story of writes of every type, told twice: to a node, and to a model of plain Python values.

Write number i depends on i alone, so whoever knows how many writes returned knows the only state that there may be.
"""

from __future__ import annotations

from typing import Any

from crdtsync import Node

MIX = 0x9E3779B97F4A7C15
MASK = 2**64 - 1
STRETCH = 64  # writes in a row that may all be steps of one counter: the short way of the kernels is for these
COUNTERS = ("gcounter", "pncounter")
KINDS = ("gcounter", "pncounter", "orset", "gset", "lwwregister", "mvregister", "flag", "map")


def mixed(number: int) -> int:
    """64 well-mixed bits of a number (splitmix64)."""
    number = (number + 1) * MIX & MASK
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & MASK
    number = (number ^ number >> 27) * 0x94D049BB133111EB & MASK
    return number ^ number >> 31


def steps(number: int) -> list[tuple[str, str, int, int]]:
    """The (kind, key, action, argument) of write `number`; more than one is a batch."""
    bits, stretch = mixed(number), mixed(number // STRETCH + 2**32)
    if stretch % 4 == 0:
        kind = COUNTERS[stretch // 4 % 2]
        return [(kind, f"{kind}:{stretch // 8 % 23}", 1, bits % 50)]
    count = 1 if bits % 2 else 2 + bits % 47
    return [one_step(mixed(bits + position)) for position in range(count)]


def one_step(bits: int) -> tuple[str, str, int, int]:
    kind = KINDS[bits % len(KINDS)]
    return kind, f"{kind}:{bits // 64 % 23}", bits // 4096 % 16, bits // 65536 % 50


def tell(node: Node, number: int) -> int:
    """Carry write `number` out on a node; the number of its steps."""
    parts = steps(number)
    if len(parts) == 1 and parts[0][0] != "map":  # a map's step is several writes
        tell_one(node, *parts[0])
    else:
        with node.batch():
            for part in parts:
                tell_one(node, *part)
    return len(parts)


def tell_one(node: Any, kind: str, key: str, action: int, argument: int) -> None:
    handle = getattr(node, kind)(key)
    if kind == "gcounter":
        handle.increment(1 + argument)
    elif kind == "pncounter":
        if action == 0:
            handle.reset()
        else:
            handle.increment(argument - 25)
    elif kind == "orset":
        if action == 0:
            handle.clear()
        elif action < 6:
            handle.discard(argument)
        else:
            handle.add(argument)
    elif kind == "gset":
        handle.add(argument)
    elif kind in ("lwwregister", "mvregister"):
        if action == 0:
            handle.clear()
        else:
            handle.set([argument, "x" * argument])
    elif kind == "flag":
        if action % 2:
            handle.enable()
        else:
            handle.disable()
    elif action == 0:
        handle.remove("inner")
    else:
        handle.pncounter("count").increment(argument)
        handle.map("inner").orset("seen").add(argument)
        handle.lwwregister("last").set(argument)


class Model:
    """What the story means, in plain Python."""

    def __init__(self) -> None:
        self.told = 0
        self.values: dict[str, Any] = {}

    def tell_to(self, number: int) -> None:
        while self.told < number:
            for part in steps(self.told):
                self.tell_one(*part)
            self.told += 1

    def tell_one(self, kind: str, key: str, action: int, argument: int) -> None:
        values = self.values
        if kind == "gcounter":
            values[key] = values.get(key, 0) + 1 + argument
        elif kind == "pncounter":
            values[key] = 0 if action == 0 else values.get(key, 0) + argument - 25
        elif kind == "orset":
            if action == 0:
                values[key] = set()
            elif action < 6:
                values.setdefault(key, set()).discard(argument)
            else:
                values.setdefault(key, set()).add(argument)
        elif kind == "gset":
            values.setdefault(key, set()).add(argument)
        elif kind in ("lwwregister", "mvregister"):
            values[key] = None if action == 0 else [argument, "x" * argument]
        elif kind == "flag":
            values[key] = bool(action % 2)
        else:
            fields = values.setdefault(key, {"count": 0, "seen": set(), "last": None})
            if action == 0:
                fields["seen"] = set()
            else:
                fields["count"] += argument
                fields["seen"].add(argument)
                fields["last"] = argument

    def differences(self, node: Any) -> list[str]:
        """Where a node's values differ from the model's."""
        wrong = []
        for kind in KINDS:
            for name in range(23):
                key = f"{kind}:{name}"
                seen, wanted = self.seen(node, kind, key), self.wanted(kind, key)
                if seen != wanted:
                    wrong.append(f"{key}: {seen!r}, not {wanted!r}")
        return wrong

    def wanted(self, kind: str, key: str) -> Any:
        empty = {
            "gcounter": 0, "pncounter": 0, "orset": set(), "gset": set(), "lwwregister": None, "mvregister": None,
            "flag": False, "map": {"count": 0, "seen": set(), "last": None},
        }  # fmt: skip
        return self.values.get(key, empty[kind])

    @staticmethod
    def seen(node: Any, kind: str, key: str) -> Any:
        handle = getattr(node, kind)(key)
        if kind == "mvregister":
            values = list(handle.values)
            assert len(values) <= 1, values
            return values[0] if values else None
        if kind == "map":
            return {
                "count": handle.pncounter("count").value,
                "seen": handle.map("inner").orset("seen").value,
                "last": handle.lwwregister("last").value,
            }
        return handle.value
