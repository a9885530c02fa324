"""The client itself: addresses, bounds, threads, forks, large data, and answers that no node gives."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

import crdtsync
from crdtsync.client.channels import SERVICE
from crdtsync.clocks.tokens import make_token
from crdtsync.errors import (
    BadFrame,
    BatchMisuse,
    BatchTooLarge,
    Closed,
    ConfigError,
    CrdtsyncError,
    DeadlineExceeded,
    Forked,
    InsecureAddress,
    InvalidToken,
    OutcomeUnknown,
    SlowConsumer,
    Unreachable,
    ValueTooLarge,
    WaitTimeout,
)
from crdtsync.transport.pb import data_pb2 as pb
from tests.client.conftest import DEADLINE, Served, until


@pytest.mark.parametrize("bad", [
    "", "localhost", "localhost:", ":5", "localhost:0", "localhost:70000", "unix:", "dns:///x:1", "a b:5", [], 5, [5],
    "localhost:5,localhost:6", "unix:a\0b",
])  # fmt: skip
def test_bad_addresses(bad: Any) -> None:
    with pytest.raises(ConfigError):
        crdtsync.connect(bad)


def test_bad_settings() -> None:
    for settings, words in (
        ({"timout": 1}, "timeout"), ({"timeout": 0}, "above 0"), ({"timeout": "5"}, "timeout"),
        ({"session": "all"}, "none, writes, reads"), ({"retry_elsewhere": "yes"}, "idempotent"),
        ({"tls_ca": "x"}, "tls_cert, tls_key"), ({"tls_node": "a"}, "TLS"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            crdtsync.connect("127.0.0.1:1", **settings)
    with pytest.raises(InsecureAddress):
        crdtsync.connect("192.0.2.1:5")
    with pytest.raises(InsecureAddress):
        crdtsync.aio.connect("192.0.2.1:5").__await__().send(None)


def test_a_unix_socket(tmp_path: Path) -> None:
    with crdtsync.open(None) as node, crdtsync.serve(node, serve=f"unix:{tmp_path}/data"):
        with crdtsync.connect(f"unix:{tmp_path}/data") as client:
            client.flag("f").enable()
            assert client.flag("f").value
        with pytest.raises(Unreachable):
            crdtsync.connect(f"unix:{tmp_path}/nothing")


def test_nobody_there_is_told_at_once(served: Served) -> None:
    address = served.address
    served.proxy.close()
    with pytest.raises(Unreachable, match=address):
        crdtsync.connect([address])


def test_what_the_client_tells_of_itself(served: Served) -> None:
    with crdtsync.connect(["127.0.0.1:1", served.address], timeout=3.0) as client:
        assert (client.name, client.address, client.closed) == ("a", served.address, False)
        assert repr(client) == f"<crdtsync client of a at {served.address}>"
        assert repr(client.bucket("b")) == f"<bucket 'b' of a at {served.address}>"
        assert client.config.timeout == 3.0
        status = client.status()
        assert [node["connected"] for node in status["nodes"]] == [False, True]
        assert "UNAVAILABLE" in status["nodes"][0]["trouble"]
        assert client.session() == ""
        client.flag("f").enable()
        assert client.session() == served.node.token()
        client.forget()
        assert client.session() == ""
    assert "closed" in repr(client)
    client.close()
    calls: list[Callable[[], Any]] = [
        lambda: client.flag("f").value, client.flag("f").enable, lambda: list(client.keys()), client.batch,
        client.token, client.watch, client.stream, client.__enter__,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(Closed):
            call()
    assert client.status()["counters"]["closed"] >= len(calls)


def test_waiting_calls_end_when_the_client_is_closed(served: Served) -> None:
    client = crdtsync.connect(served.address)
    served.node.gcounter("k").increment()
    served.node.sessions.lost = lambda clocks: False
    future = crdtsync.clocks.tokens.make_token("a", {"default": {0: 99}})
    errors: list[Exception] = []

    def wait() -> None:
        try:
            client.wait_for(future)
        except CrdtsyncError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: served.server.status()["methods"].get("Data.WaitFor", {}).get("running"), "the call to wait")
    client.close()
    thread.join(30)
    assert isinstance(errors[0], Closed)


def test_waiting_has_an_end(served: Served) -> None:
    served.node.gcounter("k").increment()
    served.node.sessions.lost = lambda clocks: False
    with crdtsync.connect(served.address) as client:
        with pytest.raises(WaitTimeout, match="98 events"):
            client.wait_for(crdtsync.clocks.tokens.make_token("a", {"default": {0: 99}}), timeout=0.05)
        client.wait_for(served.node.token(), timeout=5)


def test_many_threads_share_a_client(served: Served) -> None:
    with crdtsync.connect(served.address) as client, futures.ThreadPoolExecutor(8) as pool:
        def work(number: int) -> None:
            client.gcounter("c").increment()
            with client.batch():
                client.orset("s").add(number)
                client.gcounter("c").increment()

        list(pool.map(work, range(100)))
        assert (client.gcounter("c").value, len(client.orset("s"))) == (200, 100)


def forked(client: crdtsync.Client, answers: Any) -> None:
    try:
        client.flag("f").enable()
    except Forked as error:
        client.close()
        answers.put(str(error))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking with threads: that is what is tested
def test_a_forked_child_is_refused(served: Served) -> None:
    with crdtsync.connect(served.address) as client:
        context = multiprocessing.get_context("fork")
        answers = context.SimpleQueue()
        child = context.Process(target=forked, args=(client, answers), daemon=True)
        child.start()
        assert "forked" in answers.get()
        child.kill()
        child.join()
        client.flag("f").enable()


def test_large_data(stack: ExitStack) -> None:
    node = stack.enter_context(crdtsync.open(None))
    server = stack.enter_context(crdtsync.serve(node, message_bytes_max=1024 * 1024))
    client = stack.enter_context(crdtsync.connect(server.address, page_bytes=100_000))
    for number in range(60):
        client.lwwregister(f"r{number:02}").set("x" * 20_000)
    assert [len(item.value) for item in client.items("r")] == [20_000] * 60
    for start in range(0, 30_000, 3_000):
        client.orset("set").update(f"{number:060}" for number in range(start, start + 3_000))
    assert len(client.orset("set")) == 30_000
    assert list(client.orset("set"))[-1] == f"{29_999:060}"
    with pytest.raises(ValueTooLarge):
        _ = client.orset("set").value
    with pytest.raises(ValueTooLarge, match="set"):
        list(client.items("set"))
    with pytest.raises(BatchTooLarge, match="1,048,576"), client.batch():
        for number in range(3):
            client.lwwregister(f"big{number}").set("y" * 500_000)
    assert list(client.keys("big")) == []
    with client.watch("set") as changes:
        client.orset("set").discard(f"{0:060}")
        change = changes.next(30.0)
    assert change is not None
    assert (change.key, change.value, change.deleted) == ("set", None, False)


def test_a_reader_that_is_too_slow_is_told_so(stack: ExitStack) -> None:
    node = stack.enter_context(crdtsync.open(None, watch_pending_max=50))
    server = stack.enter_context(crdtsync.serve(node, page_bytes=1024))
    client = stack.enter_context(crdtsync.connect(server.address, watch_ahead=1))
    changes = client.watch()
    number = 0
    while not client_is_behind(node):
        number += 1
        node.lwwregister(f"k{number % 1000}").set("x" * 10_000)
        assert number < 20_000
    with pytest.raises(SlowConsumer):
        while changes.next(30.0) is not None:
            pass
    assert changes.closed
    with client.watch(after=changes.token) as again:
        assert again.next(30.0) is not None


def client_is_behind(node: crdtsync.Node) -> bool:
    """Whether its watcher is; the client may hear of it only once it reads, and there is room for that again."""
    told = node.status()["counters"].get("slow_consumer", 0) > 0
    return told or any(watcher._behind for watcher in node.hub.watchers)


def test_streams_make_their_own_batches(served: Served) -> None:
    with crdtsync.connect(served.address) as client, client.stream("b") as stream:
        with pytest.raises(BatchMisuse):
            stream.batch()
        stream.map("m").orset("s").update(["x", "y"])
        stream.delete("nothing")
        assert stream.map("m").value == {}, "it has not left"
        stream.flush()
        assert stream.map("m").value == {"s": {"x", "y"}}
        assert stream.unanswered == []
        stream.increment_many(["a", "b", "a", "c"], [1, 2, 3, 0])
        stream.flush()
        assert stream.read_many(["a", "b", "c"]).tolist() == [4, 2, 0]
        assert stream.answered == 5, "two operations before, and no event for a step of 0"
        stream.flag("dropped").enable()
        with pytest.raises(ZeroDivisionError), client.stream("b") as other:
            other.flag("dropped too").enable()
            _ = 1 / 0
    assert list(served.node.bucket("b").keys()) == ["a", "b", "dropped", "m"]


# ---- answers that no node gives


class Nonsense(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A server that describes itself well, and answers everything else as it is told to."""

    def __init__(self) -> None:
        self.answer = b""
        self.trailer: bytes | None = None

    def service(self, details: Any) -> Any:
        if details.method == SERVICE + "Describe":
            bounds = {"depth_max": 16, "key_bytes_max": 255, "value_bytes_max": 1000, "batch_bytes_max": 1000}
            good = pb.DescribeResponse(node="n", **bounds)
            return grpc.unary_unary_rpc_method_handler(lambda request, context: good.SerializeToString())
        if details.method in (SERVICE + "Scan", SERVICE + "Watch"):
            return grpc.unary_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._unary)

    def _unary(self, request: bytes, context: Any) -> bytes:
        if self.trailer is not None:
            context.set_trailing_metadata((("crdtsync-error-bin", self.trailer),))
            context.abort(grpc.StatusCode.INTERNAL, "nonsense")
        return self.answer

    def _stream(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield self._unary(request, context)


@contextmanager
def nonsense(**settings: Any) -> Iterator[tuple[Nonsense, crdtsync.Client]]:
    server, handler = grpc.server(futures.ThreadPoolExecutor(4)), Nonsense()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with crdtsync.connect(f"127.0.0.1:{port}", **{"timeout": 0.5, "backoff_max": 0.01} | settings) as client:
            yield handler, client
    finally:
        server.stop(0).wait()


def test_answers_that_cannot_be_read() -> None:
    with nonsense() as (handler, client):
        calls: list[Callable[[], Any]] = [
            lambda: client.flag("f").value, client.flag("f").enable, lambda: list(client.keys()), client.token,
            lambda: len(client.orset("s")), lambda: client.watch().next(),
        ]  # fmt: skip
        handler.answer = b"\xff\xff\xff"
        for call in calls:
            with pytest.raises(BadFrame):
                call()
        results = [
            pb.Result(value=pb.Value()), pb.Result(value=pb.Value(decimal="x")),
            pb.Result(value=pb.Value(packed=b"\xc1")), pb.Result(value=pb.Value(uuid=b"1")),
            pb.Result(value=pb.Value(timestamp="now")),
            pb.Result(value=pb.Value(set=pb.Values(values=[pb.Value(list=pb.Values())]))), pb.Result(),
        ]  # fmt: skip
        for result in results:
            handler.answer = pb.ReadResponse(results=[result]).SerializeToString()
            with pytest.raises(BadFrame):
                _ = client.orset("s").value
        for count in (0, 2):
            handler.answer = pb.ReadResponse(results=[pb.Result(truth=True)] * count).SerializeToString()
            with pytest.raises(BadFrame):
                _ = client.flag("f").value
        handler.answer = pb.ApplyResponse(token="nonsense").SerializeToString()
        with pytest.raises(InvalidToken, match="has carried the write out"):
            client.flag("f").enable()
        assert client.status()["counters"]["bad_frame"] >= len(calls) + len(results)


def test_errors_that_cannot_be_read() -> None:
    with nonsense() as (handler, client):
        for trailer, expected in (
            (b"\xff\xff", (DeadlineExceeded, Unreachable)),
            (pb.Error(name="SystemExit", message="m").SerializeToString(), CrdtsyncError),
            (pb.Error(name="re", message="m").SerializeToString(), CrdtsyncError),
            (pb.Error(name="OutcomeUnknown", message="m").SerializeToString(), CrdtsyncError),
            (pb.Error(name="KeyError", argument=pb.Value(decimal="x")).SerializeToString(), BadFrame),
        ):
            handler.trailer = trailer
            with pytest.raises(expected):
                _ = client.flag("f").value
        handler.trailer = b"\xff\xff"
        with pytest.raises(OutcomeUnknown):
            client.flag("f").enable()


def test_an_answer_that_takes_long(served: Served) -> None:
    served.proxy.delay(0.3)
    with crdtsync.connect(served.address, attempt_timeout=5.0) as client:
        began = time.monotonic()
        client.flag("f").enable()
        assert time.monotonic() - began >= 0.3, "the proxy delays nothing: the test shows nothing"


def test_waits_longer_than_a_message_can_say(served: Served) -> None:
    century = 3e9
    served.node.gcounter("k").increment()
    with crdtsync.serve(served.node, connection_age_max=1e9, connection_idle_max=1e9, wait_max=0.05) as server:
        times = {"timeout": 1e9, "connect_timeout": 1e9, "watch_heartbeat": 1e9, "keepalive_interval": 1e9}
        with crdtsync.connect(server.address, **times) as client, client.watch():
            client.wait_for(served.node.token(), century)
            served.node.sessions.lost = lambda clocks: False
            later = make_token(served.node.name, {"default": {0: 2}})
            waiting = threading.Thread(target=client.wait_for, args=(later, century))
            waiting.start()
            until(lambda: served.node.local.store.counters["wait_timeout"] > 2, "waits that the node ends")
            assert waiting.is_alive()
            served.node.gcounter("k").increment()
            waiting.join(DEADLINE)
            assert not waiting.is_alive()
