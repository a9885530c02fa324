"""Cluster stories as text: commands and what they print.

A story is a list of blocks: commands, a line of dashes, what they print, an empty line.  Lines that begin with # are
comments.  Waiting commands let virtual time pass until something is so, and fail after a minute of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crdtsync.config import ClusterSettings
from crdtsync.errors import CrdtsyncError
from crdtsync.replication import messages
from tests.replication.cluster import BUCKET, Cluster, Node

RULER = "----"


def play(text: str) -> str:
    """The story with what its commands print now."""
    story, out = Story(), []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        commands = lines[: lines.index(RULER)] if RULER in lines else lines
        printed: list[str] = []
        for line in commands:
            if line and not line.startswith("#"):
                printed += story.command(line)
        ruled = [RULER, *printed] if printed else []
        out.append("\n".join([*commands, *ruled]))
    return "\n\n".join(out) + "\n"


class Story:
    """One cluster and the commands it knows."""

    def __init__(self) -> None:
        self.cluster = Cluster()

    def command(self, line: str) -> list[str]:
        """Carry out one line; gives what it prints."""
        verb, *words = line.split()
        plain = [word for word in words if "=" not in word]
        named = dict(word.split("=", 1) for word in words if "=" in word)
        do: Callable[..., list[str] | None] = getattr(self, "do_" + verb.rstrip("?"))
        try:
            return do(*plain, **named) or []
        except CrdtsyncError as error:
            return [f"{type(error).__name__}: {error.message}"]

    def _node(self, name: str) -> Node:
        return self.cluster.nodes[name]

    # -- processes
    def do_start(self, machine: str, join: str = "", **settings: str) -> None:
        """start NODE [join=NODE,NODE] [setting=value]: a new machine, or the process of a stopped one again."""
        node = self.cluster.nodes.get(machine) or self.cluster.node(machine)
        plain: dict[str, Any] = {key: _number(value) for key, value in settings.items()}
        if "evict_after" in plain:
            plain["cluster"] = ClusterSettings(evict_after=plain.pop("evict_after"))
        if join:
            plain["join"] = tuple(self._address(other) for other in join.split(","))
        node.start(**plain)

    def _address(self, name: str) -> str:
        """Where a node is, or will be: nodes may be named before they are started."""
        node = self.cluster.nodes.get(name) or self.cluster.node(name)
        node.address = node.address or f"127.0.0.1:{self.cluster.fresh_port()}"
        return node.address

    def do_kill(self, name: str) -> None:
        self._node(name).kill()

    def do_copy(self, name: str, new: str) -> None:
        """copy NODE NEW: the directory of NODE as it is now, for a process that takes itself for NODE."""
        self.cluster.copy(name, new)

    def do_wipe(self, name: str) -> None:
        """wipe NODE: the disk is lost."""
        old = self.cluster.nodes[name]
        self.cluster.node(name, **old.settings)

    # -- network
    def do_cut(self, one: str, *others: str) -> None:
        """cut A B: no way between A and B;  cut A: between A and everybody."""
        for other in others or [name for name in self.cluster.nodes if name != one]:
            self.cluster.cut(one, other)

    def do_heal(self) -> None:
        self.cluster.heal()

    def do_lose(self, sender: str, receiver: str, kind: str, count: str = "1") -> None:
        """lose A B Part 2: the next two of A's Parts for B do not arrive."""
        left, wanted = [int(count)], getattr(messages, kind)

        def lose(one: str, two: str, message: messages.Message) -> bool:
            hit = (one, two) == (sender, receiver) and isinstance(message, wanted) and left[0] > 0
            left[0] -= hit
            return hit

        self.cluster.lose = lose

    # -- users
    def do_add(self, name: str, key: str, *elements: str) -> list[str] | None:
        """add NODE KEY ELEMENT ...: put elements into a set."""
        if not self._node(name).engine.writable:
            return [f"{name} is {self._node(name).engine.state}"]
        for element in elements or ["x"]:
            self._node(name).add(key, element)
        return None

    def do_remove(self, name: str, key: str, *elements: str) -> None:
        for element in elements or ["x"]:
            self._node(name).remove(key, element)

    def do_bulk(self, name: str, key: str, count: str, size: str = "100") -> None:
        """bulk NODE KEY COUNT SIZE: COUNT elements of SIZE bytes each."""
        for number in range(int(count)):
            self._node(name).add(key, f"{number:06d}".ljust(int(size), "."))

    def do_leave(self, name: str) -> None:
        self._node(name).engine.leave(self.cluster.now)
        self.cluster.settle(self._node(name))

    def do_evict(self, node: str, by: str, force: str = "") -> list[str]:
        """evict NODE by=NODE [force=yes]"""
        self._node(by).engine.evict(node, bool(force), self.cluster.now)
        self.cluster.settle(self._node(by))
        return ["evicted"]

    def do_damage(self, name: str, key: str, element: str = "x") -> None:
        """damage NODE KEY ELEMENT: one bit of the row flips on the disk."""
        self._node(name).damage(key, element)

    # -- time
    def do_run(self, seconds: str) -> None:
        self.cluster.run(float(seconds))

    def do_wait(self, name: str, state: str) -> list[str]:
        """wait NODE STATE: until the node says so."""
        self._until(lambda: self._node(name).engine.state == state)
        return [f"{name} {state}"]

    def do_settle(self, *names: str) -> list[str]:
        """settle [NODE ...]: until these (all that are up) are equal."""
        self._until(lambda: self.cluster.equal(*names))
        return ["equal"]

    def do_collected(self, *names: str) -> list[str]:
        """collected NODE ...: until no dead row is left there."""
        self._until(lambda: all(self._dead(name) == 0 for name in names))
        return ["no dead rows"]

    def do_parts(self, receiver: str, count: str) -> None:
        """parts NODE COUNT: until the node has taken COUNT parts of a long transfer."""
        asked = lambda: self._node(receiver).engine.transfers.asked.get(BUCKET)  # noqa: E731
        self._until(lambda: (one := asked()) is not None and one.scan and one.expected >= int(count))

    def _until(self, condition: Callable[[], bool]) -> None:
        end = self.cluster.now + 60
        while not condition():
            if self.cluster.now >= end:
                raise AssertionError("it did not come about within a minute")
            self.cluster.run(0.001)

    # -- looking
    def do_states(self) -> list[str]:
        return [f"{name} {node.engine.state if node.up else 'down'}" for name, node in self.cluster.nodes.items()]

    def do_members(self, name: str) -> list[str]:
        members = self._node(name).store.members()
        return [", ".join(f"{n} {members[n].state} {members[n].epoch}" for n in sorted(members))]

    def do_show(self, *names: str) -> list[str]:
        """What is visible; long lists as a count."""
        shown = {name: self._node(name).live() for name in names or [n.name for n in self.cluster.up()]}
        return [f"{n}: {' '.join(keys) if len(keys) <= 12 else f'{len(keys)} rows'}" for n, keys in shown.items()]

    def do_equal(self, *names: str) -> list[str]:
        return ["equal" if self.cluster.equal(*names) else "different"]

    def _dead(self, name: str) -> int:
        node = self._node(name)
        return len(node.rows()) - len(node.live())

    def do_dead(self, *names: str) -> list[str]:
        return [f"{name}: {self._dead(name)} dead" for name in names]

    def do_blame(self, name: str) -> list[str]:
        """Whom collection waits for."""
        status = self._node(name).engine.status()["collection"].get(BUCKET, {})
        waits = ", ".join(f"{who} for {seconds:.0f} s" for who, seconds in sorted(status.get("waits_for", {}).items()))
        return [f"{status.get('rows_waiting', 0)} rows wait for {waits or 'nobody'}"]

    def do_peers(self, name: str) -> list[str]:
        peers = self._node(name).engine.status()["peers"]
        return [", ".join(f"{peer} {peers[peer]['state']}" for peer in sorted(peers))]

    def do_count(self, name: str, *counters: str) -> list[str]:
        held = self._node(name).engine.core.counters
        return [f"{name}: {', '.join(f'{counter} {held[counter]}' for counter in counters)}"]

    def do_told(self, name: str, event: str) -> list[str]:
        """What the embedding program was told of one kind, each line once; addresses and hints left out."""
        told = [
            f"{event} " + " ".join(f"{k}={v}" for k, v in details.items() if k not in ("address", "hint"))
            for kind, details in self._node(name).events if kind == event
        ]  # fmt: skip
        return list(dict.fromkeys(told))

    def do_sent(self, sender: str, receiver: str) -> list[str]:
        """Kinds of messages sent since the last look."""
        kinds = [type(m).__name__ for one, two, m in self.cluster.sent if (one, two) == (sender, receiver)]
        self.cluster.sent.clear()
        return [f"{sender} to {receiver}: " + (", ".join(f"{kinds.count(k)} {k}" for k in sorted(set(kinds))) or "-")]


def _number(text: str) -> object:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text
