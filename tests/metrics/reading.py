"""Asking a metrics server, and reading what it says."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

from crdtsync.ops.metrics import MetricsServer

Labels = tuple[tuple[str, str], ...]


def get(server: MetricsServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    """(status, content type, body)"""
    host, _, port = server.address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=20)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read().decode()
    finally:
        connection.close()


def samples(text: str) -> Iterator[tuple[str, Labels, float]]:
    """(name, labels, value) of every sample."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, tuple(sorted(sample.labels.items())), sample.value


class Scrape:
    """One page of metrics."""

    def __init__(self, server: MetricsServer) -> None:
        status, _, self.text = get(server, "/metrics")
        assert status == 200, self.text
        self.values = {(name, labels): value for name, labels, value in samples(self.text)}

    def __call__(self, name: str, /, **labels: str) -> float:
        return self.values[name, tuple(sorted(labels.items()))]

    def has(self, name: str, /, **labels: str) -> bool:
        return (name, tuple(sorted(labels.items()))) in self.values
