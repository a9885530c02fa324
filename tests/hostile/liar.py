"""A client that speaks the protocol well enough to be let in, and then lies."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from crdtsync import Node
from crdtsync.clocks.members import MEMBER
from crdtsync.config import MIB, Config
from crdtsync.datatypes.rows import NO_ROWS, PackedRows
from crdtsync.replication import messages as m
from crdtsync.transport.grpc import GrpcTransport
from tests.hostile.watch import DEADLINE
from tests.integration.waiting import until
from tests.transport.support import Owner

M = TypeVar("M", bound=m.Message)
BUCKET = "default"


class Liar:
    """One hostile node, linked over loopback to the node under attack."""

    ACTOR = 0xBAD << 52 | 1  # what it writes under

    def __init__(self, node: Node, name: str = "liar") -> None:
        self.node, self.name = node, name
        self.transport, self.owner = GrpcTransport(Config(listen="127.0.0.1:0", message_bytes_max=128 * MIB)), Owner()
        self.transport.start(self.owner)
        self.link = 0
        self.start = self.seq = 0
        self.members: tuple[Any, ...] = ()
        self._transfers = itertools.count(1)

    def close(self) -> None:
        self.transport.stop()

    # -- talking
    def dial(self) -> m.Hello:
        """A fresh link; the node's Hello."""
        ups = len(self.owner.ups)
        self.transport.connect(self.node.address)
        until(lambda: len(self.owner.ups) > ups, DEADLINE)
        self.link = self.owner.ups[-1][0]
        return self.hear(m.Hello)

    def send(self, message: m.Message) -> None:
        assert self.transport.send(self.link, message)

    def post(self, frame: bytes) -> None:
        """Bytes that no encoder made, as a frame of their own: what waits for a link leaves joined into one."""
        link = self.transport._links[self.link]
        until(lambda: link.outbox.queued_bytes == 0, DEADLINE)
        link.post(frame)

    def heard(self, kind: type[M], wanted: Callable[[M], bool] = lambda message: True) -> list[M]:
        return [x for x in list(self.owner.got.get(self.link, ())) if isinstance(x, kind) and wanted(x)]

    def hear(self, kind: type[M], wanted: Callable[[M], bool] = lambda message: True) -> M:
        """Wait for a message of a kind on this link."""
        until(lambda: self.heard(kind, wanted), DEADLINE)
        return self.heard(kind, wanted)[0]

    def is_down(self) -> bool:
        return self.link not in self.owner.links()

    # -- being let in
    def hello(self, **lies: Any) -> m.Hello:
        """Its Hello; fields by name replace what is right."""
        self.start += 1
        cluster = self.node.local.store.cluster() if self.members else 0
        plain: dict[str, Any] = {
            "node": self.name, "cluster": cluster, "start": self.start, "instance": self.start, "actor": self.ACTOR,
            "address": "", "state": "member" if self.members else "joining",
            "settings": msgspec.structs.asdict(self.node.config.cluster), "members": self.members,
            "wall_ms": 1_800_000_000_000,
        }  # fmt: skip
        return m.Hello(**(plain | lies))

    def join(self) -> Liar:
        """Become a member; the link is ready and both sides have announced."""
        self.dial()
        self.send(self.hello())
        self.send(m.JoinRequest(node=self.name, address=""))
        self.members = self.hear(m.JoinAccept).members
        self.send(m.JoinDone(node=self.name))
        mine = lambda update: any(r.node == self.name and r.state == MEMBER for r in update.members)  # noqa: E731
        record = self.hear(m.MembersUpdate, mine).members[0]
        self.members = (*(r for r in self.members if r.node != self.name), record)
        self.announce()
        return self

    def again(self) -> Liar:
        """A fresh link of a member, ready."""
        self.dial()
        self.send(self.hello())
        self.announce()
        until(lambda: self.name in self.node.status()["reachable"], DEADLINE)
        return self

    def ready(self) -> Liar:
        """On a link that stands: what the node has ended, it has ended before it tells of it."""
        until(lambda: self.is_down() or self.name in self.node.status()["reachable"], DEADLINE)
        return self.again() if self.is_down() or not self.link else self

    def announce(self, **lies: Any) -> None:
        self.seq += 1
        plain: dict[str, Any] = {
            "node": self.name, "start": self.start, "actor": self.ACTOR, "wall_ms": 1_800_000_000_000, "seq": self.seq,
            "members": self.members, "buckets": (),
        }  # fmt: skip
        self.send(m.Announce(**(plain | lies)))

    # -- transfers
    def clock(self, bucket: str = BUCKET) -> m.Clock:
        """The node's own clock: where an honest push would begin."""
        return self.node.local.store.clock(bucket)

    def part(self, rows: PackedRows = NO_ROWS, target: m.Clock | None = None, **lies: Any) -> m.Part:
        """A push that is right but for what is passed.  `target` is joined into the node's clock."""
        base = lies.get("base", self.clock(lies.get("bucket", BUCKET)))
        plain: dict[str, Any] = {
            "transfer": next(self._transfers), "bucket": BUCKET, "push": True, "node": self.name, "start": self.start,
            "number": 0, "base": base, "rows": rows, "last": True, "target": base | (target or {}),
        }  # fmt: skip
        return m.Part(**(plain | lies))

    def push(self, rows: PackedRows = NO_ROWS, target: m.Clock | None = None, **lies: Any) -> m.Message:
        """Send it; the node's answer, a Credit or an Abort."""
        part = self.part(rows, target, **lies)
        self.send(part)
        return self.answer(part.transfer)

    def answer(self, transfer: int) -> m.Message:
        kinds = (m.Credit, m.Abort)
        found = lambda: [x for kind in kinds for x in self.heard(kind, lambda x: x.push and x.transfer == transfer)]  # noqa: E731
        until(lambda: bool(found()), DEADLINE)
        return found()[0]

    def next_dot(self) -> int:
        """The seq of its next event, in the node's eyes."""
        return self.clock().get(self.ACTOR, 0) + 1
