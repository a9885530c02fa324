"""What a call does when something fails, line by line of the table in docs/client.md, and by the dice."""

from __future__ import annotations

from typing import Any

import pytest

from crdtsync.client import verbs
from crdtsync.client.batching import Batching
from crdtsync.client.failures import CallFailed
from crdtsync.datatypes import gcounter, gset, keys
from crdtsync.errors import (
    BadFrame,
    Closed,
    ClusterMismatch,
    CrdtsyncError,
    DeadlineExceeded,
    FieldTypeError,
    InvalidToken,
    MembershipMisuse,
    OutcomeUnknown,
    TokenLost,
    Unreachable,
    WaitTimeout,
)
from crdtsync.transport.pb import data_pb2 as pb
from tests.client.world import FakeNode, World

PLACE = keys.top("k", gcounter.CODE)
INCREMENT = [(gcounter.INCREMENT, PLACE, 1)]
ADD = [(gset.ADD, keys.top("s", gset.CODE), b"\x01")]


def write(world: World, operations: Any = INCREMENT, request_id: str | None = None) -> verbs.Answer:
    answer: verbs.Answer = world.run(verbs.write(world.caller, "default", operations, request_id, False))
    return answer


def read(world: World) -> int:
    return int(world.run(verbs.value(world.caller, "default", PLACE)))


def once(fault: str, method: str, node: str = "n1") -> Any:
    """A fault that comes once."""
    left = [fault]
    return lambda at, asked: left.pop() if left and asked == method and at.name == node else ""


def total(world: World) -> int:
    return sum(sum(node.carried_out.values()) for node in world.nodes.values())


@pytest.mark.parametrize("fault", ["refused", "before", "after", "late", "StartingOver", "ServerBusy", "Overloaded"])
def test_a_read_goes_to_the_next_node(fault: str) -> None:
    world = World(2)
    world.fault = once(fault, "Read")
    assert read(world) == 0
    assert (world.caller.nodes.now.name, world.sent[-1]) == ("n2", ("n2", "Read"))
    assert world.caller.counters.plain()["failovers"] == 1


@pytest.mark.parametrize(
    ("fault", "where"),
    [("refused", "Apply"), ("StartingOver", "Apply"), ("Unavailable", "Apply"), ("Overloaded", "Apply"),
     ("before", "Describe"), ("after", "Describe"), ("late", "Describe")],
)  # fmt: skip
def test_a_write_that_nobody_has_goes_to_the_next_node(fault: str, where: str) -> None:
    world = World(2)
    world.fault = once(fault, where)
    write(world)
    assert (world.sent[-1], total(world)) == (("n2", "Apply"), 1)


@pytest.mark.parametrize("fault", ["before", "after", "late", "Closed"])
def test_a_write_that_may_have_been_taken_goes_to_the_same_node_again(fault: str) -> None:
    world = World(2)
    world.fault = once(fault, "Apply")
    answer = write(world)
    assert (world.sent[-1], total(world)) == (("n1", "Apply"), 1)
    assert answer.repeated == (fault in ("after", "late"))
    assert len(world.caller.unsettled) == 0


@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_node_that_stays_away_leaves_the_outcome_unknown(fault: str) -> None:
    world = World(2)
    down = world.nodes["127.0.0.1:1"]
    world.fault = once(fault + "!", "Apply")
    with pytest.raises(OutcomeUnknown) as caught:
        write(world)
    error = caught.value
    assert (error.node, error.address, error.bucket) == ("n1", "127.0.0.1:1", "default")
    assert world.nodes["127.0.0.1:2"].carried_out == {}
    assert "once, or not at all" in str(error)
    assert error.request_id in str(error)
    write(world)
    assert world.sent[-1] == ("n2", "Apply"), "other writes go on elsewhere"
    down.reachable, world.fault = True, lambda node, method: ""
    write(world, request_id=error.request_id)
    assert world.sent[-1] == ("n1", "Apply"), "this one goes to the node that may have it"
    assert down.carried_out[error.request_id] == 1
    assert world.caller.status()["unsettled"] == 0


def test_an_interrupted_write_goes_to_the_same_node_again() -> None:
    world = World(2)
    first, second = world.nodes.values()
    steps = verbs.write(world.caller, "default", INCREMENT, "order-17", False)
    step = next(steps)
    while getattr(step, "method", "") != "Apply":
        step = steps.send(world._take(step))
    world._take(step)
    steps.close()
    assert world.caller.status()["unsettled"] == 1
    world.caller.nodes.pass_on(world.caller.nodes.now)
    assert write(world, request_id="order-17").repeated
    assert (first.carried_out["order-17"], second.carried_out) == (1, {})
    assert world.caller.status()["unsettled"] == 0


