"""Requests that no correct caller makes: each gets a typed status and one count, and changes nothing.

The tables are the list; `test_the_list_is_long` says how many rows they have.
"""

from __future__ import annotations

import random
from typing import Any

import grpc
import pytest

import crdtsync
from crdtsync import errors
from crdtsync.clocks.tokens import make_token
from crdtsync.datatypes.values import encode
from crdtsync.service.errors import STATUS, status_of
from crdtsync.transport.pb import admin_pb2 as admin
from crdtsync.transport.pb import data_pb2 as pb
from tests.integration.waiting import until
from tests.service.caller import Caller, Refused, add, operation, place, value

Code = grpc.StatusCode
ONE = pb.ApplyRequest(operations=[add("hostile", 7)]).SerializeToString()
TOP = 2**63 - 1
FAR = pb.WaitForRequest(token=make_token("a", {"default": {0: 1_000_000}}))  # of an event that does not come


def field(number: int, data: bytes) -> bytes:
    """A length-delimited field."""
    size, head = len(data), bytearray()
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes(head) + bytes([size]) + data


def apply(*operations: pb.Operation, **fields: Any) -> pb.ApplyRequest:
    return pb.ApplyRequest(operations=operations, **fields)


def register(argument: pb.Value) -> pb.ApplyRequest:
    return apply(operation("lwwregister.set", "r", argument=argument))


def element(argument: pb.Value) -> pb.ApplyRequest:
    return apply(operation("orset.add", "s", argument=argument))


def read(what: pb.Query, **fields: Any) -> pb.ReadRequest:
    return pb.ReadRequest(queries=[what], **fields)


def nested(depth: int) -> pb.Value:
    made = pb.Value(integer=1)
    for _ in range(depth):
        made = pb.Value(list=pb.Values(values=[made]))
    return made


def nested_bytes(depth: int) -> bytes:
    """As `nested`, deeper than protobuf itself would write."""
    made = b""
    for _ in range(depth):
        made = field(8, field(1, made))
    return field(2, field(1, field(1, b"r") + field(3, b"lwwregister")) + field(2, b"lwwregister.set") + field(3, made))


def whole(**kinds: Any) -> pb.Value:
    return pb.Value(**kinds)


