"""Nodes as processes on hosts: started, killed, stopped in time, started again; their clocks and disks in our hands."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

from .hosts import Hosts, call

ROOT = Path(__file__).parent.parent.parent
PORT = 7400
START_MAX = 60.0  # s until a node serves
STOP_MAX = 30.0  # s until a node has ended in good order
DISK_BYTES = 192 * 1024 * 1024  # of each node, in memory


class Machine:
    """One host with its disk, its clock and, most of the time, a node."""

    def __init__(self, hosts: Hosts, number: int, place: Path, shim: Path) -> None:
        self.hosts, self.number, self.place, self.shim = hosts, number, place / f"m{number}", shim
        self.life = 0  # how many directories it has had
        self.process: subprocess.Popen[bytes] | None = None
        self.place.mkdir()
        self.disk = self.place / "disk"
        self.disk.mkdir()
        call("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "crdtsync-test", str(self.disk))
        self._shift = self.place / "clock"
        self.shift(0.0)

    @property
    def name(self) -> str:
        """The node's name: another one after each lost disk."""
        return f"n{self.number}" if not self.life else f"n{self.number}-{self.life}"

    @property
    def directory(self) -> Path:
        return self.disk / self.name

    @property
    def address(self) -> str:
        return f"{self.hosts.address(self.number)}:{PORT}"

    @property
    def socket(self) -> str:
        """Where clients reach it, whatever the network does."""
        return f"unix:{self.place / 'data.sock'}"

    @property
    def admin(self) -> str:
        return f"unix:{self.place / 'admin.sock'}"

    def shift(self, seconds: float) -> None:
        """Set its wall clock off."""
        self._shift.touch()
        with self._shift.open("r+b") as file:
            file.write(struct.pack("<q", int(seconds * 1e9)))

    def start(self, join: list[str]) -> None:
        """Start the node and wait until it serves."""
        self.launch(join)
        end = time.monotonic() + START_MAX
        while not self.serving():
            assert self.process is not None and self.process.poll() is None, self.log()
            assert time.monotonic() < end, f"{self.name} does not serve: {self.log()}"
            time.sleep(0.05)

    def launch(self, join: list[str]) -> None:
        """Start the node."""
        flags = ["--name", self.name, "--listen", self.address, "--insecure"]
        flags += ["--serve", self.socket, "--admin", self.admin]
        for address in join:
            flags += ["--join", address]
        environment = os.environ | {"LD_PRELOAD": str(self.shim), "CLOCK_SHIFT": str(self._shift)}
        with (self.place / "log").open("ab") as log:
            command = [sys.executable, "-m", "crdtsync", "start", str(self.directory), *flags]
            self.process = self.hosts.run(self.number, command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def serving(self) -> bool:
        """Whether an operator gets an answer, and the node is a member."""
        done = self.crdtsync("status", "--output", "json")
        return done.returncode == 0 and b'"member"' in done.stdout

    def crdtsync(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
        """A command of an operator of this node."""
        command = [sys.executable, "-m", "crdtsync", *arguments, "--node", self.admin]
        return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=timeout, check=False)

    def send(self, what: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(what)

    def kill(self) -> None:
        """`kill -9`."""
        self.send(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(STOP_MAX)

    def stop(self) -> int:
        """End it in good order; its exit status."""
        self.send(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(STOP_MAX)

    def fill(self) -> None:
        """Leave no room on its disk."""
        with (self.disk / "filling").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:  # until it is refused: the node takes room meanwhile, so nobody knows how much there is
                file.write(bytes(65536))

    def drain(self) -> None:
        """Make room again."""
        (self.disk / "filling").unlink(missing_ok=True)

    def spoil(self, rng: random.Random) -> str:
        """Flip some bits of one file of a stopped node; says where."""
        files = sorted(path for path in self.directory.rglob("*") if path.is_file() and path.stat().st_size)
        path = rng.choice(files)
        with path.open("r+b") as file:
            for _ in range(rng.choice((1, 8, 64))):
                at = rng.randrange(path.stat().st_size)
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 1 << rng.randrange(8)]))
        return path.name

    def check(self) -> subprocess.CompletedProcess[bytes]:
        """Have the store of a stopped node verified."""
        command = [sys.executable, "-m", "crdtsync", "check", str(self.directory)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=STOP_MAX, check=False)

    def lose_disk(self) -> None:
        """Everything on it is gone; the next node here is another one."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.life += 1

    def log(self) -> str:
        return (self.place / "log").read_text(errors="replace")[-4000:]

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.kill()
        call("umount", "-l", str(self.disk))
