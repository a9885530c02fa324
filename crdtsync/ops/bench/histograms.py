"""Latencies in HDR histograms: three digits from a nanosecond to an hour, readable by every tool of that format."""

from __future__ import annotations

from typing import Any

from crdtsync.errors import ExtraMissing

HIGHEST = 3_600_000_000_000  # ns
DIGITS = 3
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


def empty() -> Any:
    """A new histogram.  Raises ExtraMissing."""
    return _hdrh()(1, HIGHEST, DIGITS)


def record(histogram: Any, nanoseconds: int) -> None:
    """Count one latency; beyond an hour it counts as an hour."""
    histogram.record_value(min(max(1, nanoseconds), HIGHEST))


def packed(histogram: Any) -> str:
    """The histogram as text (V2, compressed, base64)."""
    return str(histogram.encode().decode())


def unpacked(text: str) -> Any:
    """A histogram from its text."""
    return _hdrh().decode(text.encode())


def percentiles(histogram: Any, prefix: str) -> dict[str, float]:
    """Figures in ms: {"PREFIX_p50": ...} and the greatest one."""
    found = {f"{prefix}_p{at:g}": histogram.get_value_at_percentile(at) / 1e6 for at in PERCENTILES}
    return {**found, f"{prefix}_max": histogram.get_max_value() / 1e6}


def _hdrh() -> Any:
    try:
        from hdrh.histogram import HdrHistogram
    except ImportError as missing:
        raise ExtraMissing("Benchmarks need hdrhistogram.", hint="pip install 'crdtsync[bench]'") from missing
    return HdrHistogram