def test_a_stream_that_is_ended_unread_goes_to_the_same_node_again() -> None:
    """The node has carried out what it could not tell any more."""
    world = World(2)
    first, second = world.nodes.values()
    batching = Batching(world.caller, "default")
    write(world)
    batching.add(*INCREMENT[0])
    batch = batching.cut()
    assert batch is not None
    first.apply(batch.request)
    first.reachable = False
    stalled = CallFailed("", WaitTimeout("The caller has not read."), final=True, taken=False)
    with pytest.raises(OutcomeUnknown):
        world.run(batching.settle(world.caller.nodes.now.there, stalled))
    with pytest.raises(OutcomeUnknown):
        world.run(batching.resume())
    assert second.carried_out == {}
    first.reachable = True
    world.run(batching.resume())
    assert (first.carried_out[batch.request_id], batching.answered, len(world.caller.unsettled)) == (1, 1, 0)


def test_another_node_at_the_address_does_not_know_the_request() -> None:
    world = World(1)

    def fail(node: FakeNode, method: str) -> str:
        if method == "Apply":
            node.name, node.answers = "stranger", {}
            return "after"
        return ""

    world.fault = fail
    with pytest.raises(OutcomeUnknown, match="stranger answers there now"):
        write(world)
    assert total(world) == 1


def test_a_fresh_directory_under_the_old_name_does_not_know_the_request() -> None:
    world = World(1)
    (node,) = world.nodes.values()
    world.fault = once("after!", "Apply")
    with pytest.raises(OutcomeUnknown) as caught:
        write(world)
    node.reachable, node.answers = True, {}
    node.restart()
    node.store += 1
    with pytest.raises(OutcomeUnknown, match="does not know what that one did"):
        write(world, request_id=caught.value.request_id)
    assert total(world) == 1


def test_a_restart_knows_the_request() -> None:
    world = World(1)
    (node,) = world.nodes.values()
    world.fault = once("after!", "Apply")
    with pytest.raises(OutcomeUnknown) as caught:
        write(world)
    node.reachable = True
    node.restart()
    assert write(world, request_id=caught.value.request_id).repeated
    assert total(world) == 1


def test_a_connection_that_moves_in_silence_is_noticed_by_the_next_call() -> None:
    """To a node that lacks what was written, and to a later start that lost it: both are waited for."""
    for restart in (False, True):
        world = World(1)
        (node,), other = world.nodes.values(), FakeNode(2)
        write(world)
        if restart:
            clock, node.clock = node.clock, {}
            node.restart()
        else:
            clock, world.nodes["127.0.0.1:1"] = node.clock, other
        with pytest.raises(WaitTimeout, match="does not hold yet"):
            read(world)
        world.nodes["127.0.0.1:1"].clock = clock
        assert read(world) == 1
        assert world.caller.counters.plain()["silent_reconnects"] == 1


def test_a_write_is_not_sent_again_over_a_connection_that_has_moved_in_silence() -> None:
    world = World(1)
    other = FakeNode(2)

    def fault(node: FakeNode, method: str) -> str:
        if method != "Apply":
            return ""
        if node.carried_out:  # it has said who it is once more, and then the connection moves
            world.nodes["127.0.0.1:1"] = other
            return ""
        return "after"

    world.fault = fault
    with pytest.raises(OutcomeUnknown, match=r"n1 .* n2 answers there now"):
        write(world)
    assert (total(world), other.carried_out) == (0, {})


def test_an_address_that_leads_to_nodes_in_turn_is_given_up() -> None:
    """A balancer that does so for every call keeps no session; the next address may be a better one."""
    world = World(2, attempts=6)
    first, turn = [world.nodes["127.0.0.1:1"], FakeNode(3)], iter(range(1000))

    def fault(node: FakeNode, method: str) -> str:
        world.nodes["127.0.0.1:1"] = first[next(turn) % 2]
        return ""

    world.fault = fault
    write(world)
    assert world.caller.nodes.now.name == "n2"
    assert sum(node.carried_out.total() for node in [*first, *world.nodes.values()]) == 1


def test_what_a_node_refuses_is_raised() -> None:
    world = World(2)
    world.fault = lambda node, method: "FieldTypeError" if method == "Apply" else ""
    with pytest.raises(FieldTypeError):
        write(world)
    assert world.caller.counters.plain() == {"connects": 1, "field_type_error": 1}
    world.fault = lambda node, method: "ErrorOfTheFuture" if method == "Apply" else ""
    with pytest.raises(CrdtsyncError, match="ErrorOfTheFuture"):
        write(world)


