"""Batches that wait for the disk; for all else see tests/contract."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest


def test_async_batches_wait_for_the_disk(open_node: Any) -> None:
    node = open_node()

    async def main() -> None:
        async with node.aio.batch(sync=True):
            node.pncounter("a").increment()
        storage = node.status()["storage"]
        assert storage["synced_record"] == storage["last_record"]
        with pytest.raises(ZeroDivisionError):
            async with node.aio.batch():
                node.pncounter("a").increment()
                _ = 1 / 0

    asyncio.run(main())
    assert node.pncounter("a").value == 1


def test_sync_batches_are_durable_when_they_return(open_node: Any) -> None:
    node = open_node(durability="os")
    with node.batch(), node.batch(sync=True):
        node.pncounter("a").increment()
    storage = node.status()["storage"]
    assert storage["synced_record"] == storage["last_record"]
