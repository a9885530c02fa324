"""A node's status as a person wants to read it: the node, its peers, its buckets, its storage, what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from crdtsync.ops.cli.output import table
from crdtsync.ops.text import safe

DAYS_LEFT = 14.0  # of a certificate, below which it is told


def lines(status: Mapping[str, Any]) -> Iterator[str]:
    """The lines of one snapshot."""
    yield from _node(status)
    yield ""
    yield from _members(status)
    yield ""
    yield from _buckets(status)
    yield ""
    yield from _storage(status["storage"])
    wrong = list(_alarms(status))
    if wrong:
        yield ""
        yield from (f"! {line}" for line in wrong)


def _node(status: Mapping[str, Any]) -> Iterator[str]:
    cluster = f"cluster {status['cluster']}" if status["cluster"] else "no cluster yet"
    yield safe(f"{status['node']}  {status['state']}, {cluster}, up {duration(status['up_seconds'])}")
    yield safe(f"{status['path'] or 'in memory'}, durability {status['durability']}, {status['encryption']}")
    if told := ", ".join(f"{who} {where}" for who, where in _addresses(status) if where):
        yield safe(told)


def _addresses(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "peers", status["address"]
    for server in status["service"]:
        yield "programs", server["address"]
        yield "operators", server["admin_address"]


def _members(status: Mapping[str, Any]) -> Iterator[str]:
    rows = [_member(name, record, status) for name, record in sorted(status["members"].items())]
    if not any(row[0] == status["node"] for row in rows):
        rows.insert(0, [safe(status["node"]), status["state"], status["address"] or "-", "this node", "-", "-", "-"])
    yield from table(rows, ("node", "state", "address", "link", "lag", "behind", "clock"))


def _member(name: str, record: Mapping[str, Any], status: Mapping[str, Any]) -> list[str]:
    head = [safe(name), record["state"], record["address"] or "-"]
    peer = status["peers"].get(name)
    if name == status["node"]:
        return [*head, "this node", "-", "-", "-"]
    if peer is None:
        return [*head, _absence(record) or "-", "-", "-", "-"]
    link = peer["state"]
    if away := _absence(record):
        link = away
    elif link != "up" and peer["last_heard"] is not None:
        link += f" for {duration(peer['last_heard'])}"
    skew = "-" if peer["skew"] is None else f"{peer['skew']:+.3f} s"
    lag = events(peer["lag"])
    if peer["lag_seconds"]:
        lag += f" ({duration(peer['lag_seconds'])})"
    return [*head, link, lag, events(peer["behind"]), skew]


def _absence(record: Mapping[str, Any]) -> str:
    """Since when a member is missed, and when that will be put to the vote; "" while it is in reach."""
    if record["state"] != "member" or record["absent"] is None:
        return ""
    due = "" if record["evicted_in"] is None else f", evicted in {duration(record['evicted_in'])}"
    return f"down for {duration(record['absent'])}{due}"


def _buckets(status: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for name, bucket in status["buckets"].items():
        waits = status["collection"].get(name, {})
        rows.append([
            safe(name), f"{bucket['events']:,}", f"{bucket['unsynced_events']:,}", f"{bucket['actors']:,}",
            f"{waits.get('rows_waiting', 0):,}", waiting(waits.get("waits_for", {})),
        ])  # fmt: skip
    if rows:
        yield from table(rows, ("bucket", "events", "not on disk", "actors", "deleted rows", "wait for"))
    else:
        yield "Nothing has been written yet."


def waiting(names: Mapping[str, float]) -> str:
    """Who holds collection back, longest first."""
    slowest = sorted(names.items(), key=lambda item: -item[1])
    return ", ".join(f"{safe(name)} ({duration(seconds)})" for name, seconds in slowest) or "-"


def _storage(storage: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{storage['rows']:,} rows ({storage['dead_rows']:,} deleted), table {size(storage['table_bytes'])}, "
        f"{size(storage['unsynced_bytes'])} of the journal not on disk, {size(storage['dirty_bytes'])} not in the table"
    )


def _alarms(status: Mapping[str, Any]) -> Iterator[str]:
    for name, peer in status["peers"].items():
        if peer["skew_alarm"]:
            yield f"The clock of {safe(name)} differs by {peer['skew']:+.1f} s."
    for address, failure in status["unreachable"].items():
        yield safe(f"{address}: {failure['reason']}  Tried {failure['times']:,} times.")
    if status["storage"]["journal_error"]:
        yield safe(f"Nothing can be written: {status['storage']['journal_error']}")
    if status["storage"]["checkpoint_error"]:
        free = size(status["storage"]["disk_free_bytes"])
        yield safe(f"The last checkpoint failed, with {free} free: {status['storage']['checkpoint_error']}")
    if status["tls"] and (left := status["tls"]["days_left"]) < DAYS_LEFT:
        when = f"ends in {left:.1f} days, at" if left > 0 else "ended at"
        yield f"The certificate {when} {safe(status['tls']['not_after'])}."
    if status["tls"] and status["tls"]["last_error"]:
        yield safe(f"The changed TLS files are not used: {status['tls']['last_error']}")
    if status["storage"]["damaged_rows"]:
        yield f"{status['storage']['damaged_rows']:,} rows are damaged and wait for a peer to repair them."
    if status["rescue"]:
        yield f"{len(status['rescue'])} rescue files wait for a decision: crdtsync rescue show."
    if status["lateness"] > 1.0:
        late = f"{status['lateness']:.1f} s late at worst since the start"
        yield f"The engine's thread was {late}: the machine is overloaded, or the process was stopped."


# ---- figures


def events(by_bucket: Mapping[str, int]) -> str:
    """Events over all buckets."""
    return f"{sum(by_bucket.values()):,}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def size(count: float) -> str:
    """Bytes as a person says them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
