"""etcd: one member of its own on loopback, and its gRPC interface (put and range) without a client library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crdtsync.ops.bench.adapters.base import Adapter
from crdtsync.ops.bench.adapters.servers import LOOPBACK, Running, free_port, program, version_of

IN_FLIGHT = 64  # puts on their way when many are made
TIMEOUT = 60.0  # s for one request
# Fields that are used, as etcd's rpc.proto and kv.proto number them: (name, number, kind).
BYTES, INT64 = 12, 3
MESSAGES = {
    "PutRequest": (("key", 1, BYTES), ("value", 2, BYTES)),
    "PutResponse": (),
    "RangeRequest": (("key", 1, BYTES), ("range_end", 2, BYTES), ("limit", 3, INT64)),
    "KeyValue": (("key", 1, BYTES), ("value", 5, BYTES)),
}


def message_types() -> dict[str, Any]:
    """Classes of the messages."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="crdtsync_bench_etcd.proto", package="bench_etcd", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            message.field.add(name=field, number=number, type=kind, label=1)
    answer = file.message_type.add(name="RangeResponse")
    answer.field.add(name="kvs", number=2, type=11, label=3, type_name=".bench_etcd.KeyValue")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [*MESSAGES, "RangeResponse"]
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench_etcd.{name}"))
        for name in names
    }  # fmt: skip


class Etcd(Adapter):
    """One member."""

    title = "etcd, one member"
    semantics = "consensus: linearizable; one member here, so no trip to another"
    durability = "synced before an answer leaves"
    keeps = "disk"
    package = "grpc"

    def __init__(self, directory: Path) -> None:
        import grpc

        super().__init__(directory)
        clients, peers = (f"http://{LOOPBACK}:{free_port()}" for _ in range(2))
        arguments = (
            "--data-dir", str(directory / "etcd"), "--listen-client-urls", clients, "--advertise-client-urls", clients,
            "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster",
            f"default={peers}", "--log-level", "error", "--quota-backend-bytes", str(8 << 30),
        )  # fmt: skip
        self.types = message_types()
        self.channel = grpc.insecure_channel(clients.removeprefix("http://"))
        self.put, self.range = (
            self.channel.unary_unary(
                f"/etcdserverpb.KV/{name}", request_serializer=self.types[f"{name}Request"].SerializeToString,
                response_deserializer=self.types[f"{name}Response"].FromString,
            )
            for name in ("Put", "Range")
        )  # fmt: skip
        self.server = Running("etcd", arguments, self.answers)

    @classmethod
    def missing(cls) -> str:
        """The server is needed."""
        return super().missing() or ("" if program("etcd") else "etcd is not installed (apt: etcd-server)")

    @classmethod
    def version(cls) -> str:
        """The server's."""
        return version_of("etcd", "etcd Version: ", "--version")

    def answers(self) -> bool:
        """Whether it has a leader and takes requests."""
        import grpc

        try:
            self.range(self.types["RangeRequest"](key=b"nothing"), timeout=1)
        except grpc.RpcError:
            return False
        return True

    def put_record(self, key: str, value: str) -> None:
        """One put, waiting for its answer."""
        self.put(self.types["PutRequest"](key=key.encode(), value=value.encode()), timeout=TIMEOUT)

    def get_record(self, key: str) -> object:
        """One value."""
        return self.found(key.encode(), b"", 1).get(key)

    def scan_records(self, key: str, count: int) -> int:
        """So many values from a key on; how many there were."""
        return len(self.found(key.encode(), b"\0", count))

    def found(self, first: bytes, end: bytes, limit: int) -> dict[str, str]:
        """{key: value} of a range."""
        request = self.types["RangeRequest"](key=first, range_end=end, limit=limit)
        return {row.key.decode(): row.value.decode() for row in self.range(request, timeout=TIMEOUT).kvs}

    def put_all(self, keys: Sequence[str], value: str) -> None:
        """Puts, many on their way."""
        kind, image = self.types["PutRequest"], value.encode()
        for first in range(0, len(keys), IN_FLIGHT):
            calls = [
                self.put.future(kind(key=key.encode(), value=image), timeout=TIMEOUT)
                for key in keys[first : first + IN_FLIGHT]
            ]
            for call in calls:
                call.result()

    def make_durable(self) -> bool:
        """Every answer says so."""
        return True

    def holds(self, keys: Sequence[str]) -> dict[str, object]:
        """The values."""
        return {key: self.get_record(key) for key in keys}

    def close(self) -> None:
        """End the channel and the server."""
        self.channel.close()
        self.server.stop()
