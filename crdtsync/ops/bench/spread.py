"""Medians and their spread, and the noise band within which two runs say the same."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

BAND_LEAST = 0.05  # share of a figure that never counts as a difference: what medians of one machine differ by anyway


class Summary(msgspec.Struct, frozen=True):
    """Median, extremes and quartiles of the repetitions."""

    count: int
    median: float
    low: float
    high: float
    first_quartile: float
    third_quartile: float

    @property
    def spread(self) -> float:
        """Half of the distance between the quartiles, as a share of the median."""
        return (self.third_quartile - self.first_quartile) / 2 / abs(self.median) if self.median else 0.0


def summary(values: Sequence[float]) -> Summary:
    """Of at least one value."""
    ordered = sorted(values)
    if len(ordered) == 1:
        (only,) = ordered
        return Summary(1, only, only, only, only, only)
    first, median, third = statistics.quantiles(ordered, n=4, method="inclusive")
    return Summary(len(ordered), median, ordered[0], ordered[-1], first, third)


class Difference(msgspec.Struct, frozen=True):
    """One figure in two runs."""

    before: Summary
    after: Summary
    ratio: float  # after to before; 0 when there is none
    band: float  # change, as a share, that may be noise
    verdict: str  # better | worse | same


def difference(before: Sequence[float], after: Sequence[float], higher: bool) -> Difference:
    """Whether the medians differ by more than the noise of both runs: half of their ranges, added."""
    old, new = summary(before), summary(after)
    band = max(BAND_LEAST, _half_range(old) + _half_range(new))
    ratio = new.median / old.median if old.median else 0.0
    if not old.median or abs(ratio - 1) <= band:
        verdict = "same" if old.median or not new.median else "worse" if not higher else "better"
    else:
        verdict = "better" if (ratio > 1) == higher else "worse"
    return Difference(old, new, ratio, band, verdict)


def _half_range(of: Summary) -> float:
    return (of.high - of.low) / 2 / abs(of.median) if of.median else 0.0
