"""Against the real thing: promtool checks alerts and metrics, and a Prometheus scrapes a node and answers questions."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import crdtsync
from crdtsync import Node
from crdtsync.ops.metrics import MetricsServer
from tests.integration.waiting import until
from tests.metrics.reading import get

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docs" / "alerts.rules.yml"
TESTS = Path(__file__).with_name("alerts.test.yml")


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install prometheus)")
    return path


def promtool(*arguments: str, given: str = "") -> str:
    done = subprocess.run(
        [tool("promtool"), *arguments], input=given, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_alert_rules_are_well_formed() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))


def test_alerts_fire_when_they_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(TESTS))


def test_the_tests_of_alerts_can_fail(tmp_path: Path) -> None:
    blunted = RULES.read_text().replace("> 3600", "> 360000")
    (tmp_path / "blunt.yml").write_text(blunted)
    tests = TESTS.read_text().replace("../../docs/alerts.rules.yml", "blunt.yml")
    (tmp_path / "test.yml").write_text(tests)
    done = subprocess.run(
        [tool("promtool"), "test", "rules", str(tmp_path / "test.yml")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0 and "CrdtsyncCollectionBlocked" in done.stdout + done.stderr


def test_every_alert_is_seen_to_fire_and_to_keep_still() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    told = re.findall(r"alertname: (\w+)(\n\s+exp_alerts:|\})", TESTS.read_text())
    assert len(alerts) == len(set(alerts)) > 20
    assert {name for name, expected in told if expected != "}"} == set(alerts)
    assert {name for name, expected in told if expected == "}"} == set(alerts)


def test_alerts_ask_for_metrics_that_there_are() -> None:
    names = set(re.findall(r"\bcrdtsync_\w+", RULES.read_text()))
    known = set(re.findall(r"`(crdtsync_\w+)`", (ROOT / "docs" / "metrics.md").read_text()))
    assert {name.removesuffix("_bucket") for name in names} <= known


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MetricsServer]:
    """Metrics of a node with a peer, which has been written to and has refused something."""
    with (
        crdtsync.open(tmp_path / "a", name="a", listen="127.0.0.1:0") as node,
        crdtsync.open(tmp_path / "b", name="b", listen="127.0.0.1:0", join=[node.address]) as peer,
        MetricsServer(node, "127.0.0.1:0") as server,
    ):
        written(node)
        peer.wait_for(node.token(), timeout=20)
        yield server


def written(node: Node) -> None:
    node.orset("s").update(range(100))
    with pytest.raises(crdtsync.errors.NegativeStep):
        node.gcounter("n").increment(-1)
    node.sync()


def test_names_and_texts_follow_the_conventions(server: MetricsServer) -> None:
    promtool("check", "metrics", given=get(server, "/metrics")[2])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Prometheus:
    """A Prometheus that scrapes one target each second, with our alerts."""

    def __init__(self, target: str, directory: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [{"job_name": "crdtsync", "static_configs": [{"targets": [target]}]}],
            "rule_files": [str(RULES)],
        }
        (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        self.log = (directory / "log").open("w")
        self.process = subprocess.Popen(
            [
                tool("prometheus"), f"--config.file={directory / 'prometheus.yml'}", f"--storage.tsdb.path={directory}",
                f"--web.listen-address={self.address}",
            ],
            stdout=self.log, stderr=self.log,
        )  # fmt: skip

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()

    def api(self, path: str, **query: str) -> Any:
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def value(self, query: str) -> float | None:
        """The value of the only series that a query gives; None while there is none."""
        try:
            found = self.api("query", query=query)["result"]
        except OSError:  # it has not started yet
            assert self.process.poll() is None, Path(self.log.name).read_text()
            return None
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None


def test_a_prometheus_scrapes_a_node(server: MetricsServer, tmp_path: Path) -> None:
    tool("prometheus")
    (tmp_path / "prometheus").mkdir()
    prometheus = Prometheus(server.address, tmp_path / "prometheus")
    try:
        until(lambda: prometheus.value("crdtsync_node_ready") == 1, 60)
        until(lambda: prometheus.value('crdtsync_peer_lag_events{peer="b"}') == 0, 30)
        assert prometheus.value('up{job="crdtsync"}') == 1
        assert prometheus.value('crdtsync_bucket_events{bucket="default"}') == 100
        assert prometheus.value('crdtsync_refusals_total{error="negative_step"}') == 1
        assert prometheus.value('crdtsync_peer_up{peer="b"}') == 1
        median = prometheus.value("histogram_quantile(0.5, crdtsync_journal_sync_seconds_bucket)")
        assert median is not None and 0 < median < 10
        (target,) = prometheus.api("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        until(lambda: all(rule["health"] == "ok" for rule in prometheus.api("rules")["groups"][0]["rules"]), 30)
        firing = {alert["labels"]["alertname"] for alert in prometheus.api("alerts")["alerts"]}
        assert firing <= {"CrdtsyncDiskLow", "CrdtsyncClockSkew"}, "those are about the machine of this test"
    finally:
        prometheus.close()
