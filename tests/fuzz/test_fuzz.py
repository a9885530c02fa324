"""Every decoder on spoilt input: a taste on every run, millions in a long one."""

from __future__ import annotations

import os

import pytest

from .campaign import attempt, campaign, known
from .targets import TARGETS, Target

COUNT = 2_000
COUNT_LONG = int(os.environ.get("FUZZ_COUNT", "1000000"))  # a target


@pytest.mark.parametrize("name", TARGETS)
def test_spoilt_input_is_refused_as_it_should(name: str) -> None:
    failure = campaign(name, COUNT, 0)
    assert failure is None, failure


@pytest.mark.parametrize("name", TARGETS)
def test_what_failed_before_does_not_again(name: str) -> None:
    for data in known(name):
        assert attempt(name, data) is None


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", TARGETS)
def test_millions_of_spoilt_inputs(name: str) -> None:
    failure = campaign(name, COUNT_LONG, 1)
    assert failure is None, failure


def test_a_decoder_that_lets_another_error_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaign can tell: with a decoder that trips over every other input it fails."""

    def trips(data: bytes) -> None:
        if data[:1] == b"\xff":
            raise KeyError("out of the decoder")

    monkeypatch.setitem(TARGETS, "image", Target(trips, TARGETS["image"].seeds))
    failure = campaign("image", 50_000, 0)
    assert failure is not None and isinstance(failure.error, KeyError)
