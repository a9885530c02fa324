"""Reading from nodes that lie, and of objects that go meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from crdtsync.errors import BadFrame
from crdtsync.ops.reading import objects, whole
from crdtsync.transport.pb import data_pb2 as pb


def bucket(*results: pb.Result) -> Any:
    """A bucket of a node that answers every request with these."""
    answer = pb.ReadResponse(results=results).SerializeToString()
    line = SimpleNamespace(caller=SimpleNamespace(make=lambda call: call), run=lambda call: (None, [answer], True))
    return SimpleNamespace(name="default", _line=line)


def test_too_few_answers_and_too_many_are_refused() -> None:
    one = pb.Result(objects=pb.Objects())
    for results in ((), (one, one)):
        with pytest.raises(BadFrame, match="1 queries"):
            objects(bucket(*results), "k", ())
        with pytest.raises(BadFrame, match="1 queries"):
            list(whole(bucket(*results), pb.Item(key="k", type="map")))


def test_a_large_object_that_is_deleted_before_it_is_read_is_left_out() -> None:
    gone = bucket(pb.Result(objects=pb.Objects()))
    assert list(whole(gone, pb.Item(key="k", type="mvregister", omitted=True))) == []
