"""One call: tried until a node has answered it, the time is up, or trying again could carry a write out twice.

Before the first call on a connection the node says who it is, and is waited for until it holds what the session has;
both are reads.  So of a write that fails before that it is known that nobody took it, and it may go to the next node.
A write that was sent and not answered may only be sent again to the same node, where its request id makes that
harmless; when that node stays away, the call ends with OutcomeUnknown.
"""

from __future__ import annotations

import itertools
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from crdtsync.client.answers import M, read
from crdtsync.client.failures import CallFailed, Counters
from crdtsync.client.nodes import Instance, Node, Nodes
from crdtsync.client.session import Session
from crdtsync.client.steps import Ask, Collect, Look, Pause, Steps
from crdtsync.clocks.tokens import open_token
from crdtsync.config import ConnectConfig, milliseconds
from crdtsync.errors import (
    BadFrame,
    Closed,
    ClusterMismatch,
    CrdtsyncError,
    DeadlineExceeded,
    Denied,
    InvalidToken,
    MembershipMisuse,
    Misuse,
    OtherInstance,
    OutcomeUnknown,
    TokenLost,
    Unreachable,
    WaitTimeout,
)
from crdtsync.transport.pb import data_pb2 as pb

TLS_TROUBLES = (
    "needs_tls", "plaintext", "wrong_ca", "expired", "wrong_name", "wrong_role", "no_certificate", "refused_ours",
)  # fmt: skip
DEADLINE: ContextVar[float | None] = ContextVar("crdtsync_deadline", default=None)  # on the clock of Caller.now
WAIT_MARGIN = 0.1  # s between the end of a wait at the node and the end of the call, so that the node can say so


class Call(NamedTuple):
    """What is to be called."""

    method: str
    request: bytes
    writes: bool = False
    bucket: str = ""  # of a write
    request_id: str = ""  # of a write
    anywhere: bool = False  # a write that may be carried out at several nodes
    pages: bool = False  # its answers are a stream
    patient: bool = False  # one try may take all the time


class Answered(NamedTuple):
    """What came back, and from whom."""

    there: Instance
    answers: list[bytes]
    complete: bool = True  # False: the stream of answers was cut short


