"""The bridge to prometheus_client: at each scrape, one snapshot of a node, turned into families of samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from crdtsync import __version__
from crdtsync.node.shell import Node
from crdtsync.ops.metrics import table
from crdtsync.ops.metrics.reading import Status

STATUS_TIMEOUT = 2.0  # s that replication has for its figures: scrapes give up after 10 s by default


class NodeCollector(Collector):
    """All metrics of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def describe(self) -> list[Metric]:
        """Nothing in advance: a node that is still opening has no figures."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Raises Closed, WaitTimeout."""
        ready = self._node.health().ready
        yield from families(self._node.status(STATUS_TIMEOUT) | {"version": __version__, "ready": ready})


def families(status: Status) -> Iterator[Metric]:
    """The families that one snapshot makes; one without a sample is left out."""
    for metric in table.METRICS:
        kind = CounterMetricFamily if metric.kind == table.COUNTER else GaugeMetricFamily
        family = kind(metric.name.removesuffix("_total"), metric.text, labels=metric.labels)
        for labels, value in metric.read(status):
            family.add_metric(labels, value)
        if family.samples:
            yield family
    for times in table.HISTOGRAMS:
        yield _histogram(times, status["storage"][times.field])


def _histogram(times: table.Times, shown: dict[str, Any]) -> HistogramMetricFamily:
    buckets = [*shown["buckets"].items(), ("+Inf", shown["count"])]
    family = HistogramMetricFamily(times.name, times.text)
    family.add_metric((), buckets=buckets, sum_value=shown["seconds"])
    return family
