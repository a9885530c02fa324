"""One airport's replay: each flight is one batch on the node, which also moves the replay's position.

The position is data like the rest: a killed process finds it at exactly the flight that it had taken in last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from crdtsync.handles import Map
from crdtsync.node import Node
from crdtsync.ops.demo.flights import Flight

LATE = 60  # minutes of delay above which a flight is among the day's late ones


class Replay:
    """Writes an airport's flights to its node, in order, from where the node's data says that it stopped."""

    def __init__(self, node: Node, airport: str, flights: Sequence[Flight]) -> None:
        self.node = node
        self.flights = flights
        self.place = node.lwwregister(f"replay:{airport}")
        self.late = node.orset(f"late:{airport}")
        self.carriers = cache(lambda name: Line(node, "carrier", name))
        self.destinations = cache(lambda name: Line(node, "destination", name))
        self.delays = cache(lambda carrier: node.pncounter(f"delay:carrier:{carrier}"))
        self.fleets = cache(lambda carrier: node.orset(f"aircraft:carrier:{carrier}"))
        self.cancelled = cache(lambda month: node.gset(f"cancelled:{month:02d}"))
        self.latest = cache(lambda *names: node.lwwregister(":".join(("last", *names))))
        self.position = position(node, airport)

    def step(self) -> None:
        """Take in the flight at the position, whole or not at all."""
        flight = self.flights[self.position]
        with self.node.batch():
            self.place.set(self.position + 1)
            self.count(flight)
            self.follow_delay(flight)
            if flight.aircraft is not None:
                self.follow_aircraft(flight, flight.aircraft)
            if flight.departed is None:
                self.cancelled(flight.month).add(label(flight))
        self.position += 1

    def count(self, flight: Flight) -> None:
        for line, month in (
            (self.carriers(flight.carrier), flight.month),
            (self.destinations(flight.destination), flight.month),
        ):
            line.flights.increment()
            fields = line.months(month)
            fields.flights.increment()
            if flight.air_minutes is not None:
                fields.minutes.increment(flight.air_minutes)

    def follow_delay(self, flight: Flight) -> None:
        """Delays of the carrier, and the day's late flights: cleared at each change of day."""
        before = self.flights[self.position - 1] if self.position else flight
        if (before.month, before.day) != (flight.month, flight.day):
            self.late.clear()
        if flight.delay is None:
            return
        delays = self.delays(flight.carrier)
        if flight.delay < 0:
            delays.decrement(-flight.delay)
        else:
            delays.increment(flight.delay)
        if flight.delay > LATE:
            self.late.add(label(flight))

    def follow_aircraft(self, flight: Flight, aircraft: str) -> None:
        self.fleets(flight.carrier).add(aircraft)
        maps = (
            self.carriers(flight.carrier).months(flight.month),
            self.destinations(flight.destination).months(flight.month),
        )
        for fields in maps:
            fields.aircraft.add(aircraft)
        if flight.departed is None:
            return
        text = departure(flight, aircraft, flight.departed)
        self.latest(aircraft, flight.origin).set(text)
        self.latest(aircraft).set(text)
        for fields in maps:
            fields.last.set(text)


class Line:
    """Handles of one carrier or destination: its count of flights, and its map of months."""

    def __init__(self, node: Node, kind: str, name: str) -> None:
        self.flights = node.gcounter(f"flights:{kind}:{name}")
        self.months: Callable[[int], Month] = cache(lambda month: Month(node.map(f"{kind}:{name}").map(f"{month:02d}")))


class Month:
    """Handles of one month's fields in a carrier's or destination's map."""

    def __init__(self, fields: Map) -> None:
        self.flights = fields.gcounter("flights")
        self.aircraft = fields.orset("aircraft")
        self.last = fields.lwwregister("last departure")
        self.minutes = fields.gcounter("minutes in the air")


def position(node: Node, airport: str) -> int:
    """How many of the airport's flights the node has taken in."""
    return node.lwwregister(f"replay:{airport}").value or 0


def label(flight: Flight) -> str:
    """A flight by date, schedule and number: unique in the year."""
    hour, minute = divmod(flight.scheduled, 100)
    date = f"2013-{flight.month:02d}-{flight.day:02d}"
    return f"{date} {hour:02d}:{minute:02d} {flight.origin} {flight.carrier}{flight.number}"


def departure(flight: Flight, aircraft: str, departed: int) -> str:
    """A departure as registers hold it."""
    hour, minute = divmod(departed, 100)
    date = f"2013-{flight.month:02d}-{flight.day:02d}"
    return f"{date} {hour:02d}:{minute:02d} {flight.origin} {flight.carrier}{flight.number} {aircraft}"
