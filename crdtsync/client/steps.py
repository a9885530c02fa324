"""What a call asks of the world, step by step: the logic of calls is generators of these, without sockets.

`crdtsync.client.blocking` takes the steps with threads that wait, `crdtsync.client.awaiting` on an event loop.  Both
send the result of a step into the generator, or throw the CallFailed that it ended with.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from crdtsync.client.nodes import Node


class Ask(NamedTuple):
    """Send one request and wait for its answer, which is bytes."""

    node: Node
    method: str
    request: bytes
    timeout: float  # s


class Collect(NamedTuple):
    """Send one request and gather its stream of answers until it ends, or has grown to `most` bytes.

    Gives a list of bytes, and whether it ended by itself.
    """

    node: Node
    method: str
    request: bytes
    timeout: float  # s
    most: int


class Pause(NamedTuple):
    """Wait."""

    seconds: float


class Look(NamedTuple):
    """Find out why a node cannot be reached: a Diagnosis, or None without one."""

    node: Node


T = TypeVar("T")
Step = Ask | Collect | Pause | Look
Steps = Generator[Step, Any, T]
