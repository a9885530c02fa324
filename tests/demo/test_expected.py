"""The answers from the file alone: worked out by hand for a handful of flights, and known figures of the real table."""

from __future__ import annotations

import pytest

from crdtsync.ops.demo import expected, flights
from tests.demo.sample import records


def test_every_section_by_hand() -> None:
    sections, facts = expected.expect(records())
    assert sections == {
        "flights per carrier": {"UA": 6, "AA": 3},
        "flights per destination": {"IAH": 3, "ORD": 6},
        "delay minutes per carrier": {"UA": 2 + 75 - 2 + 61 + 65},
        "aircraft per carrier": {"UA": ["N1", "N2"], "AA": ["N3"]},
        "delayed over an hour on the last day": {"LGA": ["2013-02-01 06:10 LGA UA2"]},
        "cancelled per month": {"01": ["2013-01-01 07:00 LGA AA1", "2013-01-02 06:00 JFK AA2"]},
        "last departure per aircraft and airport": {
            "N1 EWR": "2013-01-01 05:17 EWR UA1545 N1",
            "N1 LGA": "2013-02-01 07:15 LGA UA2 N1",
            "N2 EWR": "2013-02-01 05:00 EWR UA12 N2",
            "N3 JFK": "2013-01-02 06:00 JFK AA3 N3",
        },
        "last departure per aircraft": {
            "N1": ["2013-01-01 05:17 EWR UA1545 N1", "2013-02-01 07:15 LGA UA2 N1"],
            "N2": ["2013-02-01 05:00 EWR UA12 N2"],
            "N3": ["2013-01-02 06:00 JFK AA3 N3"],
        },
        "carrier, month: flights": {"UA 01": 4, "UA 02": 2, "AA 01": 3},
        "carrier, month: aircraft": {"UA 01": ["N1", "N2"], "UA 02": ["N1", "N2"], "AA 01": ["N3"]},
        "carrier, month: minutes in the air": {"UA 01": 227 + 100 + 220 + 90, "UA 02": 91 + 230},
        "carrier, month: last departure": {
            "UA 01": ["2013-01-01 05:58 LGA UA10 N1", "2013-01-02 08:01 EWR UA11 N2"],
            "UA 02": ["2013-02-01 05:00 EWR UA12 N2", "2013-02-01 07:15 LGA UA2 N1"],
            "AA 01": ["2013-01-02 06:00 JFK AA3 N3"],
        },
        "destination, month: flights": {"IAH 01": 2, "ORD 01": 5, "ORD 02": 1, "IAH 02": 1},
        "destination, month: aircraft": {
            "IAH 01": ["N1"], "ORD 01": ["N2", "N3"], "ORD 02": ["N2"], "IAH 02": ["N1"],
        },
        "destination, month: minutes in the air": {"IAH 01": 447, "ORD 01": 190, "ORD 02": 91, "IAH 02": 230},
        "destination, month: last departure": {
            "IAH 01": ["2013-01-01 05:17 EWR UA1545 N1", "2013-01-01 05:58 LGA UA10 N1"],
            "ORD 01": ["2013-01-02 06:00 JFK AA3 N3", "2013-01-02 08:01 EWR UA11 N2"],
            "ORD 02": ["2013-02-01 05:00 EWR UA12 N2"],
            "IAH 02": ["2013-02-01 07:15 LGA UA2 N1"],
        },
    }  # fmt: skip
    assert facts == {
        "flights": 9,
        "cancelled": 2,
        "without tail number": 1,
        "early": 1,
        "without air time": 3,
        "aircraft at several airports": 1,
    }


def test_the_first_rows_are_the_earliest() -> None:
    sections, facts = expected.expect(records(), 3)
    assert facts["flights"] == 3
    assert sections["last departure per aircraft and airport"] == {
        "N1 EWR": "2013-01-01 05:17 EWR UA1545 N1",
        "N1 LGA": "2013-01-01 05:58 LGA UA10 N1",
    }


def test_a_late_flight_counts_above_an_hour_only() -> None:
    assert all(int(record["dep_delay"]) != 60 for record in records() if record["dep_delay"] != "NA")
    on_the_hour = [{**records()[0], "dep_delay": "60"}, {**records()[1], "dep_delay": "61"}]
    sections, _ = expected.expect(on_the_hour)
    assert sections["delayed over an hour on the last day"] == {"EWR": ["2013-01-01 22:45 EWR UA9"]}


def test_the_real_table_has_the_figures_that_are_known_of_it() -> None:
    try:
        path = flights.data_file()
    except Exception:
        pytest.skip(f"the flights are not installed: {flights.INSTALL}")
    sections, facts = expected.expect(flights.records(path))
    assert facts == {
        "flights": 336_776,
        "cancelled": 8_255,
        "without tail number": 2_512,
        "early": 183_575,
        "without air time": 9_430,
        "aircraft at several airports": 2_850,
    }
    assert sum(map(len, sections["cancelled per month"].values())) == 8_255
    assert sum(sections["flights per destination"].values()) == 336_776
    assert flights.shares(path) == {"EWR": 120_835, "JFK": 111_279, "LGA": 104_662}
