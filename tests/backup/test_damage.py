"""Every byte of a backup counts: cut off, altered, moved or made up, it is refused, and nothing is restored."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crdtsync.backup import content, records, restore, verify
from crdtsync.backup.reading import Backup
from crdtsync.errors import BackupDamaged, UnsupportedFormat
from tests.backup.helpers import SECONDS, clean, opened
from tests.integration.waiting import until


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small full backup, and one that builds on it and says what is kept."""
    place = tmp_path_factory.mktemp("sound")
    with opened(None, name="n") as node:
        node.orset("s").update(range(12))
        node.pncounter("c").increment()
        node.lwwregister("r").set("x" * 50)
        node.backup(place / "full")
        node.orset("s").discard(3)
        node.orset("s").add("new")
        until(clean(node), SECONDS)
        summary = node.backup(place / "more", since=place / "full")
        assert summary.kept and summary.rows
    return place / "full", place / "more"


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        refused(path, [])


def refused(path: Path, others: list[Path]) -> None:
    """Neither verify nor restore takes the file, and the target stays empty."""
    report = verify(path)
    assert not report.ok and str(path) in report.problems[0]
    target = path.parent / "target"
    with pytest.raises((BackupDamaged, UnsupportedFormat)):
        restore([*others, path], target, new_cluster=True)
    assert not target.exists() or list(target.iterdir()) == []


@pytest.mark.parametrize("which", [0, 1])
def test_a_file_that_is_cut_off_anywhere(files: tuple[Path, Path], tmp_path: Path, which: int) -> None:
    data, others = files[which].read_bytes(), list(files[:which])
    for length in range(len(data)):
        (tmp_path / "b").write_bytes(data[:length])
        if length % 97 == 0:
            refused(tmp_path / "b", others)
        else:
            assert not verify(tmp_path / "b").ok, length
    (tmp_path / "b").write_bytes(data + b"\0")
    refused(tmp_path / "b", others)


@pytest.mark.parametrize("which", [0, 1])
def test_a_bit_that_is_flipped_anywhere(files: tuple[Path, Path], tmp_path: Path, which: int) -> None:
    rng, data, others = random.Random(which), files[which].read_bytes(), list(files[:which])
    for at in range(len(data)):
        (tmp_path / "b").write_bytes(data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :])
        if at % 97 == 0:
            refused(tmp_path / "b", others)
        else:
            assert not verify(tmp_path / "b").ok, at


def frames(data: bytes) -> list[bytes]:
    """The records of a file, as they are."""
    at, found = len(records.MAGIC), []
    while at < len(data):
        end = at + records.HEAD.size + records.HEAD.unpack_from(data, at)[0]
        found.append(data[at:end])
        at = end
    return found


def test_records_that_are_left_out_repeated_or_moved(files: tuple[Path, Path], tmp_path: Path) -> None:
    data = files[0].read_bytes()
    parts = frames(data)
    assert records.MAGIC + b"".join(parts) == data
    for at in range(len(parts) - 1):
        for changed in (
            parts[:at] + parts[at + 1 :],
            parts[:at] + parts[at : at + 1] * 2 + parts[at + 1 :],
            [*parts[:at], parts[at + 1], parts[at], *parts[at + 2 :]],
        ):
            (tmp_path / "b").write_bytes(records.MAGIC + b"".join(changed))
            assert not verify(tmp_path / "b").ok


def test_a_newer_format_says_so(files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"CRDTBKP2" + files[0].read_bytes()[8:])
    assert "format" in verify(tmp_path / "b").problems[0]
    with pytest.raises(UnsupportedFormat):
        restore(tmp_path / "b", tmp_path / "r")


# -- files whose checksums are right and whose content is not


def forged(path: Path, target: Path, change: Callable[[list[tuple[int, Any]]], None]) -> None:
    """The file again with some payloads changed, framed and totalled as a writer would."""
    with open(path, "rb") as file:
        reader, plain = records.Unframer(file, str(path), path.stat().st_size), []
        while not plain or plain[-1][0] != records.END:
            record = reader.next()
            plain.append((record.kind, msgspec.msgpack.decode(record.payload)))
    change(plain)
    framer, out, rows, kept = records.Framer(), records.MAGIC, 0, 0
    for kind, payload in plain:
        if kind == records.END:
            payload = [framer.records, rows, kept, framer.digest()]
        rows += payload[2] if kind == records.ROWS else 0
        kept += payload[3] if kind == records.KEPT else 0
        out += framer.record(kind, msgspec.msgpack.encode(payload))
    target.write_bytes(out)


