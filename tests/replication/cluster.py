"""A few nodes in one process under virtual time: real stores in memory, real engines and driver, a perfect network.

Nothing here is random but what the engines are given.  Links can be cut, nodes killed, copied and started again.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from crdtsync import kernels
from crdtsync.config import Config
from crdtsync.datatypes.values import decode as decode_value
from crdtsync.datatypes.values import encode as encode_value
from crdtsync.errors import RowDamaged
from crdtsync.replication.driver import Driver
from crdtsync.replication.engine import Engine
from crdtsync.replication.messages import Message
from crdtsync.storage.disk import MemoryDisk
from crdtsync.storage.maps import MemoryMap
from crdtsync.storage.store import Store
from crdtsync.transport.wire import decode, encode

DELAY = 0.001  # s that a message takes
FLUSH = 0.005  # s after which what happened is on the disk
WALL_START = 1_700_000_000_000
BUCKET = "default"
TABLES = ("meta", "actors", "buckets", "rows", "log", "dead", "requests")


def row_key(name: str, element: str) -> bytes:
    """The row of a short text in an OR-Set."""
    return name.encode() + b"\0o" + encode_value(element)


def shown(key: bytes) -> str:
    """set/element"""
    name, _, element = key.partition(b"\0o")
    return f"{name.decode()}/{decode_value(element)}"


class Node:
    """A machine: its disk, and the process that runs on it, if one does."""

    def __init__(self, cluster: Cluster, name: str, disk: MemoryDisk, table: MemoryMap, /, **settings: object) -> None:
        self.cluster, self.name, self.machine = cluster, name, name
        self.disk, self.table, self.settings = disk, table, settings
        self.boots = 0
        self.up = self.flushing = False
        self.address = ""
        self.events: list[tuple[str, dict[str, object]]] = []
        self.notified: list[str] = []

    # -- process
    def start(self, **settings: object) -> None:
        self.settings |= settings
        self.boots += 1
        if self.boots > 1 or not self.address:
            self.address = f"127.0.0.1:{self.cluster.fresh_port()}"
        config = Config(name=self.settings.pop("name", self.name), listen=self.address, **self.settings).validate()
        self.config = config
        rng = random.Random(f"{self.name} {self.boots}")
        self.store = Store.open(
            None, config, disk=self.disk, maps=lambda: self.table, random=rng, now_ms=self.cluster.wall_ms
        )
        self.engine = Engine(self.store, config, rng, self.cluster.now, self.cluster.wall_ms(), self.address)
        self.driver = Driver(self, self.store.flush, lambda event, details: self.events.append((event, details)))
        self.store.on_change.append(lambda bucket, keys, local: self._written(bucket) if local else None)
        self.links: dict[int, int] = {}  # link -> its other end
        self.up = True
        self.cluster.listening[self.address] = self
        self.cluster.settle(self)

    def _written(self, bucket: str) -> None:
        self.engine.local(self.cluster.now, [bucket])
        self.cluster.wake(self)

    def kill(self) -> None:
        """The process ends at once."""
        self.up = False
        self.cluster.listening.pop(self.address, None)
        for link in list(self.links):
            self.cluster.close(link)
        self.store.abandon()

    # -- the Network that effects go to
    def connect(self, address: str) -> None:
        self.cluster.at(DELAY, lambda: self.cluster.dial(self, address))

    def send(self, link: int, message: Message) -> bool:
        return self.cluster.send(self, link, message)

    def disconnect(self, link: int, reason: str = "") -> None:
        if link in self.links:
            self.cluster.close(link, told=self)

    # -- a user
    def write(self, change: Callable[..., None]) -> None:
        assert self.engine.writable, f"{self.name} is {self.engine.state}"
        self.store.transact(BUCKET, change)

    def add(self, name: str, element: str = "x") -> None:
        """Put an element into an OR-Set, by the row."""
        key = row_key(name, element)
        self.write(lambda txn: txn.put(key, kernels.presence_add(txn.get(key), *txn.next_event())))

    def remove(self, name: str, element: str = "x") -> None:
        key = row_key(name, element)
        self.write(lambda txn: txn.put(key, kernels.presence_remove(txn.get(key), *txn.next_event())))

    def damage(self, name: str, element: str) -> None:
        """Flip a bit of a row on the disk, and let nothing be remembered of it."""
        self.store.checkpoint()
        rows = self.table.database("rows")
        wanted = row_key(name, element)
        key = next(key for key in rows if key.endswith(wanted))
        rows[key] = rows[key][:-1] + bytes([rows[key][-1] ^ 1])
        bucket = self.store.bucket(BUCKET)
        assert bucket is not None
        bucket.cache.clear()
        try:
            bucket.get(wanted)
        except RowDamaged:
            return
        raise AssertionError("the damage was not noticed")

    def rows(self) -> list[tuple[bytes, bytes]]:
        bucket = self.store.bucket(BUCKET)
        return [] if bucket is None else bucket.scan(b"", b"", 10**6)

    def live(self) -> list[str]:
        """Names of the sets that hold something, with their elements."""
        return sorted(shown(key) for key, image in self.rows() if not kernels.row_dead(image))


class Cluster:
    """The world: time, links, cuts."""

    def __init__(self, **settings: object) -> None:
        self.now = 100.0
        self.settings = settings
        self.nodes: dict[str, Node] = {}
        self.listening: dict[str, Node] = {}
        self.cuts: set[frozenset[str]] = set()
        self.ends: dict[int, Node] = {}  # link -> who holds this end
        self.sent: list[tuple[str, str, Message]] = []
        self.lose: Callable[[str, str, Message], bool] = lambda sender, receiver, message: False
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._wakes: dict[str, float] = {}
        self._count = 0
        self._ports = 7000

    def wall_ms(self) -> int:
        return WALL_START + int(self.now * 1000)

    def fresh_port(self) -> int:
        self._ports += 1
        return self._ports

    def node(self, name: str, **settings: object) -> Node:
        """A new machine with an empty disk."""
        node = self.nodes[name] = Node(self, name, MemoryDisk(), MemoryMap(), **(self.settings | settings))
        return node

    def copy(self, name: str, new: str) -> Node:
        """A copy of a machine's disk, as of now; its process has the old name."""
        original = self.nodes[name]
        disk, table = MemoryDisk(), MemoryMap()
        disk.files = {name: bytearray(content) for name, content in original.disk.files.items()}
        for database in TABLES:
            table.database(database).update(original.table.database(database))
        node = self.nodes[new] = Node(self, name, disk, table, **original.settings)
        node.machine = new
        return node

    # -- time
    def at(self, delay: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, action))

    def wake(self, node: Node) -> None:
        due = node.engine.next_wakeup()
        if due is None:
            return
        due = max(due, self.now)
        boots = node.boots
        if self._wakes.get(node.name + str(id(node)), -1.0) == due:
            return
        self._wakes[node.name + str(id(node))] = due
        self.at(due - self.now, lambda: self._tick(node, boots, due))

    def _tick(self, node: Node, boots: int, due: float) -> None:
        if node.up and node.boots == boots and self._wakes.get(node.name + str(id(node))) == due:
            del self._wakes[node.name + str(id(node))]
            node.engine.tick(self.now, self.wall_ms())
            self.settle(node)

    def settle(self, node: Node) -> None:
        if node.up:
            node.driver.apply(node.engine.take_effects())
            self.wake(node)
            if not node.flushing:
                node.flushing = True
                self.at(FLUSH, lambda: self._flush(node, node.boots))

    def _flush(self, node: Node, boots: int) -> None:
        node.flushing = False
        if node.up and node.boots == boots:
            node.store.flush()

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            time, _, action = heapq.heappop(self._events)
            self.now = max(self.now, time)
            action()
        self.now = end

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Let time pass until something is so; AssertionError after `seconds`."""
        end = self.now + seconds
        while not condition():
            assert self.now < end, "it did not come about"
            self.run(0.01)

    # -- links
    def dial(self, caller: Node, address: str) -> None:
        callee = self.listening.get(address)
        if not caller.up:
            return
        if callee is None or self.is_cut(caller, callee):
            caller.engine.connect_failed(address, self.now)
            self.settle(caller)
            return
        self._count += 1
        near = self._count
        self._count += 1
        far = self._count
        caller.links[near], callee.links[far] = far, near
        self.ends[near], self.ends[far] = caller, callee
        caller.engine.link_up(near, address, True, self.now)
        callee.engine.link_up(far, caller.address, False, self.now)
        self.settle(caller)
        self.settle(callee)

    def send(self, sender: Node, link: int, message: Message) -> bool:
        far = sender.links.get(link, 0)
        receiver = self.ends.get(far)
        if receiver is None:
            return False
        self.sent.append((sender.name, receiver.name, message))
        if self.lose(sender.name, receiver.name, message):
            return True
        frame = encode(message)

        def arrive() -> None:
            if receiver.up and far in receiver.links:
                receiver.engine.receive(far, decode(frame), self.now, self.wall_ms())
                self.settle(receiver)

        self.at(DELAY, arrive)
        return True

    def close(self, link: int, told: Node | None = None) -> None:
        """End a link; both ends hear of it, but for the one that asked."""
        near = self.ends.pop(link, None)
        if near is None:
            return
        far = near.links.pop(link, None)
        if near is not told and near.up:
            near.engine.link_down(link, self.now)
            self.settle(near)
        if far is not None:
            self.at(2 * DELAY, lambda: self.close(far))

    # -- partitions
    def is_cut(self, one: Node, two: Node) -> bool:
        return frozenset((one.machine, two.machine)) in self.cuts

    def cut(self, one: str, two: str) -> None:
        self.cuts.add(frozenset((one, two)))
        for link, node in list(self.ends.items()):
            far = node.links.get(link)
            other = self.ends.get(far) if far is not None else None
            if other is not None and {node.machine, other.machine} == {one, two}:
                self.close(link)

    def heal(self) -> None:
        self.cuts.clear()

    # -- judging
    def up(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.up]

    def equal(self, *names: str) -> bool:
        """Whether all of them hold the same, in meaning and in clocks."""
        nodes = [self.nodes[name] for name in names] or self.up()
        states = [({b: node.store.clock(b) for b in node.store.buckets()}, node.store.digest()) for node in nodes]
        return all(state == states[0] for state in states)
