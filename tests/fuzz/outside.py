"""What comes from outside a cluster: files that people name, answers of nodes to clients, certificates, HTTP, lines.

Each target takes bytes and raises only what it should not: refusals by typed errors are as they should be.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import grpc
import msgspec
from prometheus_client import CollectorRegistry

import crdtsync
from crdtsync.backup import records, verify
from crdtsync.backup.reading import Backup
from crdtsync.client import answers, failures
from crdtsync.datatypes import jsonform
from crdtsync.errors import (
    BackupDamaged,
    BackupMismatch,
    BadFrame,
    CertificateError,
    CrdtsyncError,
    InvalidValue,
    UnsupportedFormat,
    ValueTooLarge,
)
from crdtsync.ops.files import position
from crdtsync.ops.files.rows import Source, Wide, check_head
from crdtsync.ops.maelstrom import lines
from crdtsync.ops.maelstrom.program import Program
from crdtsync.ops.metrics.server import MetricsServer, _Handler
from crdtsync.ops.settings.sources import gather, problems
from crdtsync.ops.settings.table import settings
from crdtsync.security.identity import Identity, identity_of, parse_uri
from crdtsync.security.inspecting import inspect
from crdtsync.security.material import Paths, load
from crdtsync.transport.pb import admin_pb2 as admin
from crdtsync.transport.pb import data_pb2 as pb
from tests.security.support import authority, node_pair

from . import seeds

GOLDEN = Path(__file__).parents[1] / "golden" / "backup-v1"


@cache
def place() -> Path:
    """A directory for inputs that must be files; in memory where that is possible, and gone with the process."""
    memory = Path("/dev/shm")
    made = tempfile.TemporaryDirectory(prefix="crdtsync-fuzz-", dir=memory if os.access(memory, os.W_OK) else None)
    _kept.append(made)
    return Path(made.name)


_kept: list[Any] = []


@contextmanager
def refused(*kinds: type[BaseException]) -> Iterator[None]:
    """Errors of these kinds are as they should be, if their texts can be written to a log."""
    try:
        yield
    except kinds as error:
        str(error).encode("utf-8", "backslashreplace")


# ---- files -----------------------------------------------------------------------------------------------------------


def backup(data: bytes) -> None:
    """A backup file, as it is and with its checksums made good, to its end; then beside the full one as a chain."""
    path, full = place() / "it.backup", place() / "full.backup"
    if not full.exists():
        shutil.copy(GOLDEN / "full.backup", full)
    for content in (data, resealed(data)):
        path.write_bytes(content)
        with refused(BackupDamaged, UnsupportedFormat), Backup(path) as opened:
            for _ in opened.parts():
                pass
            opened.summary()
        with refused(BackupDamaged, BackupMismatch, UnsupportedFormat):
            verify([full, path])


def resealed(data: bytes) -> bytes:
    """The records of a backup with checksums that fit: what follows the checksum is to be reached, too."""
    framed, at, crc = data[:8], 8, 0
    while at + records.HEAD.size <= len(data):
        length, _, kind, flags = records.HEAD.unpack_from(data, at)
        stored = data[at + records.HEAD.size : at + records.HEAD.size + length]
        crc = records._checksum(crc, kind, flags, stored)
        framed += records.HEAD.pack(len(stored), crc, kind, flags) + stored
        at += records.HEAD.size + length
    return framed


def backups() -> list[bytes]:
    return [path.read_bytes() for path in sorted(GOLDEN.glob("*.backup"))]


def ndjson(data: bytes) -> None:
    """An import file of objects."""
    with refused(InvalidValue):
        for line in Source(io.BytesIO(data), "it").ndjson():
            jsonform.dumps(line.object.value)


def csv(data: bytes) -> None:
    """An import file of cells: with the columns of an export, and a table with a row for each key."""
    for wide in (None, Wide("key", "p:", True)):
        with refused(InvalidValue):
            source = Source(io.BytesIO(data), "it")
            head = source.head()
            check_head(head, wide)
            for line in source.csv(head, wide):
                jsonform.dumps(line.object.value)


def _ndjsons() -> list[bytes]:
    objects = [
        {"key": "k", "type": "gcounter", "value": 3}, {"key": "k", "path": ["a", "b"], "type": "flag", "value": True},
        {"key": "s", "type": "orset", "value": [1, "x", {"$bytes": "AAE="}, {"$tuple": [1, None]}]},
        {"key": "r", "type": "lwwregister", "value": {"$datetime": "2026-01-31T23:59:59.5+02:00"}},
        {"key": "r", "type": "mvregister", "value": [{"$decimal": "12.50"}, {"$float": "-Infinity"}]},
        {"key": "r", "type": "lwwregister", "value": {"$dict": {"$x": {"$int": "-0xff"}}}},
        {"key": "r", "type": "lwwregister", "value": {"$uuid": "6f2c1d0e-0000-4000-8000-000000000001"}},
    ]  # fmt: skip
    each = [json.dumps(one).encode() + b"\n" for one in objects]
    return [*each, b"".join(each)]


def _csvs() -> list[bytes]:
    return [
        b'key,field,type,value\r\nk,,gcounter,3\r\n"a""b",f,lwwregister,"{""x"": [1, 2.5]}"\r\ns,,orset,text\r\n',
        b"\xef\xbb\xbfkey,field,type,value\nk,\"\"\"\"\"\",flag,true\nm,,mvregister,\"a\r\nb\"\n",
        b"key,name,price\n1,Widget,12.5\n2,\"Two, or so\",\n3,null,{}\n",
    ]


def json_form(data: bytes) -> None:
    """The JSON form of values: what is read is written, and read as the same again."""
    with refused(InvalidValue):
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return
        value = jsonform.loads(text)
        again = jsonform.loads(jsonform.dumps(value))
        assert repr(again) == repr(value), (value, again)


def _values() -> list[bytes]:
    return [json.dumps(json.loads(line)["value"]).encode() for line in _ndjsons()[:-1]]


def resume(data: bytes) -> None:
    """The file that says where an import or export stands."""
    path = place() / "position"
    path.write_bytes(data)
    for kind in (position.ImportPosition, position.ExportPosition):
        with refused(InvalidValue):
            position.load(path, kind)


def _positions() -> list[bytes]:
    return [
        msgspec.json.encode(position.ImportPosition("id", "n", "default", 500, 2**19, 3, 40, 900, 20, 7)),
        msgspec.json.encode(position.ExportPosition("p", "default", "ndjson", "n", 100, "Y3Vyc29y", 5)),
    ]


def settings_file(data: bytes) -> None:
    """A TOML file of settings, as `crdtsync start --config` and `crdtsync config check` read it."""
    path = place() / "it.toml"
    path.write_bytes(data)
    for error in problems(gather(path)):
        str(error)


def environment(data: bytes) -> None:
    """Variables: NAME=value, with NUL between them as the system has it."""
    text = os.fsdecode(data)
    pairs = [pair.partition("=") for pair in text.split("\0")]
    given = gather(None, {name: value for name, _, value in pairs})
    for error in problems(given):
        str(error)
    flags = {one.name: pairs[number % len(pairs)][2] for number, one in enumerate(settings().values())}
    for error in problems(gather(None, None, flags)):
        str(error)


def _files() -> list[bytes]:
    return [
        b'name = "a"\nlisten = "127.0.0.1:7401"\njoin = ["127.0.0.1:7402"]\nflush_interval = "500ms"\n'
        b'segment_bytes = "64MiB"\n[cluster]\nkey_bytes_max = 200\n',
        b'[server]\nserve = "127.0.0.1:0"\nmessage_bytes_max = 1_000_000\n',
        b'cluster.key_bytes_max = 100\njournal_mapped = true\ntls_ca = "ca.crt"\n',
    ]


def _variables() -> list[bytes]:
    named = {
        "CRDTSYNC_NAME": "a", "CRDTSYNC_LISTEN": "127.0.0.1:0", "CRDTSYNC_FLUSH_INTERVAL": "500ms", "HOME": "/",
        "CRDTSYNC_SEGMENT_BYTES": "64MiB", "CRDTSYNC_CLUSTER_KEY_BYTES_MAX": "200", "CRDTSYNC_SERVICE_HOST": "10.0.0.1",
        "CRDTSYNC_JOURNAL_MAPPED": "yes", "CRDTSYNC_JOIN": "127.0.0.1:1, 127.0.0.1:2",
    }  # fmt: skip
    pairs = [f"{name}={value}".encode() for name, value in named.items()]
    return [*pairs, b"\0".join(pairs)]


# ---- certificates ----------------------------------------------------------------------------------------------------


def certificate(data: bytes) -> None:
    """The three files of a node in one, parted by NUL: authority, certificate, key."""
    texts = [*data.split(b"\0"), b"", b"", b""][:3]
    paths = [place() / name for name in ("ca.crt", "it.crt", "it.key")]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text)
        path.chmod(0o600)
    with refused(CertificateError):
        load(Paths(*map(str, paths)))
    with refused(CertificateError):
        inspect(paths)


def _certificates() -> list[bytes]:
    ca, pair = authority("test").cert, node_pair("a")
    return [b"\0".join((ca, pair.cert, pair.key)), b"\0".join((ca + ca, pair.cert + ca, pair.key))]


def identity(data: bytes) -> None:
    """URIs of a certificate, a line each: one that is ours is written in one way."""
    uris = data.decode("utf-8", "surrogateescape").split("\n")
    for uri in uris:
        found = parse_uri(uri)
        assert found is None or found.uri == uri
    with refused(CrdtsyncError):
        identity_of(uris)


def _identities() -> list[bytes]:
    named = [Identity("node", "a").uri, Identity("client", "ü %/").uri, "https://example.org/"]
    return ["\n".join(named).encode(), *(one.encode() for one in named)]


# ---- what nodes answer to clients ------------------------------------------------------------------------------------

REPLIES: tuple[type[Any], ...] = (
    pb.Error, pb.ReadResponse, pb.ScanResponse, pb.WatchResponse, pb.ApplyResponse, pb.DescribeResponse,
    pb.PositionResponse, pb.Value, admin.StatusResponse, admin.ListRescueResponse, admin.BackupChunk,
)  # fmt: skip


class Failed:
    """A gRPC error with a trailer."""

    def __init__(self, trailer: bytes) -> None:
        self._trailer = trailer

    def code(self) -> grpc.StatusCode:
        return list(grpc.StatusCode)[len(self._trailer) % len(grpc.StatusCode)]

    def details(self) -> str:
        return self._trailer.decode("utf-8", "replace")

    def trailing_metadata(self) -> Any:
        return ((failures.TRAILER, self._trailer),) if len(self._trailer) % 3 else None


def reply(data: bytes) -> None:
    """An answer: the first byte says of which kind."""
    kind, data = REPLIES[data[0] % len(REPLIES)] if data else REPLIES[0], data[1:]
    if kind is pb.Error:
        with refused(BadFrame):
            error = failures.failed(Failed(data)).error
            assert error is None or isinstance(error, CrdtsyncError | KeyError)
    with refused(BadFrame, ValueTooLarge, InvalidValue):
        message = answers.read(kind, data)
        if isinstance(message, pb.Value):
            answers.value_of(message)
        for result in getattr(message, "results", ()):
            answers.value_of(result.value)
            _each([*result.elements.elements], answers.plain)
            _each([*result.objects.items], answers.item_of)
        _each(getattr(message, "items", ()), answers.item_of)
        _each(getattr(message, "changes", ()), lambda change: answers.change_of(change, "token"))


def _each(messages: Any, read: Callable[[Any], Any]) -> None:
    for message in messages:
        read(message)


def _replies() -> list[bytes]:
    some = pb.Value(list=pb.Values(values=[pb.Value(decimal="1.5"), pb.Value(packed=b"\xc0"), pb.Value(none=True)]))
    where, item = pb.Place(type="orset", key="k", path=["a"]), pb.Item(key="k", type="lwwregister", value=some)
    change = pb.Change(bucket="b", place=where, value=some)
    made = [
        pb.Error(name="InvalidKey", message="no", hint="try", changed="Nothing.", token="c1.x"),
        pb.Error(name="KeyError", message="no", argument=some), pb.Error(name="Closed"),
        pb.ReadResponse(results=[pb.Result(value=some), pb.Result(truth=True)], token="c1.y"),
        pb.ReadResponse(results=[pb.Result(objects=pb.Objects(items=[item]))]),
        pb.ReadResponse(results=[pb.Result(elements=pb.Elements(elements=[some], cursor=b"x"))]),
        pb.ScanResponse(items=[item]), pb.WatchResponse(changes=[change], token="c1.z"), pb.ApplyResponse(),
        pb.DescribeResponse(node="a", cluster=7, buckets=["b"]), pb.PositionResponse(token="c1.t"),
        pb.Value(timestamp="2026-01-31T23:59:59+02:00"), pb.Value(big_integer="9" * 30), pb.Value(uuid=bytes(16)),
        pb.Value(set=pb.Values(values=[some])), pb.Value(dict=pb.Fields(fields={"a": some})),
        admin.StatusResponse(json="{}"), admin.ListRescueResponse(json="[]"), admin.BackupChunk(data=b"x"),
    ]  # fmt: skip
    return [bytes([REPLIES.index(type(each))]) + each.SerializeToString() for each in made]


# ---- HTTP and Maelstrom ----------------------------------------------------------------------------------------------


class Wire:
    """A connection whose other side has said all that it says."""

    def __init__(self, data: bytes) -> None:
        self._data, self.said = data, b""

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self._data)

    def settimeout(self, timeout: float) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        self.said += bytes(data)


@cache
def _metrics() -> Any:
    node = crdtsync.open(None)
    _kept.append(node)
    server = MetricsServer(node, "127.0.0.1:0")
    server._registry = CollectorRegistry()  # the pages' figures are not what is fuzzed
    return SimpleNamespace(answer=server._answer)


def http(data: bytes) -> None:
    """A request for metrics: answered, refused, or not answered at all, but no bug."""
    wire = Wire(data)
    with mock.patch("crdtsync.ops.metrics.server.log"):
        _Handler(wire, ("127.0.0.1", 1), _metrics())  # type: ignore[arg-type]
    assert b" 500 " not in wire.said.partition(b"\r\n")[0], wire.said


def _requests() -> list[bytes]:
    openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
    accepts = ("*/*", openmetrics, "text/plain;q=0.5")
    return [
        *(f"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n".encode() for accept in accepts),
        b"HEAD /livez HTTP/1.0\r\n\r\n", b"GET /readyz?x=1\r\n",
        b"POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}",
    ]  # fmt: skip


class Silent:
    """Events of a transport that nobody listens to."""

    def link_up(self, *_: Any) -> None: ...
    def link_down(self, *_: Any) -> None: ...
    def connect_failed(self, *_: Any) -> None: ...
    def message(self, *_: Any) -> None: ...


@cache
def _program() -> Program:
    program = Program(io.BytesIO())
    program.node = crdtsync.open(None)
    _kept.append(program.node)
    addresses = lines.Addresses(["n1", "n2"])
    program.transport = lines.LineTransport(program.node.config, program.wire.send, addresses, "n1")
    program.transport.events, program.transport._started = Silent(), True  # type: ignore[assignment]
    return program


def maelstrom(data: bytes) -> None:
    """Lines of a Maelstrom network, to a node that has been initialised."""
    program, out = _program(), io.BytesIO()
    program._opening = mock.Mock()
    program.wire._out = out
    with mock.patch("crdtsync.ops.maelstrom.program.log"):
        for line in data.splitlines(keepends=True):
            program.take(line)
    for line in out.getvalue().splitlines():
        assert msgspec.json.decode(line)["body"].get("code") != 13, line  # 13: a crash
    for name in list(program.transport._lines)[:-8]:  # type: ignore[union-attr]
        program.transport._forget(program.transport._lines[name])  # type: ignore[union-attr]


def _lines() -> list[bytes]:
    bodies: list[dict[str, Any]] = [
        {"type": "echo", "echo": [1]}, {"type": "add", "element": 5}, {"type": "add", "delta": -3}, {"type": "read"},
        {"type": "broadcast", "message": {"a": 1}}, {"type": "generate"}, {"type": "topology", "topology": {}},
        {"type": "init", "node_id": "n1", "node_ids": ["n1", "n2"]},
        {"type": "crdtsync", "line": "x", "kind": "open", "ack": 0},
        {"type": "crdtsync", "line": "x", "kind": "end", "ack": 0},
    ]  # fmt: skip
    frames = [
        {**bodies[-2], "kind": "frame", "seq": 1, "frame": base64.b64encode(frame).decode()}
        for frame in seeds.harvest().frames[:20]
    ]
    each = [
        json.dumps({"src": "n2", "dest": "n1", "body": {**body, "msg_id": 1}}).encode() + b"\n"
        for body in (*bodies, *frames)
    ]
    opened = each[len(bodies) - 2]
    return [*each, *(opened + one for one in each[-len(frames) :])]


OUTSIDE: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]], float]] = {
    "backup": (backup, backups, 0.05),
    "ndjson": (ndjson, _ndjsons, 1.0),
    "csv": (csv, _csvs, 1.0),
    "json_form": (json_form, _values, 1.0),
    "resume": (resume, _positions, 1.0),
    "settings_file": (settings_file, _files, 1.0),
    "environment": (environment, _variables, 0.05),
    "certificate": (certificate, _certificates, 0.05),
    "identity": (identity, _identities, 1.0),
    "reply": (reply, _replies, 1.0),
    "http": (http, _requests, 0.2),
    "maelstrom": (maelstrom, _lines, 0.2),
}
