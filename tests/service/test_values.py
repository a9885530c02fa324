"""Values cross the wire and come back as the same canonical bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from crdtsync.client.answers import plain
from crdtsync.datatypes.values import encode
from crdtsync.errors import InvalidValue
from crdtsync.service.values import Limits, from_payload, make_value, read_value
from crdtsync.transport.pb import data_pb2 as pb
from tests.datatypes.test_values import anything

LIMITS = Limits(16, 1 << 20)


@settings(max_examples=100, deadline=None)
@given(anything)
def test_every_value_survives_the_wire(value: Any) -> None:
    payload = encode(value)
    message = pb.Value.FromString(make_value(value).SerializeToString())
    assert LIMITS.payload(message, "argument") == payload
    assert LIMITS.payload(from_payload(payload), "argument") == payload
    assert LIMITS.payload(pb.Value(packed=payload), "argument") == payload
    assert encode(plain(message)) == payload  # and a client reads it as the same
    nested = pb.Value(list=pb.Values(values=[pb.Value(packed=payload)]))
    assert Limits(17, 1 << 20).payload(nested, "argument") == encode([value], 17)


def test_a_bad_value_is_named_by_its_place() -> None:
    inner = pb.Value(list=pb.Values(values=[pb.Value(integer=1), pb.Value()]))
    message = pb.Value(dict=pb.Fields(fields={"k": pb.Value(tuple=pb.Values(values=[inner]))}))
    with pytest.raises(InvalidValue, match=r"^argument\['k'\]\[0\]\[1\]: No kind of value is set"):
        read_value(message, "argument")


@pytest.mark.parametrize("text", ["2026-01-31T23:59:59Z", "2026-01-31T23:59:59.5+02:00", "2026-01-31T23:59:59"])
def test_timestamps_of_other_languages_are_taken(text: str) -> None:
    assert read_value(pb.Value(timestamp=text), "argument").year == 2026
