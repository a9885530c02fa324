"""What the handles of one client speak through: its connections, its session, and its ways to carry calls out.

Programs use handles.  The command line asks what no handle does, pages of a scan or the Admin service, and finds the
line of a client or a bucket here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdtsync.client import verbs
from crdtsync.client.blocking import Blocking
from crdtsync.client.verbs import Answer
from crdtsync.client.watching import RemoteWatcher
from crdtsync.datatypes import keys
from crdtsync.errors import CrdtsyncError
from crdtsync.handles.batches import Operation

if TYPE_CHECKING:
    from crdtsync.client.buckets import RemoteBucket
    from crdtsync.client.client import Client


def line_of(speaker: Client | RemoteBucket) -> Line:
    """The line that a client, or a bucket of it, speaks through; it ends with the client."""
    return speaker._line


class Line(Blocking):
    """What the buckets of one client share; carries its batches out."""

    @property
    def batch_bytes_max(self) -> int:
        """ClusterSettings.batch_bytes_max of the node."""
        return int(self.caller.described.batch_bytes_max)

    def refused(self, error: CrdtsyncError) -> CrdtsyncError:
        """Count a refusal; gives it back, to be raised."""
        return self.caller.counters.refused(error)

    def carry_out(
        self, bucket: str, operations: list[Operation], request_id: str | None = None, *, sync: bool = False
    ) -> Answer:
        """The operations of a batch, all or none."""
        return self.run(verbs.write(self.caller, bucket, operations, request_id, sync))

    def token_after(self, bucket: str, answer: Answer) -> str:
        """A token of a batch; of where the bucket stands now when it changed nothing."""
        return answer.token or self.run(verbs.position(self.caller, [bucket])).token

    def wait_durable(self) -> None:
        """The node has waited: `carry_out` asked it to."""

    def watch(self, bucket: str | None, prefix: str, after: str | None, values: bool) -> RemoteWatcher:
        """See Client.watch."""
        try:
            if bucket is not None:
                keys.check_bucket(bucket)
            keys.check_prefix(prefix)
        except CrdtsyncError as error:
            raise self.refused(error) from None
        return RemoteWatcher(self, bucket, prefix, after, values)