BYTES = [
    *((f"cut at {at}", "Apply", ONE[:at], "BadRequest") for at in range(1, len(ONE))),
    ("nested too deep to decode", "Apply", nested_bytes(200), "BadRequest"),
    ("a length beyond the end", "Apply", b"\x12\x7f\x01", "BadRequest"),
    ("a length beyond 2^31", "Apply", b"\x12\xff\xff\xff\xff\x0f\x01", "BadRequest"),
    ("a length beyond 2^63", "Apply", b"\x12" + b"\xff" * 9 + b"\x01", "BadRequest"),
    ("a varint without an end", "Apply", b"\x20" + b"\xff" * 12, "BadRequest"),
    ("a group that is not closed", "Apply", b"\x0b", "BadRequest"),
    ("a field number 0", "Apply", b"\x02\x00", "BadRequest"),
    ("text that is no UTF-8", "Apply", field(1, b"\xff\xfe"), "BadRequest"),
    ("an operation of nothing, a million times", "Apply", b"\x12\x00" * 1_000_000, "BatchTooLarge"),
    *((f"{name} of no bytes of its own", name, b"\xff\xff\xff", "BadRequest")
      for name in ("Describe", "Read", "WaitFor", "Position", "Scan", "Watch")),
]  # fmt: skip
OPERATIONS = [
    ("no verb", apply(pb.Operation(place=place("flag", "f"))), "BadRequest"),
    ("an unknown verb", apply(operation("orset.explode", "s")), "BadRequest"),
    ("a verb of another type", apply(pb.Operation(place=place("flag", "f"), verb="orset.clear")), "BadRequest"),
    ("no type", apply(pb.Operation(place=place("", "f"), verb="flag.enable")), "BadRequest"),
    ("an unknown type", apply(pb.Operation(place=place("list", "f"), verb="flag.enable")), "InvalidValue"),
    ("no place", apply(pb.Operation(verb="flag.enable")), "BadRequest"),
    ("no argument", apply(operation("orset.add", "s")), "InvalidValue"),
    ("no arguments", apply(operation("orset.update", "s")), "BadRequest"),
    ("one argument instead of several", apply(operation("orset.update", "s", argument=1)), "BadRequest"),
    ("several instead of one", apply(operation("orset.add", "s", arguments=[1])), "InvalidValue"),
    ("an argument too much", apply(operation("flag.enable", "f", argument=1)), "BadRequest"),
    ("a second that fails", apply(add("x"), operation("gcounter.increment", "g", argument=-1)), "NegativeStep"),
    ("a step that is text", apply(operation("pncounter.add", "p", argument="1")), "InvalidValue"),
    ("a step that is true", apply(operation("pncounter.add", "p", argument=True)), "InvalidValue"),
    ("a step of 2^63", apply(operation("pncounter.add", "p", argument=whole(big_integer=str(2**63)))),
     "CounterOverflow"),
    ("a step of -2^63", apply(operation("pncounter.add", "p", argument=-(2**63))), "CounterOverflow"),
    ("steps beyond a cell", apply(add("p", TOP), add("p", TOP)), "CounterOverflow"),
    ("an element that is not there", apply(operation("orset.remove", "s", argument="x")), "KeyError"),
    ("a field of no text", apply(operation("map.remove", "m", argument=1)), "InvalidKey"),
    ("a field of another type", apply(operation("flag.enable", "m", "taken")), "FieldTypeError"),
    ("a key of nothing", apply(add("")), "InvalidKey"),
    ("a key of 256 bytes", apply(add("k" * 256)), "InvalidKey"),
    ("a key of 128 letters of two bytes", apply(add("é" * 128)), "InvalidKey"),
    ("a key with NUL", apply(add("a\0b")), "InvalidKey"),
    ("a field with NUL", apply(operation("flag.enable", "m", "a\0b")), "InvalidKey"),
    ("a field of 256 bytes", apply(operation("flag.enable", "m", "f" * 256)), "InvalidKey"),
    ("17 fields deep", apply(operation("flag.enable", "m", *"abcdefghijklmnopq")), "InvalidKey"),
    ("a bucket of 65 bytes", apply(add("k"), bucket="b" * 65), "InvalidKey"),
    ("a bucket with NUL", apply(add("k"), bucket="\0"), "InvalidKey"),
    ("a request id of 10,000 bytes", apply(add("k"), request_id="r" * 10_000), "InvalidKey"),
    ("a request id with NUL", apply(add("k"), request_id="r\0"), "InvalidKey"),
    ("a token that is none", apply(add("k"), after="c1.nonsense"), "InvalidToken"),
    ("a token of another cluster", apply(add("k"), after=make_token(77, {"default": {1: 1}})), "InvalidToken"),
    ("an element of 70,000 bytes", element(value("x" * 70_000)), "ValueTooLarge"),
    ("a value of 2 MiB", register(value("x" * (2 << 20))), "ValueTooLarge"),
    ("a batch of 5 MiB", apply(*(operation("lwwregister.set", f"r{n}", argument=b"x" * 500_000) for n in range(10))),
     "BatchTooLarge"),
]  # fmt: skip
VALUES = [
    ("no kind", whole(), "InvalidValue"),
    ("none that is false", whole(none=False), "InvalidValue"),
    ("NaN", value(float("nan")), "InvalidValue"),
    ("a set", whole(set=pb.Values()), "InvalidValue"),
    ("a value without a kind in a list", whole(list=pb.Values(values=[value(1), whole()])), "InvalidValue"),
    ("a value without a kind in a dict", whole(dict=pb.Fields(fields={"k": whole()})), "InvalidValue"),
    ("17 lists deep", nested(17), "InvalidValue"),
    *((f"the integer {text[:20]!r}", whole(big_integer=text), "InvalidValue")
      for text in ("", "0x10", "1_000", "+1", "01", "-0", "1.0", " 1", "١", "9" * 4301)),
    *((f"the decimal {text!r}", whole(decimal=text), "InvalidValue")
      for text in ("", "NaN", "sNaN", "1,5", "1e", "0x1", "Inf", "1" + "e9" * 30, "1E999999999999999999999")),
    *((f"the timestamp {text!r}", whole(timestamp=text), "InvalidValue")
      for text in ("", "now", "2026-01-01", "2026-01-01T25:00:00", "2026-02-30T00:00:00", "20260101T000000",
                   "2026-01-01T00:00:00+99:00", "2026-01-01T00:00:00+00:00:00.5", "0000-01-01T00:00:00",
                   "2026-W01-1T00:00:00")),
    *((f"a uuid of {size} bytes", whole(uuid=b"u" * size), "InvalidValue") for size in (0, 15, 17, 1000)),
    *((f"packed {data!r}", whole(packed=data), "InvalidValue")
      for data in (b"", b"\xc1", b"\xcc\x01", b"\x01\x01", b"\xcb\x7f\xf8" + bytes(6), b"\x82\xa1b\x01\xa1a\x01",
                   b"\xd4\x63\x00", b"\x91" * 500, b"\xdb\xff\xff\xff\xff", b"\xca\x3f\x80\x00\x00")),
    ("packed within a list, not canonical", whole(list=pb.Values(values=[whole(packed=b"\xcc\x01")])), "InvalidValue"),
]  # fmt: skip
ELEMENTS = [
    ("a list", whole(list=pb.Values()), "InvalidValue"),
    ("a dict in a tuple", whole(tuple=pb.Values(values=[whole(dict=pb.Fields())])), "InvalidValue"),
    ("a packed list", whole(packed=encode([])), "InvalidValue"),
]
ASKED: list[tuple[str, str, Any, str]] = [
    ("a query of nothing", "Read", read(pb.Query(place=place("flag", "f"))), "BadRequest"),
    ("a value that is false", "Read", read(pb.Query(place=place("flag", "f"), value=False)), "BadRequest"),
    ("the fields of a set", "Read", read(pb.Query(place=place("orset", "s"), fields=True)), "BadRequest"),
    ("what a counter contains", "Read", read(pb.Query(place=place("gcounter", "g"), contains=value(1))), "BadRequest"),
    ("the count of every type", "Read", read(pb.Query(place=place("", "g"), count=True)), "BadRequest"),
    ("containing no kind", "Read", read(pb.Query(place=place("orset", "s"), contains=whole())), "InvalidValue"),
    ("the value of a key of nothing", "Read", read(pb.Query(place=place("flag", ""), value=True)), "InvalidKey"),
    ("the value of an unknown type", "Read", read(pb.Query(place=place("vector", "v"), value=True)), "InvalidValue"),
    ("a cursor longer than an element", "Read",
     read(pb.Query(place=place("orset", "s"), elements=pb.Page(after=b"x" * 70_000))), "InvalidToken"),
    ("a bucket with NUL", "Read", pb.ReadRequest(bucket="\0"), "InvalidKey"),
    ("a forged token", "Read", pb.ReadRequest(after="c1.AAAA"), "InvalidToken"),
    ("a cursor that is none", "Scan", pb.ScanRequest(cursor=b"x"), "InvalidToken"),
    ("a cursor with a wrong sum", "Scan", pb.ScanRequest(cursor=b"\x01\0\0\0\0abc"), "InvalidToken"),
    ("a cursor of a later version", "Scan", pb.ScanRequest(cursor=b"\x02\0\0\0\0abc"), "InvalidToken"),
    ("a prefix of 256 bytes", "Scan", pb.ScanRequest(prefix="p" * 256), "InvalidKey"),
    ("a prefix with NUL", "Scan", pb.ScanRequest(prefix="\0"), "InvalidKey"),
    ("an unknown type", "Scan", pb.ScanRequest(type="vector"), "InvalidValue"),
    ("a bucket and all buckets", "Watch", pb.WatchRequest(bucket="b", all_buckets=True), "BadRequest"),
    ("a watch from a forged token", "Watch", pb.WatchRequest(after="c1.AAAA"), "InvalidToken"),
    ("a watch of a prefix with NUL", "Watch", pb.WatchRequest(prefix="\0"), "InvalidKey"),
    ("no token", "WaitFor", pb.WaitForRequest(), "BadRequest"),
    ("a forged token", "WaitFor", pb.WaitForRequest(token="c1.AAAA"), "InvalidToken"),
    ("a token of 100,000 letters", "WaitFor", pb.WaitForRequest(token="c1." + "A" * 100_000), "InvalidToken"),
    ("the position of a bucket with NUL", "Position", pb.PositionRequest(buckets=["\0"]), "InvalidKey"),
]  # fmt: skip
CASES: list[tuple[str, str, Any, str]] = [
    *BYTES,
    *((text, "Apply", request, name) for text, request, name in OPERATIONS),
    *((f"the value {text}", "Apply", register(argument), name) for text, argument, name in VALUES),
    *((f"the element {text}", "Apply", element(argument), name) for text, argument, name in ELEMENTS),
    *ASKED,
]
OPERATORS: list[tuple[str, str, Any, str]] = [
    *((f"{name} of no bytes of its own", name, b"\xff\xff\xff", "BadRequest")
      for name in ("Status", "Members", "Join", "Leave", "Evict", "ListRescue", "ReplayRescue", "DropRescue", "Backup",
                   "Stop")),
    ("nobody to evict", "Evict", admin.EvictRequest(), "BadRequest"),
    ("an unknown node to evict", "Evict", admin.EvictRequest(node="x" * 10_000, force=True), "MembershipMisuse"),
    ("leaving alone", "Leave", admin.LeaveRequest(), "MembershipMisuse"),
    ("a path for a rescue file", "DropRescue", admin.DropRescueRequest(name="../data"), "MembershipMisuse"),
    ("a backup since a forged token", "Backup", admin.BackupRequest(since="c1.AAAA"), "InvalidToken"),
]  # fmt: skip


