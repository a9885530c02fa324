"""The transport in a process of its own: what it imports, and how it behaves when the process ends."""

from __future__ import annotations

import subprocess
import sys

LINKED = """
import threading
from crdtsync.config import Config
from crdtsync.transport.grpc import GrpcTransport

class Owner:
    def __init__(self):
        self.up = threading.Event()
    def link_up(self, *event):
        self.up.set()
    def link_down(self, *event):
        print("down", flush=True)
    def message(self, *event): ...
    def connect_failed(self, *event): ...

a, b, owner = (*(GrpcTransport(Config(listen="127.0.0.1:0")) for _ in range(2)), Owner())
a.start(owner)
b.start(Owner())
a.connect(b.address)
assert owner.up.wait(20)
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60)


def test_a_process_that_forgets_to_stop_ends_in_good_order() -> None:
    result = run(LINKED)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "down\ndown\n"


def test_an_exception_ends_the_process_too() -> None:
    result = run(LINKED + "raise SystemExit(7)")
    assert (result.returncode, result.stderr) == (7, "")


def test_stop_from_within_an_event_is_refused() -> None:
    result = run(
        LINKED
        + """
from crdtsync.errors import InvariantViolated
seen = threading.Event()
def link_down(*event):
    try:
        a.stop()
    except InvariantViolated:
        seen.set()
owner.link_down = link_down
a.disconnect(1)
assert seen.wait(20)
"""
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_the_seam_and_the_wire_need_no_grpc() -> None:
    result = run(
        "import sys, crdtsync.transport.base, crdtsync.transport.wire, crdtsync.transport.memory\n"
        "print([name for name in ('grpc', 'numpy', 'asyncio') if name in sys.modules])"
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")


FORKED = """
import os
import crdtsync
from crdtsync.errors import Forked
node = crdtsync.open(None, listen="127.0.0.1:0")
if CLOSED:
    node.close()
child = os.fork()
if child == 0:
    crdtsync.open(None).close()  # without a network it works
    try:
        crdtsync.open(None, listen="127.0.0.1:0")
    except Forked as error:
        print(error.message, flush=True)
    os._exit(0)
os.waitpid(child, 0)
node.close()
"""


def test_a_forked_child_of_a_process_with_grpc_is_refused_at_once() -> None:
    for program in (FORKED.replace("CLOSED", "False"), FORKED.replace("CLOSED", "True")):
        result = run(program)
        assert (result.returncode, result.stderr) == (0, "")
        assert "gRPC does not survive" in result.stdout
