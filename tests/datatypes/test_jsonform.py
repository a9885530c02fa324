"""The JSON form of values: everything storable comes back exactly, everything else is refused with a reason."""

from __future__ import annotations

import json
from datetime import timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.datatypes import jsonform, values
from crdtsync.errors import InvalidValue

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ZONES = st.timedeltas(-timedelta(hours=20), timedelta(hours=20)).map(timezone)
PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | st.binary(max_size=8) | st.uuids()
    | st.datetimes() | st.datetimes(timezones=ZONES) | st.decimals(allow_nan=False)
)  # fmt: skip
NAMES = TEXT | st.sampled_from(["$dict", "$bytes", "$", "a"])
VALUES = st.recursive(
    PLAIN, lambda one: st.lists(one, max_size=3) | st.tuples(one, one) | st.dictionaries(NAMES, one, max_size=3)
)


@given(VALUES)
def test_every_value_comes_back_exactly(value: Any) -> None:
    text = jsonform.dumps(value)
    assert "\n" not in text
    payload = values.encode(value, 64, 2**24)
    assert values.encode(jsonform.loads(text), 64, 2**24) == payload


def test_integers_that_have_too_many_digits_come_back() -> None:
    for value in (10**3999, -(10**5000), 2**13_000, 2**20_000 - 1):
        assert jsonform.loads(jsonform.dumps(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0"),
        (1, "1"),
        ("é", '"é"'),
        (b"\0\1", '{"$bytes":"AAE="}'),
        ((1, None), '{"$tuple":[1,null]}'),
        (Decimal("1.50"), '{"$decimal":"1.50"}'),
        (UUID(int=7), '{"$uuid":"00000000-0000-0000-0000-000000000007"}'),
        (float("-inf"), '{"$float":"-Infinity"}'),
        ({"$x": 1}, '{"$dict":{"$x":1}}'),
        ({2, 1}, '{"$set":[1,2]}'),
    ],
)
def test_forms_are_these(value: Any, text: str) -> None:
    assert jsonform.dumps(value) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "NaN", "Infinity", "-Infinity", "1e999", '{"a":1,"a":2}', '{"$nope":1}', '{"$bytes":"AAE=","x":1}',
        '{"$bytes":"*"}', '{"$bytes":1}', '{"$uuid":"x"}', '{"$decimal":"NaN"}', '{"$decimal":"1_0"}', '{"$int":"7"}',
        '{"$float":"1"}', '{"$datetime":"yesterday"}', '{"$tuple":{}}', '{"$dict":[]}', '{"$set":[1]}', "[" * 100_000,
        "1" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        jsonform.loads(text)


def test_output_is_json_for_others() -> None:
    assert json.loads(jsonform.dumps({"a": [1, {"b": (2,)}]})) == {"a": [1, {"b": {"$tuple": [2]}}]}


@pytest.mark.parametrize("depth", [300, 900, 3_000, 100_000])
@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}"), ('{"$tuple":[', "]}")])
def test_what_is_nested_too_deeply_is_refused(depth: int, left: str, right: str) -> None:
    with pytest.raises(InvalidValue, match=r"Not a value|nests too deep"):
        values.encode(jsonform.loads(left * depth + "1" + right * depth), 64, 2**24)