def filled(node: crdtsync.Node) -> str:
    """A few objects that requests are about; the digest with them."""
    node.orset("s").update(range(10))
    node.map("m").gcounter("taken").increment()
    return node.digest()


def refuse(node: crdtsync.Node, caller: Caller, method: str, request: Any, name: str) -> None:
    """The call is refused by this name and its status, counted once."""
    kind = KeyError if name == "KeyError" else getattr(errors, name)
    counter = "key_error" if name == "KeyError" else errors.counter_name(kind)
    before = node.local.store.counters[counter]
    with pytest.raises(Refused) as refused:
        caller.call(method, request)
    assert refused.value.name == name, refused.value
    assert refused.value.code == next(STATUS[each] for each in kind.__mro__ if each in STATUS)
    assert refused.value.error.message and refused.value.error.changed == "Nothing was changed."
    assert node.local.store.counters[counter] == before + 1


def test_every_bad_request_is_refused_by_name_and_changes_nothing(node: crdtsync.Node, caller: Caller) -> None:
    before = filled(node)
    for text, method, request, name in CASES:
        try:
            refuse(node, caller, method, request, name)
        except BaseException as failed:
            raise AssertionError(f"{method}: {text}") from failed
        assert node.digest() == before, text
    assert node.local.store.counters["internal_error"] == 0
    assert caller.value("orset", "s").set.values


