"""A world of nodes without sockets and clocks, in which the steps of calls are taken: every fault comes by a dice."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from crdtsync.client.calls import Caller
from crdtsync.client.failures import NO_CONNECTION, CallFailed, failed
from crdtsync.client.nodes import Nodes
from crdtsync.client.steps import Ask, Collect, Look, Pause, Step, Steps
from crdtsync.clocks.tokens import make_token, open_token
from crdtsync.clocks.vector import covers, join
from crdtsync.config import make_connect_config
from crdtsync.transport.pb import data_pb2 as pb

CLUSTER = 7


class Status(Exception):
    """What gRPC raises."""

    def __init__(self, name: str, details: str = "", error: pb.Error | None = None) -> None:
        super().__init__(name, details)
        self.name, self._details, self._error = name, details, error

    def code(self) -> Status:
        return self

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> list[tuple[str, bytes]]:
        return [] if self._error is None else [("crdtsync-error-bin", self._error.SerializeToString())]


def refusal(name: str) -> Status:
    return Status("FAILED_PRECONDITION", name, pb.Error(name=name, message=name))


class FakeNode:
    """One node: writes are events of its actor, remembered by request id."""

    def __init__(self, actor: int) -> None:
        self.name, self.actor = f"n{actor}", actor
        self.clock: dict[int, int] = {}
        self.answers: dict[str, str] = {}  # request id -> token
        self.carried_out: Counter[str] = Counter()
        self.reachable = True
        self.cluster = CLUSTER
        self.instance, self.store = 1000 + actor, 2000 + actor

    def token(self, clock: dict[int, int]) -> str:
        return make_token(self.cluster, {"default": clock})

    def describe(self, request: bytes) -> Any:
        return pb.DescribeResponse(
            node=self.name, cluster=self.cluster, instance=self.instance, store=self.store, depth_max=16,
            key_bytes_max=255,
        )  # fmt: skip

    def restart(self) -> None:
        """A later start, from the same directory."""
        self.instance += 10_000

    def apply(self, request: bytes) -> Any:
        message = pb.ApplyRequest.FromString(request)
        if message.request_id in self.answers:
            return pb.ApplyResponse(token=self.answers[message.request_id], repeated=True)
        seq = self.clock[self.actor] = self.clock.get(self.actor, 0) + 1
        self.carried_out[message.request_id] += 1
        token = self.answers[message.request_id] = self.token({self.actor: seq})
        return pb.ApplyResponse(token=token)

    def read(self, request: bytes) -> Any:
        """The value of everything is the sum of all events."""
        value = pb.Value(integer=sum(self.clock.values()))
        wanted = pb.ReadRequest.FromString(request).token
        return pb.ReadResponse(results=[pb.Result(value=value)], token=self.token(self.clock) if wanted else "")

    def wait_for(self, request: bytes) -> Any:
        clock = open_token(pb.WaitForRequest.FromString(request).token)[1].get("default", {})
        if not covers(self.clock, clock):
            raise refusal("WaitTimeout")
        return pb.WaitForResponse()

    def position(self, request: bytes) -> Any:
        return pb.PositionResponse(token=self.token(self.clock))


REQUESTS: dict[str, Any] = {
    "Describe": pb.DescribeRequest, "Apply": pb.ApplyRequest, "Read": pb.ReadRequest, "WaitFor": pb.WaitForRequest,
    "Position": pb.PositionRequest,
}  # fmt: skip


class World:
    """Takes steps.

    `fault(node, method)` says what goes wrong: "" nothing, "refused" no connection, "before" and "after" the request is
    carried out the connection is lost, "late" no answer in time, else the name of an error of the node; with a "!" at
    the end, the node goes away, too.
    """

    def __init__(self, count: int, seed: int = 0, **settings: Any) -> None:
        self.rng = random.Random(seed)
        self.time = 0.0
        self.nodes = {f"127.0.0.1:{number}": FakeNode(number) for number in range(1, count + 1)}
        self.fault: Any = lambda node, method: ""
        self.sent: list[tuple[str, str]] = []  # (node, method) of every request that arrived
        self.pauses: list[float] = []
        config = make_connect_config(settings)
        self.caller = Caller(Nodes(list(self.nodes), config, self.rng), config, self.rng)
        self.caller.now = lambda: self.time

    def run(self, steps: Steps[Any]) -> Any:
        try:
            step = next(steps)
            while True:
                try:
                    result = self._take(step)
                except CallFailed as failure:
                    step = steps.throw(failure)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            return end.value

    def _take(self, step: Step) -> Any:
        if isinstance(step, Pause):
            self.time += step.seconds
            self.pauses.append(step.seconds)
            return None
        if isinstance(step, Look):
            return None
        answer = self._ask(step)
        return ([answer], True) if isinstance(step, Collect) else answer

    def _ask(self, step: Ask | Collect) -> bytes:
        node = self.nodes[step.node.address]
        self.time += 0.001
        try:
            return bytes(self._answer(node, step).SerializeToString())
        except Status as status:
            raise failed(status) from None

    def _answer(self, node: FakeNode, step: Ask | Collect) -> Any:
        reachable = node.reachable
        fault = self.fault(node, step.method)
        if fault.endswith("!"):
            fault, node.reachable = fault[:-1], False
        if not reachable or fault == "refused":
            raise Status("UNAVAILABLE", f"{NO_CONNECTION}; last error: Connection refused")
        if fault == "before":
            raise Status("UNAVAILABLE", "Socket closed")
        if fault not in ("", "after", "late"):
            raise refusal(fault)
        node = self.nodes[step.node.address]  # the fault may have been that the connection has moved in silence
        if REQUESTS[step.method].FromString(step.request).instance not in (0, node.instance):
            raise refusal("OtherInstance")
        self.sent.append((node.name, step.method))
        handler = {"Describe": node.describe, "Apply": node.apply, "Read": node.read, "WaitFor": node.wait_for,
                   "Position": node.position}[step.method]  # fmt: skip
        answer = handler(step.request)
        if fault == "after":
            raise Status("UNAVAILABLE", "Connection reset by peer")
        if fault == "late":
            self.time += step.timeout
            raise Status("DEADLINE_EXCEEDED", "Deadline Exceeded")
        return answer

    def swap(self, one: str, other: str) -> None:
        """Connections to either address lead to the node of the other one from now on, and nobody is told."""
        self.nodes[one], self.nodes[other] = self.nodes[other], self.nodes[one]

    def gossip(self, source: FakeNode, target: FakeNode) -> None:
        """The target gets what the source has."""
        target.clock = join(target.clock, source.clock)
