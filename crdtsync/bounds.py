"""The largest value that each whole number among the settings may have.

They keep a slip, a zero too many or bytes for MiB, from becoming an overflow or a process without memory much later; no
machine of today wants as much.
"""

from __future__ import annotations

MIB = 1024 * 1024
GIB = 1024 * MIB
TIB = 1024 * GIB

MESSAGE = GIB  # of what is one message, part or file that is mapped: gRPC and protobuf end at 2 GiB
MEMORY = TIB  # of what is held in memory, or gathered on disk
ADDRESSES = 64 * TIB  # of what is mapped: half of the addresses that a process has
MANY = 1_000_000_000  # small things in memory
SOME = 1_000_000  # things that each cost a connection, a record or a call
FEW = 1_024  # threads, transfers, and peers to push to

INTEGER_MAX = {
    **dict.fromkeys(
        ("flush_bytes", "segment_bytes", "part_bytes", "message_bytes_max", "frame_batch_bytes", "page_bytes",
         "window_bytes", "inline_bytes", "stream_bytes", "cluster.value_bytes_max", "cluster.part_bytes_max",
         "cluster.batch_bytes_max"),
        MESSAGE,
    ),
    **dict.fromkeys(
        ("checkpoint_bytes", "dirty_bytes_max", "cache_bytes_max", "merge_bytes_max", "transfer_bytes_max",
         "staged_bytes_max", "parked_bytes_max", "send_queue_bytes_max", "work_bytes_max"),
        MEMORY,
    ),
    **dict.fromkeys(("map_bytes", "restore_bytes_max"), ADDRESSES),
    **dict.fromkeys(("watch_pending_max", "backlog_max", "requests_kept"), MANY),
    **dict.fromkeys(
        ("slice_rows", "actors_per_part_max", "members_max", "buckets_max", "links_max", "conflicts_kept", "calls_max",
         "connections_max",
         "watchers_max", "streams_max", "attempts", "page_items", "watch_ahead", "stream_operations", "stream_window"),
        SOME,
    ),
    **dict.fromkeys(("credit_parts", "transfers_out_max", "fan_out", "full_mesh_max", "workers"), FEW),
    "metadata_bytes_max": MIB,
    "cluster.key_bytes_max": 255,
    "cluster.depth_max": 64,
    "cluster.evict_after": MANY,  # s: 30 years, as for every time
}  # fmt: skip
