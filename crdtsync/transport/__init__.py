"""Links between nodes: messages of `crdtsync.replication.messages` travel as protobuf frames.

    base     what a transport does, and what it tells its owner
    grpc     the network: one bidirectional gRPC stream per link, on one background thread for the whole process
    memory   `crdtsync.transport.memory`, the twin without sockets and threads, under the control of a scheduler
    wire     message <-> frame; every frame that does not decode is a BadFrame
    pb       generated from proto/

A transport knows nothing of clusters or of what messages mean.  It promises, per link: messages arrive whole, in the
order of `send`, at most once; one `link_up`, then messages, then one `link_down`.  It keeps every queue bounded and
ends a link whose other side reads too slowly, sends what does not decode, or sends nothing at all.
"""

import os

# gRPC would tell of every fork and every link that goes away on standard error; read when it starts.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
