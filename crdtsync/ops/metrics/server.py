"""The HTTP server of metrics and health: three pages, no state, and bounds on whatever a caller may hold on to."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import Any

from crdtsync.config import check_address, split_address
from crdtsync.errors import ConfigError, CrdtsyncError, ListenFailed, Misuse
from crdtsync.node.health import Health
from crdtsync.node.shell import Node

try:
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import choose_encoder

    from crdtsync.ops.metrics.collector import NodeCollector
except ImportError as missing:
    raise ConfigError(
        "Metrics need the package prometheus-client.", hint="Install it with: pip install 'crdtsync[server]'."
    ) from missing

log = logging.getLogger("crdtsync.metrics")

REQUESTS_MAX = 8  # requests answered at the same time; more are turned away
REQUEST_TIMEOUT = 10.0  # s from the first byte to the last of a request and its answer
POLL = 0.25  # s between looks at the requests that take too long, and at the end
PLAIN = "text/plain; charset=utf-8"

Page = tuple[HTTPStatus, str, bytes]  # status, content type, body


class MetricsServer:
    """Serves /metrics, /livez and /readyz of one node, from `start` to `close`.  A context manager that does both."""

    def __init__(
        self, node: Node, address: str, insecure: bool = False, health: Callable[[], Health] | None = None
    ) -> None:
        """`address`: host:port, port 0 picks a free one.  `insecure` allows one that is not loopback.

        `health` is asked instead of `node.health`, where more than the node has to be ready.

        Raises ConfigError, InsecureAddress.
        """
        host, self._port = split_address("metrics", address)
        check_address("metrics", address, insecure)
        self._host, self._node, self._health = host, node, health or node.health
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(NodeCollector(node))
        ProcessCollector(registry=self._registry)
        self._pages: dict[str, Callable[[str], Page]] = {
            "/metrics": self._metrics, "/livez": self._livez, "/readyz": self._readyz,
        }  # fmt: skip
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """host:port that is listened on; empty before `start` and after `close`."""
        if self._server is None:
            return ""
        host, port = self._server.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def start(self) -> None:
        """Listen.  Raises ListenFailed, Misuse for a second time."""
        if self._server is not None:
            raise Misuse("The metrics server has been started already.")
        try:
            self._server = _Server(self._host, self._port, self._answer)
        except OSError as error:
            raise ListenFailed(f"Metrics cannot be served on {self._host}:{self._port}: {error}.") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL,), name=f"crdtsync-metrics-{self._node.name}", daemon=True
        )
        self._thread.start()
        log.info("%s: metrics on http://%s/metrics", self._node.name, self.address)

    def close(self) -> None:
        """Stop listening and cut off who is being answered.  May be called again."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            self._thread.join()
            server.server_close()
            server.cut_off(0.0)

    def __enter__(self) -> MetricsServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the pages

    def _answer(self, path: str, accept: str) -> Page:
        page = self._pages.get(path.partition("?")[0])
        if page is None:
            return HTTPStatus.NOT_FOUND, PLAIN, b"There are /metrics, /livez and /readyz.\n"
        return page(accept)

    def _metrics(self, accept: str) -> Page:
        try:
            encode, content_type = choose_encoder(accept)
        except (ValueError, TypeError):  # a version that is none: as if nothing had been said
            encode, content_type = choose_encoder("")
        try:
            return HTTPStatus.OK, content_type, encode(self._registry)
        except CrdtsyncError as error:  # closed, or too busy
            return HTTPStatus.SERVICE_UNAVAILABLE, PLAIN, f"{error.message}\n".encode()

    def _livez(self, accept: str) -> Page:
        health = self._health()
        return _verdict(health.alive, health.reasons)

    def _readyz(self, accept: str) -> Page:
        health = self._health()
        return _verdict(health.ready, health.reasons)


def _verdict(good: bool, reasons: tuple[str, ...]) -> Page:
    if good:
        return HTTPStatus.OK, PLAIN, b"ok\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, PLAIN, "".join(f"{reason}\n" for reason in reasons).encode()


class _Server(TCPServer):
    """A thread for each request, REQUESTS_MAX of them; whoever takes longer than REQUEST_TIMEOUT is cut off."""

    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, host: str, port: int, answer: Callable[[str, str], Page]) -> None:
        self.answer = answer
        self._running: dict[socket.socket, float] = {}  # connection -> when it began
        self._lock = threading.Lock()
        self.address_family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        super().__init__(where, _Handler)  # type: ignore[arg-type]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            full = len(self._running) >= REQUESTS_MAX
            if not full:
                self._running[request] = time.monotonic()
        if full:
            log.warning("a request for metrics from %s is turned away: %d are running", client_address, REQUESTS_MAX)
            self.shutdown_request(request)
            return
        thread = threading.Thread(
            target=self._process, args=(request, client_address), name="crdtsync-metrics-request", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no thread is to be had: later, one may
            self._forget(request)
            raise

    def _forget(self, request: socket.socket) -> None:
        with self._lock:
            self._running.pop(request, None)

    def _process(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self._forget(request)
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away, or one that was cut off, is no news; what is ours goes to the log."""
        log.debug("a request for metrics from %s ended early", client_address, exc_info=True)

    def service_actions(self) -> None:
        """Called by serve_forever every POLL seconds."""
        self.cut_off(REQUEST_TIMEOUT)

    def cut_off(self, age: float) -> None:
        """End connections that are older than `age` seconds."""
        now = time.monotonic()
        with self._lock:
            late = [request for request, began in self._running.items() if now - began >= age]
            for request in late:
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:  # its caller has gone
                    pass


class _Handler(BaseHTTPRequestHandler):
    """One request: HTTP/1.0, so the connection ends with the answer."""

    server: _Server
    timeout = REQUEST_TIMEOUT  # s for a single read or write
    server_version = "crdtsync"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer, with a body."""
        self._send(body=True)

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self._send(body=False)

    def _send(self, body: bool) -> None:
        try:
            status, content_type, content = self.server.answer(self.path, self.headers.get("Accept", ""))
        except Exception:
            log.exception("a request for %s failed", self.path[:100])
            status, content_type, content = HTTPStatus.INTERNAL_SERVER_ERROR, PLAIN, b"A bug; the log has the rest.\n"
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not worth a line, unless somebody looks for them."""
        log.debug("%s: " + format, self.client_address, *args)
