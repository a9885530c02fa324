"""Processes that stand for other machines: they do what they are asked, over a pipe."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from crdtsync.errors import EnvironmentFault

ANSWER_TIMEOUT = 240.0  # s for one request
STOP_TIMEOUT = 20.0  # s for a process to end in good order
STOP = "stop"


class Other:
    """One process, started afresh (not forked: gRPC does not survive that), that runs `target(pipe, *arguments)`."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=target, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, what: str, *arguments: Any) -> Any:
        """Have it do something, and wait for what comes of it.  Raises EnvironmentFault with its traceback."""
        self.tell(what, *arguments)
        return self.answer()

    def tell(self, what: str, *arguments: Any) -> None:
        """Have it do something; `answer` has what comes of it."""
        self.pipe.send((what, arguments))

    def answered(self) -> bool:
        """Whether `answer` would return at once."""
        return self.pipe.poll()

    def answer(self) -> Any:
        """What came of the request before."""
        try:
            if not self.pipe.poll(ANSWER_TIMEOUT):
                raise EnvironmentFault("A process of the benchmark does not answer.", changed="")
            good, found = self.pipe.recv()
        except EOFError as gone:
            raise EnvironmentFault("A process of the benchmark has ended.", changed="") from gone
        if not good:
            raise EnvironmentFault(f"A process of the benchmark failed:\n{found}", changed="")
        return found

    def stop(self) -> None:
        """End it; the hard way when it takes too long."""
        try:
            self.pipe.send((STOP, ()))
        except OSError:  # it has ended already
            pass
        self.process.join(STOP_TIMEOUT)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def answer_all(pipe: Connection, methods: Mapping[str, Callable[..., Any]]) -> None:
    """The other end: do what is asked until told to stop, or until nobody asks any more."""
    while True:
        try:
            what, arguments = pipe.recv()
        except EOFError:
            return
        if what == STOP:
            return
        try:
            answer = (True, methods[what](*arguments))
        except Exception:  # whatever it is, the other side waits for an answer
            answer = (False, traceback.format_exc())
        pipe.send(answer)
