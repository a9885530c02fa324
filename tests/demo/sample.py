"""A handful of flights made up by hand, with every special case in them, as a file like the real one."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

HEADING = [
    "year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay",
    "carrier", "flight", "tailnum", "origin", "dest", "air_time", "distance", "hour", "minute", "time_hour",
]  # fmt: skip

# month day dep sched delay carrier flight tail origin dest air
FLIGHTS = [
    "1 1 517 515 2 UA 1545 N1 EWR IAH 227",
    "1 1 2400 2245 75 UA 9 N2 EWR ORD 100",  # late, and left at midnight
    "1 1 558 600 -2 UA 10 N1 LGA IAH 220",  # early; N1 at a second airport
    "1 1 NA 700 NA AA 1 NA LGA ORD NA",  # cancelled, aircraft never known
    "1 2 NA 600 NA AA 2 N3 JFK ORD NA",  # cancelled, aircraft known
    "1 2 600 600 0 AA 3 N3 JFK ORD NA",  # on time; landed elsewhere, so without time in the air
    "1 2 801 700 61 UA 11 N2 EWR ORD 90",
    "2 1 500 500 0 UA 12 N2 EWR ORD 91",
    "2 1 715 610 65 UA 2 N1 LGA IAH 230",
]


def record(text: str) -> dict[str, str]:
    month, day, dep, sched, delay, carrier, flight, tail, origin, dest, air = text.split()
    given = {
        "month": month, "day": day, "dep_time": dep, "sched_dep_time": sched, "dep_delay": delay, "carrier": carrier,
        "flight": flight, "tailnum": tail, "origin": origin, "dest": dest, "air_time": air, "year": "2013",
    }  # fmt: skip
    return {name: given.get(name, "NA") for name in HEADING}


def records() -> list[dict[str, str]]:
    return [record(text) for text in FLIGHTS]


def write_zip(path: Path, heading: list[str] = HEADING, member: str = "flights.csv") -> Path:
    """The flights as the package ships them, in an order that is not the replay's."""
    text = io.StringIO()
    writer = csv.DictWriter(text, heading, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(reversed(records()))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, text.getvalue())
    return path