def test_a_refusal_after_a_lost_answer_is_believed_only_if_it_is_about_the_operations() -> None:
    for name, expected in (("FieldTypeError", FieldTypeError), ("KeyError", KeyError), ("DiskFull", OutcomeUnknown),
                           ("StartingOver", OutcomeUnknown)):  # fmt: skip
        world = World(2)
        faults = iter(["before"])
        world.fault = lambda node, method, faults=faults, name=name: next(faults, name) if method == "Apply" else ""
        with pytest.raises(expected):
            write(world)
        assert len(world.caller.unsettled) == (expected is OutcomeUnknown)


def test_idempotent_writes_go_elsewhere_when_that_is_allowed() -> None:
    for settings, operations, request_id, goes in (
        ({}, ADD, None, False), ({"retry_elsewhere": "idempotent"}, ADD, None, True),
        ({"retry_elsewhere": "idempotent"}, ADD, "chosen", False),
        ({"retry_elsewhere": "idempotent"}, ADD + INCREMENT, None, False),
    ):  # fmt: skip
        world = World(2, **settings)
        world.fault = once("after", "Apply")
        write(world, operations, request_id)
        assert world.sent[-1] == ("n2" if goes else "n1", "Apply")


def test_nobody_answers() -> None:
    world = World(3)
    world.fault = lambda node, method: "refused"
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:3"):
        write(world)
    assert world.time <= world.caller.config.timeout + 1
    assert 3 < len(world.pauses) <= world.caller.config.attempts
    assert max(world.pauses) <= world.caller.config.backoff_max


@pytest.mark.parametrize("count", [1, 3])
def test_nodes_that_have_all_left_are_not_waited_for(count: int) -> None:
    world = World(count)
    asked: list[str] = []

    def fault(node: FakeNode, method: str) -> str:
        if method != "Apply":
            return ""
        asked.append(node.name)
        return "MembershipMisuse"

    world.fault = fault
    with pytest.raises(MembershipMisuse):
        write(world)
    assert (asked, world.pauses) == ([node.name for node in world.nodes.values()], [])
    assert len(world.caller.unsettled) == 0


def test_a_node_that_has_left_may_still_have_the_write() -> None:
    """It was sent before: that the node takes no more says nothing of what it took."""
    world = World(2)
    faults = iter(["before"])
    world.fault = lambda node, method: next(faults, "MembershipMisuse") if method == "Apply" else ""
    with pytest.raises(OutcomeUnknown):
        write(world)
    assert len(world.caller.unsettled) == 1


def test_the_deadline() -> None:
    world = World(1)
    world.fault = lambda node, method: "late" if method == "Read" else ""
    with pytest.raises(DeadlineExceeded) as caught:
        read(world)
    assert isinstance(caught.value, TimeoutError)
    assert world.time <= world.caller.config.timeout + 0.1
    world.fault = lambda node, method: "late" if method == "Apply" else ""
    with pytest.raises(OutcomeUnknown):
        write(world)
    assert total(world) == 1


def test_a_deadline_around_several_calls() -> None:
    world = World(1)
    with world.caller.deadline(2.0):
        assert read(world) == 0
        with world.caller.deadline(60.0):
            world.fault = lambda node, method: "late"
            with pytest.raises(DeadlineExceeded):
                read(world)
        assert world.time <= 2.1
        world.fault = lambda node, method: ""
        sent = list(world.sent)
        with pytest.raises(DeadlineExceeded, match="not been sent"):
            write(world)
        assert world.sent == sent
    write(world)
    assert total(world) == 1


def test_attempts_are_bounded() -> None:
    world = World(1, attempts=3)
    asked = []
    world.fault = lambda node, method: asked.append(method) or "refused"
    with pytest.raises(Unreachable):
        read(world)
    assert len(asked) == 3


def test_you_read_your_writes_after_a_failover() -> None:
    world = World(2)
    one, two = world.nodes.values()
    write(world)
    one.reachable = False
    with pytest.raises(WaitTimeout, match="does not hold yet"):
        read(world)
    with pytest.raises(WaitTimeout):
        write(world)
    assert total(world) == 1, "a write waits for the session, too"
    world.gossip(one, two)
    assert read(world) == 1
    write(world)
    assert read(world) == 2
    one.reachable, two.reachable = True, False
    world.gossip(two, one)
    assert read(world) == 2


def test_a_node_that_lags_is_passed_over() -> None:
    world = World(3)
    one, _, three = world.nodes.values()
    write(world)
    world.gossip(one, three)
    one.reachable = False
    assert read(world) == 1
    assert world.caller.nodes.now.name == "n3"


def test_what_was_read_counts_if_asked_for() -> None:
    for mode, waits in (("writes", False), ("reads", True), ("none", False)):
        world = World(2, session=mode)
        one, two = world.nodes.values()
        one.clock = {5: 3}
        assert read(world) == 3
        one.reachable = False
        if waits:
            with pytest.raises(WaitTimeout):
                read(world)
            world.caller.session.forget()
        assert read(world) == 0
        two.clock = {5: 3}
        assert read(world) == 3


