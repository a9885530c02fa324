"""Real nodes in one process over loopback gRPC: convergence, tokens, watchers, joining, leaving, coming back."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

import crdtsync
from crdtsync import Node
from crdtsync.errors import (
    FieldTypeError,
    InvalidToken,
    JoinError,
    MembershipMisuse,
    QuorumMissing,
    TokenLost,
    WaitTimeout,
)

DEADLINE = 30.0  # s


def until(condition: Callable[[], Any], what: str = "") -> Any:
    """Wait for a condition; its value."""
    deadline = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < deadline, what or "this never came"
        time.sleep(0.005)
    return value


def converge(nodes: Iterable[Node]) -> None:
    """Wait until every node holds what each of them holds now, and check that they are equal."""
    nodes = list(nodes)
    tokens = [node.token() for node in nodes]
    for node in nodes:
        for token in tokens:
            node.wait_for(token, timeout=DEADLINE)
    assert len({node.digest() for node in nodes}) == 1
    assert len({str(list(node.items())) for node in nodes}) == 1


@pytest.fixture
def cluster(open_node: Any) -> Callable[..., list[Node]]:
    def make(*names: str, **settings: Any) -> list[Node]:
        nodes: list[Node] = []
        for name in names:
            join = [nodes[0].address] if nodes else []
            nodes.append(open_node(name, name=name, listen="127.0.0.1:0", join=join, **settings))
        return nodes

    return make


def test_three_nodes_of_all_types_agree(cluster: Any) -> None:
    nodes = cluster("a", "b", "c")
    for number, node in enumerate(nodes):
        node.pncounter("stock").increment(10 ** (number + 1))
        node.orset("tags").update([number, "all"])
        node.gset("seen").add(("node", number))
        node.lwwregister("price").set({"by": number})
        node.mvregister("owner").set(number)
        node.flag("shown").enable()
        product = node.map("product")
        product.gcounter("views").increment()
        product.map("by").lwwregister(str(number)).set(number)
        node.bucket("own").pncounter(f"n{number}").decrement()
    converge(nodes)
    for node in nodes:
        assert node.pncounter("stock").value == 1110
        assert node.orset("tags").value == {0, 1, 2, "all"}
        assert node.map("product").value == {"views": 3, "by": {"0": 0, "1": 1, "2": 2}}
        assert sorted(node.mvregister("owner").values) in ([0, 1, 2], [2], [1], [0], [0, 1], [0, 2], [1, 2])
        assert list(node.bucket("own").keys()) == ["n0", "n1", "n2"]
    nodes[0].delete("product")
    nodes[1].orset("tags").remove("all")
    nodes[2].pncounter("stock").reset()
    converge(nodes)
    assert [item.key for item in nodes[0].items()] == ["owner", "price", "seen", "shown", "tags"]


def test_another_transport_can_be_passed_in(open_node: Any) -> None:
    from crdtsync.transport.grpc import GrpcTransport

    made: list[GrpcTransport] = []

    def make(config: Any) -> GrpcTransport:
        made.append(GrpcTransport(config))
        return made[-1]

    a = open_node("a", listen="127.0.0.1:0", transport=make)
    b = open_node("b", listen="127.0.0.1:0", join=[a.address], transport=make)
    assert [each.address for each in made] == [a.address, b.address]
    b.flag("f").enable()
    converge([a, b])


def test_random_writes_everywhere_converge(cluster: Any) -> None:
    nodes = cluster("a", "b", "c")

    def work(number: int) -> None:
        rng, node = random.Random(number), nodes[number]
        for _ in range(400):
            roll, key = rng.random(), f"k{rng.randrange(5)}"
            if roll < 0.3:
                node.pncounter(key).increment(rng.choice([1, 2, -5]))
            elif roll < 0.5:
                node.orset(key).add(rng.randrange(10))
            elif roll < 0.6:
                node.orset(key).discard(rng.randrange(10))
            elif roll < 0.8:
                node.lwwregister(key).set(rng.random())
            elif roll < 0.9:
                with node.batch():
                    node.map(key).pncounter("n").increment()
                    node.map(key).orset("s").update([rng.randrange(5), rng.randrange(5)])
            elif roll < 0.95:
                node.delete(key, rng.choice(["orset", "map", "lwwregister"]))
            else:
                node.pncounter(key).reset()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    converge(nodes)


def test_a_batch_appears_whole_on_peers(cluster: Any) -> None:
    a, b = cluster("a", "b")
    a.orset("s").add("here")
    b.wait_for(a.token(), timeout=DEADLINE)
    stop, torn = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            seen = b.orset("s").value
            if len(seen & {"here", "there"}) != 1:
                torn.append(seen)

    thread = threading.Thread(target=look)
    thread.start()
    at, other = "here", "there"
    for _ in range(200):
        with a.batch():
            a.orset("s").remove(at)
            a.orset("s").add(other)
        at, other = other, at
    b.wait_for(a.token(), timeout=DEADLINE)
    stop.set()
    thread.join()
    assert torn == []


def test_tokens_roam(cluster: Any) -> None:
    a, b, c = cluster("a", "b", "c")
    for number in range(20):
        node = (a, b, c)[number % 3]
        node.gset("s").add(number)
        token = node.token()
        following = (a, b, c)[(number + 1) % 3]
        following.wait_for(token, timeout=DEADLINE)
        assert number in following.gset("s")

    async def main() -> None:
        a.gset("s").add("async")
        await asyncio.gather(*(node.aio.wait_for(a.token(), timeout=DEADLINE) for node in (b, c)))

    asyncio.run(main())
    assert "async" in c.gset("s")


def test_a_token_from_before_the_first_peer_stays_good(open_node: Any) -> None:
    a = open_node("a", listen="127.0.0.1:0")
    a.pncounter("c").increment(3)
    token = a.token()
    b = open_node("b", listen="127.0.0.1:0", join=[a.address])
    a.wait_for(token, timeout=DEADLINE)
    a.pncounter("c").increment()
    with a.watch(after=token) as changes:
        change = changes.next(DEADLINE)
    assert change is not None
    assert change.value == 4
    converge([a, b])
    assert b.pncounter("c").value == 4


def test_watching_what_another_node_writes(cluster: Any) -> None:
    a, b = cluster("a", "b")
    with b.watch("product:") as changes:
        a.lwwregister("other").set(1)
        a.lwwregister("product:1").set("Widget")
        change = changes.next(DEADLINE)
        assert change is not None
        assert (change.key, change.value, change.deleted) == ("product:1", "Widget", False)
        a.delete("product:1")
        change = changes.next(DEADLINE)
        assert change is not None
        assert (change.key, change.value, change.deleted) == ("product:1", None, True)
    a.pncounter("product:2").increment(2)
    a.pncounter("product:2").increment(3)
    b.wait_for(a.token(), timeout=DEADLINE)
    with b.watch("product:", after=change.token) as changes:
        again = changes.next(DEADLINE)
        assert again is not None
        assert (again.key, again.value) == ("product:2", 5)
    with a.watch(after=again.token) as changes:
        assert [change.key for change in iter(lambda: changes.next(0), None) if change.key != "product:2"] == []


def test_a_restarted_node_takes_up_where_it_was(open_node: Any) -> None:
    a = open_node("a", listen="127.0.0.1:0")
    b = open_node("b", listen="127.0.0.1:0", join=[a.address])
    b.pncounter("c").increment(5)
    token = b.token()
    b.close()
    a.wait_for(token, timeout=DEADLINE)
    a.pncounter("c").increment()
    b = open_node("b", listen="127.0.0.1:0", join=[a.address])
    b.pncounter("c").increment(10)
    converge([a, b])
    assert a.pncounter("c").value == 16
    assert b.name in a.members()


def test_all_restart_at_other_ports(open_node: Any) -> None:
    a = open_node("a", listen="127.0.0.1:0")
    others = [open_node(name, listen="127.0.0.1:0", join=[a.address]) for name in "bc"]
    a.pncounter("c").increment()
    converge([a, *others])
    for node in [*others, a]:
        node.close()
    a = open_node("a", listen="127.0.0.1:0")
    b = open_node("b", listen="127.0.0.1:0", join=[a.address])
    c = open_node("c", listen="127.0.0.1:0", join=[b.address])
    for node in (a, b, c):
        node.pncounter("c").increment()
    converge([a, b, c])
    assert a.pncounter("c").value == 4


def test_deleted_rows_are_collected(cluster: Any) -> None:
    nodes = cluster("a", "b", "c", collect_interval=0.1, heartbeat_interval=0.1)
    for number in range(50):
        nodes[number % 3].orset("s").add(number)
    converge(nodes)
    nodes[1].orset("s").clear()
    nodes[2].lwwregister("r").set(1)
    nodes[2].lwwregister("r").clear()
    converge(nodes)
    for node in nodes:
        until(lambda node=node: node.local.store.bucket("default").scan(b"") == [], "dead rows are left")
    token = nodes[0].token()
    nodes[0].flag("f").enable()
    converge(nodes)
    with nodes[1].watch(after=token) as changes:
        change = changes.next(0)
        assert change is not None
        assert change.key == "f"


def test_a_token_below_the_floor_is_too_old(cluster: Any) -> None:
    from crdtsync.errors import TokenTooOld

    a, b = cluster("a", "b", collect_interval=0.1, heartbeat_interval=0.1)
    a.orset("s").add(1)
    token = a.token()
    a.orset("s").clear()
    until(lambda: b.local.store.floor("default"), "nothing was collected")
    with pytest.raises(TokenTooOld):
        b.watch(after=token)
    assert b.status()["counters"]["token_too_old"] == 1


def test_joining_through_nobody(open_node: Any) -> None:
    with pytest.raises(JoinError, match=r"127\.0\.0\.1:1 "):
        open_node("a", listen="127.0.0.1:0", join=["127.0.0.1:1"], join_timeout=0.3)
    a = open_node("b", listen="127.0.0.1:0")
    a.flag("f").enable()
    joined = open_node("a", listen="127.0.0.1:0", join=["127.0.0.1:1", a.address], join_timeout=DEADLINE)
    assert joined.flag("f").value


def test_joiners_start_before_their_sponsor(open_node: Any) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    opened: list[Node] = []

    def join(name: str) -> None:
        opened.append(open_node(name, listen="127.0.0.1:0", join=[f"127.0.0.1:{port}"]))

    threads = [threading.Thread(target=join, args=(name,)) for name in "bcd"]
    for thread in threads:
        thread.start()
    a = open_node("a", listen=f"127.0.0.1:{port}")
    for thread in threads:
        thread.join(DEADLINE)
    assert len(opened) == 3
    for node in [a, *opened]:
        node.pncounter("c").increment()
    converge([a, *opened])
    assert a.pncounter("c").value == 4


def test_a_private_store_brings_its_rows(open_node: Any) -> None:
    a, b = open_node("a", listen="127.0.0.1:0"), open_node("b")
    a.pncounter("c").increment(1)
    b.pncounter("c").increment(10)
    b.orset("s").add("mine")
    b.close()
    b = open_node("b", listen="127.0.0.1:0", join=[a.address])
    converge([a, b])
    assert (a.pncounter("c").value, a.orset("s").value) == (11, {"mine"})


def test_two_types_that_meet_on_a_field_stay_both(open_node: Any) -> None:
    a, b = open_node("a", listen="127.0.0.1:0"), open_node("b")
    a.map("m").map("in").pncounter("x").increment(2)
    b.map("m").map("in").lwwregister("x").set("two")
    b.close()
    b = open_node("b", listen="127.0.0.1:0", join=[a.address])
    converge([a, b])
    for node in (a, b):
        assert node.map("m").value == {"in": {"x": {"lwwregister": "two", "pncounter": 2}}}
    a.map("m").map("in").pncounter("x").increment()
    b.map("m").map("in").lwwregister("x").set("three")
    with pytest.raises(FieldTypeError):
        a.map("m").map("in").flag("x").enable()
    converge([a, b])
    assert a.map("m").value == {"in": {"x": {"lwwregister": "three", "pncounter": 3}}}
    b.map("m").map("in").remove("x")
    converge([a, b])
    a.map("m").map("in").flag("x").enable()
    assert a.map("m").value == {"in": {"x": True}}


def test_a_type_that_a_peer_removed_is_no_longer_in_the_way(cluster: Any) -> None:
    """What this node remembers of a hot field must not outlive the field."""
    a, b = cluster("a", "b")
    a.map("m").pncounter("x").increment()
    a.map("m").pncounter("x").increment()
    b.wait_for(a.token(), timeout=DEADLINE)
    b.map("m").remove("x")
    b.map("m").lwwregister("x").set(1)
    a.wait_for(b.token(), timeout=DEADLINE)
    with pytest.raises(FieldTypeError):
        a.map("m").pncounter("x").increment()
    a.map("m").lwwregister("x").set(2)
    converge([a, b])
    assert b.map("m").value == {"x": 2}


def test_settings_that_differ_are_named(open_node: Any) -> None:
    a = open_node("a", listen="127.0.0.1:0")
    with pytest.raises(JoinError, match="depth_max"):
        open_node("b", listen="127.0.0.1:0", join=[a.address], cluster={"depth_max": 8}, join_timeout=1.0)


def test_conflicts_are_shown(open_node: Any) -> None:
    a, b = open_node("a", listen="127.0.0.1:0"), open_node("b")
    a.map("m").lwwregister("price").set("1.00")
    b.map("m").lwwregister("price").set("2.00")
    b.close()
    b = open_node("b", listen="127.0.0.1:0", join=[a.address])
    converge([a, b])
    shown = until(lambda: a.status()["conflicts"] + b.status()["conflicts"])[0]
    assert (shown["bucket"], shown["key"], shown["path"]) == ("default", "m", ["price"])
    assert {shown["won"], shown["lost"]} == {"'1.00'", "'2.00'"}
    assert shown["won"] == repr(a.map("m").lwwregister("price").value)


def test_members_of_another_cluster_are_refused(cluster: Any, open_node: Any) -> None:
    a, _ = cluster("a", "b")
    c = open_node("c", listen="127.0.0.1:0")
    d = open_node("d", listen="127.0.0.1:0", join=[c.address])
    d.close()
    d = open_node("d", listen="127.0.0.1:0", join=[a.address, c.address])
    until(
        lambda: d.status()["counters"].get("refused_by_peer_cluster") or d.status()["counters"].get("refused_cluster")
    )
    d.pncounter("x").increment()
    c.wait_for(d.token(), timeout=DEADLINE)
    assert "d" not in a.members()
    assert a.pncounter("x").value == 0
    with pytest.raises(InvalidToken):
        a.wait_for(d.token(), timeout=1)


def test_leaving_in_good_order(cluster: Any) -> None:
    a, b, c = cluster("a", "b", "c")
    c.pncounter("c").increment(7)
    c.leave(timeout=DEADLINE)
    assert c.status()["state"] == "left"
    with pytest.raises(MembershipMisuse):
        c.pncounter("c").increment()
    assert c.pncounter("c").value == 7, "what it held can still be read"
    c.close()
    until(lambda: a.members()["c"]["state"] == b.members()["c"]["state"] == "left")
    converge([a, b])
    assert a.pncounter("c").value == 7


def test_nobody_has_left_before_another_holds_everything(cluster: Any) -> None:
    """The only peer is gone: what was written since is nowhere else, and each call says so."""
    a, b = cluster("a", "b")
    a.close()
    b.pncounter("c").increment()
    for _ in range(2):
        with pytest.raises(WaitTimeout):
            b.leave(timeout=0.5)
        assert b.status()["state"] == "leaving"


def test_coming_back_after_leaving(cluster: Any, open_node: Any) -> None:
    a, b = cluster("a", "b")
    b.pncounter("c").increment()
    b.leave(timeout=DEADLINE)
    b.close()
    a.pncounter("c").increment()
    b = open_node("b", listen="127.0.0.1:0", join=[a.address])
    b.pncounter("c").increment()
    converge([a, b])
    assert a.pncounter("c").value == 3
    assert a.members()["b"]["state"] == "member"


def test_a_lone_node_cannot_leave(open_node: Any) -> None:
    for settings in ({}, {"listen": "127.0.0.1:0"}):
        node = open_node(str(len(settings)), **settings)
        with pytest.raises(MembershipMisuse):
            node.leave(timeout=1)
        with pytest.raises(MembershipMisuse):
            node.evict("nobody")


def test_evicting_needs_a_majority(cluster: Any) -> None:
    a, b, c = cluster("a", "b", "c")
    converge([a, b, c])
    c.close()
    with pytest.raises(MembershipMisuse):
        a.evict("nobody")
    until(lambda: set(a.status()["reachable"]) == {"b"})
    a.evict("c")  # returns once b has voted for it
    assert a.members()["c"]["state"] == "evicted"
    until(lambda: b.members()["c"]["state"] == "evicted")
    b.close()
    until(lambda: a.status()["reachable"] == [])
    with pytest.raises(QuorumMissing):
        a.evict("b")
    asyncio.run(a.aio.evict("b", force=True))
    assert a.members()["b"]["state"] == "evicted"
    assert a.status()["counters"]["quorum_missing"] == 1


def test_an_evicted_node_starts_over_and_its_rescue_can_be_replayed(cluster: Any, open_node: Any) -> None:
    a, b = cluster("a", "b")
    a.pncounter("c").increment(5)
    b.pncounter("c").increment(2)
    a.lwwregister("r").set("cluster")
    converge([a, b])
    b.close()
    b = open_node("b")  # alone, without a network: nobody sees these
    b.pncounter("c").increment(30)
    b.orset("s").add("rescued")
    b.map("m").lwwregister("f").set([1])
    b.close()
    until(lambda: a.status()["reachable"] == [])
    a.evict("b", force=True)
    a.pncounter("c").increment(100)
    b = open_node("b", listen="127.0.0.1:0", join=[a.address])
    until(lambda: b.status()["state"] == "member" and b.pncounter("c").value == 107, "it did not start over")
    assert "rescued" not in b.orset("s")
    [found] = b.rescue.show()
    assert [(item["key"], item["path"], item["type"], item["value"]) for item in found["objects"]] == [
        ("c", [], "pncounter", 30), ("m", ["f"], "lwwregister", [1]), ("s", [], "orset", {"rescued"}),
    ]  # fmt: skip
    done = b.rescue.replay(found["name"])
    assert done["applied"] == 3
    converge([a, b])
    assert (a.pncounter("c").value, a.orset("s").value, a.map("m").value) == (137, {"rescued"}, {"f": [1]})
    with pytest.raises(MembershipMisuse):
        b.rescue.replay(found["name"])
    assert a.pncounter("c").value == 137, "a replay applies once"
    assert b.rescue.show() == []


def test_what_was_lost_unseen_is_told(cluster: Any, open_node: Any) -> None:
    """A token names events that their author lost, with its directory, before anybody saw them."""
    from crdtsync.clocks.tokens import make_token, read_token

    a, b = cluster("a", "b", heartbeat_interval=0.1)
    converge([a, b])
    b.pncounter("c").increment()
    converge([a, b])
    token = b.token()
    clocks = read_token(token, (a.local.store.cluster(),))
    actor = b.local.store.actor()
    b.close()
    b = open_node("b", listen="127.0.0.1:0", join=[a.address], heartbeat_interval=0.1)
    b.pncounter("c").increment()
    lost = {"default": clocks["default"] | {actor: clocks["default"][actor] + 5}}
    with pytest.raises(TokenLost):
        a.wait_for(make_token(a.local.store.cluster(), lost), timeout=DEADLINE)


def test_waiting_for_a_peer_that_is_away(cluster: Any) -> None:
    a, b = cluster("a", "b")
    converge([a, b])
    b.close()
    from crdtsync.clocks.tokens import make_token

    token = make_token(a.local.store.cluster(), {"default": {12345: 1}})
    with pytest.raises(WaitTimeout):
        a.wait_for(token, timeout=0.6)


def test_who_is_refused_again_and_again_fills_neither_log_nor_memory(caplog: pytest.LogCaptureFixture) -> None:
    with crdtsync.open(None, name="a") as node:
        network = node._network
        assert network is not None
        for port in range(1000):
            for code in ("name_taken", "wrong_cluster"):
                said = {"address": f"127.0.0.1:{port}", "code": code, "text": "no", "hint": ""}
                network._notify("refused", said)
        assert 0 < len(network.refusals) <= 64 and network.refusals[-1]["address"] == "127.0.0.1:999"
    assert len([record for record in caplog.records if "refused" in record.getMessage()]) == 2
