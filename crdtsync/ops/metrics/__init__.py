"""Metrics and health over HTTP, for Prometheus and whoever starts processes.

    server = MetricsServer(node, "127.0.0.1:9420")      # /metrics, /livez, /readyz
    server.start()
    ...
    server.close()

`table` says what is measured, `reading` finds it in a node's `status()`, `collector` hands it to prometheus_client,
`server` answers.  docs/metrics.md describes every metric.
"""

from __future__ import annotations

from crdtsync.ops.metrics.server import MetricsServer

__all__ = ["MetricsServer"]