def test_every_bad_wish_of_an_operator_is_refused_by_name(node: crdtsync.Node, operator: Caller) -> None:
    before = filled(node)
    for text, method, request, name in OPERATORS:
        try:
            refuse(node, operator, method, request, name)
        except BaseException as failed:
            raise AssertionError(f"{method}: {text}") from failed
    assert (node.digest(), node.state) == (before, "member")


def test_the_list_is_long() -> None:
    assert len(CASES) + len(OPERATORS) + RANDOM + len(TRANSPORT) >= 390


RANDOM = 200


def test_random_bytes_change_nothing(node: crdtsync.Node, caller: Caller) -> None:
    before, rng = filled(node), random.Random(5)
    for number in range(RANDOM):
        method = ("Apply", "Read", "Scan", "WaitFor")[number % 4]
        data = bytearray(rng.randbytes(rng.randrange(1, 60)) if number % 2 else ONE)
        if not number % 2:
            data[rng.randrange(2)] ^= 1 << rng.randrange(8)  # the head of the one operation
        try:
            caller.call(method, bytes(data))
        except Refused as refused:
            assert refused.name, refused
        assert node.digest() == before, bytes(data)
    assert node.local.store.counters["internal_error"] == 0


def test_what_nobody_knows_is_passed_over(node: crdtsync.Node, caller: Caller) -> None:
    unknown = field(15, b"x" * (1 << 20)) + b"\x78\x01"
    caller.call("Apply", ONE + unknown)
    assert node.pncounter("hostile").value == 7


