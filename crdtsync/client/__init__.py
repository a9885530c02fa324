"""The remote client: handles of the data that nodes elsewhere serve.

    client     `connect`, Client; `buckets` (handles, listings), `watching`, `streaming` (writing much)
    verbs      what is asked of a node, as generators of steps: written once, run blocking and on asyncio
    calls      one call through retries, failover and the session: what may be sent again, and where
    blocking   takes the steps with gRPC's synchronous channels
    nodes session failures requests answers: addresses, joined tokens, what went wrong, bytes out, values in

It shares handles, batches and values with the node, and loads neither storage nor replication.
"""

from __future__ import annotations

from crdtsync.client.buckets import RemoteBucket
from crdtsync.client.client import Client, connect
from crdtsync.client.streaming import WriteStream
from crdtsync.client.watching import RemoteWatcher

__all__ = ["Client", "RemoteBucket", "RemoteWatcher", "WriteStream", "connect"]
