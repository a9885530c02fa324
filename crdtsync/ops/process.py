"""The process of one node: what `crdtsync start` runs.

It opens the node, serves it, says that it is ready and waits for a signal or an operator's word.  The first signal
stops it in good order: no more calls are taken, what peers lack is pushed, everything is written down.  A later
one, or the end of `stop_timeout`, ends it at once; the journal then holds what was acknowledged.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from crdtsync.config import check_address
from crdtsync.errors import ConfigError
from crdtsync.node.health import Health
from crdtsync.node.opening import load_tls, named
from crdtsync.node.shell import Node
from crdtsync.ops.settings.sources import Effective
from crdtsync.transport.descriptors import raise_limit

log = logging.getLogger("crdtsync.process")

UNIX_PATH_MAX = 107  # bytes of a socket's path that Linux takes
ADMIN_SOCKET = "admin.sock"
SAME_REQUEST = 0.2  # s: `timeout` signals process and group, and launchers pass on what the terminal sent to all
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(BaseException):
    """A signal came while the node was being opened: whatever waits there ends."""


class Addresses(NamedTuple):
    """Where a running process can be reached; empty where it cannot."""

    peers: str
    programs: str
    operators: str
    metrics: str
    hint: str  # what the command line takes for `--node`


class Signals:
    """The process's signals, from here to the end of a `with` block, which gives them back.

    Whoever waits reads from a pipe.  The system may hand a signal to any thread, and to the main one just before it
    begins to wait: a lock would then be waited for without the handler ever being run, but the pipe has its byte.
    """

    def __init__(self) -> None:
        self.received, self._at = 0, 0.0  # which came first, and when
        self._asked = False
        self._opening = True
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._writing, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._reading)
        os.close(self._writing)

    def _take(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received:
            if now - self._at > SAME_REQUEST:
                end_at_once(128 + number)
            return
        self.received, self._at = number, now
        self.stop()
        if self._opening:
            raise Stopped

    def stop(self) -> None:
        """Ask for the end; any thread, and a signal's handler, may call."""
        self._asked = True
        with contextlib.suppress(BlockingIOError):  # it is full of requests
            os.write(self._writing, b"\0")

    def ready(self) -> None:
        """From here on a signal ends `wait`."""
        self._opening = False

    def wait(self) -> None:
        """Return when a signal or an operator asks for the end."""
        while not self._asked:
            os.read(self._reading, 1)
        log.info("stopping on %s", self.name)

    @property
    def name(self) -> str:
        """Who asked."""
        return signal.Signals(self.received).name if self.received else "an operator's request"


class Deadline:
    """Ends the process when stopping takes longer than it may."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, end_at_once, (1,))
        self._timer.daemon = True

    def start(self) -> None:
        """The time runs from here to the end of the `with` block."""
        self._timer.start()

    def __enter__(self) -> Deadline:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def end_at_once(status: int) -> None:
    """End the process as it is."""
    with contextlib.suppress(OSError):  # past Python's buffers, in which a signal may have found us
        os.write(sys.stderr.fileno(), b"crdtsync: ended at once; the journal holds what was acknowledged.\n")
    os._exit(status)


def run(
    settings: Effective, directory: Path, tell: Callable[[Node, Addresses], None], on_name: Callable[[str], object]
) -> int:
    """Run a node until it is stopped; the exit code of the process.

    `on_name` is called with its name as soon as certificate or directory tell it, `tell` once it can be reached.
    Raises ConfigError, StoreInUse, ListenFailed, JoinError and what else opening a node raises; OSError.
    """
    serve, admin = settings.service.serve, settings.service.admin or f"unix:{directory / ADMIN_SOCKET}"
    for what, address in (("serve", serve), ("admin", admin)):  # before anything is made on the disk
        check_listener(what, address, settings.config.anywhere)
    if settings.service.metrics:
        check_address("metrics", settings.service.metrics, settings.config.insecure)
    raise_limit()
    if name := named(settings.config, load_tls(settings.config)).name:
        on_name(name)
    with Signals() as signals, Deadline(settings.service.stop_timeout) as deadline:
        try:
            with ExitStack() as stack:
                node, addresses = _open(stack, settings, directory, admin, signals, on_name)
                signals.ready()
                tell(node, addresses)
                notify("READY=1")
                signals.wait()
                notify("STOPPING=1")
                deadline.start()
        except Stopped:
            log.info("stopped on %s before the node was open", signals.name)
        return 128 + signal.SIGINT if signals.received == signal.SIGINT else 0


def _open(
    stack: ExitStack, settings: Effective, directory: Path, admin: str, signals: Signals,
    on_name: Callable[[str], object],
) -> tuple[Node, Addresses]:  # fmt: skip
    """Open the node and serve it; `stack` undoes that."""
    from crdtsync.service import serve

    last = stack.enter_context(ExitStack())  # what ends after the node: health is asked for until then
    metrics: list[str] = []
    served = threading.Event()

    def begin(node: Node) -> None:
        on_name(node.name)
        if settings.service.metrics:
            metrics.append(_serve_metrics(last, node, settings, served))

    node = stack.enter_context(Node(directory, settings.config, on_open=begin))
    server = stack.enter_context(serve(node, on_stop=signals.stop, **{**settings.server, "admin": admin}))
    served.set()
    reached = Addresses(node.address, server.address, server.admin_address, "".join(metrics), server.admin_address)
    return node, reached if settings.service.admin else reached._replace(hint=str(directory))


def _serve_metrics(stack: ExitStack, node: Node, settings: Effective, served: threading.Event) -> str:
    """The address of metrics and health, before the node is a member; ready once programs are `served`, too."""
    from crdtsync.ops.metrics import MetricsServer

    def health() -> Health:
        now = node.health()
        return now if served.is_set() or not now.ready else Health(now.alive, False, ("Programs are not served yet.",))

    server = MetricsServer(node, settings.service.metrics, insecure=settings.config.insecure, health=health)
    return stack.enter_context(server).address


def check_listener(what: str, address: str, anywhere: bool) -> None:
    """Refuse a socket whose path is longer than the system takes, and plaintext beyond loopback unless `anywhere`.

    Raises ConfigError, InsecureAddress.
    """
    path = address.removeprefix("unix:")
    if path == address:
        if address:
            check_address(what, address, anywhere)
    elif len(os.fsencode(path)) > UNIX_PATH_MAX:
        raise ConfigError(
            f"The path of the {what} socket has more than {UNIX_PATH_MAX} bytes: {path}.",
            hint=f"Start from a directory nearer to it, or give a shorter one: --{what} unix:/run/crdtsync/a.sock.",
        )


def notify(state: str) -> None:
    """Tell systemd (`Type=notify`) how far we are; nothing elsewhere."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
        except OSError as error:
            log.warning("systemd cannot be told %s: %s", state, error)
