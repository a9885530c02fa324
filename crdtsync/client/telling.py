"""What a watcher knows, whoever waits for it: what to ask a node for, and what its responses tell."""

from __future__ import annotations

from crdtsync.client.answers import change_of
from crdtsync.client.calls import Caller
from crdtsync.client.failures import CallFailed
from crdtsync.client.nodes import Instance
from crdtsync.config import milliseconds
from crdtsync.errors import CrdtsyncError, DeadlineExceeded, Unreachable, WaitTimeout
from crdtsync.handles import Change
from crdtsync.transport.pb import data_pb2 as pb

LASTING = (Unreachable, DeadlineExceeded, WaitTimeout)  # what a watcher waits out


class Telling:
    """One watched part of the data, and how far it has been taken in."""

    def __init__(self, caller: Caller, bucket: str | None, prefix: str, after: str | None, values: bool) -> None:
        if after is not None:
            caller.check_token(after)
        self._caller = caller
        self._bucket, self._prefix, self._values = bucket, prefix, values
        self.token = after or ""  # everything up to here has been taken in: the next request begins there
        self._failures = 0  # since the last response

    def request(self, there: Instance) -> bytes:
        """Go on where it stands."""
        request = pb.WatchRequest(
            bucket=self._bucket or "", all_buckets=self._bucket is None, prefix=self._prefix, after=self.token,
            no_values=not self._values, packed=True,
            heartbeat_ms=milliseconds(self._caller.config.watch_heartbeat),
        )  # fmt: skip
        return request.SerializeToString() + there.stamp

    def take_in(self, response: bytes, there: Instance) -> list[Change]:
        """The changes of a response.  Only the last one may resume behind it.  Raises BadFrame."""
        message = self._caller.read(pb.WatchResponse, response)
        self._failures = 0
        before, self.token = self.token, message.token or self.token
        if self._caller.session.mode == "reads":
            self._caller.session.note(self.token, there)
        last = len(message.changes) - 1
        return [
            change_of(change, self.token if number == last else before) for number, change in enumerate(message.changes)
        ]

    def late(self) -> CrdtsyncError:
        """The error of a watch that no node has begun in time."""
        return self._caller.counters.refused(DeadlineExceeded("No node has begun to tell changes in time."))

    def pause(self, failure: CallFailed) -> float:
        """Seconds to wait before going on after a failure.  Raises what cannot be waited out."""
        if failure.final and failure.error is not None:
            raise self._caller.counters.of(failure.error)
        self._caller.counters.count("watch_reconnects")
        self._failures += 1
        return self._caller.backoff(self._failures)

    def outlast(self, error: CrdtsyncError) -> float:
        """The same after a node could not be reached."""
        if not isinstance(error, LASTING):
            raise error
        self._failures += 1
        return self._caller.backoff(self._failures)
