"""Scan, Watch and ApplyStream: order, pages, resumption, bounds, and their end."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

import crdtsync
from crdtsync.errors import ServerBusy
from crdtsync.service.calls import CallerGone, Calls
from crdtsync.transport.pb import admin_pb2 as admin
from crdtsync.transport.pb import data_pb2 as pb
from tests.integration.waiting import until
from tests.service.caller import Caller, Refused, add, operation

SMALL_PAGES = 4096


@pytest.fixture
def paging(node: crdtsync.Node) -> Iterator[Caller]:
    with crdtsync.serve(node, page_bytes=SMALL_PAGES) as server, Caller(server.address) as caller:
        yield caller


# ---- Scan


def fill(node: crdtsync.Node, count: int) -> None:
    with node.batch():
        for number in range(count):
            node.lwwregister(f"k{number:04}").set("v" * 50)
            node.flag(f"k{number:04}").enable()


def test_a_scan_tells_all_items_in_order_and_in_pages(node: crdtsync.Node, paging: Caller) -> None:
    fill(node, 300)
    pages = paging.call("Scan", pb.ScanRequest(prefix="k0"))
    assert [(item.key, item.type) for page in pages for item in page.items] == [
        (item.key, item.type) for item in node.items("k0")
    ]
    assert len(pages) > 5
    assert max(page.ByteSize() for page in pages) < 2 * SMALL_PAGES


def test_a_scan_goes_on_behind_a_cursor(node: crdtsync.Node, paging: Caller) -> None:
    fill(node, 50)
    for keys_only in (False, True):
        found: list[str] = []
        cursor = b""
        while True:
            pages = paging.call("Scan", pb.ScanRequest(cursor=cursor, limit=7, keys_only=keys_only))
            items = [item for page in pages for item in page.items]
            found += [item.key for item in items]
            if not items:
                break
            assert len(items) <= 7
            cursor = pages[-1].cursor
        assert found == list(node.keys()) if keys_only else [item.key for item in node.items()]


def test_a_scan_of_one_type_tells_only_that(node: crdtsync.Node, caller: Caller) -> None:
    fill(node, 5)
    (page,) = caller.call("Scan", pb.ScanRequest(type="flag", packed=True))
    assert [(item.type, item.value.boolean) for item in page.items] == [("flag", True)] * 5
    (page,) = caller.call("Scan", pb.ScanRequest(type="flag", keys_only=True))
    assert [item.key for item in page.items] == list(node.keys())


def test_a_value_larger_than_a_response_is_left_out_by_name(node: crdtsync.Node) -> None:
    node.orset("huge").update(range(20_000))
    node.flag("small").enable()
    server = crdtsync.serve(node, message_bytes_max=64 * 1024, page_bytes=32 * 1024)
    with server, Caller(server.address) as caller:
        (page,) = caller.call("Scan", pb.ScanRequest())
        assert [(item.key, item.omitted) for item in page.items] == [("huge", True), ("small", False)]
        with pytest.raises(Refused) as refused:
            caller.value("orset", "huge")
    assert refused.value.name == "ValueTooLarge"


@pytest.mark.parametrize("cursor", [b"\x01", b"\x01abcdefgh", b"x" * 20, b"\x02" + b"0" * 8])
def test_a_forged_cursor_is_refused(caller: Caller, cursor: bytes) -> None:
    with pytest.raises(Refused) as refused:
        caller.call("Scan", pb.ScanRequest(cursor=cursor))
    assert (refused.value.name, refused.value.code) == ("InvalidToken", grpc.StatusCode.INVALID_ARGUMENT)


# ---- Watch


def test_a_watch_tells_changes_from_its_first_token_on(node: crdtsync.Node, caller: Caller) -> None:
    watch = caller.start("Watch", pb.WatchRequest(prefix="p", heartbeat_ms=60_000))
    first = next(watch)
    assert (first.token, len(first.changes)) == (node.bucket("default").token(), 0)
    with node.batch():
        node.pncounter("p1").increment(4)
        node.map("p2").orset("f").add("x")
        node.flag("other").enable()
    told = next(watch)
    assert [(c.place.key, c.place.type, list(c.place.path)) for c in told.changes] == [
        ("p1", "pncounter", []), ("p2", "orset", ["f"]),
    ]  # fmt: skip
    assert told.changes[0].value.integer == 4
    assert told.changes[1].value.set.values[0].text == "x"
    node.map("p2").clear()
    assert [c.deleted for c in next(watch).changes] == [True]
    watch.cancel()
    until(lambda: not node.hub.watchers, 10)


def test_a_watch_goes_on_from_a_token(node: crdtsync.Node, caller: Caller) -> None:
    token = node.token()
    node.flag("f").enable()
    node.bucket("b").flag("f").enable()
    watch = caller.start("Watch", pb.WatchRequest(all_buckets=True, after=token, no_values=True))
    next(watch)
    changes = list(next(watch).changes)
    assert sorted(c.bucket for c in changes) == ["b", "default"]
    assert not any(c.HasField("value") for c in changes)
    watch.cancel()


def test_a_silent_watch_is_told_its_token(node: crdtsync.Node, caller: Caller) -> None:
    watch = caller.start("Watch", pb.WatchRequest(prefix="x", heartbeat_ms=100))
    before = next(watch).token
    node.flag("not watched").enable()
    beats = [next(watch) for _ in range(3)]
    assert all(not beat.changes for beat in beats)
    assert before and beats[-1].token
    watch.cancel()


def test_a_reader_that_falls_behind_gets_slow_consumer() -> None:
    with crdtsync.open(None, watch_pending_max=50) as node:
        server = crdtsync.serve(node, stall_max=30.0)
        with server, Caller(server.address) as caller:
            watch = caller.start("Watch", pb.WatchRequest())
            responses = [next(watch)]
            value = "v" * 100_000
            (watcher,) = node.hub.watchers
            while not watcher._behind:
                for number in range(100):
                    node.lwwregister(f"k{number}").set(value)
            with pytest.raises(grpc.RpcError) as ended:
                responses.extend(watch)
            assert ended.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            error = pb.Error.FromString(dict(ended.value.trailing_metadata())["crdtsync-error-bin"])
            assert (error.name, error.token) == ("SlowConsumer", responses[-1].token)
            told = {change.place.key for response in responses for change in response.changes}
            again = caller.start("Watch", pb.WatchRequest(after=error.token))
            while len(told) < 100:
                told |= {change.place.key for change in next(again).changes}
            again.cancel()
    assert node.local.store.counters["slow_consumer"] == 1


def test_a_reader_that_does_not_read_at_all_is_ended(node: crdtsync.Node) -> None:
    with crdtsync.serve(node, stall_max=0.2) as server, Caller(server.address) as caller:
        watch = caller.start("Watch", pb.WatchRequest())
        next(watch)
        while not node.local.store.counters["slow_consumer"]:
            node.lwwregister("k").set("v" * 500_000)
        until(lambda: not node.hub.watchers, 10)
        watch.cancel()


def test_watches_end_with_the_server_and_with_the_node(node: crdtsync.Node) -> None:
    for end in ("server", "node"):
        server = crdtsync.serve(node)
        with Caller(server.address) as caller:
            watch = caller.start("Watch", pb.WatchRequest())
            next(watch)
            if end == "server":
                server.stop()
            else:
                node.close()
            with pytest.raises(grpc.RpcError) as ended:
                next(watch)
            assert ended.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_watch_does_not_begin_with_too_much(node: crdtsync.Node) -> None:
    token = node.token()
    fill(node, 10)
    with crdtsync.serve(node, backlog_max=15) as server, Caller(server.address) as caller:
        with pytest.raises(Refused) as refused:
            caller.call("Watch", pb.WatchRequest(after=token))
        assert (refused.value.name, refused.value.code) == ("TokenTooOld", grpc.StatusCode.OUT_OF_RANGE)
        watch = caller.start("Watch", pb.WatchRequest(after=token, prefix="k0001"))
        next(watch)
        assert len(next(watch).changes) == 2
        watch.cancel()


def test_a_caller_that_leaves_before_its_watch_has_begun_leaves_no_watcher(
    node: crdtsync.Node, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gone, made = threading.Event(), threading.Event(), threading.Event()
    start_watcher = node.start_watcher

    def late(*arguments: Any) -> Any:
        begun.set()
        assert gone.wait(20)
        watcher = start_watcher(*arguments)
        made.set()
        return watcher

    monkeypatch.setattr(node, "start_watcher", late)
    watch = caller.start("Watch", pb.WatchRequest())
    assert begun.wait(20)
    watch.cancel()
    until(lambda: not node.status()["service"][0]["watches"], 10)
    gone.set()
    assert made.wait(20)
    until(lambda: not node.hub.watchers, 10)


def test_watches_are_bounded(node: crdtsync.Node) -> None:
    with crdtsync.serve(node, watchers_max=3) as server, Caller(server.address) as caller:
        watches = [caller.start("Watch", pb.WatchRequest()) for _ in range(3)]
        for watch in watches:
            next(watch)
        with pytest.raises(Refused) as refused:
            caller.call("Watch", pb.WatchRequest())
        assert (refused.value.name, refused.value.code) == ("ServerBusy", grpc.StatusCode.RESOURCE_EXHAUSTED)
        for watch in watches:
            watch.cancel()
        until(lambda: not node.hub.watchers, 10)
        again = caller.start("Watch", pb.WatchRequest())
        next(again)
        again.cancel()


# ---- ApplyStream


def test_a_stream_of_batches_is_answered_in_order(node: crdtsync.Node, caller: Caller) -> None:
    requests = [pb.ApplyRequest(operations=[add("x")], sync=number % 3 == 0) for number in range(50)]
    requests[7] = pb.ApplyRequest(operations=[add("x"), operation("orset.remove", "o", argument="absent")])
    requests[9] = pb.ApplyRequest(operations=[operation("gcounter.increment", "g", argument="no step")])
    responses = caller.call("ApplyStream", iter(requests))
    assert [number for number, response in enumerate(responses) if response.HasField("error")] == [7, 9]
    assert [responses[number].error.name for number in (7, 9)] == ["KeyError", "InvalidValue"]
    assert "operations[0].argument" in responses[9].error.message
    assert node.pncounter("x").value == 48
    caller.call("WaitFor", pb.WaitForRequest(token=responses[-1].token))


def test_a_stream_takes_large_requests_and_broken_ones(node: crdtsync.Node, caller: Caller) -> None:
    large = pb.ApplyRequest(operations=[add(f"k{number}") for number in range(3000)])
    responses = caller.call("ApplyStream", iter([large, b"\xff\xff", large]))
    assert [response.error.name for response in responses] == ["", "BadRequest", ""]
    assert node.pncounter("k7").value == 2


def test_what_follows_a_batch_that_is_refused_for_now_is_not_carried_out_before_it(
    node: crdtsync.Node, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, carry_out = [ServerBusy("Not now.")], node.local.carry_out

    def once(bucket: str, operations: Any, *rest: Any, **more: Any) -> Any:
        if operations[0][1].name == "full" and left:
            raise left.pop()
        return carry_out(bucket, operations, *rest, **more)

    monkeypatch.setattr(node.local, "carry_out", once)
    names = ["before", "full", "after", "after"]
    responses = caller.call("ApplyStream", iter([pb.ApplyRequest(operations=[add(name)]) for name in names]))
    assert [response.error.name for response in responses] == ["", "ServerBusy", "ServerBusy", "ServerBusy"]
    assert sorted(node.keys()) == ["before"]
    assert node.status()["counters"]["server_busy"] == 1
    anew = caller.call("ApplyStream", iter([pb.ApplyRequest(operations=[add("full")])]))
    assert [response.error.name for response in anew] == [""]


def test_a_stream_left_half_way_changes_only_what_came(node: crdtsync.Node, caller: Caller) -> None:
    sent: queue.Queue[Any] = queue.Queue()
    stream = caller.start("ApplyStream", iter(sent.get, None))
    sent.put(pb.ApplyRequest(operations=[add("x")]))
    assert next(stream).token
    stream.cancel()
    sent.put(None)
    until(lambda: node.status()["service"][0]["running"] == 0, 10)
    assert node.pncounter("x").value == 1


def test_a_stream_waits_for_a_token_of_its_own_earlier_batch(node: crdtsync.Node, caller: Caller) -> None:
    sent: queue.Queue[Any] = queue.Queue()
    stream = caller.start("ApplyStream", iter(sent.get, None))
    sent.put(pb.ApplyRequest(operations=[add("x")]))
    sent.put(pb.ApplyRequest(operations=[add("x")], after=next(stream).token))
    assert next(stream).token
    sent.put(None)
    assert list(stream) == []


def test_stopping_ends_what_waits_at_once_and_answers_what_was_taken(node: crdtsync.Node) -> None:
    server = crdtsync.serve(node, stop_grace=30.0, page_bytes=SMALL_PAGES)
    fill(node, 300)
    with Caller(server.address) as caller:
        far = node.sessions.token_of({"default": {0: 1_000_000}})
        waiting = caller.start("WaitFor", pb.WaitForRequest(token=far))
        sent: queue.Queue[Any] = queue.Queue()
        stream = caller.start("ApplyStream", iter(sent.get, None))
        for _ in range(5):
            sent.put(pb.ApplyRequest(operations=[add("x")]))
        assert all(next(stream).token for _ in range(5))
        until(lambda: node.status()["service"][0]["running"] == 2, 10)
        server.stop()
        for call in (waiting, stream):
            with pytest.raises(grpc.RpcError) as ended:
                call.result() if call is waiting else next(call)
            assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
        sent.put(None)
    assert (node.pncounter("x").value, node.status()["service"]) == (5, [])


def test_what_does_not_end_within_the_grace_is_cut(node: crdtsync.Node, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = threading.Event()
    monkeypatch.setattr(type(node), "members", lambda self: hold.wait(20) and {})
    server = crdtsync.serve(node, serve="", admin="127.0.0.1:0")
    with Caller(server.admin_address) as caller:
        running = caller.start("Members", admin.MembersRequest())
        until(lambda: node.status()["service"][0]["running"] == 1, 10)
        server.stop(0.1)
        hold.set()
        with pytest.raises(grpc.RpcError):
            running.result()
    assert node.status()["service"] == []


def test_a_call_whose_caller_has_gone_ends_as_a_cancelled_one(node: crdtsync.Node) -> None:
    """Of any other exception grpc writes a traceback, which callers could have as many of as they like."""
    calls = Calls(node.local, crdtsync.ServeConfig(), verified=False)

    async def gone(*_: Any) -> Any:
        raise CallerGone

    async def main() -> None:
        for call, requests in (
            (calls.unary("unary", gone).unary_unary, b""),
            (calls.answers("answers", gone).unary_stream, b""),
            (calls.stream("stream", gone).stream_stream, None),
            (calls.requests("requests", gone).stream_unary, None),
        ):
            with pytest.raises(asyncio.CancelledError):
                await call(requests, None)

    asyncio.run(main())
    assert all((tally.errors, tally.running) == (0, 0) for tally in calls.tallies.values())
