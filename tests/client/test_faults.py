"""Connections that break and nodes that are killed: every write is accounted for."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import crdtsync
from crdtsync.client.awaiting import Awaiting, hop
from crdtsync.client.blocking import Blocking
from crdtsync.client.calls import Caller
from crdtsync.client.failures import CallFailed
from crdtsync.client.nodes import Nodes
from crdtsync.client.steps import Ask
from crdtsync.config import ConnectConfig
from crdtsync.errors import CrdtsyncError, DeadlineExceeded, InvalidToken, OutcomeUnknown, Unreachable
from tests.client.conftest import QUICK, Process, Served, until
from tests.proxy import FROM_TARGET, Proxy


class Account:
    """A thread that increments a counter, one by one, and keeps books."""

    def __init__(self, client: crdtsync.Client, key: str = "account") -> None:
        self.client, self.key = client, key
        self.done, self.refused = 0, 0
        self.unknown: list[OutcomeUnknown] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        counter = self.client.gcounter(self.key)
        while not self._stop.is_set():
            try:
                counter.increment()
                self.done += 1
            except OutcomeUnknown as error:
                self.unknown.append(error)
            except CrdtsyncError:
                self.refused += 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def settle(self) -> None:
        """Find out what became of the unknown ones, as docs/client.md says."""
        while self.unknown:
            with self.client.batch(request_id=self.unknown[0].request_id):
                self.client.gcounter(self.key).increment()
            self.done += 1
            del self.unknown[0]

    def is_settled(self) -> bool:
        """The same, on a machine that may be too busy for it."""
        try:
            self.settle()
        except OutcomeUnknown:
            return False
        return True


def test_a_connection_that_is_cut_again_and_again(served: Served) -> None:
    with crdtsync.connect(served.address, backoff_max=0.05) as client:
        account = Account(client)
        for _ in range(15):
            before = account.done
            until(lambda before=before: account.done > before + 2, "writes between two cuts")
            served.proxy.cut()
            time.sleep(0.005)
            served.proxy.heal()
        account.stop()
        assert (account.unknown, account.refused) == ([], 0)
        assert client.gcounter("account").value == served.node.gcounter("account").value == account.done
        counters = client.status()["counters"]
        assert counters["retries"] > 0
        assert counters["connects"] > 5


def test_answers_that_never_come(served: Served) -> None:
    """The node carries writes out, and nobody hears of it."""
    with crdtsync.connect(served.address, attempt_timeout=0.2) as client:
        client.gcounter("k").increment()
        served.proxy.blackhole(FROM_TARGET)
        with client.deadline(0.5), pytest.raises(OutcomeUnknown) as caught:
            client.gcounter("k").increment()
        with client.deadline(0.3), pytest.raises((DeadlineExceeded, Unreachable)):
            _ = client.gcounter("k").value
        assert served.node.gcounter("k").value == 2
        served.proxy.heal()
        with client.batch(request_id=caught.value.request_id) as batch:
            client.gcounter("k").increment()
        assert (batch.repeated, client.gcounter("k").value) == (True, 2)


def account_of_kills(process: Process, kills: int) -> None:
    with crdtsync.connect(process.address, timeout=30.0, backoff_max=0.2, attempts=1000) as client:
        account = Account(client)
        for _ in range(kills):
            before = account.done
            until(lambda before=before: account.done > before + 20, "writes between two kills")
            process.kill()
            process.start()
        until(lambda: not account.unknown or client.gcounter("account").value, "the node to be back")
        account.stop()
        assert account.refused == 0
        account.settle()
        assert client.gcounter("account").value == account.done


def test_kill_9_counts_nothing_twice_and_loses_nothing(process: Process) -> None:
    account_of_kills(process, 2)


@pytest.mark.long
def test_many_kills(process: Process) -> None:
    account_of_kills(process, 40)


def test_a_node_that_is_gone_leaves_writes_unknown_and_says_which(process: Process, tmp_path: Path) -> None:
    with crdtsync.connect(process.address, timeout=1.0, backoff_max=0.1) as client:
        account = Account(client)
        until(lambda: account.done > 20, "writes")
        process.kill()
        until(lambda: account.refused or account.unknown, "a write that fails")
        account.stop()
        with pytest.raises(Unreachable, match=process.address):
            client.gcounter("account").increment()
        if account.unknown:
            assert account.unknown[0].address == process.address
            process.start(name="stranger", directory=tmp_path / "other")
            with pytest.raises(OutcomeUnknown, match="stranger"):
                account.settle()
            process.kill()
        process.start()
        until(account.is_settled, "the node to tell")
        until(lambda: client.gcounter("account").value == account.done, "the node to have it all")


def test_failover_reads_its_own_writes(cluster: list[Served]) -> None:
    a, b = cluster
    with crdtsync.connect([a.address, b.address], timeout=10.0) as client:
        for number in range(20):
            there, other = (a, b) if client.name == "a" else (b, a)
            client.orset("seen").add(number)
            there.proxy.cut()
            assert number in client.orset("seen")
            assert client.name == other.node.name
            there.proxy.heal()
        assert client.orset("seen").value == set(range(20))
        assert client.status()["counters"]["failovers"] >= 20


def test_a_new_connection_is_asked_who_is_there(stack: ExitStack) -> None:
    """Nothing fails when another node comes to the address between two calls, or the same one without its data."""
    a, b = Served(stack, name="a"), Served(stack, name="b")
    with crdtsync.connect(a.address, attempts=6, backoff_max=0.05) as client:
        client.flag("f").enable()
        a.proxy.target = b.server.address
        a.proxy.cut()
        a.proxy.heal()
        until(lambda: not client._caller.nodes.now.known, "the end of the connection to be noticed")
        with pytest.raises(InvalidToken, match=r"b at .* cannot have what this session has written"):
            _ = client.flag("f").value
        client.forget()
        assert (client.flag("f").value, client.name) == (False, "b")
        assert client.status()["counters"]["connects"] > 1

    async def main() -> None:
        async with crdtsync.aio.connect(a.address, attempts=6, backoff_max=0.05) as client:
            assert client.name == "b"
            await client.flag("g").enable()
            a.proxy.target = a.server.address
            a.proxy.cut()
            a.proxy.heal()
            while client._caller.nodes.now.known:
                await asyncio.sleep(0.005)
            with pytest.raises(InvalidToken, match="a at"):
                await client.flag("g").value()

    asyncio.run(main())


def test_what_was_written_before_the_first_peer_is_read_at_it(stack: ExitStack) -> None:
    """A node that was alone signs its tokens with its own name; they have to be had anew."""
    later = stack.enter_context(Proxy())
    a = Served(stack, name="a", listen="127.0.0.1:0", **QUICK)
    with crdtsync.connect([a.address, later.address], timeout=10.0) as client:
        client.bucket("one").flag("f").enable()
        client.bucket("two").flag("f").enable()
        b = Served(stack, name="b", listen="127.0.0.1:0", join=(a.node.address,), **QUICK)
        later.target = b.server.address
        client.bucket("three").flag("f").enable()
        a.proxy.cut()
        assert client.name == "a"
        assert all(client.bucket(name).flag("f").value for name in ("one", "two", "three"))
        assert client.name == "b"


def test_increments_during_failovers(cluster: list[Served]) -> None:
    a, b = cluster
    with crdtsync.connect([a.address, b.address], timeout=3.0, backoff_max=0.05) as client:
        account = Account(client)
        for _ in range(4):
            for served in (a, b):
                before = account.done
                until(lambda before=before: account.done > before + 5, "writes between two failures")
                served.proxy.cut()
                before = account.done
                until(lambda before=before: account.done > before + 5 or account.unknown, "writes elsewhere")
                served.proxy.heal()
        account.stop()
        assert account.refused == 0
        until(account.is_settled, "the nodes to tell")
        until(lambda: a.node.digest() == b.node.digest(), "both nodes to agree")
        assert a.node.gcounter("account").value == account.done


def test_a_stream_that_is_cut(served: Served) -> None:
    with crdtsync.connect(served.address, backoff_max=0.05, stream_operations=10, stream_window=8) as client:
        total = 6_000
        with client.stream() as stream:
            counter = stream.gcounter("k")
            for number in range(total):
                counter.increment()
                if number % 1_000 == 999:
                    served.proxy.cut()
                    served.proxy.heal()
        assert stream.answered == total
        assert client.gcounter("k").value == total
        assert client.status()["counters"]["stream_reconnects"] > 0


def test_a_stream_through_kill_9(process: Process) -> None:
    with crdtsync.connect(process.address, timeout=30.0, attempts=1000, stream_operations=50) as client:
        with client.stream() as stream:
            counter = stream.gcounter("k")
            for number in range(20_000):
                counter.increment()
                if number == 10_000:
                    process.kill()
                    process.start()
        assert client.gcounter("k").value == 20_000


def test_a_stream_whose_node_stays_away(process: Process) -> None:
    with crdtsync.connect(process.address, stream_operations=10, stream_window=4) as client:
        stream = client.stream()
        for _ in range(100):
            stream.gcounter("k").increment()
        stream.flush()
        process.kill()
        with client.deadline(0.3), pytest.raises((OutcomeUnknown, Unreachable, DeadlineExceeded)):
            for _ in range(100):
                stream.gcounter("k").increment()
        left = sum(operations for _, operations in stream.unanswered)
        assert left > 0
        process.start()
        stream.flush()
        assert client.gcounter("k").value == stream.answered


def test_a_stream_goes_to_no_other_node_after_an_unknown_outcome(cluster: list[Served]) -> None:
    a, b = cluster
    times = {"timeout": 0.6, "attempt_timeout": 0.2, "connect_timeout": 0.2, "backoff_max": 0.05}
    with crdtsync.connect([a.address, b.address], **times) as client:
        stream = client.stream()
        stream.gcounter("k").increment()
        stream.flush()
        stream.gcounter("k").increment()
        a.proxy.blackhole(FROM_TARGET)
        with pytest.raises(OutcomeUnknown):
            stream.flush()
        assert a.node.gcounter("k").value == 2
        client.flag("elsewhere").enable()
        assert client.name == "b"
        stream.gcounter("k").increment()
        with pytest.raises(OutcomeUnknown):
            stream.flush()
        a.proxy.heal()
        stream.close()
        until(lambda: a.node.digest() == b.node.digest(), "both nodes to agree")
        assert (a.node.gcounter("k").value, stream.answered, client.status()["unsettled"]) == (3, 3, 0)


def test_refused_batches_of_a_stream_are_told(served: Served) -> None:
    with crdtsync.connect(served.address, stream_operations=3) as client:
        client.map("m").lwwregister("f").set(1)
        stream = client.stream()
        stream.gcounter("a").increment()
        stream.gcounter("a").increment()
        stream.gcounter("a").increment()
        stream.gcounter("b").increment()
        stream.map("m").flag("f").enable()
        stream.cut()
        stream.orset("s").remove("absent")
        stream.cut()
        stream.gcounter("c").increment()
        with pytest.raises(crdtsync.errors.FieldTypeError):
            stream.flush()
        assert [(each.first, each.operations, type(each.error)) for each in stream.refused_batches] == [
            (3, 2, crdtsync.errors.FieldTypeError), (5, 1, KeyError),
        ]  # fmt: skip
        stream.close()
        assert {item.key: item.value for item in client.items()} == {"a": 3, "c": 1, "m": {"f": 1}}


def test_without_a_connection_nothing_was_taken() -> None:
    """How gRPC says so is all that tells it from a connection that was lost; a release that says it anew fails here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = ConnectConfig()
    caller = Caller(Nodes(address, config, random.Random()), config, random.Random())
    apply = Ask(caller.nodes.now, "Apply", b"", 5.0)
    blocking, awaiting = Blocking(caller), Awaiting(caller)
    with pytest.raises(CallFailed) as caught:
        blocking._take(apply)
    assert not caught.value.taken
    blocking.close()
    caller.closed = False

    async def main() -> None:
        with pytest.raises(CallFailed) as caught:
            await hop(awaiting._take(apply))
        assert not caught.value.taken
        await awaiting.close()

    asyncio.run(main())