class Caller:
    """Makes calls for one client.  Its generators run in any thread, or in any task of one loop."""

    def __init__(self, nodes: Nodes, config: ConnectConfig, rng: random.Random) -> None:
        self.nodes, self.config, self._rng = nodes, config, rng
        self.session, self.counters = Session(config.session), Counters()
        self.now = time.monotonic
        self.described: pb.DescribeResponse = pb.DescribeResponse()
        self.cluster = 0
        self.unsettled = Unsettled()
        self.closed = False
        self._ids, self._numbers = secrets.token_hex(12), itertools.count(1)

    def check(self) -> None:
        """Raise Closed after the end."""
        if self.closed:
            raise self.counters.refused(Closed("The client has been closed.", hint="Connect again."))

    def next_id(self) -> str:
        """A request id that nobody else makes."""
        return f"{self._ids}-{next(self._numbers):x}"

    @property
    def message_bytes_max(self) -> int:
        """Bytes that one request may have."""
        return min(self.config.message_bytes_max, self.described.message_bytes_max or self.config.message_bytes_max)

    def status(self) -> dict[str, Any]:
        """Client.status."""
        return {
            "node": self.nodes.now.name,
            "address": self.nodes.now.address,
            "nodes": [
                {"address": node.address, "node": node.name, "connected": node.greeted, "trouble": node.trouble}
                for node in self.nodes.all
            ],
            "unsettled": len(self.unsettled),
            "counters": self.counters.plain(),
        }

    def check_token(self, token: str) -> None:
        """Raise InvalidToken unless it is a token, of whatever cluster."""
        try:
            open_token(token)
        except InvalidToken as error:
            raise self.counters.refused(error) from None

    def read(self, kind: type[M], answer: bytes) -> M:
        """An answer, decoded.  Raises BadFrame."""
        try:
            return read(kind, answer)
        except BadFrame as error:
            raise self.counters.refused(error) from None

    # -- one call

    def make(self, call: Call, timeout: float | None = None) -> Steps[Answered]:
        """Carry a call out.  Raises what the node raises, and Unreachable, DeadlineExceeded, Denied ..."""
        self.check()
        tries = Tries(call, self._deadline(self.config.timeout if timeout is None else timeout))
        if call.request_id:
            tries.sent = self.unsettled.find(call.request_id)
        try:
            while True:
                node = tries.sent.node if tries.sent is not None else self.nodes.now
                try:
                    answered = yield from self._once(tries, node)
                except CallFailed as failure:
                    yield from self._after(tries, node, failure)
                else:
                    self.unsettled.settle(call.request_id)
                    return answered
        except CrdtsyncError as error:
            raise self.counters.refused(error) from error.__cause__

    def patience(self) -> float:
        """Seconds that what begins now may take.  Raises DeadlineExceeded."""
        return self._deadline(self.config.timeout) - self.now()

    def _deadline(self, limit: float) -> float:
        """When a call that begins now has to end.  Raises DeadlineExceeded when that is past."""
        now, outer = self.now(), DEADLINE.get()
        if outer is None:
            return now + limit
        if outer <= now:
            text = "The time of the deadline() around this call is up; it has not been sent."
            raise self.counters.refused(DeadlineExceeded(text))
        return min(now + limit, outer)

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Client.deadline."""
        end, outer = self.now() + seconds, DEADLINE.get()
        token = DEADLINE.set(end if outer is None else min(end, outer))
        try:
            yield
        finally:
            DEADLINE.reset(token)

    def _once(self, tries: Tries, node: Node) -> Steps[Answered]:
        call = tries.call
        try:
            there = node.there
            if not node.known or tries.sent is not None:  # who it was before is not good enough for a second try
                there = yield from self._greet(node, tries)
            if tries.sent is None and not self.session.held_by(there):  # what was sent before has waited for it then
                yield from self._catch_up(there, tries.left(self.now()))
        except CallFailed as failure:
            failure.taken = False
            raise
        if tries.sent is not None and not there.remembers(tries.sent):  # it does not know the request id
            raise self._unknown(tries, f"node {there.name} answers there now, and does not know what that one did")
        tries.there = there
        request = call.request if call.method.startswith("/") else call.request + there.stamp
        left = tries.left(self.now())
        if not call.patient:
            left = min(left, self.config.attempt_timeout)
        if call.pages:
            answers, complete = yield Collect(node, call.method, request, left, self.config.page_bytes)
            return Answered(there, answers, complete)
        try:
            answer: bytes = yield Ask(node, call.method, request, left)
        except GeneratorExit:  # whoever waited has been interrupted or cancelled
            self._leave_open(tries, there)
            raise
        return Answered(there, [answer])

    # -- before the first call

    def _greet(self, node: Node, tries: Tries) -> Steps[Instance]:
        """Have the node say who it is."""
        left = min(tries.left(self.now()), self.config.connect_timeout)
        answer: bytes = yield Ask(node, "Describe", b"", left)
        described = self.read(pb.DescribeResponse, answer)
        if described.cluster and self.cluster and described.cluster != self.cluster:
            text = f"{described.node} at {node.address} belongs to another cluster than the nodes spoken to before."
            raise CallFailed(text, ClusterMismatch(text, hint="Name nodes of one cluster."))
        self.cluster = described.cluster or self.cluster
        self.described = described
        node.there, node.greeted = Instance(node, described.node, described.instance, described.store), True
        self.counters.count("connects")
        return node.there

    def _catch_up(self, there: Instance, left: float) -> Steps[None]:
        """Wait until the node holds what the session has."""
        if self.session.lost:
            text = "What this session wrote at a node before that had its first peer cannot be named any more."
            raise CallFailed(text, TokenLost(text, hint="forget() begins a new session."), final=True)
        token, version = self.session.token()
        if token:
            wait = pb.WaitForRequest(token=token, timeout_ms=milliseconds(left - WAIT_MARGIN))
            try:
                yield Ask(there.node, "WaitFor", wait.SerializeToString() + there.stamp, left)
            except CallFailed as failure:
                raise self._lacking(there.node, failure) from None
        there.holds = version

    def _lacking(self, node: Node, failure: CallFailed) -> CallFailed:
        """The failure of a wait for the session; another node may do better."""
        if isinstance(failure.error, WaitTimeout) or failure.late:
            text = f"{node} does not hold yet what this session has written or read."
            return CallFailed(text, WaitTimeout(text, hint="Is it in reach of the other nodes?"))
        if isinstance(failure.error, InvalidToken | TokenLost):
            text = f"{node} cannot have what this session has written or read: {failure.error.message}"
            return CallFailed(text, type(failure.error)(text, hint="forget() begins a new session."))
        return failure

    # -- after a failure

    def _after(self, tries: Tries, node: Node, failure: CallFailed) -> Steps[None]:
        """Make ready for the next try, or raise."""
        self.lost(node, failure)
        self._settle(tries, failure)
        if self.closed:
            yield from self._give_up(tries, node, failure)
        if isinstance(failure.error, MembershipMisuse):
            tries.outside.add(node)
        moved = isinstance(failure.error, OtherInstance)  # somebody is there
        nowhere = tries.sent is None and len(tries.outside) == len(self.nodes.all)
        stays = nowhere or tries.sent is not None or (moved and tries.count == 0)
        if not stays and self.nodes.pass_on(node):
            self.counters.count("failovers")
        tries.count += 1
        if nowhere or tries.count >= self.config.attempts or self.now() >= tries.deadline:
            yield from self._give_up(tries, node, failure)
        self.counters.count("retries")
        rounds, turn = divmod(tries.count, 1 if tries.sent is not None else len(self.nodes.all))
        if turn == 0:
            yield Pause(min(self.backoff(rounds), tries.left(self.now())))

    def backoff(self, rounds: int) -> float:
        """Seconds to wait when so many rounds have failed: a random part of a bound that doubles."""
        bound = min(self.config.backoff_max, self.config.backoff_min * 2 ** min(rounds - 1, 32))
        return float(bound * self._rng.random())

    def lost(self, node: Node, failure: CallFailed) -> None:
        """A stream on this node has failed: the next call finds out whether it is still there."""
        node.trouble = failure.text
        moved = isinstance(failure.error, OtherInstance)
        if moved:
            self.counters.count("silent_reconnects")
        if moved or failure.error is None:
            node.greeted = False

    def _settle(self, tries: Tries, failure: CallFailed) -> None:
        """Raise what is final; note down a write that may have been carried out."""
        error = failure.error
        # With an earlier try unanswered, only an error that comes of the operations themselves tells what became of it.
        if error is not None and failure.final and (tries.sent is None or isinstance(error, Misuse | KeyError)):
            self.unsettled.settle(tries.call.request_id)
            raise self.counters.of(error)
        if failure.taken and tries.there is not None:
            self._leave_open(tries, tries.there)

    def _leave_open(self, tries: Tries, there: Instance) -> None:
        """The node may have taken it: a write must not go to another one any more."""
        if tries.sent is None and tries.call.writes and not tries.call.anywhere:
            tries.sent = there
            self.unsettled.note(tries.call.request_id, there)

    def _give_up(self, tries: Tries, node: Node, failure: CallFailed) -> Steps[None]:
        if tries.sent is not None:
            raise self._unknown(tries, failure.text) from failure
        self.check()
        if failure.error is not None:
            raise self.counters.of(failure.error)
        if failure.late:
            raise DeadlineExceeded(f"{node} has not answered {tries.call.method} in time.") from failure
        raise (yield from self.unreachable(node)) from failure

    def unreachable(self, node: Node) -> Steps[CrdtsyncError]:
        """The error of a client that reaches nobody, with the reason where it can be found."""
        diagnosis = yield Look(node)
        if diagnosis is not None and diagnosis.code in TLS_TROUBLES:
            return Denied(diagnosis.text, hint=diagnosis.hint)
        if diagnosis is not None and diagnosis.code == "odd":
            return Unreachable(diagnosis.text, hint=diagnosis.hint or None)
        return Unreachable(f"No node can be reached: {self.nodes.troubles().rstrip('.')}.")

    def _unknown(self, tries: Tries, why: str) -> OutcomeUnknown:
        call, sent = tries.call, tries.sent
        assert sent is not None  # it has been sent somewhere
        return OutcomeUnknown(
            f"Node {sent.name} at {sent.node.address} was sent a write and has not answered: {why.rstrip('.')}.",
            node=sent.name, address=sent.node.address, bucket=call.bucket, request_id=call.request_id,
        )  # fmt: skip

    # -- the session

    def note(self, token: str, there: Instance) -> Steps[None]:
        """Take the token of an answer into the session."""
        self.session.note(token, there)
        buckets = self.session.renewal()
        if buckets:  # the store has had its first peer: its older tokens mean nothing to others
            request = pb.PositionRequest(buckets=buckets).SerializeToString()
            try:
                again, [answer], _ = yield from self.make(Call("Position", request))
            except CrdtsyncError:  # what the token is about has been done all the same
                self.session.lose()
                return
            if not again.remembers(there):  # where another node stands says nothing of that one
                self.session.lose()
                return
            self.session.note(self.read(pb.PositionResponse, answer).token, again)

    # -- the beginning

    def connect(self) -> Steps[None]:
        """Reach one node.  Raises Unreachable, Denied, ClusterMismatch ...

        Each has one try; those that are there, but whose answer was cut off, have more until the time is up.
        """
        deadline, rounds, failure = self.now() + self.config.timeout, 0, CallFailed("")
        cut_off = True
        while cut_off and self.now() < deadline and rounds < self.config.attempts:
            if rounds:
                yield Pause(min(self.backoff(rounds), max(deadline - self.now(), 0.0)))
            cut_off, rounds = False, rounds + 1
            for node in self.nodes.all:
                try:
                    yield from self._greet(node, Tries(Call("Describe", b""), deadline))
                    return
                except CallFailed as error:
                    node.trouble, failure = error.text, error
                    cut_off = cut_off or error.cut_off
                    self.nodes.pass_on(node)
        if failure.error is not None:
            raise self.counters.of(failure.error)
        raise self.counters.refused((yield from self.unreachable(self.nodes.now))) from failure


class Tries:
    """How far a call has come."""

    def __init__(self, call: Call, deadline: float) -> None:
        self.call, self.deadline = call, deadline
        self.count = 0
        self.there: Instance | None = None  # whom the last try was meant for
        self.sent: Instance | None = None  # only that node may be tried: it may have taken the write already
        self.outside: set[Node] = set()  # have left their cluster, or never had one: waiting for them is of no use

    def left(self, now: float) -> float:
        """Seconds until the deadline; never so few that gRPC takes them for none."""
        return max(0.001, self.deadline - now)


class Unsettled:
    """Request ids of writes whose outcome is unknown: sent again, they go to the node that may have taken them."""

    KEPT_MAX = 10_000

    def __init__(self) -> None:
        self._sent: dict[str, Instance] = {}

    def note(self, request_id: str, sent: Instance) -> None:
        """This may have been taken there."""
        while len(self._sent) >= self.KEPT_MAX:
            self._sent.pop(next(iter(self._sent)), None)
        self._sent[request_id] = sent

    def find(self, request_id: str) -> Instance | None:
        """Where it has to go."""
        return self._sent.get(request_id)

    def settle(self, request_id: str) -> None:
        """It has been answered."""
        if self._sent:
            self._sent.pop(request_id, None)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._sent

    def __len__(self) -> int:
        return len(self._sent)
