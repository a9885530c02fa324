"""Streams whose node cannot take a batch now: it is sent again, none overtakes another, and nothing is dropped."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

import crdtsync
from crdtsync.errors import Closed, CrdtsyncError, Overloaded, ServerBusy, StartingOver
from tests.client.conftest import Served, until

BATCHES = 200
QUICK_RETRIES = {"stream_operations": 1, "stream_window": 8, "backoff_min": 0.001, "backoff_max": 0.002}


class Refusing:
    """Stands before the writes of a node; `refusal()` says what to refuse the next one with, None to let it through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, node: crdtsync.Node) -> None:
        self.refusal: Callable[[], CrdtsyncError | None] = lambda: None
        self.after = False  # refuse what has been carried out
        self.values: list[Any] = []  # that were written, in their order
        self.refused = 0
        self._carry_out = node.local.carry_out
        monkeypatch.setattr(node.local, "carry_out", self._decide)

    def _decide(self, bucket: str, operations: Any, *rest: Any, **more: Any) -> Any:
        error = self.refusal()
        answer = None if error is not None and not self.after else self._carry_out(bucket, operations, *rest, **more)
        if answer is not None and not answer.repeated:
            self.values += [argument for _, _, argument in operations]
        if error is not None:
            self.refused += 1
            raise error
        return answer


def sometimes(share: float) -> Callable[[], CrdtsyncError | None]:
    rng = random.Random(7)
    return lambda: rng.choice([Overloaded, StartingOver, ServerBusy])("Not now.") if rng.random() < share else None


def write_all(address: str) -> dict[str, int]:
    with crdtsync.connect(address, **QUICK_RETRIES) as client:
        with client.stream() as stream:
            for number in range(BATCHES):
                stream.lwwregister("r").set(number)
        assert (stream.answered, stream.refused_batches) == (BATCHES, [])
        return dict(client.status()["counters"])


def write_all_awaiting(address: str) -> dict[str, int]:
    async def main() -> dict[str, int]:
        async with crdtsync.aio.connect(address, **QUICK_RETRIES) as client:
            async with client.stream() as stream:
                for number in range(BATCHES):
                    await stream.lwwregister("r").set(number)
            assert (stream.answered, stream.refused_batches) == (BATCHES, [])
            return dict(client.status()["counters"])

    return asyncio.run(main())


@pytest.mark.parametrize("write", [write_all, write_all_awaiting])
def test_batches_that_are_refused_for_now_are_sent_again_in_their_order(
    served: Served, monkeypatch: pytest.MonkeyPatch, write: Callable[[str], dict[str, int]]
) -> None:
    refusing = Refusing(monkeypatch, served.node)
    refusing.refusal = sometimes(0.2)
    counters = write(served.address)
    assert len(refusing.values) == BATCHES
    assert served.node.lwwregister("r").value == BATCHES - 1
    assert refusing.values == sorted(refusing.values), "none overtakes another"
    assert refusing.refused > 5
    assert counters["stream_reconnects"] > 0


def test_a_refusal_that_lasts_is_raised_and_the_batches_are_kept(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Refusing(monkeypatch, served.node)
    with crdtsync.connect(served.address, timeout=0.3, **QUICK_RETRIES) as client:
        stream = client.stream()
        refusing.refusal = lambda: Overloaded("Not now.")
        for number in range(5):
            stream.lwwregister("r").set(number)
        with pytest.raises(Overloaded):
            stream.flush()
        assert (len(stream.unanswered), stream.answered, refusing.values) == (5, 0, [])
        assert client.status()["counters"]["overloaded"] >= 1
        assert client.status()["unsettled"] == 0
        refusing.refusal = lambda: None
        stream.close()
        assert (stream.unanswered, stream.answered, stream.refused_batches) == ([], 5, [])
        assert served.node.lwwregister("r").value == 4


def test_batches_that_nobody_has_go_to_the_next_node(cluster: list[Served], monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = cluster
    refusing = Refusing(monkeypatch, a.node)
    with crdtsync.connect([a.address, b.address], **QUICK_RETRIES) as client:
        with client.stream() as stream:
            for number in range(40):
                stream.gcounter("k").increment()
                if number == 20:
                    stream.flush()
                    refusing.refusal = lambda: StartingOver("Not now.")
        assert (stream.answered, stream.refused_batches, client.name) == (40, [], "b")
        assert client.gcounter("k").value == 40
        until(lambda: a.node.digest() == b.node.digest(), "both nodes to agree")
        assert len(refusing.values) == 21


def test_a_batch_that_may_have_been_carried_out_goes_to_no_other_node(
    cluster: list[Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is closed while a batch waits for the disk has carried it out, and says Closed."""
    a, b = cluster
    refusing = Refusing(monkeypatch, a.node)
    with crdtsync.connect([a.address, b.address], **QUICK_RETRIES) as client:
        stream = client.stream()
        left = [Closed("While it waited.")]
        refusing.refusal, refusing.after = lambda: left.pop() if left else None, True
        for _ in range(10):
            stream.gcounter("k").increment()
        stream.close()
        assert (stream.answered, stream.refused_batches, refusing.refused, client.name) == (10, [], 1, "a")
        until(lambda: a.node.digest() == b.node.digest(), "both nodes to agree")
        assert (a.node.gcounter("k").value, len(refusing.values)) == (10, 10)
