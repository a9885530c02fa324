"""What users hold on to: tokens of what they wrote, to be found elsewhere, and request ids, to be sent again.

A request that comes again under its id is told its first answer and changes nothing, for as long as its node has the
record of it: that is as long as it has the write.  A token is a clock: either every member comes to cover it, or the
events that it names were lost with their author and the members come to know that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from crdtsync.clocks.vector import covers, missing
from crdtsync.sim.history import Clock
from crdtsync.sim.world import Violation, World
from crdtsync.storage.requests import Answer, Request

if TYPE_CHECKING:
    from crdtsync.sim.cluster import Cluster
    from crdtsync.sim.node import SimNode
    from crdtsync.sim.workload import Operation

TOKENS_KEPT = 40  # of one run
TOKEN_SHARE = 0.1  # of writes after which a token is kept
RETRY_SHARE = 0.5  # of requests that come again
RETRY_AFTER = (0.0, 1.5)  # s
REMEMBERED = 80_000  # s of wall time for which an id is surely remembered


class Written(NamedTuple):
    """What became of a write: rows that it changed, and the answer to its request id if it had one."""

    rows: int
    answer: Answer | None


class Known(msgspec.Struct):
    """A request that a node has answered."""

    answer: Answer
    wall_ms: int
    sure: bool = True  # whether the node must know it


class Token(NamedTuple):
    """The clock of a bucket at one node, right after a write there."""

    bucket: str
    clock: Clock


class Sessions:
    """Keeps what users were told, and holds the nodes to it."""

    def __init__(self, world: World, cluster: Cluster) -> None:
        self.world, self.cluster = world, cluster
        self.tokens: list[Token] = []
        self.known: dict[str, dict[tuple[str, str], Known]] = {}  # node -> bucket and id -> what it answered
        self._held: dict[tuple[str, str, int, int], set[str]] = {}  # node, event -> who has had it since it asked
        self._numbers = 0
        self.to_repeat = 0  # requests that will come again: one whose write was lost is made anew, and writes

    # -- requests
    def request(self, node: SimNode, bucket: str, operations: list[Operation]) -> bool:
        """Write under a new request id, and perhaps send the same again a while later."""
        self._numbers += 1
        request = Request(f"r{self._numbers}", self._numbers.to_bytes(8, "big"))
        done = node.write(bucket, operations, request)
        if done is not None and done.answer is not None:
            if done.answer.repeated:
                raise Violation(f"request: {node.name} claims to have answered {request.id} before")
            self._note(node, bucket, request, done.answer)
        if self.world.rng.random() < RETRY_SHARE:
            wait = self.world.rng.uniform(*RETRY_AFTER)
            self.to_repeat += 1
            self.world.after(wait, lambda: self.again(node, bucket, operations, request))
        return done is not None

    def again(self, node: SimNode, bucket: str, operations: list[Operation], request: Request) -> None:
        """The same request once more, as after an answer that was lost."""
        self.to_repeat -= 1
        if not node.writable():
            return
        known = self.known.get(node.name, {}).get((bucket, request.id))
        done = node.write(bucket, operations, request)
        if done is None or done.answer is None:
            return
        self.world.count("request repeated" if done.answer.repeated else "request made anew")
        if done.answer.repeated:
            if done.rows or (known is not None and done.answer[:2] != known.answer[:2]):
                raise Violation(f"request: {node.name} answers {request.id} with {done}, it had said {known}")
            return
        if known is not None and known.sure and abs(node.wall_ms() - known.wall_ms) < REMEMBERED * 1000:
            raise Violation(f"request: {node.name} has made {request.id} twice, it had said {known}")
        self._note(node, bucket, request, done.answer)

    def _note(self, node: SimNode, bucket: str, request: Request, answer: Answer) -> None:
        self.known.setdefault(node.name, {})[bucket, request.id] = Known(answer, node.wall_ms())

    def power_lost(self, node: SimNode) -> None:
        """What changed nothing may be forgotten with the power; what did goes with its events."""
        for known in self.known.get(node.name, {}).values():
            known.sure = known.sure and known.answer.seq > 0

    def restarted(self, node: SimNode) -> None:
        """A node knows the requests whose writes its disk has kept, and that it has not given up since."""
        for (bucket, _), known in self.known.get(node.name, {}).items():
            held = node.local_clock(bucket).get(known.answer.actor, 0)
            known.sure = known.sure and held >= known.answer.seq

    def forget(self, node: SimNode) -> None:
        """A node goes on with another directory, or with less than it had."""
        self.known.pop(node.name, None)

    def started(self, node: SimNode) -> None:
        """A node has started, perhaps with less than it had: it is no holder of what it lacks any more.

        Whoever heard that start is right to call an event lost that nobody else has.  An older copy of the directory
        may bring it back later, and until that start is heard, too, nobody can know.
        """
        for (_, bucket, actor, seq), had in self._held.items():
            if node.name in had and not self._has(node, bucket, actor, seq):
                had.discard(node.name)

    # -- tokens
    def wrote(self, node: SimNode, bucket: str) -> None:
        """A user has written, and may go on elsewhere with the token of it."""
        if len(self.tokens) < TOKENS_KEPT and self.world.rng.random() < TOKEN_SHARE and node.published():
            token = Token(bucket, node.clock(bucket))
            self.tokens.append(token)
            others = [other for other in self.cluster.writable() if other is not node]
            if others:
                reader = self.world.rng.choice(others)
                for wait in (0.0, 0.5, 2.0):
                    self.world.after(wait, lambda: self._wait(reader, token))

    def _wait(self, node: SimNode, token: Token) -> None:
        """Somebody waits for a token at a node: what everybody has is not to be called lost."""
        if node.writable():
            self._lost(node, token)

    def _lost(self, node: SimNode, token: Token) -> bool:
        """Whether a node says that a token waits in vain."""
        beyond = missing(node.clock(token.bucket), token.clock)
        for actor, seq in beyond.items():
            question = (f"{node.name} {node.boots}", token.bucket, actor, seq)
            holders = {other.name for other in self._members(node) if self._has(other, token.bucket, actor, seq)}
            had = self._held.setdefault(question, holders)
            if node.engine.token_lost(token.bucket, {actor: seq}):
                self.world.count("token called lost")
                if self._in_order() and (still := had & holders):
                    raise Violation(
                        f"tokens: {node.name} calls event {seq} of actor {actor:x} lost, {sorted(still)} have it"
                    )
                return True
        return False

    def _in_order(self) -> bool:
        """Whether links keep what the transport promises: an announcement that is lost or late tells of less."""
        weather = self.cluster.plan.weather
        return not (weather.reordered or weather.late or weather.stale or (weather.loss and weather.breaks < 1))

    def _members(self, node: SimNode) -> list[SimNode]:
        """Running nodes that a node counts as members.

        Of two processes under one name nobody listens to the earlier, who has heard of the later: nor to its namesake.
        """
        members = node.members()
        return [
            other
            for other in self.cluster.writable()
            if members.get(other.identity, (0, ""))[1] == "member"
            and (other is node or other.identity != node.identity)
            and not node.knows_later(other)
        ]

    @staticmethod
    def _has(node: SimNode, bucket: str, actor: int, seq: int) -> bool:
        return node.clock(bucket).get(actor, 0) >= seq

    def waiting(self, nodes: Sequence[SimNode]) -> str:
        """ "" when every token is covered by every member, or every member knows that it waits in vain."""
        still = ""
        for token in self.tokens:
            for node in nodes:
                if not covers(node.clock(token.bucket), token.clock) and not self._lost(node, token):
                    still = f"tokens: {missing(node.clock(token.bucket), token.clock)} at {node.name}"
        return still
