"""Runs the demonstration: a process per airport, one killed, one cut off and healed; then asks for the answers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from crdtsync.errors import EnvironmentFault, Misuse
from crdtsync.ops.demo.compare import compare
from crdtsync.ops.demo.expected import expect
from crdtsync.ops.demo.flights import AIRPORTS, data_file, records, shares
from crdtsync.ops.demo.outcome import Outcome, Recovery
from crdtsync.ops.demo.process import STOP_TIMEOUT, Process, Task
from crdtsync.ops.demo.report import print_report
from crdtsync.ops.demo.roads import Roads
from crdtsync.ops.demo.screen import Lane, Screen, make_screen

T = TypeVar("T")

FOUNDER, KILLED, CUT = AIRPORTS  # who starts the cluster, who is killed, who is cut off
OUTAGE = 4.0  # s that a killed process stays away, and that an airport stays cut off
POLL = 0.1  # s between two looks at the processes
PATIENCE = 180.0  # s without any news after which the demonstration gives up
CATCH_UP = 120.0  # s that a replica has to catch up
COLLECTION = 20.0  # s that the replicas have, at the end, to collect what is dead

# Shares of its flights that an airport may replay until then, so that even a short run has some left to write during
# the kill and during the cut.  A long run never waits at them for more than a moment.
HALF, BEFORE_KILL, WHILE_DEAD, BEFORE_CUT, WHILE_CUT, TO_THE_END = 0.5, 0.6, 0.7, 0.8, 0.9, 1.0


class Conductor:
    """One run, in one directory."""

    def __init__(self, file: Path, directory: Path, rows: int | None, screen: Screen) -> None:
        self.file, self.directory, self.rows, self.screen = file, directory, rows, screen
        self.counts = shares(file, rows)
        self.roads = Roads(AIRPORTS)
        self.processes = {airport: Process(airport, directory / f"{airport}.log") for airport in AIRPORTS}
        self.outcome = Outcome(sum(self.counts.values()))
        self.notes = dict.fromkeys(AIRPORTS, "")
        self.down: set[str] = set()  # killed on purpose
        self.news = time.monotonic()  # when something last changed
        self.seen: object = None

    # -- the story

    def play(self) -> Outcome:
        """Run everything; CrdtsyncError when a process fails or stalls."""
        self.start_everybody()
        began, before = time.monotonic(), self.replayed()
        self.allow(BEFORE_KILL)
        if self.processes[KILLED].position < self.counts[KILLED] * HALF:
            self.until(lambda: self.processes[KILLED].position >= self.counts[KILLED] * HALF)
            self.kill_one(KILLED)
            self.cut_one(CUT)
        self.allow(TO_THE_END)
        self.until(lambda: self.replayed() == self.outcome.rows)
        self.outcome.seconds = time.monotonic() - began
        self.outcome.rows -= before
        self.settle()
        self.compare()
        return self.outcome

    def start_everybody(self) -> None:
        """The founder first; the others join through its address alone."""
        self.arrived(FOUNDER, self.start(FOUNDER))
        started = {airport: self.start(airport) for airport in (KILLED, CUT)}
        for airport, ready in started.items():
            self.arrived(airport, ready)
        self.screen.say(f"Three nodes are up: {', '.join(AIRPORTS)}.")

    def start(self, airport: str) -> Future[str]:
        """Start an airport's process; the future is where its node listens."""
        task = Task(
            airport,
            str(self.directory / airport),
            str(self.file),
            self.counts[airport],
            self.roads.address(airport),
            self.roads.exit(airport),
            [] if airport == FOUNDER else [self.roads.address(FOUNDER)],
        )
        self.notes[airport] = "starting"
        return self.processes[airport].start(task)

    def arrived(self, airport: str, ready: Future[str]) -> None:
        """Wait until the node is up, and let the road to it lead there."""
        self.roads.lead_to(airport, self.wait(ready, f"{airport} to start"))
        self.notes[airport] = ""

    def kill_one(self, airport: str) -> None:
        process, others = self.processes[airport], [other for other in AIRPORTS if other != airport]
        self.down.add(airport)
        process.kill()
        self.notes[airport] = "killed"
        self.screen.say(f"{airport}: killed with kill -9 at flight {process.position:,}.")
        self.go_on(others, WHILE_DEAD)
        missed = self.tokens(others)
        events = self.behind(airport)
        restarted = time.monotonic()
        self.down.discard(airport)
        self.arrived(airport, self.start(airport))
        self.allow(BEFORE_CUT)
        self.wait(process.ask("wait", tokens=missed, timeout=CATCH_UP), f"{airport} to catch up")
        self.recovered(f"{airport} since its restart", events, restarted)

    def cut_one(self, airport: str) -> None:
        others = [other for other in AIRPORTS if other != airport]
        self.roads.cut(airport)
        self.notes[airport] = "cut off"
        self.screen.say(f"{airport}: cut off from {' and '.join(others)}.")
        self.go_on(AIRPORTS, WHILE_CUT)
        inside, outside = self.tokens([airport]), self.tokens(others)
        events = self.behind(airport) + max(map(self.behind, others))
        healed = time.monotonic()
        self.roads.heal(airport)
        self.notes[airport] = ""
        self.allow(TO_THE_END)
        waits = [self.processes[airport].ask("wait", tokens=outside, timeout=CATCH_UP)]
        waits += [self.processes[other].ask("wait", tokens=inside, timeout=CATCH_UP) for other in others]
        for each in waits:
            self.wait(each, f"{airport} and its peers to catch up")
        self.recovered(f"{airport} and its peers since healing", events, healed)

    def go_on(self, airports: tuple[str, ...] | list[str], share: float) -> None:
        """Let time pass while these airports go on writing."""
        before = {airport: self.processes[airport].position for airport in airports}
        self.allow(share)
        end = time.monotonic() + OUTAGE

        def went_on(airport: str) -> bool:  # a run of a few rows may have none left for now
            position = self.processes[airport].position
            return position > before[airport] or position >= self.share(airport, share)

        self.until(lambda: time.monotonic() >= end and all(map(went_on, airports)))

    def recovered(self, what: str, events: int, since: float) -> None:
        recovery = Recovery(what, events, time.monotonic() - since)
        self.outcome.recoveries.append(recovery)
        self.screen.say(f"{what}: {events:,} missed events were there after {recovery.seconds:.2f} s.")

    def settle(self) -> None:
        """Everybody waits for everything, then for the collection of what is dead."""
        began = time.monotonic()
        tokens = self.tokens(AIRPORTS)
        waits = [process.ask("wait", tokens=tokens, timeout=CATCH_UP) for process in self.processes.values()]
        for each in waits:
            self.wait(each, "the replicas to agree")
        self.outcome.settled = time.monotonic() - began
        end = began + COLLECTION
        while any(report["dead"] for report in self.report().values()) and time.monotonic() < end:
            self.pause(POLL)

    def report(self) -> dict[str, dict[str, Any]]:
        asked = {airport: process.ask("report") for airport, process in self.processes.items()}
        self.outcome.reports = {airport: self.wait(reply, f"{airport}'s report") for airport, reply in asked.items()}
        return self.outcome.reports

    def compare(self) -> None:
        """Each replica's answers against the file's own."""
        self.screen.say("Asking every replica, and the file itself, for the answers.")
        asked = {airport: process.ask("answers") for airport, process in self.processes.items()}
        found = {airport: self.wait(reply, f"{airport}'s answers")["answers"] for airport, reply in asked.items()}
        expected, self.outcome.facts = expect(records(self.file), self.rows)
        self.outcome.comparison = compare(expected, found)

    # -- means

    def allow(self, share: float) -> None:
        """Let every airport replay up to this share of its flights."""
        for airport, process in self.processes.items():
            if process.alive:
                process.ask("limit", to=self.share(airport, share))

    def share(self, airport: str, share: float) -> int:
        """A share of an airport's flights, in rows."""
        return round(self.counts[airport] * share)

    def tokens(self, airports: tuple[str, ...] | list[str]) -> list[str]:
        asked = [self.processes[airport].ask("token") for airport in airports]
        return [str(self.wait(reply, "a token")["token"]) for reply in asked]

    def replayed(self) -> int:
        return sum(process.position for process in self.processes.values())

    def behind(self, airport: str) -> int:
        """Events that others told of and this replica lacks, as of their last lines."""
        mine = self.processes[airport].clock
        newest: dict[str, int] = {}
        for process in self.processes.values():
            for actor, seq in process.clock.items():
                newest[actor] = max(seq, newest.get(actor, 0))
        return sum(max(0, seq - mine.get(actor, 0)) for actor, seq in newest.items())

    def wait(self, future: Future[T], what: str) -> T:
        """The future's result, with the screen alive meanwhile."""
        self.until(future.done, what)
        return future.result()

    def until(self, condition: Callable[[], bool], what: str = "the replay") -> None:
        """Show the screen until the condition holds; EnvironmentFault when a process ends or nothing happens."""
        self.news = time.monotonic()
        while not condition():
            self.pause(POLL)
            for airport, process in self.processes.items():
                if not process.alive and process.child is not None and airport not in self.down:
                    raise process.ended()
            if time.monotonic() - self.news > PATIENCE:
                raise EnvironmentFault(f"Nothing happened for {PATIENCE:.0f} s while waiting for {what}.", changed="")

    def pause(self, seconds: float) -> None:
        lanes = [
            Lane(airport, process.position, self.counts[airport], self.behind(airport), self.notes[airport])
            for airport, process in self.processes.items()
        ]
        seen = [(lane.position, lane.behind) for lane in lanes]
        if seen != self.seen:
            self.seen, self.news = seen, time.monotonic()
        self.screen.show(lanes)
        time.sleep(seconds)

    def close(self) -> None:
        """Stop the processes, then the proxies."""
        for process in self.processes.values():
            process.stop()
        deadline = time.monotonic() + STOP_TIMEOUT
        for process in self.processes.values():
            process.join(deadline)
        self.roads.close()


