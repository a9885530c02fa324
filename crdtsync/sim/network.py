"""The simulated network: links that delay, lose, double, reorder and break, between nodes that can be cut off.

A link is an ordered stream, as gRPC gives it, until a fault touches it.  Every message crosses it as the frame that the
real wire would carry: encoded by the sender, decoded by the receiver.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from crdtsync.replication.messages import Message
from crdtsync.sim.world import World
from crdtsync.transport.wire import decode, encode

if TYPE_CHECKING:
    from crdtsync.transport.base import TransportEvents

SILENCE = (0.2, 5.0)  # s until a link whose other end lost its power is given up
DIAL_TIMEOUT = 0.5  # s until a dial into silence fails
STALE_MAX = 200  # messages kept for hours in one run
BREAK_DELAY = (0.05, 1.5)  # s until either end notices that its link is gone


class Weather(msgspec.Struct):
    """How bad the network is: chances per message, delays in seconds."""

    delay: tuple[float, float] = (0.001, 0.02)
    loss: float = 0.0
    doubled: float = 0.0
    reordered: float = 0.0
    breaks: float = 0.0  # share of losses that end the link, as a stream would; the others only miss a message
    late: float = 0.0  # chance that a copy arrives seconds after, by another link
    stale: float = 0.0  # chance that a copy arrives hours after

    def calmed(self) -> Weather:
        """The same delays; nothing is lost, doubled, reordered or late."""
        return Weather(delay=self.delay)


class Link:
    """One end of a connection, as its owner knows it: a number."""

    __slots__ = ("far", "number", "open", "owner", "ready")

    def __init__(self, number: int, owner: SimTransport) -> None:
        self.number, self.owner = number, owner
        self.far: Link | None = None  # the other end
        self.open = True
        self.ready = 0.0  # nothing sent earlier arrives later than this


class Network:
    """All links of the world, who listens where, and who is cut off from whom."""

    def __init__(self, world: World, weather: Weather) -> None:
        self.world, self.weather = world, weather
        self.listening: dict[str, SimTransport] = {}
        self.links: dict[int, Link] = {}
        self.cut: Counter[tuple[str, str]] = Counter()  # (from, to) -> cuts that way: frames wait or vanish
        self.stale: list[tuple[SimTransport, SimTransport, bytes]] = []  # copies that will turn up hours later
        self.frames = self.bytes = 0
        self._numbers = 0

    # -- partitions
    def separate(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Nothing gets from the first to the second of each pair any more."""
        self.cut.update(pairs)

    def rejoin(self, pairs: Iterable[tuple[str, str]]) -> None:
        """The end of one `separate`."""
        for pair in pairs:
            self.cut[pair] -= 1

    def heal(self) -> None:
        """Everybody reaches everybody."""
        self.cut.clear()

    def passes(self, sender: SimTransport, receiver: SimTransport) -> bool:
        return self.cut[sender.name, receiver.name] <= 0

    # -- links
    def dial(self, caller: SimTransport, address: str) -> None:
        """Open a link, or tell the caller after a while that nobody answers."""
        self.world.after(self._delay(), lambda: self._answer(caller, address))

    def _answer(self, caller: SimTransport, address: str) -> None:
        callee = self.listening.get(address)
        if not caller.up:
            return
        if callee is None or callee is caller:
            caller.failed(address, "connection refused")
        elif not self.passes(caller, callee) or not self.passes(callee, caller):
            self.world.after(DIAL_TIMEOUT, lambda: caller.failed(address, "no answer"))
        else:
            near, far = self._end(caller), self._end(callee)
            near.far, far.far = far, near
            self.world.note(caller.name, f"link {near.number} to {callee.name} (there {far.number})")
            callee.linked(far, caller.address, False)
            caller.linked(near, address, True)

    def _end(self, owner: SimTransport) -> Link:
        self._numbers += 1
        link = self.links[self._numbers] = Link(self._numbers, owner)
        return link

    def snap(self, link: Link, reason: str) -> None:
        """A link breaks: either end learns it in its own time, and what was on its way is gone."""
        self.world.count("link broken")
        for end in (link, link.far):
            if end is not None and end.open:
                self.world.after(self.world.rng.uniform(*BREAK_DELAY), self._closing(end, reason))
        self._sever(link)

    def close(self, link: Link, reason: str) -> None:
        """An end hangs up: it takes nothing more in, and the other learns it after what was sent before has arrived."""
        far = link.far
        self.links.pop(link.number, None)
        link.open = False
        if far is not None and far.open:
            self.world.at(link.ready + self._delay(), self._closing(far, reason))

    def lose(self, link: Link) -> None:
        """An end vanishes without a word, as when its power goes: the other end finds out by silence, in the end."""
        far = link.far
        self.links.pop(link.number, None)
        link.open = False
        if far is not None and far.open:
            self.world.after(self.world.rng.uniform(*SILENCE), self._closing(far, "timed out"))
        self._sever(link)

    def _closing(self, end: Link, reason: str) -> Callable[[], None]:
        def closed() -> None:
            if end.open:
                end.open = False
                self.links.pop(end.number, None)
                end.owner.unlinked(end, reason)

        return closed

    def _sever(self, link: Link) -> None:
        if link.far is not None:
            link.far.far = None
        link.far = None

    def _delay(self) -> float:
        return self.world.rng.uniform(*self.weather.delay)

    # -- frames
    def send(self, link: Link, message: Message) -> None:
        """Put a frame on its way, with what the weather makes of it."""
        frame = encode(message)
        self.frames += 1
        self.bytes += len(frame)
        rng, weather = self.world.rng, self.weather
        if weather.loss and rng.random() < weather.loss:
            self.world.count("message lost")
            if rng.random() < weather.breaks:
                self.snap(link, "reset by peer")
            return
        arrival = self.world.now + self._delay()
        if weather.reordered and rng.random() < weather.reordered:
            self.world.count("message reordered")
            arrival += rng.uniform(0.0, 0.3)
        else:
            arrival = link.ready = max(arrival, link.ready + 1e-6)
        self._deliver_at(arrival, link, frame)
        if weather.doubled and rng.random() < weather.doubled:
            self.world.count("message doubled")
            self._deliver_at(arrival + rng.uniform(0.0, 1.0), link, frame)
        if weather.late and link.far is not None and rng.random() < weather.late:
            self._replay_at(self.world.now + rng.expovariate(0.5), link.owner, link.far.owner, frame)
        if weather.stale and link.far is not None and rng.random() < weather.stale and len(self.stale) < STALE_MAX:
            self.stale.append((link.owner, link.far.owner, frame))

    def _deliver_at(self, time: float, link: Link, frame: bytes) -> None:
        def arrive() -> None:
            far = link.far
            if far is None or not far.open:
                return
            if not self.passes(link.owner, far.owner):
                self._hold(link, frame)
                return
            far.owner.arrived(far, frame)

        self.world.at(time, arrive)

    def _hold(self, link: Link, frame: bytes) -> None:
        """A frame at a cut: it waits as it would in a socket, until the cut heals or the link breaks."""
        if self.world.rng.random() < 0.1:
            self.snap(link, "timed out")
        else:
            link.ready = max(link.ready, self.world.now + 0.1)
            self._deliver_at(link.ready, link, frame)
            link.ready += 1e-6

    def turn_up(self) -> None:
        """Hours have passed: what was lost on the way for so long arrives."""
        stale, self.stale = self.stale, []
        for sender, receiver, frame in stale:
            self._replay_at(self.world.now + self.world.rng.uniform(0.0, 1.0), sender, receiver, frame, "hours late")

    def _replay_at(
        self, time: float, sender: SimTransport, receiver: SimTransport, frame: bytes, how: str = "replayed late"
    ) -> None:
        """A copy of a frame turns up on whatever link the two have by then, from an earlier life perhaps."""
        name, address = sender.name, receiver.address

        def arrive() -> None:
            there = self.listening.get(address, receiver)  # another start of it, perhaps
            for link in there.links.values():
                if link.far is not None and link.far.owner.name == name:
                    self.world.count(f"message {how}")
                    there.arrived(link, frame)
                    return

        self.world.at(time, arrive)


