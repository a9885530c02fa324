"""Where the figures stand in `status()`: samples, each of label values and a number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from crdtsync.clocks.members import JOINING, MEMBER
from crdtsync.errors import CrdtsyncError, counter_name
from crdtsync.replication.peers import NODE_STATES

Status = dict[str, Any]
Sample = tuple[tuple[str, ...], float]
Read = Callable[[Status], Iterable[Sample]]

# What is worth an alert begins with 0: of a series that begins with 1, Prometheus sees no increase.
ALWAYS = (
    "background_failed", "bytes_received", "bytes_sent", "checkpoints", "conflicts", "damage_accepted",
    "links_opened", "links_refused", "listener_failed", "peer_faults", "pushes", "requests_repeated",
    "row_bytes_sent", "rows_collected", "rows_damaged", "rows_received", "rows_repaired", "rows_rescued", "rows_sent",
    "started_over", "streams_lost", "tls_handshakes_failed", "transfer_timeouts", "write_stalls",
)  # fmt: skip


def at(*path: str) -> Read:
    """One number, at the end of a path; none when it is None there."""

    def read(status: Status) -> Iterator[Sample]:
        found: Any = status
        for step in path:
            found = found[step]
        if found is not None:
            yield (), float(found)

    return read


def per_bucket(field: str, part: str = "buckets") -> Read:
    """A number of each bucket."""

    def read(status: Status) -> Iterator[Sample]:
        for name, figures in status[part].items():
            yield (name,), float(figures[field])

    return read


def others(status: Status) -> list[str]:
    """The other members, those that join included: who is waited for."""
    return [
        name
        for name, record in status["members"].items()
        if record["state"] in (MEMBER, JOINING) and name != status["node"]
    ]


def per_peer(figure: Callable[[dict[str, Any]], float | None]) -> Read:
    """A number of each other member that this node has heard of since it was started."""

    def read(status: Status) -> Iterator[Sample]:
        for name in others(status):
            peer = status["peers"].get(name)
            value = None if peer is None else figure(peer)
            if value is not None:
                yield (name,), float(value)

    return read


def per_member(field: str) -> Read:
    """A number of the member list, of each other member that has it."""

    def read(status: Status) -> Iterator[Sample]:
        for name in others(status):
            value = status["members"][name][field]
            if value is not None:
                yield (name,), float(value)

    return read


def peers_up(status: Status) -> Iterator[Sample]:
    """1 or 0 of each other member, heard of or not."""
    for name in others(status):
        peer = status["peers"].get(name)
        yield (name,), float(peer is not None and peer["state"] == "up")


def node_states(status: Status) -> Iterator[Sample]:
    for state in NODE_STATES:
        yield (state,), float(status["state"] == state)


def members(status: Status) -> Iterator[Sample]:
    states = [record["state"] for record in status["members"].values()]
    for state in sorted({"member", "joining", "expired", "left", "evicted", *states}):
        yield (state,), float(states.count(state))


def waits_for(status: Status) -> Iterator[Sample]:
    """Of each member that some bucket's collection waits for, the longest wait."""
    longest: dict[str, float] = {}
    for figures in status["collection"].values():
        for name, seconds in figures["waits_for"].items():
            longest[name] = max(seconds, longest.get(name, 0.0))
    for name, seconds in sorted(longest.items()):
        yield (name,), seconds


def _error_names(kind: type[CrdtsyncError]) -> Iterator[str]:
    for each in kind.__subclasses__():
        yield counter_name(each)
        yield from _error_names(each)


def refusals(status: Status) -> Iterator[Sample]:
    """The counters that are named after errors, those that never happened included."""
    for name in sorted(set(_error_names(CrdtsyncError))):
        yield (name,), float(status["counters"].get(name, 0))


def events(status: Status) -> Iterator[Sample]:
    """All other counters."""
    errors = set(_error_names(CrdtsyncError))
    for name in sorted({*ALWAYS, *status["counters"]} - errors):
        yield (name,), float(status["counters"].get(name, 0))


def transfers(status: Status) -> Iterator[Sample]:
    for direction in ("in", "out"):
        yield (direction,), float(len(status["transfers"][direction]))


def longest_transfer(status: Status) -> Iterator[Sample]:
    yield (), max((float(each["seconds"]) for each in status["transfers"]["in"]), default=0.0)


def links(status: Status) -> Iterator[Sample]:
    for direction, outgoing in (("in", False), ("out", True)):
        yield (direction,), float(sum(link["outgoing"] == outgoing for link in status["links"]))


def queued_bytes(status: Status) -> Iterator[Sample]:
    yield (), float(sum(link["queued_bytes"] for link in status["links"]))


def count_of(field: str) -> Read:
    """Length of a list."""
    return lambda status: [((), float(len(status[field])))]


def longest_watcher(status: Status) -> Iterator[Sample]:
    yield (), float(max((watcher["pending"] for watcher in status["watchers"]), default=0))


def unsynced_records(status: Status) -> Iterator[Sample]:
    storage = status["storage"]
    yield (), float(storage["last_record"] - storage["synced_record"])


def failed(field: str) -> Read:
    """1 when there is a text of an error."""
    return lambda status: [((), float(bool(status["storage"][field])))]


def disk_free(status: Status) -> Iterator[Sample]:
    if status["path"] is not None:  # a store in memory has no disk
        yield (), float(status["storage"]["disk_free_bytes"])


def certificates(status: Status) -> Iterator[Sample]:
    if status["tls"]:
        for which, field in (("node", "not_after"), ("authority", "ca_not_after")):
            yield (which,), datetime.fromisoformat(status["tls"][field]).timestamp()


def reload_failed(status: Status) -> Iterator[Sample]:
    if status["tls"]:
        yield (), float(bool(status["tls"]["last_error"]))


def calls(field: str) -> Read:
    """A figure of each method that was called, over all servers of the node."""

    def read(status: Status) -> Iterator[Sample]:
        sums: dict[str, float] = {}
        for server in status["service"]:
            for name, figures in server.get("methods", {}).items():
                sums[name] = sums.get(name, 0.0) + figures[field]
        for name, value in sorted(sums.items()):
            yield (name,), value

    return read


def operations(status: Status) -> Iterator[Sample]:
    yield (), float(sum(server.get("operations", 0) for server in status["service"]))


def info(status: Status) -> Iterator[Sample]:
    cluster = status["cluster"] or ""
    yield (status["node"], cluster, status["version"], status["durability"], status["encryption"] or ""), 1.0