def run(rows: int | None, keep: Path | None) -> int:
    """The whole demonstration; 0 when every replica shows what the file says, 1 otherwise, 130 when interrupted."""
    file = data_file()
    directory = prepare(rows, keep)
    screen = make_screen()
    status = 1
    try:
        with terminable(), screen:
            status = perform(file, directory, rows, screen)
    except KeyboardInterrupt:
        status = 130
        screen.say("Interrupted; all processes have been stopped.")
    finally:
        if status == 0 and keep is None:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            screen.say(f"The data is in {directory}")
    return status


def perform(file: Path, directory: Path, rows: int | None, screen: Screen) -> int:
    """Play it to the end and print the report; the exit status."""
    conductor = Conductor(file, directory, rows, screen)
    try:
        outcome = conductor.play()
    finally:
        conductor.close()
    screen.close()
    print_report(outcome)
    return 0 if outcome.equal else 1


def prepare(rows: int | None, keep: Path | None) -> Path:
    """A directory to work in: a new one, or one where an earlier run of as many rows has stopped."""
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="crdtsync-demo-"))
    keep.mkdir(parents=True, exist_ok=True)
    note = keep / "demo.json"
    if not note.exists():
        if any(keep.iterdir()):
            raise Misuse(f"{keep} is not empty, and not the data of an earlier demo.", hint="Choose another --keep.")
        note.write_bytes(msgspec.json.encode({"rows": rows}))
    earlier = msgspec.json.decode(note.read_bytes())
    if earlier != {"rows": rows}:
        raise Misuse(
            f"{keep} holds a demo of {earlier['rows'] or 'all'} rows.", hint="Use the same --rows, or another --keep."
        )
    return keep


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the demonstration like ^C does: no process is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