def test_a_watcher_goes_on_at_the_next_node(cluster: list[Served]) -> None:
    a, b = cluster
    with crdtsync.connect([a.address, b.address], backoff_max=0.1) as client:
        told: dict[str, Any] = {}
        with client.watch() as changes:
            for number in range(6):
                there = a if number % 2 == 0 else b
                b.node.orset(f"s{number}").add(number)
                while f"s{number}" not in told:
                    change = changes.next(30.0)
                    assert change is not None
                    told[change.key] = change.value
                there.proxy.cut()
                a.node.orset(f"during{number}").add(number)
                until(lambda number=number: client.status()["counters"].get("watch_reconnects", 0) > 0, "a new try")
                there.proxy.heal()
            while not {f"during{number}" for number in range(6)} <= told.keys():
                change = changes.next(30.0)
                assert change is not None
                told[change.key] = change.value
        assert told == {f"{name}{number}": {number} for number in range(6) for name in ("s", "during")}


def test_a_watcher_that_looks_for_a_node_ends_with_its_client(served: Served) -> None:
    settings: dict[str, Any] = {"timeout": 0.3, "backoff_min": 0.001, "backoff_max": 0.002}
    for _ in range(3):
        with crdtsync.connect(served.address, **settings) as client:
            changes = client.watch()
            served.proxy.cut()
            until(lambda client=client: client.status()["counters"].get("retries", 0) > 1, "a second look")
        assert changes.next(30.0) is None
        served.proxy.heal()

    async def main() -> None:
        async with crdtsync.aio.connect(served.address, **settings) as client:
            changes = client.watch()
            await changes.start()
            served.proxy.cut()
            while client.status()["counters"].get("retries", 0) < 2:
                await asyncio.sleep(0.005)
        assert await changes.next(30.0) is None

    asyncio.run(main())
