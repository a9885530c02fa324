"""The comparison: finds a wrong number, a missing name, a name too many, and registers that differ between replicas."""

from __future__ import annotations

from copy import deepcopy

import pytest

from crdtsync.ops.demo.compare import compare
from crdtsync.ops.demo.expected import Sections, expect
from tests.demo.sample import records


def shown(expected: Sections) -> Sections:
    """What a right replica shows: of several possible registers, the last."""
    right = deepcopy(expected)
    for name, values in right.items():
        if name.endswith("last departure") or name == "last departure per aircraft":
            right[name] = {key: texts[-1] for key, texts in values.items()}
    return right


def test_equal_replicas_have_no_difference() -> None:
    expected, _ = expect(records())
    result = compare(expected, {"EWR": shown(expected), "JFK": shown(expected)})
    assert result.differences == 0 and result.examples == []
    assert result.compared == 2 * sum(map(len, expected.values()))
    united = next(line for line in result.lines if (line.section, line.name) == ("flights per carrier", "UA"))
    assert (united.expected, united.found) == (6, {"EWR": 6, "JFK": 6})


@pytest.mark.parametrize(
    ("section", "name", "value", "differences"),
    [
        ("flights per carrier", "UA", 5, 1),
        ("delay minutes per carrier", "AA", 1, 1),
        ("aircraft per carrier", "AA", ["N3", "N4"], 1),
        ("delayed over an hour on the last day", "EWR", ["2013-01-01 22:45 EWR UA9"], 1),
        ("cancelled per month", "01", None, 1),
        ("last departure per aircraft", "N1", "2013-01-01 05:17 EWR UA1545 N1", 1),  # allowed, but not what JFK shows
        ("last departure per aircraft", "N1", "2013-01-01 05:58 LGA UA10 N1", 2),  # not LGA's last, nor what JFK shows
        ("carrier, month: oddities", "UA 01", 1, 1),
    ],
)
def test_each_kind_of_difference_is_found(section: str, name: str, value: object, differences: int) -> None:
    expected, _ = expect(records())
    wrong = shown(expected)
    if value is None:
        del wrong[section][name]
    else:
        wrong.setdefault(section, {})[name] = value
    result = compare(expected, {"EWR": wrong, "JFK": shown(expected)})
    assert result.differences == differences
    assert f"{section}, {name}" in result.examples[0]
    assert sum(line.differences for line in result.lines) == differences
