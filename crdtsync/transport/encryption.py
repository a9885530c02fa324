"""What a transport does differently with TLS: ports, channels, who is calling, whom a dial has reached.

The accepting side reads the caller's identity from its certificate.  The dialling side cannot: gRPC shows it nothing,
but verifies a DNS name that it is given, and the certificate of every node carries one that is its own.  So a dial asks
any node at the address for its name (`Introduce`), and then connects for good to nobody but the node of that name.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from crdtsync.config import Config, is_loopback, split_address
from crdtsync.errors import BadIdentity
from crdtsync.security.credentials import ServerCredentials, caller, channel_credentials, name_options
from crdtsync.security.diagnosis import TIMEOUT, Diagnosis, diagnose
from crdtsync.security.files import TlsFiles
from crdtsync.security.handshakes import Handshakes
from crdtsync.security.identity import ANY_NODE, NODE, server_name

aio: Any = grpc.aio
log = logging.getLogger("crdtsync.transport")

DIAGNOSIS_INTERVAL = 10.0  # s between two looks at one address that cannot be linked
ADDRESSES_MAX = 1024  # addresses of which names and failures are remembered


class Encryption:
    """TLS, or its absence, for one transport: by `files`, or what the settings say.  Raises CertificateError."""

    def __init__(self, config: Config, files: TlsFiles | None, count: Callable[[str, int], None]) -> None:
        self._config, self._count = config, count
        self.files = files if files is not None else TlsFiles.of(config)
        self._own = files is None
        self._names: OrderedDict[str, str] = OrderedDict()  # address -> the node that was verified there
        self._credentials = ServerCredentials(self.files) if self.files is not None else None
        self._handshakes = Handshakes(count)
        self._diagnoses: OrderedDict[str, tuple[float, Diagnosis]] = OrderedDict()
        self._warned = False

    @property
    def kind(self) -> str:
        """tls or plaintext."""
        return "plaintext" if self.files is None else "tls"

    @property
    def name(self) -> str:
        """The node that our certificate is for; "" in plaintext."""
        return "" if self.files is None else self.files.identity.name

    def start(self, changed: Callable[[], None]) -> None:
        """Look after the files from now on, and tell `changed` when others are in use."""
        if self.files is not None:
            self.files.on_change(changed)
            self.files.start()

    def stop(self, changed: Callable[[], None]) -> None:
        """Tell no more; files of somebody else go on being looked after."""
        if self.files is not None:
            self.files.forget(changed)
            if self._own:
                self.files.stop()

    # -- serving
    def add_port(self, server: Any, target: str) -> int:
        """Have the server listen; the port.  Raises RuntimeError as gRPC does."""
        if self._credentials is None:
            self.note_plaintext("listens", target)
            return int(server.add_insecure_port(target))
        return int(server.add_secure_port(target, self._credentials.grpc))

    def note_plaintext(self, what: str, address: str) -> None:
        """Count plaintext that leaves this machine, and warn of it once."""
        if self.files is not None or is_loopback(split_address("The address", address)[0]):
            return
        self._count("insecure_" + what, 1)
        if not self._warned:
            self._warned = True
            log.warning("This node %s beyond loopback without TLS (insecure=True): anybody on the way can read and "
                        "write: %s", what, address)  # fmt: skip

    def caller(self, context: Any) -> str:
        """The node that calls, "" in plaintext.  Raises BadIdentity when the certificate is not that of a node."""
        if self.files is None:
            return ""
        self._handshakes.arrived()
        identity = caller(context)
        if identity.role != NODE:
            raise BadIdentity(f"The certificate is that of {identity}, and only nodes may speak node-to-node.", hint="")
        return identity.name

    def look_at_handshakes(self) -> None:
        """Count and tell, every now and then, of connections that brought no call."""
        if self._credentials is not None:
            self._handshakes.look(self._credentials.begun)

    # -- dialling
    def channel(self, target: str, options: list[tuple[str, Any]], node: str) -> Any:
        """A channel to a node, or to any with node "": the far end's certificate is checked for that."""
        if self.files is None:
            return aio.insecure_channel(target, options)
        name = name_options(self.expected(node))
        return aio.secure_channel(target, channel_credentials(self.files), [*options, *name])

    def expected(self, node: str) -> str:
        """The DNS name that the far end's certificate has to carry; "" in plaintext."""
        return "" if self.files is None else server_name(node) if node else ANY_NODE

    def known(self, address: str) -> str:
        """The node that was last verified at an address, or "": only a guess at who is there now."""
        return self._names.get(address, "")

    def reached(self, address: str, node: str) -> None:
        """A link to the verified `node` stands ("" in plaintext): what was wrong before is not wrong any more."""
        _put(self._names, address, node)
        self._diagnoses.pop(address, None)

    def forget(self, address: str) -> None:
        """Somebody else may be at an address by now."""
        self._names.pop(address, None)

    async def explain(self, address: str, node: str, reason: str) -> str:
        """Why a dial failed, in words: what a look at the address shows, or gRPC's reason when that is nothing."""
        try:
            async with asyncio.timeout(2 * TIMEOUT):  # resolving a name cannot be bounded otherwise
                found = await self._diagnosis(address, node)
        except TimeoutError:
            return reason
        if found.code == "fine":
            return reason
        if found.code == "unreachable":
            return f"{reason.partition(':')[0]}: {found.text}"
        self._count("tls_mistakes_" + found.code, 1)
        return f"{found.text} {found.hint}".rstrip()

    async def _diagnosis(self, address: str, node: str) -> Diagnosis:
        at, found = self._diagnoses.get(address, (float("-inf"), Diagnosis("fine", "")))
        if time.monotonic() - at < DIAGNOSIS_INTERVAL:
            return found
        material = None if self.files is None else self.files.material
        found = await asyncio.to_thread(diagnose, address, material, self.expected(node), self._config.connect_proxy)
        _put(self._diagnoses, address, (time.monotonic(), found))
        return found


def _put(table: OrderedDict[str, Any], key: str, value: Any) -> None:
    """Remember; the oldest goes when there are too many."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > ADDRESSES_MAX:
        table.popitem(last=False)
