"""Opening and closing: directories, threads, forks, what a closed node says, and what `import` loads."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import crdtsync
from crdtsync import Node
from crdtsync.errors import Closed, ConfigError, CrdtsyncError, Forked, StoreInUse


def test_what_was_written_is_there_again(open_node: Any) -> None:
    node = open_node()
    node.pncounter("c").increment(3)
    node.map("m").orset("s").add(("x", 1))
    node.bucket("b").lwwregister("r").set({"a": None})
    digest, name = node.digest(), node.name
    node.close()
    node = open_node()
    assert (node.digest(), node.name, node.pncounter("c").value) == (digest, name, 3)
    node.pncounter("c").increment()
    assert node.pncounter("c").value == 4
    assert node.bucket("b").lwwregister("r").value == {"a": None}
    assert [item.key for item in node.items()] == ["c", "m"]


def test_a_second_open_is_refused(open_node: Any, tmp_path: Path) -> None:
    open_node()
    with pytest.raises(StoreInUse):
        open_node()
    path = str(tmp_path / "a")
    code = f"import crdtsync\ntry: crdtsync.open({path!r})\nexcept crdtsync.errors.StoreInUse: print('used')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "used\n"


def calls(node: Node) -> list[Any]:
    counter, tags, product = node.pncounter("c"), node.orset("s"), node.map("m")
    return [
        counter.increment, lambda: counter.value, lambda: tags.add(1), lambda: len(tags), lambda: 1 in tags,
        lambda: list(tags), lambda: tags.exists, lambda: product.value, product.fields, lambda: list(node.keys()),
        lambda: list(node.items()), lambda: node.delete("c"), node.batch().__enter__, node.token, node.digest,
        node.clock, node.sync, node.status, node.watch, lambda: node.wait_for("x"), node.members, node.buckets,
        lambda: node.rescue.show(), node.leave,
    ]  # fmt: skip


def test_a_closed_node_refuses_everything(open_node: Any) -> None:
    node = open_node()
    made = calls(node)
    listing = node.keys()
    node.close()
    node.close()
    assert node.closed
    for call in [*made, listing.__next__]:
        if call.__qualname__.startswith("BatchScope"):
            continue  # a batch that was begun before is refused at its end, or its first write
        with pytest.raises(Closed):
            call()
    with pytest.raises(Closed):
        node.batch()
    assert "closed" in repr(node)


def test_a_forked_child_is_told(open_node: Any) -> None:
    node = open_node()
    node.pncounter("c").increment()
    made = calls(node)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = b"no error"
        try:
            for call in made:
                if call.__qualname__.startswith("BatchScope"):
                    continue
                try:
                    call()
                    said = b"allowed " + call.__qualname__.encode()
                    break
                except Forked:
                    said = b"forked"
            node.close()
        except BaseException as error:
            said = repr(error).encode()
        finally:
            os.write(writer, said)
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert os.read(reader, 1000) == b"forked"
    os.close(reader)
    node.pncounter("c").increment()
    assert node.pncounter("c").value == 2


def test_threads_write_at_the_same_time(node: Node) -> None:
    def work(number: int) -> None:
        for step in range(300):
            node.pncounter("c").increment()
            node.gset("s").add((number, step))
            with node.batch():
                node.pncounter("d").increment(2)
                node.pncounter("d").decrement(1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (node.pncounter("c").value, len(node.gset("s")), node.pncounter("d").value) == (1800, 1800, 1800)
    assert sum(node.clock().values()) == 1800 * 4


def test_in_memory_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with crdtsync.open(None) as node:
        node.pncounter("c").increment()
        node.sync()
        assert node.status()["path"] is None
        assert node.address == ""
    assert list(tmp_path.iterdir()) == []
    with crdtsync.open(None) as node:
        assert node.pncounter("c").value == 0


def test_settings_are_checked(tmp_path: Path) -> None:
    for settings in (
        {"durability": "maybe"}, {"unknown": 1}, {"flush_interval": -1}, {"listen": "0.0.0.0:0"},
        {"join": ["127.0.0.1:1"]},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            crdtsync.open(tmp_path / "a", **settings)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("durability", ["group", "each", "os"])
def test_durabilities(open_node: Any, durability: str) -> None:
    node = open_node(durability=durability)
    node.pncounter("c").increment()
    if durability == "each":
        storage = node.status()["storage"]
        assert storage["synced_record"] == storage["last_record"]
    node.sync()
    storage = node.status()["storage"]
    assert storage["synced_record"] == storage["last_record"]


def test_opening_in_async_code(tmp_path: Path) -> None:
    async def main() -> int:
        async with crdtsync.aio.open(tmp_path / "a", name="one") as node:
            await node.aio.run(node.pncounter("c").increment, 2)
            await node.aio.sync()
        node = await crdtsync.aio.open(tmp_path / "a")
        try:
            assert node.name == "one"
            return node.pncounter("c").value
        finally:
            await node.aio.close()

    assert asyncio.run(main()) == 2


def test_opening_that_is_given_up_leaves_nothing_open(tmp_path: Path) -> None:
    async def main() -> None:
        opening = asyncio.ensure_future(crdtsync.aio.open(tmp_path / "a")._open())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        deadline = time.monotonic() + 30
        while True:
            try:
                node = await crdtsync.aio.open(tmp_path / "a")
            except StoreInUse:
                assert time.monotonic() < deadline, "it is still open"
                await asyncio.sleep(0.01)
            else:
                await node.aio.close()
                return

    asyncio.run(main())


def test_status_is_plain(open_node: Any) -> None:
    import json

    node = open_node(name="one")
    node.pncounter("c").increment()
    status = json.loads(json.dumps(node.status()))
    assert status["node"] == "one"
    assert status["state"] == "member"
    assert status["buckets"]["default"]["events"] == 1
    assert {"members", "peers", "storage", "counters", "watchers", "address", "cluster", "collection"} <= set(status)


def test_importing_loads_no_asyncio_either() -> None:
    code = "import sys, crdtsync; print([m for m in ('asyncio', 'grpc', 'numpy', 'click', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_error_is_one_of_ours(node: Node) -> None:
    with pytest.raises(CrdtsyncError) as caught:
        node.lwwregister("r").set(object())
    assert "Nothing was changed" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"durabilty": "each"}, "Did you mean durability"),
        ({"depth_max": 5}, 'Did you mean cluster={"depth_max"'),
        ({"cluster": {"depth_mx": 5}}, "no setting cluster.depth_mx.*Did you mean depth_max"),
        ({"flush_interval": "1"}, "flush_interval: "),
        ({"listen": "127.0.0.1:0", "join": ["127.0.0.1:0"]}, "port 0"),
        ({"listen": "127.0.0.1:0", "advertise": "127.0.0.1:0"}, "port 0"),
    ],
)
def test_a_wrong_setting_is_told_by_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        crdtsync.open(None, **settings)


def test_a_closed_node_is_no_context(open_node: Any) -> None:
    node = open_node()
    node.close()
    with pytest.raises(Closed), node:
        pass
