"""Requests that are put together by hand are what the generated code makes of the same operations."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest

from crdtsync.client import requests
from crdtsync.datatypes import keys, values
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.map import REMOVE
from crdtsync.datatypes.registry import BY_NAME, DELETE, VERBS, everything_under
from crdtsync.transport.pb import data_pb2 as pb

STEPS = [1, 16, 17, 63, 64, -1, -64, -65, 127, 128, 2**31, -(2**31), 2**63 - 1, -(2**63 - 1)]


def message(verb: Any, place: Place, argument: Any) -> pb.Operation:
    made = pb.Operation(place=requests.place_of(place), verb=verb.name)
    if type(argument) is int:
        made.argument.integer = argument
    elif type(argument) is list:
        made.arguments.values.extend(pb.Value(packed=element) for element in argument)
    elif verb is REMOVE:
        made.argument.text = argument.decode()
    elif argument is not None:
        made.argument.packed = argument
    return made


def arguments(name: str, rng: random.Random) -> list[Any]:
    if name.endswith(("increment", "pncounter.add")):
        return STEPS
    if name.endswith("update"):
        return [[values.encode(n) for n in range(count)] for count in (1, 3, 200)]
    if name.endswith(("clear", "reset", "enable", "disable")) or name == "delete":
        return [None]
    if name == "map.remove":
        return [b"", "f\u00e9".encode(), b"x" * 255]
    return [values.encode(value) for value in (None, 1, "x" * 127, "x" * 128, b"y" * 70_000, [rng.random()])]


@pytest.mark.parametrize("name", sorted(VERBS))
def test_operations(name: str) -> None:
    rng = random.Random(name)
    kind = name.partition(".")[0]
    places = [everything_under("k"), everything_under("k\u00e9y" * 40, "orset")]
    if kind in BY_NAME:
        code = BY_NAME[kind].code
        places = [keys.top("k", code), keys.top("x" * 255, code), keys.top("m", b"m").inside("", code),
                  keys.top("m", b"m").inside("f" * 200, b"m").inside("g\u00e9", code)]  # fmt: skip
    operations = [(VERBS[name], place, argument) for place in places for argument in arguments(name, rng)]
    for _ in range(2):  # the second time from what is remembered
        encoded = [requests.operation(*operation) for operation in operations]
        read = pb.ApplyRequest.FromString(requests.apply("b\u00fccket", encoded, "id", True))
        assert list(read.operations) == [message(*operation) for operation in operations]
        assert (read.bucket, read.request_id, read.sync, read.after) == ("b\u00fccket", "id", True, "")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "KEPT_MAX", 10)
    for number in range(100):
        requests.operation(DELETE, everything_under(f"k{number}"), None)
    assert len(requests._ready) <= 10
    assert len(requests._heads) <= 10


def test_a_client_loads_no_store() -> None:
    code = (
        "import sys, crdtsync; crdtsync.connect, crdtsync.Client, crdtsync.aio.connect; import crdtsync.client.aio; "
        "print([n for n in ('lmdb', 'crdtsync.node', 'crdtsync.storage', 'crdtsync.replication') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