class SimTransport:
    """One node's door to the network: the Transport that the production driver sends through."""

    def __init__(self, network: Network, name: str, address: str) -> None:
        self.network, self.name, self.address = network, name, address
        self.links: dict[int, Link] = {}
        self.up = False
        self._events: TransportEvents | None = None

    def start(self, events: TransportEvents) -> None:
        """Listen at the address."""
        self._events, self.up = events, True
        self.network.listening[self.address] = self

    def connect(self, address: str) -> None:
        self.network.dial(self, address)

    def send(self, link: int, message: Message) -> bool:
        end = self.links.get(link)
        if end is None or not end.open:
            return False
        self.network.send(end, message)
        return True

    def disconnect(self, link: int, reason: str = "") -> None:
        end = self.links.get(link)
        if end is not None:
            self.network.close(end, reason)
            self.network.world.after(0.0, lambda: self.unlinked(end, reason))

    def stop(self, silent: bool = False) -> None:
        """The process is gone: its kernel resets what it had open, unless the machine is gone too (`silent`)."""
        self.up, self._events = False, None
        if self.network.listening.get(self.address) is self:
            del self.network.listening[self.address]
        for end in list(self.links.values()):
            if silent:
                self.network.lose(end)
            elif end.open:
                self.network.close(end, "connection reset")
        self.links.clear()

    # -- called by the network
    def linked(self, link: Link, address: str, outgoing: bool) -> None:
        self.links[link.number] = link
        if self._events is not None:
            self._events.link_up(link.number, address, outgoing)

    def unlinked(self, link: Link, reason: str) -> None:
        if self.links.pop(link.number, None) is not None and self._events is not None:
            self._events.link_down(link.number, reason)

    def arrived(self, link: Link, frame: bytes) -> None:
        if self._events is not None:
            self._events.message(link.number, decode(frame))

    def failed(self, address: str, reason: str) -> None:
        if self._events is not None:
            self._events.connect_failed(address, reason)