def test_the_last_of_equal_names_in_a_dict_counts(node: crdtsync.Node, caller: Caller) -> None:
    twice = b"".join(
        field(1, field(1, b"k") + field(2, pb.Value(integer=n).SerializeToString())) for n in (1, 2)
    )
    message = pb.Value.FromString(field(11, twice))
    caller.call("Apply", register(message))
    assert node.lwwregister("r").value == {"k": 2}


def test_values_at_their_bounds_are_taken(node: crdtsync.Node, caller: Caller) -> None:
    bounds = [0, -1, 2**31, 2**53, TOP, -(2**63), float("inf"), -0.0, "", b"", "x" * ((1 << 20) - 5)]
    for content in bounds:
        caller.call("Apply", register(value(content)))
        assert node.lwwregister("r").value == content
    for number in (2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**4000):
        caller.call("Apply", register(whole(big_integer=str(number))))
        assert node.lwwregister("r").value == number
        assert caller.value("lwwregister", "r").big_integer == str(number)
    node.lwwregister("r").set(10**5000)
    assert caller.value("lwwregister", "r").packed == encode(10**5000)
    caller.call("Apply", register(nested(16)))
    caller.call("Apply", apply(add("k" * 255), operation("flag.enable", "m", *"abcdefghijklmnop")))


# ---- below the messages

TRANSPORT = [
    ("an unknown method", "/crdtsync.v1.Data/Explode", b"", {}, Code.UNIMPLEMENTED),
    ("an unknown service", "/crdtsync.v2.Data/Apply", b"", {}, Code.UNIMPLEMENTED),
    ("no method at all", "/", b"", {}, Code.UNIMPLEMENTED),
    ("a deadline of 1 ns", "/crdtsync.v1.Data/WaitFor", FAR.SerializeToString(), {"timeout": 1e-9},
     Code.DEADLINE_EXCEEDED),
    ("a message of 9 MiB", "/crdtsync.v1.Data/Apply", b"\x7a" * (9 << 20), {}, Code.RESOURCE_EXHAUSTED),
    ("a gzip bomb", "/crdtsync.v1.Data/Apply", bytes(40 << 20), {"compression": grpc.Compression.Gzip},
     Code.RESOURCE_EXHAUSTED),
    ("a deflate bomb", "/crdtsync.v1.Data/Apply", bytes(40 << 20), {"compression": grpc.Compression.Deflate},
     Code.RESOURCE_EXHAUSTED),
    ("20 KiB of metadata", "/crdtsync.v1.Data/Apply", ONE, {"metadata": [("x", "y" * 20_000)]},
     Code.RESOURCE_EXHAUSTED),
    ("1000 metadata keys", "/crdtsync.v1.Data/Apply", ONE, {"metadata": [(f"x{n}", "y" * 20) for n in range(1000)]},
     Code.RESOURCE_EXHAUSTED),
]  # fmt: skip