def the(plain: list[tuple[int, Any]], kind: int) -> Any:
    return next(payload for found, payload in plain if found == kind)


def lower_the_clock(plain: list[tuple[int, Any]]) -> None:
    clock = the(plain, records.CONTENTS)[0][2]
    clock[1] -= 1


def another_digest(plain: list[tuple[int, Any]]) -> None:
    the(plain, records.CONTENTS)[0][5] = b"\1" * 16


def another_count(plain: list[tuple[int, Any]]) -> None:
    the(plain, records.CONTENTS)[0][6] += 1


def floor_beyond_the_clock(plain: list[tuple[int, Any]]) -> None:
    the(plain, records.CONTENTS)[0][4 - 1] = [77, 5]


def impossible_stamp_floor(plain: list[tuple[int, Any]]) -> None:
    the(plain, records.CONTENTS)[0][4] = 2**64 - 1


def actor_zero(plain: list[tuple[int, Any]]) -> None:
    the(plain, records.ROWS)[1][0] = 0


def rows_of_no_section(plain: list[tuple[int, Any]]) -> None:
    the(plain, records.ROWS)[0] = 9


def altered_columns(plain: list[tuple[int, Any]]) -> None:
    rows = the(plain, records.ROWS)
    rows[4] = rows[4][:-1]


def no_cluster(plain: list[tuple[int, Any]]) -> None:
    the(plain, records.HEADER)["cluster"] = 0


def impossible_settings(plain: list[tuple[int, Any]]) -> None:
    the(plain, records.HEADER)["settings"]["key_bytes_max"] = 100_000


def two_sections_of_one_name(plain: list[tuple[int, Any]]) -> None:
    contents = the(plain, records.CONTENTS)
    contents.append(contents[0])


def kept_in_a_full_backup(plain: list[tuple[int, Any]]) -> None:
    plain.insert(-1, (records.KEPT, [0, b"", [], 0, b""]))


FORGERIES = [
    lower_the_clock, another_digest, another_count, floor_beyond_the_clock, impossible_stamp_floor, actor_zero,
    rows_of_no_section, altered_columns, no_cluster, impossible_settings, two_sections_of_one_name,
    kept_in_a_full_backup,
]  # fmt: skip


@pytest.mark.parametrize("change", FORGERIES, ids=lambda change: change.__name__)
def test_contents_that_contradict_themselves(
    files: tuple[Path, Path], tmp_path: Path, change: Callable[[list[tuple[int, Any]]], None]
) -> None:
    forged(files[0], tmp_path / "same", lambda plain: None)
    assert verify(tmp_path / "same").ok
    forged(files[0], tmp_path / "b", change)
    assert not verify(tmp_path / "b").ok


def not_to_its_end(plain: list[tuple[int, Any]]) -> None:
    plain[:] = [record for record in plain if record[0] != records.KEPT]


def after_its_end(plain: list[tuple[int, Any]]) -> None:
    plain.insert(-1, (records.KEPT, [0, b"", [], 0, b""]))


def gone_without_a_word(plain: list[tuple[int, Any]]) -> None:
    the(plain, records.CONTENTS)[0][7] = False


@pytest.mark.parametrize("change", [not_to_its_end, after_its_end, gone_without_a_word], ids=lambda c: c.__name__)
def test_what_is_gone_is_told_whole(
    files: tuple[Path, Path], tmp_path: Path, change: Callable[[list[tuple[int, Any]]], None]
) -> None:
    forged(files[1], tmp_path / "b", change)
    refused(tmp_path / "b", [files[0]])


def test_kept_keys_that_are_not_there_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    """The parent has lost a row: the chain would restore less than it says."""

    def lose(plain: list[tuple[int, Any]]) -> None:
        with Backup(files[0]) as backup:
            part = next(iter(backup.parts()))
            assert part.section == 0
        kept = the(plain, records.KEPT)
        kept[3], kept[4] = 1, b"\x00\x04no\0f"

    forged(files[1], tmp_path / "b", lose)
    assert verify(tmp_path / "b").ok
    with pytest.raises(Exception, match="to be kept and are not there"):
        restore([files[0], tmp_path / "b"], tmp_path / "r", new_cluster=True)
    assert not (tmp_path / "r").exists() or list((tmp_path / "r").iterdir()) == []


def test_a_payload_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    framer = records.Framer()
    (tmp_path / "b").write_bytes(records.MAGIC + framer.record(records.HEADER, bytes(records.SMALL_MAX + 1)))
    assert "does not expand" in verify(tmp_path / "b").problems[0]
    assert content.decode_contents(content.encode([])) == []
