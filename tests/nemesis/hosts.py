"""Hosts on one switch: network namespaces, joined by a bridge, and packet filters that cut them apart."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

NET = "10.77.0"
CHAIN = "table inet faults {\n chain in {\n type filter hook input priority 0; policy accept;\n }\n}\n"


def possible() -> str:
    """Why hosts cannot be made here; "" when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    return f"there is no {' and no '.join(missing)} here" if missing else ""


def call(*command: str, text: str | None = None) -> None:
    """Run a command; its output is shown when it fails."""
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


class Hosts:
    """`count` hosts, numbered from 1."""

    def __init__(self, count: int) -> None:
        self.count, self._tag = count, f"cs{os.getpid() % 100000}"
        self._made: list[str] = []
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        self._make(self._switch)
        call("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge")
        call("ip", "-n", self._switch, "link", "set", "br0", "up")
        for number in range(1, self.count + 1):
            self._plug(number)

    @property
    def _switch(self) -> str:
        return f"{self._tag}s"

    def name(self, number: int) -> str:
        """The namespace of a host."""
        return f"{self._tag}h{number}"

    def address(self, number: int) -> str:
        """Its IP address."""
        return f"{NET}.{number}"

    def _make(self, name: str) -> None:
        call("ip", "netns", "add", name)
        self._made.append(name)

    def _plug(self, number: int) -> None:
        host, port = self.name(number), f"p{number}"
        self._make(host)
        call("ip", "-n", host, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self._switch)
        call("ip", "-n", self._switch, "link", "set", port, "master", "br0", "up")
        call("ip", "-n", host, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            call("ip", "-n", host, "link", "set", device, "up")
        self._filter(number, CHAIN)

    def _filter(self, number: int, rules: str) -> None:
        call("ip", "netns", "exec", self.name(number), "nft", "-f", "-", text=rules)

    def deafen(self, number: int, others: Iterable[int]) -> None:
        """A host hears nothing of `others`; what it says still reaches them."""
        for other in others:
            if other != number:
                self._filter(number, f"add rule inet faults in ip saddr {self.address(other)} drop")

    def lose(self, number: int, percent: int) -> None:
        """A share of what is sent to a host is lost."""
        self._filter(number, f"add rule inet faults in iif eth0 numgen random mod 100 < {percent} drop")

    def heal(self) -> None:
        """Everybody hears everything."""
        for number in range(1, self.count + 1):
            self._filter(number, "flush chain inet faults in")

    def run(self, number: int, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process on a host."""
        return subprocess.Popen(["ip", "netns", "exec", self.name(number), *command], **options)

    def close(self) -> None:
        """Take all hosts away."""
        for name in reversed(self._made):
            call("ip", "netns", "del", name)
