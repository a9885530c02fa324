"""Single writes in a row travel on one stream; nothing else changes by that."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import crdtsync
from crdtsync.client import lanes
from crdtsync.client.direct import Direct
from crdtsync.client.failures import CallFailed
from crdtsync.client.flows import Flow
from crdtsync.client.lanes import IN_A_ROW, REQUEST_BYTES, TIMEOUT_MIN, Lane
from crdtsync.client.nodes import Node
from crdtsync.client.steps import Ask
from crdtsync.config import ConnectConfig
from crdtsync.errors import CrdtsyncError, FieldTypeError, OutcomeUnknown, StartingOver
from crdtsync.transport.pb import data_pb2 as pb
from tests.client.conftest import Served, until
from tests.proxy import FROM_TARGET

NODE = Node("127.0.0.1:1", ConnectConfig())


def calls_of(served: Served) -> dict[str, int]:
    """{method: calls} of writes."""
    status = served.server.status()
    return {name: tally["calls"] for name, tally in status["methods"].items() if "Apply" in name}


# -- with a node


@pytest.fixture(params=[Direct, Flow], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Direct | Flow]:
    """Both kinds of streams that a lane may have."""
    if request.param is Flow:
        monkeypatch.setattr("crdtsync.client.blocking.begin", lambda *arguments: None)
    found: type[Direct | Flow] = request.param
    return found


def test_a_stream_is_dealt_with_directly(served: Served, kind: type[Direct | Flow]) -> None:
    """A grpc whose insides have changed shows here."""
    with crdtsync.connect(served.address) as client:
        for _ in range(2 * IN_A_ROW):
            client.flag("f").enable()
        [lane] = client._line._lanes.values()
        assert type(lane._flow) is kind


def test_writes_in_a_row_share_a_stream_that_ends_when_they_do(served: Served) -> None:
    with crdtsync.connect(served.address, lane_idle=0.2) as client:
        for number in range(1, 101):
            client.pncounter("k").increment()
            assert served.node.pncounter("k").value == number
        assert calls_of(served) == {"Data.Apply": IN_A_ROW, "Data.ApplyStream": 1}
        until(lambda: served.server.status()["running"] == 0, "the end of the stream")
        for _ in range(2 * IN_A_ROW):
            client.pncounter("k").increment()
        assert calls_of(served) == {"Data.Apply": 2 * IN_A_ROW, "Data.ApplyStream": 2}
        assert client.status()["counters"] == {"connects": 1}


def test_single_writes_begin_no_stream(served: Served) -> None:
    with crdtsync.connect(served.address, lane_idle=0.001) as client:
        for _ in range(3 * IN_A_ROW):
            client.flag("f").enable()
            threading.Event().wait(0.005)
        assert calls_of(served) == {"Data.Apply": 3 * IN_A_ROW}


def test_a_refused_write_raises_the_same_error_and_the_lane_goes_on(served: Served) -> None:
    with crdtsync.connect(served.address) as client:
        for number in range(IN_A_ROW + 4):
            with pytest.raises(KeyError, match="x"):
                client.orset("s").remove("x")
            client.orset("s").add(number)
        client.map("m").gcounter("f").increment()
        with pytest.raises(FieldTypeError):
            client.map("m").flag("f").enable()
        assert calls_of(served) == {"Data.Apply": IN_A_ROW, "Data.ApplyStream": 1}
        assert client.status()["counters"]["key_error"] == IN_A_ROW + 4


def test_a_large_write_is_a_call_of_its_own(served: Served) -> None:
    with crdtsync.connect(served.address) as client:
        for _ in range(2 * IN_A_ROW):
            client.flag("f").enable()
        before = calls_of(served)["Data.Apply"]
        client.lwwregister("r").set(b"x" * (REQUEST_BYTES + 1))
        assert calls_of(served)["Data.Apply"] == before + 1
        assert len(served.node.lwwregister("r").value) == REQUEST_BYTES + 1


def test_a_node_without_room_for_streams_is_written_to_in_single_calls(stack: ExitStack) -> None:
    node = stack.enter_context(crdtsync.open(None))
    server = stack.enter_context(crdtsync.serve(node, calls_max=2, stop_grace=0.1))
    with crdtsync.connect(server.address) as client, client.watch() as watcher:
        for number in range(1, 3 * IN_A_ROW):
            client.gcounter("k").increment()
            assert node.gcounter("k").value == number
        status = server.status()
        assert status["methods"]["Data.ApplyStream"] == {"calls": 1, "errors": 1, "running": 0}
        assert "retries" not in client.status()["counters"]
        assert next(watcher).key == "k"


def test_many_threads_lose_nothing(served: Served) -> None:
    with crdtsync.connect(served.address) as client:

        def write() -> None:
            for _ in range(50):
                client.pncounter("k").increment()

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.pncounter("k").value == served.node.pncounter("k").value == 200
        assert calls_of(served)["Data.ApplyStream"] >= 1


def test_a_server_that_stops_is_left_at_once_and_nothing_is_unknown(cluster: list[Served]) -> None:
    a, b = cluster
    with crdtsync.connect([a.address, b.address]) as client:
        for _ in range(2 * IN_A_ROW):
            client.gcounter("k").increment()
        a.server.stop(grace=5.0)
        for _ in range(2 * IN_A_ROW):
            client.gcounter("k").increment()
        assert (client.name, client.gcounter("k").value) == ("b", 4 * IN_A_ROW)


def test_answers_that_stop_coming_and_connections_that_break(served: Served) -> None:
    with crdtsync.connect(served.address, attempt_timeout=0.3, backoff_max=0.05) as client:
        for _ in range(2 * IN_A_ROW):
            client.gcounter("k").increment()
        served.proxy.blackhole(FROM_TARGET)
        with client.deadline(0.5), pytest.raises(OutcomeUnknown) as caught:
            client.gcounter("k").increment()
        served.proxy.heal()
        with client.batch(request_id=caught.value.request_id) as batch:
            client.gcounter("k").increment()
        assert (batch.repeated, client.gcounter("k").value) == (True, 2 * IN_A_ROW + 1)
        for _ in range(2 * IN_A_ROW):
            client.gcounter("k").increment()
        served.proxy.cut()
        served.proxy.heal()
        for _ in range(2 * IN_A_ROW):
            client.gcounter("k").increment()
        assert client.gcounter("k").value == served.node.gcounter("k").value == 6 * IN_A_ROW + 1


def test_an_interrupted_write_is_not_taken_for_the_next_one(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with crdtsync.connect(served.address) as client:
        for _ in range(2 * IN_A_ROW):
            client.gcounter("k").increment()

        def interrupted(*arguments: Any) -> bytes:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Direct, "_answered", interrupted)
            patch.setattr(Flow, "next", interrupted)
            with pytest.raises(KeyboardInterrupt), client.batch(request_id="mine"):
                client.gcounter("k").increment()
        assert client.status()["unsettled"] == 1
        with pytest.raises(KeyError):
            client.orset("s").remove("x")
        for _ in range(2 * IN_A_ROW):
            client.gcounter("k").increment()
        with client.batch(request_id="mine"):  # whether it had left or not
            client.gcounter("k").increment()
        assert client.status()["unsettled"] == 0
        assert served.node.gcounter("k").value == 4 * IN_A_ROW + 1


def test_a_client_that_is_closed_ends_its_streams(served: Served) -> None:
    """At once, and whoever waits for an answer hears of it."""
    client = crdtsync.connect(served.address)
    for _ in range(2 * IN_A_ROW):
        client.gcounter("k").increment()
    served.proxy.blackhole(FROM_TARGET)
    failures: list[Exception] = []

    def write() -> None:
        try:
            client.gcounter("k").increment()
        except CrdtsyncError as error:
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    until(lambda: served.node.gcounter("k").value == 2 * IN_A_ROW + 1, "the write")
    client.close()
    thread.join()
    [failure] = failures
    assert isinstance(failure, OutcomeUnknown)
    until(
        lambda: not [t for t in threading.enumerate() if t.name in ("crdtsync-lane", "crdtsync-stream")],
        "the threads' end",
    )


def test_a_program_may_end_without_a_word(served: Served) -> None:
    program = (
        f"import crdtsync; c = crdtsync.connect({served.server.address!r}).gcounter('k')\n"
        f"for _ in range({3 * IN_A_ROW}): c.increment()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert served.node.gcounter("k").value == 3 * IN_A_ROW


# -- without one


class FakeStream:
    """A gRPC stream: a thread of ours takes requests and puts what `answer` makes of them."""

    def __init__(self, requests: Iterator[bytes], answer: Callable[[bytes], bytes]) -> None:
        self.answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.cancelled = False
        self._requests, self._answer = requests, answer
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        for request in self._requests:
            self.answers.put(self._answer(request))
        self.answers.put(None)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.answers.get, None)

    def cancel(self) -> None:
        self.cancelled = True


def lane_of(answer: Callable[[bytes], bytes]) -> tuple[Lane, list[FakeStream]]:
    """A lane that is open from the next write on, and the streams that it begins."""
    streams: list[FakeStream] = []

    def begin(requests: Iterator[bytes]) -> FakeStream:
        streams.append(FakeStream(requests, answer))
        return streams[-1]

    lane = Lane(lambda rests: Flow(begin, 10.0, rests), idle=10.0)
    come_in_a_row(lane)
    return lane, streams


def come_in_a_row(lane: Lane) -> None:
    """So many writes that the next one is on a stream."""
    for _ in range(IN_A_ROW):
        assert lane.ask(asked(b"early")) is None


def asked(request: bytes, timeout: float = 10.0) -> Ask:
    return Ask(NODE, "Apply", request, timeout)


def told(request: bytes) -> bytes:
    return pb.ApplyResponse(token=request.decode()).SerializeToString()


def test_an_answer_that_comes_late_is_no_other_writes_answer() -> None:
    late = threading.Event()

    def answer(request: bytes) -> bytes:
        if request == b"one":
            late.wait(10)
        return told(request)

    lane, streams = lane_of(answer)
    with pytest.raises(CallFailed, match="no answer in time") as caught:
        lane.ask(asked(b"one", timeout=TIMEOUT_MIN))
    assert (caught.value.late, caught.value.taken, caught.value.error) == (True, True, None)
    late.set()
    assert streams[0].cancelled
    come_in_a_row(lane)
    assert lane.ask(asked(b"two")) == told(b"two")
    assert len(streams) == 2


def test_an_interrupted_write_leaves_no_answer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    lane, streams = lane_of(told)
    assert lane.ask(asked(b"one")) == told(b"one")

    def interrupted(flow: Any, timeout: float) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Flow, "next", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lane.ask(asked(b"two"))
    assert streams[0].cancelled
    come_in_a_row(lane)
    assert lane.ask(asked(b"three")) == told(b"three")


def test_a_refusal_of_what_passes_ends_the_stream() -> None:
    refusal = pb.ApplyResponse(error=pb.Error(name="StartingOver", message="soon")).SerializeToString()
    answers = [refusal, told(b"two")]
    lane, streams = lane_of(lambda request: answers.pop(0))
    with pytest.raises(CallFailed, match="soon") as caught:
        lane.ask(asked(b"one"))
    assert isinstance(caught.value.error, StartingOver)
    assert (caught.value.final, caught.value.taken) == (False, False)
    come_in_a_row(lane)
    assert lane.ask(asked(b"two")) == told(b"two")
    assert [stream.cancelled for stream in streams] == [True, False]


def test_a_write_finds_the_lane_taken() -> None:
    go, arrived = threading.Event(), threading.Event()

    def answer(request: bytes) -> bytes:
        arrived.set()
        go.wait(10)
        return told(request)

    lane, _ = lane_of(answer)
    found: list[bytes | None] = []
    thread = threading.Thread(target=lambda: found.append(lane.ask(asked(b"one"))))
    thread.start()
    assert arrived.wait(10)
    assert lane.ask(asked(b"two")) is None
    go.set()
    thread.join()
    assert found == [told(b"one")]


def test_an_old_stream_is_replaced_and_answers_what_it_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    lane, streams = lane_of(told)
    assert lane.ask(asked(b"one")) == told(b"one")
    monkeypatch.setattr(lanes, "AGE_MAX", 0.0)
    assert lane.ask(asked(b"two")) == told(b"two")
    assert [stream.cancelled for stream in streams] == [False, False]
    assert len(streams) == 2


def test_what_is_no_answer_is_left_to_the_reader() -> None:
    lane, _ = lane_of(lambda request: b"\xff")
    assert lane.ask(asked(b"one")) == b"\xff"
