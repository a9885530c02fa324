"""What is exported is right, complete and documented."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import crdtsync
from crdtsync import Node
from crdtsync.errors import CrdtsyncError, NegativeStep
from crdtsync.ops.metrics import MetricsServer, reading
from crdtsync.ops.metrics.collector import families
from crdtsync.ops.metrics.table import HISTOGRAMS, METRICS
from tests.integration.waiting import until
from tests.metrics.reading import Scrape, get

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Node, Node, MetricsServer]]:
    """Two nodes, and the metrics of the first."""
    settings = {"heartbeat_interval": 0.1, "collect_interval": 0.1, "checkpoint_interval": 0.1}
    with crdtsync.open(tmp_path / "a", name="a", listen="127.0.0.1:0", **settings) as first:  # type: ignore[arg-type]
        second = crdtsync.open(tmp_path / "b", name="b", listen="127.0.0.1:0", join=[first.address], **settings)  # type: ignore[arg-type]
        with second, MetricsServer(first, "127.0.0.1:0") as server:
            yield first, second, server


def settled(server: MetricsServer, condition: Callable[[Scrape], bool]) -> Scrape:
    """The first scrape of which `condition` holds."""
    found: list[Scrape] = []

    def look() -> bool:
        found.append(Scrape(server))
        return condition(found[-1])

    until(look, 30)
    return found[-1]


def test_a_node_with_a_peer(pair: tuple[Node, Node, MetricsServer]) -> None:
    first, second, server = pair
    first.orset("s").update(["x", "y"])
    first.orset("s").discard("x")
    second.lwwregister("r").set(1)
    second.wait_for(first.token(), timeout=20)
    first.wait_for(second.token(), timeout=20)
    with pytest.raises(NegativeStep):
        first.gcounter("n").increment(-1)
    for _ in range(2):
        with first.batch(request_id="once"):
            first.flag("f").enable()

    def quiet(scrape: Scrape) -> bool:
        rows, dead = (scrape(f"crdtsync_bucket_{kind}", bucket="default") for kind in ("rows", "dead_rows"))
        lag, dirty = scrape("crdtsync_peer_lag_events", peer="b"), scrape("crdtsync_storage_dirty_rows")
        return (rows, dead, lag, dirty) == (3, 0, 0, 0)

    scrape = settled(server, quiet)
    cluster = f"{first._store.cluster():016x}"
    assert scrape(
        "crdtsync_node_info", node="a", cluster=cluster, version=crdtsync.__version__, durability="group",
        encryption="plaintext",
    ) == 1  # fmt: skip
    assert scrape("crdtsync_node_state", state="member") == 1 and scrape("crdtsync_node_state", state="left") == 0
    assert scrape("crdtsync_node_ready") == 1 and scrape("crdtsync_node_uptime_seconds") > 0
    assert scrape("crdtsync_members", state="member") == 2
    assert scrape("crdtsync_peer_up", peer="b") == 1 and scrape("crdtsync_peer_lag_seconds", peer="b") == 0
    assert not scrape.has("crdtsync_peer_up", peer="a")
    assert abs(scrape("crdtsync_peer_clock_skew_seconds", peer="b")) < 5
    assert scrape("crdtsync_bucket_events", bucket="default") == sum(first.clock().values()) == 5
    assert scrape("crdtsync_requests") == 1 and scrape("crdtsync_requests_bytes") > 100
    assert 0 <= scrape("crdtsync_requests_oldest_age_seconds") < 100
    assert scrape("crdtsync_refusals_total", error="negative_step") == 1
    assert scrape("crdtsync_refusals_total", error="disk_full") == 0
    assert scrape("crdtsync_events_total", name="requests_repeated") == 1
    assert scrape("crdtsync_events_total", name="rows_collected") == 1
    assert scrape("crdtsync_links", direction="in") + scrape("crdtsync_links", direction="out") >= 1
    assert scrape("crdtsync_events_total", name="bytes_sent") > 0
    for name in ("journal_sync", "checkpoint"):
        count = scrape(f"crdtsync_{name}_seconds_count")
        assert count == scrape(f"crdtsync_{name}_seconds_bucket", le="+Inf") > 0
        assert 0 < scrape(f"crdtsync_{name}_last_seconds") <= scrape(f"crdtsync_{name}_longest_seconds")
        assert scrape(f"crdtsync_{name}_longest_seconds") <= scrape(f"crdtsync_{name}_seconds_sum") + 1e-9
    assert scrape("crdtsync_storage_disk_free_bytes") > 0 and scrape("crdtsync_journal_segments") >= 1
    assert scrape("process_open_fds") > 0


def test_a_member_that_is_away(pair: tuple[Node, Node, MetricsServer]) -> None:
    first, second, server = pair
    written = time.monotonic()
    first.gcounter("n").increment()
    second.wait_for(first.token(), timeout=20)
    second.close()
    began = time.monotonic()
    first.gcounter("n").increment()
    first.orset("s").add(1)
    first.orset("s").discard(1)
    scrape = settled(server, lambda scrape: scrape.has("crdtsync_collection_waits_for_seconds", member="b")
                     and scrape("crdtsync_peer_lag_seconds", peer="b") > 0.5)  # fmt: skip
    gone, age = time.monotonic() - began, time.monotonic() - written
    assert scrape("crdtsync_peer_up", peer="b") == 0
    assert scrape("crdtsync_peer_lag_events", peer="b") == 3
    assert 0.5 < scrape("crdtsync_peer_lag_seconds", peer="b") <= gone
    # It may have gone before it had said that the first event is on its disk.
    assert 0 < scrape("crdtsync_collection_frontier_age_seconds", bucket="default") <= age
    assert scrape("crdtsync_collection_waits_for_seconds", member="b") <= age
    assert scrape("crdtsync_collection_rows_waiting", bucket="default") == 1
    assert scrape("crdtsync_peer_last_heard_seconds", peer="b") <= gone + 5


def test_every_counter_of_status_is_exported(node: Node) -> None:
    with pytest.raises(CrdtsyncError):
        node.gcounter("n").increment(-1)
    node._store.counters["something_new"] += 3
    status = node.status() | {"version": "1", "ready": True}
    refusals = dict(reading.refusals(status))
    events = dict(reading.events(status))
    assert not refusals.keys() & events.keys(), "nothing is told twice"
    for name, value in status["counters"].items():
        assert {**refusals, **events}[name,] == value
    assert events["something_new",] == 3 and refusals["negative_step",] == 1


def test_names_that_are_hostile_are_escaped(node: Node) -> None:
    name = 'x"}\\ 1\nevil{a="'
    node.bucket(name).flag("f").enable()
    with MetricsServer(node, "127.0.0.1:0") as server:
        scrape = Scrape(server)
    assert scrape("crdtsync_bucket_events", bucket=name) == 1
    assert "\nevil" not in scrape.text


def test_certificates_and_servers_are_shown(node: Node) -> None:
    tls = {"not_after": "2030-01-02T03:04:05Z", "ca_not_after": "2031-01-01T00:00:00Z", "last_error": "no key"}
    method = {"calls": 3, "errors": 1, "running": 2}
    service = [{"methods": {"data.Apply": method}, "operations": number} for number in (7, 1)]
    status = node.status() | {"version": "1", "ready": True, "tls": tls, "service": service}
    found = {(s.name, *s.labels.values()): s.value for family in families(status) for s in family.samples}
    assert found["crdtsync_tls_not_after_timestamp_seconds", "node"] == 1893553445
    assert found["crdtsync_tls_not_after_timestamp_seconds", "authority"] == 1924992000
    assert found["crdtsync_tls_reload_failed",] == 1
    assert found["crdtsync_service_calls_total", "data.Apply"] == 6
    assert found["crdtsync_service_errors_total", "data.Apply"] == 2
    assert found["crdtsync_service_operations_total",] == 8


def documented() -> dict[str, tuple[str, set[str]]]:
    """{metric: (type, labels)} by the tables of docs/metrics.md."""
    rows = re.findall(r"^\| `(crdtsync_\w+)` \| (\w+) \| ([^|]*)\|", DOCS.read_text(), re.MULTILINE)
    assert len({name for name, *_ in rows}) == len(rows), "a metric is documented twice"
    return {name: (kind, set(re.findall(r"\w+", re.sub(r"\(.*?\)", "", labels)))) for name, kind, labels in rows}


def test_documented_is_what_is_exported() -> None:
    exported = {metric.name: (metric.kind, set(metric.labels)) for metric in METRICS}
    exported |= {times.name: ("histogram", set()) for times in HISTOGRAMS}
    assert len(exported) == len(METRICS) + len(HISTOGRAMS)
    assert documented() == exported


def test_every_family_of_a_living_node_is_documented(pair: tuple[Node, Node, MetricsServer]) -> None:
    _, _, server = pair
    told = set(re.findall(r"^# TYPE (crdtsync_\w+) ", get(server, "/metrics")[2], re.MULTILINE))
    assert told <= documented().keys()
    assert len(told) > 40


def test_events_in_the_docs_are_counted_somewhere() -> None:
    text = DOCS.read_text()
    table = text[text.index("Among the events:") : text.index("## Logs")]
    source = "\n".join(path.read_text() for path in (DOCS.parents[1] / "crdtsync").rglob("*.py"))
    names = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert set(reading.ALWAYS) <= set(names)
    for name in names:
        counted = source.replace((DOCS.parents[1] / "crdtsync/ops/metrics/reading.py").read_text(), "")
        assert f'"{name}"' in counted or name.startswith("transfers_"), name