def test_tokens_of_a_store_that_gets_its_first_peer_are_had_anew() -> None:
    """Its old ones carry its name, and mean nothing to the peer."""
    world = World(2)
    one, two = world.nodes.values()
    one.cluster = one.name  # type: ignore[assignment]
    described = pb.DescribeResponse(node=one.name, cluster=two.cluster, instance=one.instance, store=one.store)
    one.describe = lambda request: described  # type: ignore[method-assign]
    write(world)
    write(world)
    one.cluster = two.cluster
    write(world)
    assert world.sent[-1] == ("n1", "Position")
    world.gossip(one, two)
    one.reachable = False
    assert read(world) == 3


@pytest.mark.parametrize("elsewhere", [True, False], ids=["another node answers", "nobody answers"])
def test_tokens_that_cannot_be_had_anew_are_lost_and_the_write_is_not(elsewhere: bool) -> None:
    """The node goes away between the write and the question for its older tokens."""
    world = World(2, timeout=1.0)
    one, two = world.nodes.values()
    one.cluster = one.name  # type: ignore[assignment]
    described = pb.DescribeResponse(node=one.name, cluster=two.cluster, instance=one.instance, store=one.store)
    one.describe = lambda request: described  # type: ignore[method-assign]
    write(world)
    one.cluster, two.reachable = two.cluster, elsewhere

    def fault(node: FakeNode, method: str) -> str:
        if (node, method) != (one, "Position"):
            return ""
        world.gossip(one, two)
        return "refused!"

    world.fault = fault
    assert write(world).token
    assert total(world) == 2
    one.reachable = two.reachable = True
    for call in (read, write):
        with pytest.raises(TokenLost, match="before that had its first peer"):
            call(world)
    assert total(world) == 2
    world.caller.session.forget()
    assert read(world) == 2


def test_a_session_that_no_node_can_have_ends_with_forget() -> None:
    for name, error in (("TokenLost", TokenLost), ("InvalidToken", InvalidToken)):
        world = World(2)
        write(world)
        next(iter(world.nodes.values())).reachable = False
        world.fault = lambda node, method, name=name: name if method == "WaitFor" else ""
        with pytest.raises(error, match="forget"):
            read(world)
        world.caller.session.forget()
        assert read(world) == 0


def test_nodes_of_another_cluster_are_not_used() -> None:
    world = World(2)
    one, two = world.nodes.values()
    read(world)
    two.cluster = 8
    one.reachable = False
    with pytest.raises(ClusterMismatch):
        read(world)
    assert ("n2", "Read") not in world.sent


def test_a_node_that_pages_for_ever_is_not_followed() -> None:
    world = World(1)
    pages = iter([pb.Elements(cursor=b"x")] * 10)
    next(iter(world.nodes.values())).read = lambda request: pb.ReadResponse(results=[pb.Result(elements=next(pages))])
    with pytest.raises(BadFrame):
        world.run(verbs.elements(world.caller, "default", keys.top("s", gset.CODE), b"", 10))
    assert world.caller.counters.plain()["bad_frame"] == 1


def test_the_end() -> None:
    world = World(1)
    world.caller.closed = True
    with pytest.raises(Closed):
        read(world)
    assert world.sent == []


FAULTS = ["", "", "", "", "refused", "before", "after", "late", "StartingOver", "ServerBusy", "DiskFull"]


@pytest.mark.parametrize("block", range(4))
def test_by_the_dice_no_write_is_lost_or_made_twice(block: int) -> None:
    """Whatever fails: a write that returned is there once, one that raised is not, but for those that are unknown."""
    unknown = 0
    for seed in range(block * 100, block * 100 + 100):
        world = World(3, seed, attempts=6)
        nodes = list(world.nodes.values())
        rng, written = world.rng, 0
        world.fault = lambda node, method, rng=rng: rng.choice(FAULTS)
        for number in range(20):
            rng.choice(nodes).reachable = rng.random() < 0.7
            if rng.random() < 0.5:
                world.gossip(*rng.sample(nodes, 2))
            if rng.random() < 0.2:
                world.swap(*rng.sample(list(world.nodes), 2))
            if rng.random() < 0.1:
                rng.choice(nodes).restart()
            name = f"{seed}-{number}"
            try:
                write(world, request_id=name)
            except OutcomeUnknown as error:
                unknown += 1
                assert sum(node.carried_out[name] for node in nodes) <= 1
                assert error.request_id == name
            except CrdtsyncError:
                assert sum(node.carried_out[name] for node in nodes) == 0
            else:
                written += 1
                assert sum(node.carried_out[name] for node in nodes) == 1
            try:
                assert read(world) >= written
            except CrdtsyncError:
                pass
    assert unknown, "the dice never left a write unknown: the test shows nothing"
