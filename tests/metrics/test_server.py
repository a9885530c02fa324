"""The HTTP server: what it answers, and that nobody can hold it up, or harm it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from crdtsync import Node
from crdtsync.errors import ConfigError, InsecureAddress, ListenFailed, Misuse
from crdtsync.ops.metrics import MetricsServer
from crdtsync.ops.metrics import server as module
from tests.integration.waiting import until
from tests.metrics.reading import get


@pytest.fixture
def server(node: Node) -> Iterator[MetricsServer]:
    with MetricsServer(node, "127.0.0.1:0") as server:
        yield server


def raw(server: MetricsServer, data: bytes, linger: bool = False) -> bytes | socket.socket:
    """What comes back for some bytes; `linger`: the connection instead."""
    host, _, port = server.address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(data)
    if linger:
        return connection
    with connection:
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while chunk := connection.recv(65536):
            found += chunk
        return found


def threads() -> int:
    return sum(thread.name.startswith("crdtsync-metrics") for thread in threading.enumerate())


def test_pages(server: MetricsServer) -> None:
    assert get(server, "/livez") == (200, "text/plain; charset=utf-8", "ok\n")
    assert get(server, "/readyz?verbose=1")[0] == 200
    status, content_type, text = get(server, "/metrics")
    assert status == 200 and content_type.startswith("text/plain; version=") and "crdtsync_node_ready 1.0" in text
    asked = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    _, content_type, text = get(server, "/metrics", Accept=asked)
    assert content_type.startswith("application/openmetrics-text") and text.endswith("# EOF\n")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/METRICS", "/livez/../metrics", "*"])
def test_nothing_else_is_there(server: MetricsServer, path: str) -> None:
    status, _, text = get(server, path)
    assert status == 404 and "/readyz" in text


def test_head_has_no_body_and_other_methods_are_refused(server: MetricsServer) -> None:
    assert get(server, "/metrics", "HEAD")[::2] == (200, "")
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
        assert get(server, "/metrics", method)[0] == 501


def test_a_node_that_is_not_ready_says_why(node: Node, server: MetricsServer) -> None:
    node._store.journal.failed = "the test says so"
    assert get(server, "/livez")[0] == 200
    assert get(server, "/readyz")[::2] == (503, "The journal cannot be written.\n")
    assert "crdtsync_node_ready 0.0" in get(server, "/metrics")[2]
    node._store.journal.failed = ""
    node.close()
    for page in ("/livez", "/readyz", "/metrics"):
        status, _, text = get(server, page)
        assert status == 503 and "has been closed" in text


def test_a_busy_engine_does_not_hold_scrapes_up(
    node: Node, server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crdtsync.ops.metrics.collector.STATUS_TIMEOUT", 0.05)
    busy, go_on = threading.Event(), threading.Event()
    held = threading.Thread(target=lambda: node._network._loop.call(lambda now, wall: (busy.set(), go_on.wait(30))))
    held.start()
    try:
        assert busy.wait(10)
        status, _, text = get(server, "/metrics")
        assert status == 503 and "busy" in text, "there are no figures yet"
        assert get(server, "/livez")[0] == get(server, "/readyz")[0] == 200
    finally:
        go_on.set()
        held.join()
    assert get(server, "/metrics")[0] == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"\r\n",
        b"\0\xff" * 5000,
        b"GET\r\n\r\n",
        b"GET http://[bad/x HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"GET " + b"/x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"GET /metrics HTTP/1.1\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /\x1b[31m\xc3\xa9<script> HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\n\r\n" * 50,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_nonsense_does_no_harm(server: MetricsServer, request_bytes: bytes) -> None:
    try:
        answer = raw(server, request_bytes)
        assert isinstance(answer, bytes) and len(answer) < 100_000
        assert b"<script>" not in answer and answer.count(b"ok\n") <= 1
    except OSError:  # what was not read when the answer left
        pass
    assert get(server, "/livez")[0] == 200


def test_slow_callers_are_cut_off_and_bounded(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUESTS_MAX", 3)
    slow = [raw(server, b"GET /met", linger=True) for _ in range(3)]
    until(lambda: len(server._server._running) == 3, 10)
    assert threads() == 4
    with pytest.raises(OSError):
        get(server, "/livez")
    assert threads() == 4, "who is turned away gets no thread"
    monkeypatch.setattr(module, "REQUEST_TIMEOUT", 0.2)
    stop = time.monotonic() + 20
    while len(server._server._running) and time.monotonic() < stop:
        for connection in slow:  # a byte now and then does not help them
            try:
                connection.send(b"x")
            except OSError:
                pass
        time.sleep(0.02)
    monkeypatch.setattr(module, "REQUEST_TIMEOUT", 10.0)
    until(lambda: threads() == 1, 10)
    assert get(server, "/livez")[0] == 200
    for connection in slow:
        connection.close()


def test_callers_for_whom_there_was_no_thread_take_no_place(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, refused = threading.Thread.start, []

    def failing(thread: threading.Thread) -> None:
        if thread.name == "crdtsync-metrics-request":
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", failing)
        for _ in range(module.REQUESTS_MAX + 1):
            with pytest.raises(OSError):
                get(server, "/livez")
    assert len(refused) == module.REQUESTS_MAX + 1
    assert get(server, "/livez")[0] == 200


def test_a_caller_that_does_not_read_is_cut_off(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = (module.HTTPStatus.OK, module.PLAIN, b"x" * 50_000_000)
    monkeypatch.setitem(server._pages, "/metrics", lambda accept: huge)
    monkeypatch.setattr(module, "REQUEST_TIMEOUT", 0.5)
    connection = raw(server, b"GET /metrics HTTP/1.0\r\n\r\n", linger=True)
    until(lambda: threads() == 2, 10)
    until(lambda: threads() == 1, 20)
    connection.close()


def test_a_bug_of_ours_is_an_answer(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(server._pages, "/metrics", lambda accept: 1 / 0)
    status, _, text = get(server, "/metrics")
    assert status == 500 and "ZeroDivision" not in text
    assert get(server, "/livez")[0] == 200


def test_addresses(node: Node) -> None:
    for address in ("0.0.0.0:0", "192.0.2.1:9420", "[::]:0", "example.org:1"):
        with pytest.raises(InsecureAddress, match="metrics"):
            MetricsServer(node, address)
    for address in ("", "nonsense", "127.0.0.1", "127.0.0.1:x"):
        with pytest.raises(ConfigError):
            MetricsServer(node, address)
    with MetricsServer(node, "0.0.0.0:0", insecure=True) as anywhere:
        assert anywhere.address.startswith("0.0.0.0:")
    with MetricsServer(node, "localhost:0") as local, pytest.raises(ListenFailed, match="Metrics"):
        MetricsServer(node, local.address).start()


def test_starting_and_closing(node: Node) -> None:
    server = MetricsServer(node, "127.0.0.1:0")
    assert server.address == ""
    server.close()
    server.start()
    with pytest.raises(Misuse):
        server.start()
    address = server.address
    lingering = raw(server, b"GET", linger=True)
    server.close()
    server.close()
    assert server.address == ""
    until(lambda: threads() == 0, 10)
    assert isinstance(lingering, socket.socket)
    lingering.close()
    with MetricsServer(node, address) as again:
        assert get(again, "/livez")[0] == 200


def test_ipv6(node: Node) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with MetricsServer(node, "[::1]:0") as server:
        assert server.address.startswith("[::1]:") and get(server, "/livez")[0] == 200
