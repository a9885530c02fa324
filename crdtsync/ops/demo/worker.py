"""One airport's process: a node, its replay, and a conversation with the conductor over standard input and output.

Lines of JSON.  The first line in is the `Task`; then come requests ``{"id", "do", ...}``, each answered by
``{"reply": id, ...}`` or ``{"reply": id, "error"}``.  Unasked, the process says ``{"ready": address, "position"}`` and,
a few times a second, ``{"position", "clock"}``.  The end of standard input ends the process.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

import crdtsync
from crdtsync.node import Node
from crdtsync.ops.demo.answers import answers
from crdtsync.ops.demo.flights import flights_of
from crdtsync.ops.demo.process import Task
from crdtsync.ops.demo.replay import Replay, position

PROGRESS_INTERVAL = 0.25  # s between two lines of progress


class Worker:
    """The process: replays in the main thread, answers in others."""

    def __init__(self, task: Task, lines: BinaryIO, out: BinaryIO) -> None:
        self.task = task
        self.lines, self.out = lines, out
        self.writing = threading.Lock()
        self.changed = threading.Condition()
        self.limit = 0  # flights after which the replay waits for a new limit
        self.stopping = False
        self.node = crdtsync.open(
            task.directory,
            listen="127.0.0.1:0",
            advertise=task.advertise,
            connect_proxy=task.connect_proxy,
            join=task.join,
        )
        self.position = position(self.node, task.airport)

    def run(self) -> None:
        """Replay until told to stop."""
        self.say(ready=self.node.address, position=self.position)
        for job in (self.listen, self.tell_progress):
            threading.Thread(target=job, name=job.__name__, daemon=True).start()
        flights = flights_of(self.task.airport, Path(self.task.file), self.task.count)
        replay = Replay(self.node, self.task.airport, flights)
        while self.wait_for_work():
            for _ in range(min(self.limit, len(flights)) - replay.position):
                replay.step()
                self.position = replay.position
                if self.stopping:
                    break
        self.node.close()

    def wait_for_work(self) -> bool:
        """Wait until the replay may go on; False when it is time to stop."""
        with self.changed:
            self.changed.wait_for(lambda: self.stopping or self.position < min(self.limit, self.task.count))
        return not self.stopping

    def stop(self, *_: object) -> None:
        with self.changed:
            self.stopping = True
            self.changed.notify_all()

    def listen(self) -> None:
        """Take requests until standard input ends."""
        for line in self.lines:
            request = msgspec.json.decode(line)
            threading.Thread(target=self.reply, args=(request,), name=request["do"], daemon=True).start()
        self.stop()

    def reply(self, request: dict[str, Any]) -> None:
        do: Callable[..., dict[str, Any]] = getattr(self, f"do_{request['do']}")
        number = request["id"]
        try:
            arguments = {name: value for name, value in request.items() if name not in ("id", "do")}
            self.say(reply=number, **do(**arguments))
        except Exception as error:  # whatever it is, the conductor waits for a reply
            self.say(reply=number, error=f"{type(error).__name__}: {error}")

    def say(self, **message: Any) -> None:
        """Write one line.  A conductor that no longer reads means that the end of standard input is near."""
        with self.writing:
            try:
                self.out.write(msgspec.json.encode(message) + b"\n")
                self.out.flush()
            except BrokenPipeError:
                self.stopping = True

    def tell_progress(self) -> None:
        pause = threading.Event()
        while not self.stopping:
            self.say(position=self.position, clock=clock_of(self.node))
            pause.wait(PROGRESS_INTERVAL)

    # -- requests

    def do_limit(self, to: int) -> dict[str, Any]:
        with self.changed:
            self.limit = to
            self.changed.notify_all()
        return {}

    def do_token(self) -> dict[str, Any]:
        return {"token": self.node.token()}

    def do_wait(self, tokens: list[str], timeout: float) -> dict[str, Any]:
        for token in tokens:
            self.node.wait_for(token, timeout=timeout)
        return {}

    def do_report(self) -> dict[str, Any]:
        status = self.node.status()
        waiting = sum(bucket["rows_waiting"] for bucket in status["collection"].values())
        return {
            "digest": self.node.digest(),
            "dead": max(waiting, status["storage"]["dead_rows"]),
            "bytes_sent": status["counters"].get("bytes_sent", 0),
            "rows_sent": status["counters"].get("rows_sent", 0),
            "memory": memory(),
        }

    def do_answers(self) -> dict[str, Any]:
        return {"answers": answers(self.node)}


def clock_of(node: Node) -> dict[str, int]:
    """The node's clock with the actors' ids as text, as JSON wants them."""
    return {str(actor): seq for actor, seq in node.clock().items()}


def memory() -> int:
    """Bytes that this process has in memory; its peak where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Run one worker; the conductor alone starts it."""
    lines, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints goes to the log, not between the lines
    task = msgspec.json.decode(lines.readline(), type=Task)
    worker = Worker(task, lines, out)
    signal.signal(signal.SIGTERM, worker.stop)
    worker.run()


if __name__ == "__main__":
    main()
