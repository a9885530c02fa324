"""One simulated node: production store, engine and driver, with the world in place of threads, sockets and disks."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from crdtsync.clocks.vector import covers, join
from crdtsync.datatypes import gcounter, pncounter
from crdtsync.datatypes.keys import parse
from crdtsync.datatypes.rows import Row
from crdtsync.errors import EnvironmentFault, JournalFailed, MembershipMisuse, QuorumMissing, StoreDamaged
from crdtsync.kernels import row_context, rows_unpack
from crdtsync.replication import peers as states
from crdtsync.replication.driver import Driver
from crdtsync.replication.engine import Engine
from crdtsync.replication.messages import Message
from crdtsync.replication.parking import PARKED_MAX
from crdtsync.sim.disk import Gone, SimDisk
from crdtsync.sim.history import Clock
from crdtsync.sim.network import SimTransport
from crdtsync.sim.oracles import Change
from crdtsync.sim.reading import actor_bytes, row_name
from crdtsync.sim.sessions import Written
from crdtsync.sim.shortway import ShortWay
from crdtsync.sim.workload import Operation, perform
from crdtsync.sim.world import WALL_START_MS, Event, Violation
from crdtsync.storage.requests import Request
from crdtsync.storage.rescue import decode_rescue
from crdtsync.storage.store import Store
from crdtsync.storage.table import ROWS, physical
from crdtsync.storage.txn import Txn

if TYPE_CHECKING:
    from crdtsync.sim.cluster import Cluster

CELLS = (gcounter.CODE, pncounter.CODE)  # types whose rows belong to an actor each
FLUSH_EVERY = (0.01, 0.2)  # s between flushes of the journal
CHECKPOINT_EVERY = (0.3, 1.5)  # s between checkpoints
JUDGED_SHARE = 0.15  # of operations whose effect on the value shown is compared with plain Python
WHOLE_CHECK_SHARE = 0.05  # of checkpoints that are followed by a judgement of every row


class SimNode:
    """A machine with a disk, and whatever process runs on it."""

    def __init__(self, cluster: Cluster, name: str, disk: SimDisk, sponsor: SimNode | None, identity: str = "") -> None:
        """`identity`: what the node is called, when there are two with one name."""
        self.cluster, self.world = cluster, cluster.world
        self.name, self.disk, self.sponsor, self.identity = name, disk, sponsor, identity or name
        self.fixed = sponsor is None  # the founder stays where everybody looks for it
        self.skew = 0.0  # s by which its wall clock is off
        self._rate, self._offset = 1.0, 0.0  # its own clocks: seconds in a second of the world, and from where
        self.accepting = False  # whether its operator goes on with what can be read of a damaged journal
        self.address = cluster.fresh_address()
        self.boots = 0
        self.up = self.retired = False  # retired: never started again
        self.store: Store
        self.engine: Engine
        self.driver: Driver
        self.transport: SimTransport
        self.private = cluster.stand_in()  # stands for the private actor until it has an id
        self._durable: dict[str, Clock] = {}  # what was ever said to be on the disk, by bucket
        self.was_entering = False  # its last process ended while it took a member's state
        self._told_in = False  # its process has told that it is in
        self._let_in_by = ""  # the sponsor that its last process had, if that ended before it told that it was in
        self._promised: dict[str, Clock] = {}  # what the next start must find
        self._looked: dict[str, dict[int, int]] = {}  # clocks by index, as the oracles last saw them
        self.collected: dict[str, Clock] = {}  # its floors when it last had to start over
        self.had: dict[str, dict[bytes, Clock]] = {}  # and the contexts of its rows, by bucket and name
        self.touched: dict[str, set[bytes]] = {}  # keys of rows that have changed since the oracles last looked
        self._short = ShortWay(self)
        self._checkpointed: dict[str, Clock] = {}  # what its last checkpoint put into the table
        self.unreadable: dict[str, set[bytes]] = {}  # rows that were set aside when it last had to start over
        self.given_up: dict[str, int] = {}  # and the numbers of its buckets then
        self._wake: Event | None = None
        self._due: float | None = None  # when it is to be woken, by its own clock
        self._timers: list[Event] = []
        self._paused_until = 0.0

    # -- process
    def boot(self) -> None:
        """Start a process on what the disk holds."""
        if self.up or self.retired:
            return
        self.boots += 1
        self.disk.next_life()
        if self.boots > 1 and not self.fixed and self.world.rng.random() < 0.3:
            self.address = self.cluster.fresh_address()
        self._guarded(self._start)

    def _start(self) -> None:
        world, config = self.world, self.cluster.config(self)
        chance = random.Random(world.rng.getrandbits(64))
        cut_short = self.disk.ends_at_a_flip()
        self.store = Store.open(
            None, config, disk=self.disk, maps=lambda: self.disk.map, random=chance, now_ms=self.wall_ms
        )
        self.cluster.opened(self)
        if self.accepting and not self.store.cluster():
            # All that is left is from before it belonged to its cluster: to go on with it would found another one.
            self.accepting = False
            self.cluster.wipe(self)
            return
        self.up, self._looked, self.touched = True, {}, {}
        self.store.on_change.append(self._touch)
        self.cluster.sessions.started(self)
        world.note(self.name, f"boot {self.boots} at {self.address}")
        if self.accepting or (cut_short and self._lacks_promised()):
            self.cluster.set_back += 1
            self.cluster.oracles.damage_accepted(self, self._checkpointed)
            self.cluster.sessions.forget(self)
            self.accepting = False
        else:
            self.cluster.oracles.restarted(self, dict(self._promised))
            self.cluster.sessions.restarted(self)
        self.engine = Engine(self.store, config, chance, self.time(), self.wall_ms())
        self._told_in = False
        if self.engine.state == states.MEMBER and self._let_in_by:
            self.cluster.let_in(self, self._let_in_by)
        self.transport = SimTransport(self.cluster.network, self.name, self.address)
        self.driver = Driver(self.transport, self.store.flush, self._told)
        self.transport.start(self)
        self._step(lambda: None)
        self._every(FLUSH_EVERY, self.store.flush)
        self._every(CHECKPOINT_EVERY, self._checkpoint)

    def _lacks_promised(self) -> bool:
        return any(not covers(self.clock(bucket), clock) for bucket, clock in self._promised.items())

    def power_off(self) -> None:
        """The machine loses its power: what was not synced is in doubt."""
        if self.up:
            self.world.note(self.name, "power off")
            self._remember(power=True)
            self._stop(silent=self.world.rng.random() < 0.5)
            self.disk.crash()

    def kill(self) -> None:
        """The process ends at once; the machine stays."""
        if self.up:
            self.world.note(self.name, "killed")
            self._remember(power=False)
            self._stop(silent=False)
            self.disk.next_life()

    def drop(self) -> None:
        """Let go of the process without a judgement: the run is over."""
        if self.up:
            self._stop(silent=True)

    def _stop(self, silent: bool) -> None:
        self.up = False
        for counters in (self.engine.core.counters, self.store.counters):
            self.cluster.totals.update(counters)
        self._paused_until = 0.0
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._wake is not None:
            self._wake.cancel()
        self._wake = self._due = None
        self.transport.stop(silent)

    def _remember(self, power: bool) -> None:
        """Note what the next start must find, and excuse what it need not."""
        self._promised = {}
        self.was_entering = self.may_start_over()
        self._let_in_by = "" if self._told_in else self.engine.entry.sponsor
        if power:
            self.cluster.sessions.power_lost(self)
        for bucket in self.buckets():
            synced = self._durable[bucket] = join(self._durable.get(bucket, {}), self.synced_clock(bucket))
            self._promised[bucket] = synced if power else join(synced, self.clock(bucket))
            if power:
                self.cluster.oracles.power_lost(self, bucket, synced)

    def pause(self, time: float) -> None:
        """Stand still, as under SIGSTOP."""
        self._paused_until = self.world.now + time

    def resume(self) -> None:
        """Go on."""
        self._paused_until = 0.0

    # -- running
    def _guarded(self, action: Callable[..., None], *arguments: Any) -> None:
        """Run a step of the process; it may turn out to be its last."""
        try:
            action(*arguments)
        except Gone as gone:
            self.world.count("ended within a write")
            self._ended(gone.power)
        except StoreDamaged as damage:
            self._damaged(damage)
        except EnvironmentFault as fault:
            self._trouble(fault)

    def _ended(self, power: bool) -> None:
        """The process ended within a disk operation, of a start perhaps, and comes back later."""
        if self.up and power:
            self.cluster.power_off(self)
        elif self.up:
            self.cluster.kill(self)
        else:
            if power:
                self.disk.crash()
            self.cluster.boot_later(self)

    def _damaged(self, damage: StoreDamaged) -> None:
        """A start was refused: the operator accepts the damage, and if that does not help replaces the disk."""
        if not self.disk.flipped:
            raise Violation(f"damage: {self.name} finds its disk damaged, which it is not: {damage}") from damage
        self.world.count("damage refused at a start")
        self.world.note(self.name, f"refuses to start: {damage}")
        if self.accepting:
            self.accepting = False
            self.cluster.wipe(self)
        else:
            self.accepting = True
            self.cluster.boot_later(self)

    def _trouble(self, fault: EnvironmentFault) -> None:
        """What the operator of a node does: a store whose disk failed is opened again."""
        self.world.count(f"refused: {fault.counter}")
        self.world.note(self.name, f"trouble: {type(fault).__name__}")
        if not self.up:
            self.cluster.boot_later(self)
        elif isinstance(fault, JournalFailed):
            self.cluster.kill(self)

    def _step(self, action: Callable[[], None]) -> None:
        """One event of the process: act, carry out the effects, be judged, and say when to be woken."""
        if not self.up:
            return
        if self.world.now < self._paused_until:
            boots = self.boots
            self.world.at(self._paused_until, lambda: self._step(action) if boots == self.boots else None)
            return
        self._guarded(self._act, action)

    def _act(self, action: Callable[[], None]) -> None:
        action()
        self.cluster.oracles.step(self)
        self.driver.apply(self.engine.take_effects())
        self._wake_up()

    def _wake_up(self) -> None:
        due = self.engine.next_wakeup()
        if due == self._due:
            return
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        self._due = due
        if due is not None:
            self._wake = self.world.at((due - self._offset) / self._rate, self._woken)

    def _woken(self) -> None:
        self._step(self._tick)

    def _tick(self) -> None:
        now, due = self.time(), self._due
        self._wake = self._due = None
        # A clock of another rate, read back, may be short of the very moment by a rounding.
        self.engine.tick(now if due is None else max(now, min(due, now + 1e-6)), self.wall_ms())

    def _every(self, between: tuple[float, float], action: Callable[[], object]) -> None:
        slot = len(self._timers)

        def act() -> None:
            if self.up and self.world.now >= self._paused_until:
                action()

        def due() -> None:
            self._guarded(act)
            again()

        def again() -> None:
            if self.up:
                self._timers[slot] = self.world.after(self.world.rng.uniform(*between), due)

        self._timers.append(self.world.after(self.world.rng.uniform(*between), due))

    def _checkpoint(self) -> None:
        clocks = {bucket: self.clock(bucket) for bucket in self.buckets()}
        self.store.checkpoint()
        self._checkpointed = clocks
        self.cluster.oracles.bounded(self)
        if self.world.rng.random() < WHOLE_CHECK_SHARE:
            for bucket in self.buckets():
                self.cluster.oracles.whole(self, bucket)

    # -- users
    def state(self) -> str:
        """What the node is: a state of the engine, or "down"."""
        return self.engine.state if self.up else "down"

    def writable(self) -> bool:
        """Whether a user may write here: a joiner writes nothing before it is whole."""
        return self.up and self.world.now >= self._paused_until and self.engine.writable

    def write(self, bucket: str, operations: list[Operation], request: Request | None = None) -> Written | None:
        """Do operations as one batch; None when the store refused it, or ended in the middle."""
        changes: list[Change] = []
        judged = self.world.rng.random() < JUDGED_SHARE
        done: Written | None = None

        def ops(txn: Txn) -> None:
            perform(txn, operations, changes, judged)

        def act() -> None:
            nonlocal done
            try:
                if request is None:
                    self.store.transact(bucket, ops)
                    done = Written(len(changes), None)
                else:
                    done = Written(len(changes), self.store.transact_once(bucket, request, ops))
            except Gone:
                self.cluster.oracles.in_doubt(self, bucket, changes)
                raise
            self.cluster.oracles.written(self, bucket, changes)
            self._after_write()

        def act_short() -> None:
            nonlocal done
            self._short.perform(bucket, operations[0])
            done = Written(1, None)
            self._after_write()

        marked = f"{request.id}: " if request else ""
        self.world.note(self.name, f"{bucket}: {marked}{'; '.join(map(str, operations))}")
        self._step(act_short if request is None and self._short.takes(bucket, operations) else act)
        return done

    def _after_write(self) -> None:
        """The engine hears of it; and how far the clock that may have stamped it was ahead is not forgotten."""
        self.cluster.ahead = max(self.cluster.ahead, (self.wall_ms() - self.world.wall_ms()) / 1000)
        self.engine.local(self.time())

    @property
    def has_left(self) -> bool:
        """Whether it has left the cluster, in good order."""
        return self.up and self.engine.state == states.LEFT

    def leave(self) -> None:
        """Ask to leave."""
        self._step(lambda: self.engine.leave(self.time()))

    def evict(self, name: str, force: bool) -> bool:
        """Propose to evict another node, or do so by force; False when it is refused."""
        done = False

        def act() -> None:
            nonlocal done
            try:
                self.engine.evict(name, force, self.time())
                done = True
            except (QuorumMissing, MembershipMisuse) as error:
                self.world.count(f"refused: {error.counter}")

        self._step(act)
        return done

    # -- TransportEvents
    def link_up(self, link: int, address: str, outgoing: bool, node: str = "") -> None:
        self._step(lambda: self.engine.link_up(link, address, outgoing, self.time(), node))

    def link_down(self, link: int, reason: str) -> None:
        self.world.note(self.name, f"link {link} down: {reason}")
        self._step(lambda: self.engine.link_down(link, self.time()))

    def connect_failed(self, address: str, reason: str) -> None:
        self._step(lambda: self.engine.connect_failed(address, self.time()))

    def message(self, link: int, message: Message) -> None:
        self._step(lambda: self.engine.receive(link, message, self.time(), self.wall_ms()))

    def _told(self, event: str, details: dict[str, Any]) -> None:
        self.world.note(self.name, f"{event} {details}")
        if event == "below_floor":
            self.cluster.below_floor(self, details["node"])
        elif event == "state" and details["state"] == states.MEMBER:
            self._told_in = True
            self.cluster.let_in(self, self.engine.entry.sponsor)
        elif event == "state" and details["state"] == states.STARTING_OVER:
            self.collected = {bucket: self.store.floor(bucket) for bucket in self.buckets()}
            self.had = {bucket: self.contexts(bucket) for bucket in self.buckets()}
            self.unreadable = {bucket: self.set_aside(bucket) for bucket in self.buckets()}
            self.given_up = {bucket: held.number for bucket, held in self.store.named.items()}

    # -- what oracles read
    def queues(self) -> dict[str, tuple[int, int]]:
        """What waits in the engine, by name: how much, and how much may."""
        engine, settings = self.engine, self.engine.core.settings
        parked = engine.gossip.parked
        flights = [flight for peer in engine.core.peers.values() for flight in peer.flight.values()]
        return {
            "effects": (len(engine.core.effects), 0),
            "links": (len(engine.core.links), settings.links_max),
            "pushes parked": (parked.most(), PARKED_MAX),
            "bytes parked": (parked.bytes, settings.parked_bytes_max),
            "pushes in flight": (max(map(len, flights), default=0), settings.credit_parts),
            "transfers served": (len(engine.transfers.served), settings.transfers_out_max),
            "conflicts kept": (len(self.store.conflicts), settings.conflicts_kept),
        }

    def members(self) -> dict[str, tuple[int, str]]:
        """Whom it counts as what, and for the how manieth time."""
        return {name: (record.epoch, record.state) for name, record in self.store.members().items()}

    def knows_later(self, other: SimNode) -> bool:
        """Whether it has been greeted by a later start under the name of another node."""
        peer = self.engine.core.peers.get(other.identity)
        return peer is not None and (peer.start, peer.instance) > (other.store.start, other.store.instance)

    def published(self) -> bool:
        """Whether its events belong to a cluster."""
        return self.up and self.store.cluster() != 0

    def may_start_over(self) -> bool:
        """Whether its clock may go back: it takes a member's state instead of its own."""
        return self.engine.state in (states.STARTING_OVER, states.JOINING)

    def forget_promises(self, bucket: str) -> None:
        """It has another state than its own of before, of which nothing need be found again."""
        self._durable.pop(bucket, None)
        self._promised.pop(bucket, None)
        self._checkpointed.pop(bucket, None)

    def rescued(self, bucket: str) -> dict[bytes, Clock]:
        """Rows in the rescue files of a bucket: their names and contexts."""
        found: dict[bytes, Clock] = {}
        for name in self.disk.list():
            if name.startswith("rescue-") and (rescue := decode_rescue(self.disk.read(name))).bucket == bucket:
                for part in rescue.parts:
                    ids = part.actors.__getitem__
                    for key, image in rows_unpack(part.count, part.keys, part.images, len(part.actors)):
                        context = {ids(actor): seq for actor, seq in row_context(image)}
                        row = row_name(key, image, ids)
                        found[row] = join(found.get(row, {}), context)
        return found

    def contexts(self, bucket: str) -> dict[bytes, Clock]:
        """Contexts of the rows of a bucket, by their names."""
        own = self.actor_id
        return {
            row_name(key, image, own): {own(actor): seq for actor, seq in row_context(image)}
            for key, image in self.rows(bucket)
        }

    def others(self) -> list[SimNode]:
        """All other nodes."""
        return [node for node in self.cluster.nodes.values() if node is not self]

    def holding(self, bucket: str) -> Clock:
        """What is known to be on its disk."""
        return join(self._durable.get(bucket, {}), self.synced_clock(bucket) if self.up else {})

    def time(self) -> float:
        """Seconds by this machine's clock that only grows."""
        return self.world.now * self._rate + self._offset

    def wall_ms(self) -> int:
        """This machine's idea of the time."""
        return WALL_START_MS + int((self.time() + self.skew) * 1000)

    def set_rate(self, rate: float) -> None:
        """Let its clocks run at another rate, from where they are."""
        self._offset = self.time() - self.world.now * rate
        self._rate = rate
        self._due = None

    def set_clock(self) -> None:
        """Its clocks run as they should from now on, and the one on the wall is right but for what it was off by."""
        self.set_rate(1.0)
        self.skew = self.world.now - self.time() + max(-2.0, min(self.skew, 0.5))

    def new_disk(self, disk: SimDisk) -> None:
        """Go on with another disk."""
        self.disk, self._checkpointed, self.accepting, self._let_in_by = disk, {}, False, ""
        self.cluster.sessions.forget(self)

    def take_over(self, twin: SimNode) -> None:
        """Go on with the directory of a twin, where its process has left it."""
        self.disk, self._durable, self._promised = twin.disk, twin._durable, twin._promised
        self._checkpointed, self.was_entering = twin._checkpointed, twin.was_entering
        self._let_in_by = twin._let_in_by
        self.boots += twin.boots
        self.cluster.sessions.forget(self)

    def buckets(self) -> list[str]:
        return sorted(self.store.buckets())

    def actor_id(self, index: int) -> int:
        """Id of a local actor index; the private actor has a negative stand-in until it is published."""
        return self.store.actors.ids[index] or self.private

    def moved(self) -> list[str]:
        """Buckets whose clock is another than when this was last asked."""
        moved = []
        with self.store.lock:
            for name, bucket in self.store.named.items():
                if self._looked.get(name) != bucket.clock:
                    self._looked[name] = dict(bucket.clock)
                    moved.append(name)
        return moved

    def _touch(self, bucket: str, keys: list[bytes], local: bool) -> None:
        self.touched.setdefault(bucket, set()).update(keys)

    def own_index(self) -> int | None:
        """Index that this start writes under; None: it has written nothing."""
        return self.store._own

    def local_clock(self, bucket: str) -> dict[int, int]:
        """The clock by local indexes."""
        with self.store.lock:
            held = self.store.bucket(bucket)
            return dict(held.clock) if held is not None else {}

    def clock(self, bucket: str) -> Clock:
        """The clock by ids."""
        return self._named(self.local_clock(bucket))

    def synced_clock(self, bucket: str) -> Clock:
        """What the store says is on the disk."""
        held = self.store.bucket(bucket)
        return self._named(held.synced) if held is not None else {}

    def _named(self, clock: dict[int, int]) -> Clock:
        return {self.actor_id(index): seq for index, seq in clock.items()}

    def rows(self, bucket: str) -> list[Row]:
        """All rows, dead ones among them, in order."""
        held = self.store.bucket(bucket)
        return list(held.all_rows(skip_damaged=True)) if held is not None else []

    def image(self, bucket: str, key: bytes) -> bytes | None:
        """Image of a row by its key here; None, too, for one that was set aside."""
        held = self.store.bucket(bucket)
        return held.peek(key) if held is not None else None

    def set_aside(self, bucket: str) -> set[bytes]:
        """Names of rows that fail their checksums."""
        held = self.store.bucket(bucket)
        return set() if held is None else {self._row_name(key) for key in held.damaged.values() if key}

    def flipped_rows(self, bucket: str) -> set[bytes]:
        """Names of rows of a bucket that it has given up, whose bytes in its table are not what was written."""
        number = physical(self.given_up.get(bucket, 0), b"")
        keys = [key for name, key in self.disk.flipped if name == ROWS and isinstance(key, bytes)]
        return {self._row_name(key[len(number) :]) for key in keys if key.startswith(number)}

    def _row_name(self, key: bytes) -> bytes:
        """The name of a row that cannot be read."""
        if parse(key).code in CELLS:
            return key[:-4] + actor_bytes(self.actor_id(int.from_bytes(key[-4:], "big")))
        return key

    def row(self, bucket: str, name: bytes, cell: bool) -> bytes | None:
        """Image of a row by its name in the history."""
        held = self.store.bucket(bucket)
        if held is None:
            return None
        if cell:
            index = self._index(name[-8:])
            if index is None:
                return None
            name = name[:-8] + index.to_bytes(4, "big")
        return held.get(name)

    def holds_damage(self, bucket: str) -> bool:
        """Whether rows of a bucket were set aside."""
        held = self.store.bucket(bucket)
        return held is not None and bool(held.damaged)

    def _index(self, owner: bytes) -> int | None:
        if owner == actor_bytes(self.private):
            return 0
        return self.store.actors.index.get(int.from_bytes(owner, "big"))

    def digest(self, bucket: str) -> int:
        """The digest that the store keeps."""
        held = self.store.bucket(bucket)
        return held.digest() if held is not None else 0
