"""The hottest kernels cost no more instructions than is noted: a guard that no busy machine blurs."""

from __future__ import annotations

import pytest

from benchmarks.micro import instructions


def test_hottest_kernels_cost_no_more_than_is_noted() -> None:
    """When a change is meant to cost more: python -m benchmarks.micro.instructions --write."""
    if reason := instructions.missing():
        pytest.skip(reason)
    before = instructions.noted(instructions.build())
    if not before:
        pytest.skip(f"no counts are noted for {instructions.build()}")
    assert instructions.risen(before, instructions.count()) == []


def test_rise_beyond_the_band_is_told() -> None:
    before = dict.fromkeys(instructions.HOTTEST, 1000)
    assert instructions.risen(before, {**before, "cell_add": 1090, "row_join": 500}) == []
    (told,) = instructions.risen(before, {**before, "cell_add": 1101})
    assert told == "cell_add: 1,101 instructions a call, 1,000 were noted"
    assert instructions.risen({}, before) == []
