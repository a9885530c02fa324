"""The unary calls of the Data service: every verb and query against the Python API of the node that is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

import crdtsync
from crdtsync.datatypes.registry import VERBS
from crdtsync.transport.pb import data_pb2 as pb
from tests.integration.waiting import until
from tests.service.caller import Caller, Refused, add, operation, place, value

SET = [1, "x", b"y"]


def test_describe_tells_who_serves_and_its_bounds(node: crdtsync.Node, caller: Caller) -> None:
    node.flag("f").enable()
    told = caller.call("Describe", pb.DescribeRequest())
    assert (told.node, told.state, told.version) == ("a", "member", crdtsync.__version__)
    assert (told.depth_max, told.key_bytes_max, list(told.buckets)) == (16, 255, ["default"])


def test_every_verb_does_what_the_handle_does(node: crdtsync.Node, caller: Caller) -> None:
    done = [
        operation("gcounter.increment", "g", argument=3),
        operation("pncounter.add", "p", argument=-5),
        operation("pncounter.reset", "q"),
        operation("gset.add", "s", argument="one"),
        operation("gset.update", "s", arguments=["two", "two", "three"]),
        operation("orset.add", "o", argument=1),
        operation("orset.update", "o", arguments=[2, 3, 4]),
        operation("orset.discard", "o", argument=2),
        operation("orset.remove", "o", argument=3),
        operation("orset.clear", "other"),
        operation("lwwregister.set", "l", argument="v"),
        operation("lwwregister.clear", "gone"),
        operation("mvregister.set", "v", argument=1.5),
        operation("mvregister.resolve", "v", argument=2.5),
        operation("mvregister.clear", "gone"),
        operation("flag.enable", "f"),
        operation("flag.disable", "off"),
        operation("lwwregister.set", "m", "a", "b", argument=None),
        operation("gcounter.increment", "m", "n", argument=1),
        operation("map.remove", "m", argument="n"),
        operation("map.clear", "other"),
        pb.Operation(place=pb.Place(key="p"), verb="delete"),
    ]
    assert {each.verb for each in done} == set(VERBS)
    caller.apply(*done)
    assert (node.gcounter("g").value, node.gset("s").value) == (3, {"one", "two", "three"})
    assert node.orset("o").value == {1, 4}
    assert (node.lwwregister("l").value, node.mvregister("v").value, node.flag("f").value) == ("v", [2.5], True)
    assert node.map("m").value == {"a": {"b": None}}
    assert not node.pncounter("p").exists


def test_deleting_takes_one_type_or_all_of_a_key_or_field(node: crdtsync.Node, caller: Caller) -> None:
    for key in ("k", "j"):
        node.flag(key).enable()
        node.gcounter(key).increment()
        node.map(key).gcounter("x").increment()
        node.map(key).flag("y").enable()
    caller.apply(pb.Operation(place=place("flag", "k"), verb="delete"))
    assert (node.flag("k").value, node.gcounter("k").value) == (False, 1)
    caller.apply(pb.Operation(place=place("", "k", "x"), verb="delete"))
    assert node.map("k").value == {"y": True}
    caller.apply(pb.Operation(place=place("gcounter", "j", "y"), verb="delete"))
    assert node.map("j").value == {"x": 1, "y": True}
    caller.apply(pb.Operation(place=place("", "j"), verb="delete"))
    assert list(node.keys()) == ["k"]


def test_a_batch_is_all_or_nothing_and_its_token_names_its_last_event(node: crdtsync.Node, caller: Caller) -> None:
    token = caller.apply(add("x", 2), add("y"), bucket="b", sync=True).token
    assert node.sessions.read(token) == {"b": node.bucket("b").clock()}
    caller.call("WaitFor", pb.WaitForRequest(token=token))
    before = node.digest()
    with pytest.raises(Refused, match="not in the set"):
        caller.apply(add("x"), operation("orset.remove", "o", argument="absent"), bucket="b")
    assert node.digest() == before
    assert caller.apply(operation("orset.discard", "o", argument="absent")).token == ""
    assert caller.apply(operation("pncounter.add", "x", argument=0)).token == ""
    assert caller.apply().token == ""


def test_absent_elements_are_named(caller: Caller) -> None:
    with pytest.raises(Refused) as refused:
        caller.apply(operation("orset.remove", "o", argument="absent"))
    assert (refused.value.name, refused.value.code) == ("KeyError", grpc.StatusCode.NOT_FOUND)
    assert refused.value.error.argument.text == "absent"


def test_every_query_answers_as_the_handle_does(node: crdtsync.Node, caller: Caller) -> None:
    node.orset("o").update(SET)
    node.map("m").gset("s").update(["a"])
    node.map("m").mvregister("v").set([1, (2, {"k": None})])
    node.flag("o").enable()
    a_map, a_set = place("map", "m"), place("orset", "o")
    answers = caller.read(
        pb.Query(place=a_map, value=True),
        pb.Query(place=a_map, fields=True),
        pb.Query(place=a_set, count=True),
        pb.Query(place=a_set, contains=value("x")),
        pb.Query(place=a_set, contains=value("1")),
        pb.Query(place=a_set, exists=True),
        pb.Query(place=place("", "m", "s"), exists=True),
        pb.Query(place=place("", "m", "t"), exists=True),
        pb.Query(place=place("", "o"), value=True),
        pb.Query(place=a_set, elements=pb.Page(limit=2)),
        pb.Query(place=place("lwwregister", "absent"), value=True),
    )
    assert set(answers[0].value.dict.fields) == {"s", "v"}
    tuple_of = answers[0].value.dict.fields["v"].list.values[0].list.values[1].tuple.values
    assert (tuple_of[0].integer, tuple_of[1].dict.fields["k"].none) == (2, True)
    assert list(answers[1].fields.names) == ["s", "v"]
    assert [answers[2].count, *(each.truth for each in answers[3:8])] == [3, True, False, True, True, False]
    assert [item.type for item in answers[8].objects.items] == ["flag", "orset"]
    assert len(answers[9].elements.elements) == 2 and answers[9].elements.cursor
    assert answers[10].value.none


def test_sets_are_told_exactly_and_page_by_page(node: crdtsync.Node, caller: Caller) -> None:
    node.orset("o").update([1, 1.0, True, *range(2, 300)])
    whole = caller.value("orset", "o").set.values
    assert len(whole) == 301
    paged: list[Any] = []
    cursor = b""
    while cursor or not paged:
        (page,) = caller.read(pb.Query(place=place("orset", "o"), elements=pb.Page(after=cursor, limit=100)))
        paged += page.elements.elements
        cursor = page.elements.cursor
    assert paged == list(whole)


def test_packed_answers_are_the_canonical_bytes(node: crdtsync.Node, caller: Caller) -> None:
    from crdtsync.datatypes.values import encode

    node.lwwregister("l").set({"a": (1, 2)})
    node.map("m").orset("s").add("x")
    assert caller.value("lwwregister", "l", packed=True).packed == encode({"a": (1, 2)})
    told = caller.value("map", "m", packed=True).dict.fields["s"].set.values
    assert [each.packed for each in told] == [encode("x")]
    caller.apply(operation("lwwregister.set", "l", argument=pb.Value(packed=encode([None, 2**70]))))
    assert node.lwwregister("l").value == [None, 2**70]


def test_position_is_where_the_node_stands(node: crdtsync.Node, caller: Caller) -> None:
    node.flag("f").enable()
    node.bucket("b").flag("f").enable()
    told = caller.call("Position", pb.PositionRequest(sync=True))
    assert told.digest.hex() == node.digest()
    assert told.token == node.token()
    assert [(each.bucket, each.digest.hex()) for each in told.buckets] == [
        ("b", node.bucket("b").digest()), ("default", node.bucket("default").digest()),
    ]  # fmt: skip
    assert dict(zip(told.buckets[1].actors, told.buckets[1].seqs, strict=True)) == node.clock()
    only = caller.call("Position", pb.PositionRequest(buckets=["b"]))
    assert only.token == node.bucket("b").token() and len(only.buckets) == 1


def test_waiting_ends_with_the_event_or_with_the_time(node: crdtsync.Node, caller: Caller) -> None:
    elsewhere = node.sessions.token_of({"default": {0: 1}})
    with pytest.raises(Refused) as refused:
        caller.call("WaitFor", pb.WaitForRequest(token=elsewhere, timeout_ms=50))
    assert (refused.value.name, refused.value.code) == ("WaitTimeout", grpc.StatusCode.DEADLINE_EXCEEDED)
    waiting = caller.start("WaitFor", pb.WaitForRequest(token=elsewhere))
    node.flag("f").enable()
    assert waiting.result() == pb.WaitForResponse()
    assert caller.value("flag", "f", after=elsewhere).boolean


def test_figures_of_calls_are_in_the_status(node: crdtsync.Node, caller: Caller) -> None:
    caller.apply(add("x"), add("y"))
    with pytest.raises(Refused):
        caller.apply(operation("gcounter.increment", "g", argument=-1))
    told = {"calls": 2, "errors": 1, "running": 0}
    until(lambda: node.status()["service"][0]["methods"]["Data.Apply"] == told, 10)
    assert node.status()["service"][0]["operations"] == 2
    assert node.status()["counters"]["negative_step"] == 1


def test_a_request_id_makes_a_retry_harmless(node: crdtsync.Node, caller: Caller) -> None:
    first = caller.apply(add("x"), request_id="r1", sync=True)
    again = caller.apply(add("x"), request_id="r1")
    assert (first.repeated, again.repeated, again.token) == (False, True, first.token)
    streamed = caller.call("ApplyStream", iter([pb.ApplyRequest(operations=[add("x")], request_id="r1")] * 3))
    assert [(each.repeated, each.token) for each in streamed] == [(True, first.token)] * 3
    assert node.pncounter("x").value == 1
    with pytest.raises(Refused) as refused:
        caller.apply(add("x", 2), request_id="r1")
    assert (refused.value.name, refused.value.code) == ("BatchMisuse", grpc.StatusCode.FAILED_PRECONDITION)
    assert node.pncounter("x").value == 1


REQUESTS = [
    ("Describe", pb.DescribeRequest()), ("Apply", pb.ApplyRequest(operations=[add("x")])),
    ("Read", pb.ReadRequest()), ("Scan", pb.ScanRequest()), ("WaitFor", pb.WaitForRequest(timeout_ms=1)),
    ("Position", pb.PositionRequest()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "request_"), REQUESTS, ids=[name for name, _ in REQUESTS])
def test_a_call_that_is_meant_for_another_instance_does_nothing(
    node: crdtsync.Node, caller: Caller, name: str, request_: Any
) -> None:
    request_.instance = caller.call("Describe", pb.DescribeRequest()).instance
    if name == "WaitFor":
        request_.token = node.token()
    assert caller.call(name, request_)
    before = node.digest()
    request_.instance += 1
    with pytest.raises(Refused) as refused:
        caller.call(name, request_)
    assert (refused.value.name, refused.value.code) == ("OtherInstance", grpc.StatusCode.ABORTED)
    assert (node.digest(), node.status()["counters"]["other_instance"]) == (before, 1)


def test_a_stream_that_is_meant_for_another_instance_does_nothing(node: crdtsync.Node, caller: Caller) -> None:
    other = caller.call("Describe", pb.DescribeRequest()).instance + 1
    with pytest.raises(Refused, match="another node than a"):
        caller.call("Watch", pb.WatchRequest(instance=other))
    requests = [pb.ApplyRequest(operations=[add("x")], instance=each) for each in (other, 0)]
    answers = caller.call("ApplyStream", iter(requests))
    assert [answer.error.name for answer in answers] == ["OtherInstance", "OtherInstance"], "none overtakes another"
    assert not node.pncounter("x").value


def test_a_store_is_the_same_over_restarts_and_an_instance_is_not(tmp_path: Path) -> None:
    seen = []
    for directory in ("a", "a", "b"):
        with (
            crdtsync.open(tmp_path / directory, name="n") as node,
            crdtsync.serve(node) as server,
            Caller(server.address) as caller,
        ):
            described = caller.call("Describe", pb.DescribeRequest())
        seen.append((described.store, described.instance))
    assert seen[0][0] == seen[1][0] != seen[2][0]
    assert len({instance for _, instance in seen}) == 3 and 0 not in (part for each in seen for part in each)
