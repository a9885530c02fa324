"""A worker process as the conductor sees it: start, ask, kill, start again."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

import crdtsync
from crdtsync.errors import EnvironmentFault

STOP_TIMEOUT = 20.0  # s a worker has to close its node before it is killed
LOG_LINES = 5  # of a dead worker's log, shown with the error


class Task(msgspec.Struct):
    """What a worker is started with."""

    airport: str
    directory: str
    file: str  # the zipped flights
    count: int  # flights to replay
    advertise: str  # address of the proxy that leads here
    connect_proxy: str  # the proxy that this process's own calls go through
    join: list[str]


class Process:
    """One airport's worker, over all its starts."""

    def __init__(self, airport: str, log: Path) -> None:
        self.airport, self.log = airport, log
        self.position = 0
        self.clock: dict[str, int] = {}
        self.alive = False
        self.child: subprocess.Popen[bytes] | None = None
        self.reader: threading.Thread | None = None
        self.ready: Future[str] = Future()
        self.waiting: dict[int, Future[dict[str, Any]]] = {}
        self.numbers = itertools.count(1)
        self.lock = threading.Lock()

    def start(self, task: Task) -> Future[str]:
        """Start the process; the future is the address that its node listens on."""
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "crdtsync.ops.demo.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(),
                start_new_session=True,  # ^C is the conductor's to handle
            )
        self.child, self.ready, self.alive = child, Future(), True
        self.write(msgspec.json.encode(task))
        self.reader = threading.Thread(target=self.read, args=(child, self.ready), daemon=True)
        self.reader.start()
        return self.ready

    def ask(self, do: str, **arguments: Any) -> Future[dict[str, Any]]:
        """Send a request; the future is its reply, or EnvironmentFault when it failed or the process ended."""
        answer: Future[dict[str, Any]] = Future()
        with self.lock:
            number = next(self.numbers)
            self.waiting[number] = answer
            alive = self.alive
        if not alive or not self.write(msgspec.json.encode({"id": number, "do": do, **arguments})):
            self.fail_waiting()
        return answer

    def write(self, line: bytes) -> bool:
        assert self.child is not None and self.child.stdin is not None
        try:
            with self.lock:
                self.child.stdin.write(line + b"\n")
                self.child.stdin.flush()
        except (BrokenPipeError, ValueError):
            return False
        return True

    def read(self, child: subprocess.Popen[bytes], ready: Future[str]) -> None:
        """Take the worker's lines until it ends."""
        assert child.stdout is not None
        for line in child.stdout:
            try:
                self.take(msgspec.json.decode(line), ready)
            except msgspec.DecodeError:  # the last line of a killed process may be half a line
                break
        child.stdout.close()
        child.wait()
        self.alive = False
        if not ready.done():
            ready.set_exception(self.ended())
        self.fail_waiting()

    def take(self, message: dict[str, Any], ready: Future[str]) -> None:
        self.position = message.get("position", self.position)
        self.clock = message.get("clock", self.clock)
        if "ready" in message:
            ready.set_result(message["ready"])
        if "reply" in message:
            with self.lock:
                answer = self.waiting.pop(message["reply"], None)
            if answer is None:
                return
            if "error" in message:
                answer.set_exception(EnvironmentFault(f"{self.airport}: {message['error']}", changed=""))
            else:
                answer.set_result(message)

    def fail_waiting(self) -> None:
        with self.lock:
            answers, self.waiting = list(self.waiting.values()), {}
        for answer in answers:
            answer.set_exception(self.ended())

    def ended(self) -> EnvironmentFault:
        """The error that says that the process is gone, with the end of its log."""
        code = self.child.poll() if self.child else None
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:] if self.log.exists() else []
        hint = "\n  ".join([f"The end of {self.log}:", *lines]) if lines else ""
        return EnvironmentFault(f"The process of {self.airport} ended with status {code}.", hint=hint, changed="")

    def kill(self) -> None:
        """kill -9."""
        if self.child is not None and self.reader is not None:
            self.child.kill()
            self.reader.join()

    def stop(self) -> None:
        """Let the worker close its node."""
        if self.child is not None and self.child.stdin is not None:
            try:
                self.child.stdin.close()
            except BrokenPipeError:
                pass

    def join(self, deadline: float) -> None:
        """Wait for the end of a stopped worker; kill it at the deadline (monotonic)."""
        if self.child is None:
            return
        try:
            self.child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()


def environment() -> dict[str, str]:
    """The worker imports the same crdtsync as the conductor, wherever that was found."""
    here = str(Path(crdtsync.__file__).parent.parent)
    paths = [here, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
