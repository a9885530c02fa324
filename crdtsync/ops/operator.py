"""What operators say to a running node: the Admin service, called through a client's connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from google.protobuf.message import Message

from crdtsync.client.answers import read
from crdtsync.client.calls import Call
from crdtsync.client.failures import CallFailed
from crdtsync.client.lines import line_of
from crdtsync.config import milliseconds
from crdtsync.errors import BadFrame, Unreachable
from crdtsync.transport.pb import admin_pb2 as pb

if TYPE_CHECKING:
    from crdtsync.client import Client

SERVICE = "/crdtsync.v1.Admin/"
CHUNK = 256 * 1024  # bytes of a backup file in one message
EVICT_TIMEOUT = 20.0  # s: members have 5 s to vote, and the node may be busy besides
M = TypeVar("M", bound=Message)
T = TypeVar("T")


class Operator:
    """One node, as operators see it.  Every call raises what the node raises, Unreachable and Denied."""

    def __init__(self, client: Client) -> None:
        self._line = line_of(client)

    def _call(self, method: str, request: Message, kind: type[M], timeout: float | None = None) -> M:
        """One call, made once; `timeout` is for those that wait in the node."""
        call = Call(SERVICE + method, request.SerializeToString(), patient=True)
        caller = self._line.caller
        try:
            answered = self._line.run(caller.make(call, timeout))
        except Unreachable as error:
            raise self._plain(error) from None
        return read(kind, answered.answers[0])

    def status(self) -> dict[str, Any]:
        """Node.status() of the node."""
        return _read_json(self._call("Status", pb.StatusRequest(), pb.StatusResponse).json, dict[str, Any])

    def members(self) -> list[dict[str, Any]]:
        """Every member record that the node knows, by name."""
        members = self._call("Members", pb.MembersRequest(), pb.MembersResponse).members
        return [
            {"node": each.node, "state": each.state, "epoch": each.epoch, "address": each.address} for each in members
        ]

    def join(self, addresses: list[str], timeout: float) -> str:
        """Have the node dial these addresses, and join through them; its state then."""
        request = pb.JoinClusterRequest(addresses=addresses, timeout_ms=milliseconds(timeout))
        return self._call("Join", request, pb.JoinClusterResponse, timeout + 5.0).state

    def leave(self, timeout: float) -> None:
        """Have the node leave its cluster in good order."""
        self._call("Leave", pb.LeaveRequest(timeout_ms=milliseconds(timeout)), pb.LeaveResponse, timeout + 5.0)

    def evict(self, node: str, force: bool) -> None:
        """Declare a member gone for good."""
        self._call("Evict", pb.EvictRequest(node=node, force=force), pb.EvictResponse, EVICT_TIMEOUT)

    def rescue(self, contents: bool) -> list[dict[str, Any]]:
        """The rescue files; with what is in them."""
        answer = self._call("ListRescue", pb.ListRescueRequest(contents=contents), pb.ListRescueResponse)
        return _read_json(answer.json, list[dict[str, Any]])

    def replay(self, name: str, timeout: float) -> dict[str, int]:
        """Write what a rescue file holds."""
        answer = self._call("ReplayRescue", pb.ReplayRescueRequest(name=name), pb.ReplayRescueResponse, timeout)
        return {"applied": answer.applied, "skipped": answer.skipped}

    def drop(self, name: str) -> None:
        """Give up what a rescue file holds."""
        self._call("DropRescue", pb.DropRescueRequest(name=name), pb.DropRescueResponse)

    def backup(self, since: str, parent: str) -> Iterator[bytes]:
        """The bytes of a backup file, made while the node goes on; `since`: token of the one that it builds on."""
        request = pb.BackupRequest(since=since, parent=parent).SerializeToString()
        with self._failing():
            for data in self._line.answers(self._line.caller.nodes.now, SERVICE + "Backup", request):
                yield read(pb.BackupChunk, data).data

    def merge(self, paths: Sequence[Path], told: Callable[[int], None]) -> dict[str, int]:
        """Merge backup files into the node; `told` gets the bytes sent so far."""
        with self._failing():
            chunks = _chunks(paths, told)
            answer = self._line.answer(self._line.caller.nodes.now, SERVICE + "Restore", chunks)
        return _read_json(read(pb.RestoreResponse, answer).json, dict[str, int])

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """A stream is not tried again: whoever asked for it does that."""
        try:
            yield
        except CallFailed as failure:
            error = failure.error or Unreachable(f"{self._line.caller.nodes.now}: {failure.text}.")
            raise self._line.caller.counters.of(self._plain(error)) from None

    def _plain(self, error: Exception) -> Exception:
        """An address without the Admin service is one for programs."""
        if not isinstance(error, Unreachable) or "does not serve" not in error.message:
            return error
        return Unreachable(
            f"{self._line.caller.nodes.now} serves programs, not operators.",
            hint="Name the node's directory, or the address that it was given with --admin.",
        )

    def stop(self) -> None:
        """Have the process write everything down and end."""
        self._call("Stop", pb.StopRequest(), pb.StopResponse)


def _read_json(text: str, kind: type[T]) -> T:
    """What a node tells as JSON.  Raises BadFrame."""
    try:
        return msgspec.convert(json.loads(text), kind)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"The node answers with JSON that is not what was asked for: {error}.") from None


def _chunks(paths: Sequence[Path], told: Callable[[int], None]) -> Iterator[bytes]:
    """Files as requests, one after the other; each ends with a chunk that says so."""
    sent = 0
    for path in paths:
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                yield pb.RestoreChunk(data=data).SerializeToString()
                sent += len(data)
                told(sent)
        yield pb.RestoreChunk(last=True).SerializeToString()
