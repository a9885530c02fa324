"""What the answers must be, from the file alone: plain Python that knows nothing of crdtsync or of the replay.

Two kinds of sections: `EXACT` ones have one right answer; in `ONE_OF` ones several airports wrote a register
at the same time, so any airport's own last value is right, as long as every replica shows the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

EXACT = (
    "flights per carrier",
    "flights per destination",
    "delay minutes per carrier",
    "aircraft per carrier",
    "delayed over an hour on the last day",
    "cancelled per month",
    "last departure per aircraft and airport",
    "carrier, month: flights",
    "carrier, month: aircraft",
    "carrier, month: minutes in the air",
    "destination, month: flights",
    "destination, month: aircraft",
    "destination, month: minutes in the air",
)
ONE_OF = (
    "last departure per aircraft",
    "carrier, month: last departure",
    "destination, month: last departure",
)
FACTS = ("flights", "cancelled", "without tail number", "early", "without air time", "aircraft at several airports")

Sections = dict[str, dict[str, Any]]
Row = tuple[int, int, int, str, int, str, str, str, str, str, str]


def expect(records: Iterable[dict[str, str]], rows: int | None = None) -> tuple[Sections, dict[str, int]]:
    """(sections, facts) of the year's first `rows` flights: {section: {name: number, text, or sorted list}}."""
    flights = sorted(map(columns, records))[:rows]
    sections: Sections = {
        **count_flights(flights),
        **collect_names(flights),
        **last_departures(flights),
    }
    for title, key in (("carrier", 3), ("destination", 6)):
        sections.update(by_month(title, key, flights))
    return {name: sections[name] for name in (*EXACT, *ONE_OF)}, facts(flights)


def columns(record: dict[str, str]) -> Row:
    """The columns that matter, those first that decide the order of the replay."""
    return (
        int(record["month"]),
        int(record["day"]),
        int(record["sched_dep_time"]),
        record["carrier"],
        int(record["flight"]),
        record["origin"],
        record["dest"],
        record["tailnum"],
        record["dep_time"],
        record["dep_delay"],
        record["air_time"],
    )


def given(text: str) -> bool:
    return text not in ("", "NA")


def departure(row: Row) -> str:
    """One departure in words, as the registers hold it: ``2013-01-31 05:17 EWR UA1545 N14228``."""
    month, day, _, carrier, number, origin, _, tail, departed, _, _ = row
    time = departed.zfill(4)
    return f"2013-{month:02d}-{day:02d} {time[:2]}:{time[2:]} {origin} {carrier}{number} {tail}"


def count_flights(flights: list[Row]) -> Sections:
    carriers: dict[str, int] = defaultdict(int)
    destinations: dict[str, int] = defaultdict(int)
    delays: dict[str, int] = defaultdict(int)
    for _, _, _, carrier, _, _, destination, _, _, delay, _ in flights:
        carriers[carrier] += 1
        destinations[destination] += 1
        if given(delay) and int(delay) != 0:
            delays[carrier] += int(delay)
    return {
        "flights per carrier": dict(carriers),
        "flights per destination": dict(destinations),
        "delay minutes per carrier": dict(delays),
    }


def collect_names(flights: list[Row]) -> Sections:
    aircraft: dict[str, set[str]] = defaultdict(set)
    cancelled: dict[str, set[str]] = defaultdict(set)
    late: dict[str, set[str]] = {}
    today: dict[str, tuple[int, int]] = {}
    for month, day, scheduled, carrier, number, origin, _, tail, departed, delay, _ in flights:
        if given(tail):
            aircraft[carrier].add(tail)
        name = f"2013-{month:02d}-{day:02d} {scheduled // 100:02d}:{scheduled % 100:02d} {origin} {carrier}{number}"
        if not given(departed):
            cancelled[f"{month:02d}"].add(name)
        if today.get(origin) != (month, day):
            today[origin], late[origin] = (month, day), set()
        if given(delay) and int(delay) > 60:
            late[origin].add(name)
    return {
        "aircraft per carrier": {carrier: sorted(names) for carrier, names in aircraft.items()},
        "cancelled per month": {month: sorted(names) for month, names in cancelled.items()},
        "delayed over an hour on the last day": {origin: sorted(names) for origin, names in late.items() if names},
    }


def last_departures(flights: list[Row]) -> Sections:
    last: dict[tuple[str, str], str] = {}
    for row in flights:
        if given(row[7]) and given(row[8]):
            last[row[7], row[5]] = departure(row)
    return {
        "last departure per aircraft and airport": {f"{tail} {origin}": text for (tail, origin), text in last.items()},
        "last departure per aircraft": candidates((tail, text) for (tail, _), text in last.items()),
    }


def by_month(title: str, key: int, flights: list[Row]) -> Sections:
    counts: dict[str, int] = defaultdict(int)
    aircraft: dict[str, set[str]] = defaultdict(set)
    minutes: dict[str, int] = defaultdict(int)
    last: dict[tuple[str, str], str] = {}
    for row in flights:
        name = f"{row[key]} {row[0]:02d}"
        counts[name] += 1
        if given(row[7]):
            aircraft[name].add(row[7])
        if given(row[8]):
            last[name, row[5]] = departure(row)
        if given(row[10]):
            minutes[name] += int(row[10])
    return {
        f"{title}, month: flights": dict(counts),
        f"{title}, month: aircraft": {name: sorted(tails) for name, tails in aircraft.items()},
        f"{title}, month: minutes in the air": dict(minutes),
        f"{title}, month: last departure": candidates((name, text) for (name, _), text in last.items()),
    }


def candidates(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """{name: each airport's own last value}."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, text in pairs:
        found[name].append(text)
    return {name: sorted(texts) for name, texts in found.items()}


def facts(flights: list[Row]) -> dict[str, int]:
    """Figures of the input itself, to be recognised from the documentation of the data."""
    airports: dict[str, set[str]] = defaultdict(set)
    for row in flights:
        if given(row[7]):
            airports[row[7]].add(row[5])
    return {
        "flights": len(flights),
        "cancelled": sum(not given(row[8]) for row in flights),
        "without tail number": sum(not given(row[7]) for row in flights),
        "early": sum(given(row[9]) and int(row[9]) < 0 for row in flights),
        "without air time": sum(not given(row[10]) for row in flights),
        "aircraft at several airports": sum(len(origins) > 1 for origins in airports.values()),
    }
