"""Stamps that the compiled write path makes by itself: those of the hybrid clock, whatever the wall tells."""

from __future__ import annotations

import random

import pytest

from crdtsync import kernels
from crdtsync.clocks.hybrid import STAMP_LAST, HybridClock
from crdtsync.datatypes import lwwregister, values
from crdtsync.datatypes.keys import top
from crdtsync.storage.disk import MemoryDisk
from crdtsync.storage.maps import MemoryMap
from crdtsync.storage.store import Store
from tests.storage.helpers import config

TIMES = [-5, 0, 1_700_000_000_000, 2**47 - 1, 2**47, 2**47 + 1, (STAMP_LAST >> 16) - 1]


@pytest.mark.parametrize("before", TIMES)
@pytest.mark.parametrize("now", TIMES)
def test_a_register_is_stamped_as_the_clock_says(before: int, now: int) -> None:
    wall = [before]
    disk, table, place = MemoryDisk(), MemoryMap(), top("r", lwwregister.CODE)
    store = Store.open(None, config(), disk=disk, maps=lambda: table, random=random.Random(1), now_ms=lambda: wall[0])
    payload = values.encode("value")
    store.transact("default", lambda txn: lwwregister.write(txn, place, payload))

    def stamp() -> int:
        bucket = store.bucket("default")
        image = None if bucket is None else bucket.get(place.prefix)
        assert image is not None
        return kernels.row_latest(image)[0]

    for at in (before, now, now):
        wall[0] = at
        expected = HybridClock(lambda: wall[0]).stamp(stamp())
        record = store.writer.write("default", lwwregister.SET, place, payload)
        assert bool(record) == (kernels.IMPLEMENTATION == "native")
        if record:
            assert stamp() == expected
    store.close()
