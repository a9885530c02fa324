"""Every metric: name, kind, labels, what it says, and where it stands in `status()`.  docs/metrics.md has them all."""

from __future__ import annotations

from typing import NamedTuple

from crdtsync.ops.metrics import reading
from crdtsync.ops.metrics.reading import Read, at, per_bucket, per_peer

GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"


class Metric(NamedTuple):
    """One family of series."""

    name: str
    kind: str
    text: str
    read: Read
    labels: tuple[str, ...] = ()


class Times(NamedTuple):
    """A histogram, and where its Timing stands in `status()["storage"]`."""

    name: str
    text: str
    field: str


NODE = (
    Metric(
        "crdtsync_node_info", GAUGE, "Who this node is; always 1.", reading.info,
        ("node", "cluster", "version", "durability", "encryption"),
    ),
    Metric("crdtsync_node_state", GAUGE, "1 for the state that the node is in.", reading.node_states, ("state",)),
    Metric("crdtsync_node_ready", GAUGE, "1 when the node takes reads and writes.", at("ready")),
    Metric("crdtsync_node_uptime_seconds", GAUGE, "Time since the node was opened.", at("up_seconds")),
    Metric("crdtsync_members", GAUGE, "Nodes in the member list, by state.", reading.members, ("state",)),
    Metric("crdtsync_rescue_files", GAUGE, "Rescue files that wait for a decision.", reading.count_of("rescue")),
    Metric(
        "crdtsync_tls_not_after_timestamp_seconds", GAUGE, "When a certificate ends.", reading.certificates,
        ("certificate",),
    ),
    Metric("crdtsync_tls_reload_failed", GAUGE, "1 when changed TLS files cannot be used.", reading.reload_failed),
)  # fmt: skip

PEERS = (
    Metric("crdtsync_peer_up", GAUGE, "1 when a member is linked and not suspected.", reading.peers_up, ("peer",)),
    Metric(
        "crdtsync_peer_lag_events", GAUGE, "Events held here that a peer is not known to hold.",
        per_peer(lambda peer: sum(peer["lag"].values())), ("peer",),
    ),
    Metric(
        "crdtsync_peer_lag_seconds", GAUGE, "For how long a peer has lacked something without a break.",
        per_peer(lambda peer: peer["lag_seconds"]), ("peer",),
    ),
    Metric(
        "crdtsync_peer_behind_events", GAUGE, "Events that a peer holds and this node lacks.",
        per_peer(lambda peer: sum(peer["behind"].values())), ("peer",),
    ),
    Metric(
        "crdtsync_peer_last_heard_seconds", GAUGE, "Time since a peer was last heard.",
        per_peer(lambda peer: peer["last_heard"]), ("peer",),
    ),
    Metric(
        "crdtsync_peer_suspicion_phi", GAUGE, "Phi of a linked peer; from suspect_phi on it counts as out of reach.",
        per_peer(lambda peer: peer["phi"]), ("peer",),
    ),
    Metric(
        "crdtsync_peer_clock_skew_seconds", GAUGE, "How far a peer's wall clock is ahead of ours.",
        per_peer(lambda peer: peer["skew"]), ("peer",),
    ),
    Metric(
        "crdtsync_peer_pushes_in_flight", GAUGE, "Pushes to a peer that it has not confirmed.",
        per_peer(lambda peer: peer["pushes_in_flight"]), ("peer",),
    ),
)  # fmt: skip

BUCKETS = (
    Metric("crdtsync_bucket_rows", GAUGE, "Rows in the row table.", per_bucket("rows"), ("bucket",)),
    Metric("crdtsync_bucket_dead_rows", GAUGE, "Those that are deleted.", per_bucket("dead_rows"), ("bucket",)),
    Metric("crdtsync_bucket_damaged_rows", GAUGE, "Rows set aside.", per_bucket("damaged_rows"), ("bucket",)),
    Metric("crdtsync_bucket_events", GAUGE, "Events that the clock covers.", per_bucket("events"), ("bucket",)),
    Metric(
        "crdtsync_bucket_unsynced_events", GAUGE, "Those not known to be on the disk.", per_bucket("unsynced_events"),
        ("bucket",),
    ),
    Metric("crdtsync_bucket_actors", GAUGE, "Actors in the clock.", per_bucket("actors"), ("bucket",)),
    Metric(
        "crdtsync_collection_rows_waiting", GAUGE, "Dead rows that not every member is known to hold.",
        per_bucket("rows_waiting", "collection"), ("bucket",),
    ),
    Metric(
        "crdtsync_collection_frontier_age_seconds", GAUGE,
        "Time since when some member may not have everything on its disk.",
        per_bucket("frontier_age", "collection"), ("bucket",),
    ),
    Metric(
        "crdtsync_member_absent_seconds", GAUGE, "For how long a member out of reach has not been heard.",
        reading.per_member("absent"), ("member",),
    ),
    Metric(
        "crdtsync_member_evicted_in_seconds", GAUGE, "Until the eviction of an absent member is put to the vote.",
        reading.per_member("evicted_in"), ("member",),
    ),
    Metric(
        "crdtsync_collection_waits_for_seconds", GAUGE, "For how long collection has waited for a member.",
        reading.waits_for, ("member",),
    ),
)  # fmt: skip