def test_what_gRPC_refuses_never_reaches_the_node(node: crdtsync.Node, server: crdtsync.Server) -> None:
    before = filled(node)
    options = {"grpc.max_send_message_length": -1, "grpc.max_metadata_size": 1 << 20,
               "grpc.absolute_max_metadata_size": 1 << 20}  # fmt: skip
    with Caller(server.address, **options) as caller:
        for text, path, request, how, code in TRANSPORT:
            with pytest.raises(grpc.RpcError) as refused:
                caller.channel.unary_unary(path)(request, **{"timeout": 20, **how})
            assert refused.value.code() == code, text
            assert node.digest() == before, text
    assert node.local.store.counters["unknown_methods"] == 3


def test_garbage_in_binary_metadata_does_no_harm(node: crdtsync.Node, caller: Caller) -> None:
    call = caller.channel.unary_unary("/crdtsync.v1.Data/Apply")
    call(ONE, metadata=[("junk-bin", bytes(range(256))), ("crdtsync-error-bin", b"\xff")], timeout=20)
    assert node.pncounter("hostile").value == 7


def test_an_error_full_of_names_still_arrives_whole(node: crdtsync.Node, caller: Caller) -> None:
    """Callers take 8 KiB of trailers; names may be longer, above all as HTTP/2 writes them."""
    path = ["\N{GRINNING FACE}" * 63] * 15
    caller.apply(operation("flag.enable", "m", *path))
    refuse(node, caller, "Apply", apply(operation("gcounter.increment", "m", *path, argument=1)), "FieldTypeError")
    missing = "\N{GRINNING FACE}" * 400
    refuse(node, caller, "Apply", apply(operation("orset.remove", "s", argument=missing)), "KeyError")


def test_calls_are_bounded(node: crdtsync.Node) -> None:
    with crdtsync.serve(node, calls_max=3) as server, Caller(server.address) as caller:
        waiting = [caller.start("WaitFor", FAR) for _ in range(3)]
        until(lambda: node.status()["service"][0]["running"] == 3, 10)
        refuse(node, caller, "Describe", pb.DescribeRequest(), "ServerBusy")
        for each in waiting:
            each.cancel()
        until(lambda: node.status()["service"][0]["running"] == 0, 10)
        assert caller.call("Describe", pb.DescribeRequest()).node == "a"


def test_streams_that_say_nothing_or_are_not_read_hold_up_nobody(node: crdtsync.Node, caller: Caller) -> None:
    silent = [caller.start("ApplyStream", iter(lambda: _never(), None)) for _ in range(5)]
    unread = [caller.start("Scan", pb.ScanRequest()) for _ in range(5)]
    filled(node)
    assert caller.value("orset", "s").set.values
    for stream in silent + unread:
        stream.cancel()
    until(lambda: node.status()["service"][0]["running"] == 0, 10)


def _never() -> None:
    """A request that does not come before its stream is cancelled."""
    import time

    time.sleep(0.2)


def test_buckets_that_are_only_asked_for_are_not_kept(node: crdtsync.Node) -> None:
    with crdtsync.open(None, buckets_max=4) as small, crdtsync.serve(small) as server, Caller(server.address) as caller:
        for number in range(20):
            assert not caller.read(pb.Query(place=place("flag", "f"), exists=True), bucket=f"b{number}")[0].truth
        assert len(small.local.buckets) <= 4
        for number in range(4):
            caller.apply(add("x"), bucket=f"w{number}")
        with pytest.raises(Refused) as refused:
            caller.apply(add("x"), bucket="one too many")
        assert refused.value.name == "ValueTooLarge"


def test_a_bug_of_ours_says_nothing_of_our_insides(
    node: crdtsync.Node, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(node), "buckets", lambda self: 1 / 0)
    with pytest.raises(Refused) as refused:
        caller.call("Describe", pb.DescribeRequest())
    assert (refused.value.code, refused.value.name) == (Code.INTERNAL, "InternalError")
    assert "division" not in refused.value.details
    assert node.local.store.counters["internal_error"] == 1


def test_every_error_has_a_status() -> None:
    ours = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CrdtsyncError)]
    for kind in ours:
        assert kind is errors.CrdtsyncError or any(base in STATUS for base in kind.__mro__), kind
    assert status_of(errors.TokenTooOld("x")) is Code.OUT_OF_RANGE
    assert status_of(ValueError("x")) is Code.INTERNAL
