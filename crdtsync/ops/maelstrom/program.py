"""The main loop: lines in, requests answered, messages of other nodes handed to the transport."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any, BinaryIO

import msgspec

from crdtsync.config import Config
from crdtsync.errors import CrdtsyncError, Misuse
from crdtsync.node import Node
from crdtsync.node import open as open_node
from crdtsync.ops.maelstrom.lines import TYPE, Addresses, LineTransport
from crdtsync.ops.maelstrom.wire import CRASH, MALFORMED, NOT_SUPPORTED, UNAVAILABLE, RequestError, Wire
from crdtsync.ops.maelstrom.workloads import answer

log = logging.getLogger("crdtsync.maelstrom")
LINE_MAX = 64 * 1024 * 1024  # bytes of one line
JOIN_TIMEOUT = 9.0  # s: Maelstrom waits ten for init_ok


class Message(msgspec.Struct):
    """One line."""

    src: str
    body: dict[str, Any]


class Init(msgspec.Struct):
    """The body of the first one."""

    node_id: str
    node_ids: list[str]


class Program:
    """One node of a Maelstrom cluster."""

    def __init__(self, out: BinaryIO) -> None:
        self.wire = Wire(out)
        self.node: Node | None = None
        self.transport: LineTransport | None = None
        self._opening: threading.Thread | None = None

    def run(self, lines: BinaryIO) -> None:
        """Until the input ends."""
        while line := lines.readline(LINE_MAX):
            self.take(line)
        if self._opening is not None:
            self._opening.join()
        if self.node is not None:
            self.node.close()

    def take(self, line: bytes) -> None:
        """One line; one that is no message is logged and passed over."""
        try:
            message = msgspec.json.decode(line, type=Message)
            kind = message.body["type"]
            if kind == "init":
                self._begin(message, msgspec.convert(message.body, Init))
            elif kind != TYPE:
                self._request(message)
            elif self.transport is not None:  # what comes too early is sent again
                self.transport.receive(message.src, message.body)
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, RecursionError) as error:
            log.error("not a message: %r", error)

    def _begin(self, message: Message, init: Init) -> None:
        if self._opening is not None or init.node_id not in init.node_ids:
            why = "The node was initialised before." if self._opening is not None else "node_id is not in node_ids."
            self.wire.reply(message.src, message.body, {"type": "error", "code": MALFORMED, "text": why})
            return
        self._opening = threading.Thread(target=self._open, args=(message, init), name="crdtsync-maelstrom-open")
        self._opening.start()

    def _open(self, message: Message, init: Init) -> None:
        """Found the cluster, or join it through its first node, then say so."""
        name, nodes = init.node_id, init.node_ids
        self.wire.node = name
        addresses = Addresses(nodes)

        def make(config: Config) -> LineTransport:
            self.transport = LineTransport(config, self.wire.send, addresses, name)
            return self.transport

        first = addresses.of(nodes[0])
        try:
            self.node = open_node(
                None, transport=make, name=name, listen=addresses.of(name), join_timeout=JOIN_TIMEOUT,
                join=() if name == nodes[0] else (first,), close_timeout=0.5,
            )  # fmt: skip
        except CrdtsyncError as error:
            self.wire.reply(message.src, message.body, _refusal(error))
        else:
            self.wire.reply(message.src, message.body, {"type": "init_ok"})

    def _request(self, message: Message) -> None:
        body = message.body
        try:
            if self.node is None:
                raise RequestError(UNAVAILABLE, "The node has not joined yet.")
            reply = answer(self.node, body)
            if reply is None:
                raise RequestError(NOT_SUPPORTED, f"There is no request {body['type']!r}.")
        except RequestError as error:
            reply = {"type": "error", "code": error.code, "text": error.text}
        except CrdtsyncError as error:
            reply = _refusal(error)
        except Exception as error:
            log.exception("a request failed")
            reply = {"type": "error", "code": CRASH, "text": repr(error)}
        self.wire.reply(message.src, body, reply)


def _refusal(error: CrdtsyncError) -> dict[str, Any]:
    code = MALFORMED if isinstance(error, Misuse) else UNAVAILABLE
    return {"type": "error", "code": code, "text": str(error)}


def main() -> None:
    """Speak the protocol on standard input and output; logs go to standard error."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    Program(sys.stdout.buffer).run(sys.stdin.buffer)