STORAGE = (
    Metric("crdtsync_storage_table_bytes", GAUGE, "Bytes in use in the row table.", at("storage", "table_bytes")),
    Metric("crdtsync_storage_cache_bytes", GAUGE, "Clean rows in memory.", at("storage", "cache_bytes")),
    Metric("crdtsync_storage_dirty_bytes", GAUGE, "What waits for a checkpoint.", at("storage", "dirty_bytes")),
    Metric("crdtsync_storage_dirty_rows", GAUGE, "Rows that wait for a checkpoint.", at("storage", "dirty_rows")),
    Metric("crdtsync_storage_actors", GAUGE, "Actors that the store knows.", at("storage", "actors")),
    Metric("crdtsync_storage_disk_free_bytes", GAUGE, "Room left on the journal's disk.", reading.disk_free),
    Metric("crdtsync_requests", GAUGE, "Request ids remembered.", at("storage", "requests")),
    Metric("crdtsync_requests_bytes", GAUGE, "Memory that they take.", at("storage", "request_bytes")),
    Metric(
        "crdtsync_requests_oldest_age_seconds", GAUGE, "For how long the oldest one has been kept.",
        at("storage", "request_age"),
    ),
    Metric("crdtsync_journal_records_total", COUNTER, "Records ever written.", at("storage", "last_record")),
    Metric(
        "crdtsync_journal_unsynced_records", GAUGE, "Records not known to be on the disk.", reading.unsynced_records
    ),
    Metric("crdtsync_journal_unsynced_bytes", GAUGE, "Bytes of the next sync.", at("storage", "unsynced_bytes")),
    Metric("crdtsync_journal_segments", GAUGE, "Files of the journal.", at("storage", "journal_segments")),
    Metric("crdtsync_journal_bytes", GAUGE, "Bytes of these files.", at("storage", "journal_bytes")),
    Metric("crdtsync_journal_failed", GAUGE, "1 when the journal takes no writes.", reading.failed("journal_error")),
    Metric(
        "crdtsync_checkpoint_failed", GAUGE, "1 when the last checkpoint failed.", reading.failed("checkpoint_error")
    ),
    Metric(
        "crdtsync_journal_sync_last_seconds", GAUGE, "Time of the last sync.", at("storage", "sync_times", "last")
    ),
    Metric(
        "crdtsync_journal_sync_longest_seconds", GAUGE, "Time of the longest sync since the node was opened.",
        at("storage", "sync_times", "longest"),
    ),
    Metric(
        "crdtsync_checkpoint_last_seconds", GAUGE, "Time of the last checkpoint.",
        at("storage", "checkpoint_times", "last"),
    ),
    Metric(
        "crdtsync_checkpoint_longest_seconds", GAUGE, "Time of the longest checkpoint since the node was opened.",
        at("storage", "checkpoint_times", "longest"),
    ),
)  # fmt: skip

TRAFFIC = (
    Metric("crdtsync_links", GAUGE, "Links, by who dialled.", reading.links, ("direction",)),
    Metric("crdtsync_links_queued_bytes", GAUGE, "Bytes that wait to be sent.", reading.queued_bytes),
    Metric("crdtsync_links_paused", GAUGE, "Links that replication has to catch up on.", at("queues", "links_paused")),
    Metric("crdtsync_transfers", GAUGE, "Transfers under way.", reading.transfers, ("direction",)),
    Metric(
        "crdtsync_transfer_longest_seconds", GAUGE, "Age of the oldest transfer that is taken in.",
        reading.longest_transfer,
    ),
    Metric("crdtsync_engine_queue_events", GAUGE, "Events that wait for replication.", at("queues", "engine_events")),
    Metric("crdtsync_engine_lateness_seconds", GAUGE, "How late replication ran at worst.", at("lateness")),
    Metric("crdtsync_engine_snapshot_age_seconds", GAUGE, "Age of replication's figures.", at("engine_age")),
    Metric("crdtsync_watchers", GAUGE, "Watchers that are open.", reading.count_of("watchers")),
    Metric(
        "crdtsync_watcher_pending_max", GAUGE, "Changes that the slowest watcher is behind.", reading.longest_watcher
    ),
    Metric(
        "crdtsync_service_calls_total", COUNTER, "Calls of programs and operators.", reading.calls("calls"),
        ("method",),
    ),
    Metric("crdtsync_service_errors_total", COUNTER, "Calls that failed.", reading.calls("errors"), ("method",)),
    Metric("crdtsync_service_calls_running", GAUGE, "Calls under way.", reading.calls("running"), ("method",)),
    Metric("crdtsync_service_operations_total", COUNTER, "Operations carried out for programs.", reading.operations),
)  # fmt: skip

COUNTERS = (
    Metric("crdtsync_refusals_total", COUNTER, "What was refused, by error.", reading.refusals, ("error",)),
    Metric("crdtsync_events_total", COUNTER, "Every other counter of status().", reading.events, ("name",)),
)

METRICS = (*NODE, *PEERS, *BUCKETS, *STORAGE, *TRAFFIC, *COUNTERS)
HISTOGRAMS = (
    Times("crdtsync_journal_sync_seconds", "Time of syncs of the journal.", "sync_times"),
    Times("crdtsync_checkpoint_seconds", "Time of checkpoints.", "checkpoint_times"),
)
