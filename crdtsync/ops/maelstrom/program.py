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


class Program:
    """One node of a Maelstrom cluster."""

    def __init__(self, out: BinaryIO) -> None:
        self.wire = Wire(out)
        self.node: Node | None = None
        self.transport: LineTransport | None = None

    def run(self, lines: BinaryIO) -> None:
        """Until the input ends."""
        opening: list[threading.Thread] = []
        while line := lines.readline(LINE_MAX):
            try:
                message = msgspec.json.decode(line)
                body = message["body"]
                kind = body["type"]
            except (msgspec.DecodeError, KeyError, TypeError) as error:
                log.error("not a message: %s", error)
                continue
            if kind == "init":
                opening.append(threading.Thread(target=self._open, args=(message,), name="crdtsync-maelstrom-open"))
                opening[-1].start()
            elif kind == TYPE:
                if self.transport is not None:  # what comes too early is sent again
                    self.transport.receive(message["src"], body)
            else:
                self._request(message)
        for thread in opening:
            thread.join()
        if self.node is not None:
            self.node.close()

    def _open(self, message: dict[str, Any]) -> None:
        """Found the cluster, or join it through its first node, then say so."""
        name, nodes = message["body"]["node_id"], message["body"]["node_ids"]
        self.wire.node = name
        addresses = Addresses(nodes)

        def make(config: Config) -> LineTransport:
            self.transport = LineTransport(config, self.wire.send, addresses, name)
            return self.transport

        first = addresses.of(nodes[0])
        self.node = open_node(
            None, transport=make, name=name, listen=addresses.of(name), join_timeout=JOIN_TIMEOUT,
            join=() if name == nodes[0] else (first,), close_timeout=0.5,
        )  # fmt: skip
        self.wire.reply(message, {"type": "init_ok"})

    def _request(self, message: dict[str, Any]) -> None:
        body = message["body"]
        try:
            if self.node is None:
                raise RequestError(UNAVAILABLE, "The node has not joined yet.")
            reply = answer(self.node, body)
            if reply is None:
                raise RequestError(NOT_SUPPORTED, f"There is no request {body['type']!r}.")
        except RequestError as error:
            reply = {"type": "error", "code": error.code, "text": error.text}
        except CrdtsyncError as error:
            code = MALFORMED if isinstance(error, Misuse) else UNAVAILABLE
            reply = {"type": "error", "code": code, "text": str(error)}
        except Exception as error:
            log.exception("a request failed")
            reply = {"type": "error", "code": CRASH, "text": repr(error)}
        self.wire.reply(message, reply)


def main() -> None:
    """Speak the protocol on standard input and output; logs go to standard error."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    Program(sys.stdout.buffer).run(sys.stdin.buffer)
