"""Real processes of `crdtsync`: nodes that run until they are stopped, and commands with what they print."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from crdtsync.ops.cli.main import main

PATIENCE = 60.0  # s that anything here may take
READY = re.compile(r"(\S+) is ready: (.*?)\.  Try: ")


class Done(NamedTuple):
    """What a command has printed, and its exit code."""

    code: int
    out: str
    err: str


def environment(**variables: str) -> dict[str, str]:
    """This environment without settings of crdtsync's, and with some."""
    kept = {"CRDTSYNC_KERNELS"}
    return {k: v for k, v in os.environ.items() if not k.startswith("CRDTSYNC_") or k in kept} | variables


def command(*arguments: str, stdin: str = "", **variables: str) -> Done:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "crdtsync", *arguments], input=stdin, capture_output=True, text=True, timeout=PATIENCE,
        env=environment(**variables),
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def call(*arguments: str) -> Done:
    """Run a command in this process, which is much quicker."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    return Done(code, out.getvalue(), err.getvalue())


class Process:
    """A `crdtsync start` under way."""

    def __init__(self, *arguments: str, **variables: str) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "crdtsync", "start", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=environment(**variables), start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self.lines.append("")
            self._news.notify_all()

    def wait_for(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """The first line of standard error in which this is found."""
        with self._news:
            assert self._news.wait_for(lambda: self._found(pattern) or self._ended(), PATIENCE), self.stderr
            found = self._found(pattern)
        assert found is not None, self.stderr
        return found

    def _found(self, pattern: str | re.Pattern[str]) -> re.Match[str] | None:
        return next((match for line in self.lines if (match := re.search(pattern, line))), None)

    def _ended(self) -> bool:
        return bool(self.lines) and self.lines[-1] == ""

    @property
    def addresses(self) -> dict[str, str]:
        """{"peers", "programs", "operators"} of a node that is ready."""
        told = self.wait_for(READY)[2]
        return dict(part.split(" ", 1) for part in told.split(", "))  # type: ignore[misc]

    @property
    def name(self) -> str:
        return str(self.wait_for(READY)[1])

    @property
    def stderr(self) -> str:
        return "".join(self.lines)

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Stop it; its exit code."""
        if self.process.poll() is None:
            self.send(number)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


@contextlib.contextmanager
def started(directory: Path, *arguments: str, **variables: str) -> Iterator[Process]:
    """A node in a process of its own, on free ports, ready; it is killed when the test has left it running."""
    ports = ("--listen", "127.0.0.1:0", "--serve", "127.0.0.1:0")
    process = Process(str(directory), *ports, *arguments, **variables)
    try:
        process.wait_for(READY)
        yield process
    finally:
        if process.process.poll() is None:
            process.process.kill()
        process.wait()
