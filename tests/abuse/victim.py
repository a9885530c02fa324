"""The node that is attacked: `python -m tests.abuse.victim DIR [CA CERT KEY]`.

Says its addresses as a line of JSON, then answers each line on stdin with what it holds and what it costs.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

import psutil

import crdtsync
from crdtsync.transport import descriptors
from tests.abuse.wire import many_files

SETTINGS: dict[str, Any] = {"connect_timeout": 2.0, "keepalive_interval": 2.0, "keepalive_timeout": 2.0}
SERVED: dict[str, Any] = {
    "handshake_timeout": 2.0, "keepalive_interval": 2.0, "keepalive_timeout": 2.0, "connections_max": 20_000,
    "watchers_max": 64, "stall_max": 5.0,
}  # fmt: skip


trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: 0)  # of glibc


def main(directory: str, *files: str) -> None:
    many_files()
    descriptors.LISTENERS = 1  # only one port is attacked at a time
    tls = dict(zip(("tls_ca", "tls_cert", "tls_key"), files, strict=False))
    with (
        crdtsync.open(
            directory, name="victim", listen="127.0.0.1:0", connections_max=20_000, **SETTINGS, **tls
        ) as node,
        crdtsync.serve(node, admin="127.0.0.1:0", **SERVED) as server,
    ):
        print(json.dumps({"node": node.address, "data": server.address, "admin": server.admin_address}), flush=True)
        process = psutil.Process()
        for _ in sys.stdin:
            trim(0)  # what was let go of is not what it costs
            status = node.status()
            held = {
                "keys": [key for key in node.keys("") if key != "honest"],
                "buckets": node.buckets(),
                "watches": sum(service["watches"] for service in status["service"]),
                "running": sum(service["running"] for service in status["service"]),
                "counters": status["counters"],
                "members": len(status["members"]),
                "rss": process.memory_info().rss,
                "files": process.num_fds(),
            }
            print(json.dumps(held), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
