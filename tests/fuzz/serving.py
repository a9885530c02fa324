"""A served node without its sockets: the methods of both services called with whatever bytes, and what came of it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

import crdtsync
from crdtsync.clocks.tokens import make_token
from crdtsync.config import ServeConfig
from crdtsync.datatypes.values import encode
from crdtsync.errors import CrdtsyncError, InvariantViolated
from crdtsync.service.admin import Admin
from crdtsync.service.calls import CallerGone, Calls
from crdtsync.service.data import Data
from crdtsync.service.errors import Absent, details, make_error, status_of
from crdtsync.service.workers import Workers
from crdtsync.transport.pb import admin_pb2 as admin
from crdtsync.transport.pb import data_pb2 as pb
from tests.service.caller import add, operation, place, value

PATIENCE = 0.02  # s that a call may wait for what does not come
METHODS = (
    "apply", "read", "scan", "watch", "wait_for", "position", "describe", "apply_stream",
    "status", "members", "join", "leave", "evict", "list_rescue", "replay_rescue", "drop_rescue", "backup", "restore",
    "stop",
)  # fmt: skip
STREAMS = ("apply_stream", "restore")  # of requests: each has its length before it, two bytes
CALLS_MAX = 2_000  # of one node, whose state must stay small
SHAKEN = ("leave", "evict", "restore")  # after these the node may be another one


class Context:
    """What a handler sees of its call: requests to read, a caller who goes after the first answer, little time."""

    def __init__(self, requests: list[bytes]) -> None:
        self._requests = iter(requests)

    def time_remaining(self) -> float:
        return PATIENCE

    async def read(self) -> Any:
        return next(self._requests, grpc.aio.EOF)

    async def write(self, response: bytes) -> None:
        raise ConnectionError("the caller has gone")


class Served:
    """One node, its services, and a loop to run them on."""

    def __init__(self) -> None:
        self.loop, self.calls = asyncio.new_event_loop(), 0
        self._node = crdtsync.open(None, name="fuzzed", collect_interval=60.0)
        config = ServeConfig()
        self._workers = Workers(self._node.local, 2, config.inline_bytes)
        calls = Calls(self._node.local, config, verified=False)
        data, operators = (
            Data(self._node, config, calls, self._workers),
            Admin(self._node, config, calls, self._workers, None),
        )
        self._methods = {name: getattr(data, name, None) or getattr(operators, name) for name in METHODS}

    def call(self, name: str, data: bytes) -> None:
        """Call a method; raises what would end the call with INTERNAL, or be no error of ours."""
        self.calls += 1
        streams = name in STREAMS
        context = Context(split(data) if streams else [])
        work = self._methods[name](context) if streams else self._methods[name](data, context)
        try:
            self.loop.run_until_complete(asyncio.wait_for(work, PATIENCE * 5))
        except (TimeoutError, CallerGone):
            pass
        except (CrdtsyncError, Absent) as error:
            assert not isinstance(error, InvariantViolated), error
            assert status_of(error) != grpc.StatusCode.INTERNAL, error
            message = make_error(error, "")
            message.SerializeToString()
            details(message)

    def close(self) -> None:
        self._workers.stop()
        self._node.close()
        self.loop.close()


_served: list[Served] = []


def request(data: bytes) -> None:
    """One call: the first byte is the method's number."""
    name = METHODS[data[0] % len(METHODS)] if data else METHODS[0]
    if _served and _served[0].calls >= CALLS_MAX:
        _served.pop().close()
    if not _served:
        _served.append(Served())
    try:
        _served[0].call(name, data[1:])
    finally:
        if name in SHAKEN:
            _served.pop().close()


def split(data: bytes) -> list[bytes]:
    """The requests of a stream."""
    requests = []
    while data:
        size = int.from_bytes(data[:2], "big")
        requests.append(data[2 : 2 + size])
        data = data[2 + size :]
    return requests


def requests() -> list[bytes]:
    """A well-formed one of every method, and several of those that take much."""
    token = make_token("fuzzed", {"default": {0: 1}})
    every = [
        operation("gcounter.increment", "g", argument=2), operation("orset.add", "s", argument="x"),
        operation("orset.update", "s", arguments=["a", 1, None, b"y", 1.5]),
        operation("lwwregister.set", "r", argument=1),
        operation("mvregister.set", "m", argument=pb.Value(list=pb.Values(values=[value(1), value("z")]))),
        operation("flag.enable", "f"), operation("lwwregister.set", "map", "a", "b", argument=pb.Value(decimal="1.5")),
        operation("lwwregister.set", "r", argument=pb.Value(timestamp="2026-01-31T23:59:59+02:00")),
        operation("gset.add", "u", argument=pb.Value(uuid=bytes(16))),
        operation("lwwregister.set", "p", argument=pb.Value(packed=encode({"k": [1, (2, "t")]}))),
        operation("lwwregister.set", "d", argument=pb.Value(dict=pb.Fields(fields={"k": value(True)}))),
        operation("map.remove", "map", argument="a"), pb.Operation(place=place("flag", "f"), verb="delete"),
        operation("gset.add", "u", argument=pb.Value(big_integer=str(2**70))), add("n", -3),
    ]  # fmt: skip
    page = pb.Page(after=encode("a"), limit=2)
    queries = [
        pb.Query(place=place("map", "map"), value=True), pb.Query(place=place("orset", "s"), contains=value("x")),
        pb.Query(place=place("orset", "s"), elements=page), pb.Query(place=place("orset", "s"), count=True),
        pb.Query(place=place("map", "map"), fields=True), pb.Query(place=place("", "r"), exists=True),
    ]  # fmt: skip
    batch = pb.ApplyRequest(operations=every, request_id="id-1", bucket="b", after=token)
    streamed = [pb.ApplyRequest(operations=[each]).SerializeToString() for each in every[:3]]
    chunks = [admin.RestoreChunk(data=b"CRDTBKP1" + bytes(40)), admin.RestoreChunk(data=b"more", last=True)]
    made: list[tuple[str, Any]] = [
        ("apply", batch), *(("apply", pb.ApplyRequest(operations=[each])) for each in every),
        ("read", pb.ReadRequest(queries=queries, token=True, packed=True)),
        *(("read", pb.ReadRequest(queries=[each])) for each in queries),
        ("scan", pb.ScanRequest()), ("watch", pb.WatchRequest()), ("wait_for", pb.WaitForRequest(token=token)),
        ("position", pb.PositionRequest(buckets=["default", "b"], sync=True)), ("describe", pb.DescribeRequest()),
        ("apply_stream", joined(streamed)), ("status", admin.StatusRequest()), ("members", admin.MembersRequest()),
        ("join", admin.JoinClusterRequest(addresses=["127.0.0.1:1"], timeout_ms=5)),
        ("leave", admin.LeaveRequest(timeout_ms=5)), ("evict", admin.EvictRequest(node="b", force=True)),
        ("list_rescue", admin.ListRescueRequest(contents=True)), ("replay_rescue", admin.ReplayRescueRequest(name="x")),
        ("drop_rescue", admin.DropRescueRequest(name="../x")), ("backup", admin.BackupRequest(since=token)),
        ("restore", joined([each.SerializeToString() for each in chunks])), ("stop", admin.StopRequest()),
    ]  # fmt: skip
    return [
        bytes([METHODS.index(name)]) + (each if isinstance(each, bytes) else each.SerializeToString())
        for name, each in made
    ]


def joined(requests: list[bytes]) -> bytes:
    """The requests of a stream in one."""
    return b"".join(len(each).to_bytes(2, "big") + each for each in requests)
