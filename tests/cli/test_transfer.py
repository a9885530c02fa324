"""Import and export: everything comes back exactly, errors name their line, and what was cut off goes on."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import crdtsync
from crdtsync.errors import FileThere, InvalidValue
from crdtsync.ops.files.importing import BATCH_BYTES, Importer, batches, pieces
from crdtsync.ops.files.position import ExportPosition, ImportPosition, save
from crdtsync.ops.files.rows import Line, Source, Wide, check_head, from_cell, from_ndjson, to_cell, to_csv, to_ndjson
from crdtsync.ops.files.whole import go_on, write_export
from crdtsync.ops.reading import Object
from tests.cli.conftest import Run
from tests.cli.running import PATIENCE, Process, command, environment

VALUES: list[Any] = [
    None, True, 1, 1.0, 2**70, -0.5, float("inf"), "text", "12", '"quoted"', "", "line\r\nbreak", "\r", b"\0\xff",
    [1, [2]], (1, (2,)), {"a": {"$b": 1}}, datetime(2026, 1, 31, 23, 59, 59, 5), datetime(2026, 1, 31, tzinfo=UTC),
    Decimal("1.50"), UUID(int=5), "\x1b[2J", "é\u0301",
]  # fmt: skip
KEYS = ["plain", 'quo"ted', '"begins', "com,ma", "new\nline", "\r", "é", "=cmd()", " space ", "12", "/", "\x01"]


def fill(bucket: Any, nested: bool) -> None:
    """Objects of every type, with every kind of value."""
    for number, value in enumerate(VALUES):
        bucket.lwwregister(f"l{number:02d}").set(value)
        bucket.mvregister(f"m{number:02d}").set(value)
    for key in KEYS:
        bucket.gcounter(key).increment(3)
        bucket.pncounter(key).decrement(4)
        bucket.flag(key).enable()
        bucket.map(f"map {key}").lwwregister(key).set(key)
    hashable = [value for value in VALUES if not isinstance(value, list | dict)]
    bucket.orset("elements").update(hashable)
    bucket.gset("elements").update(hashable)
    bucket.pncounter("zero").increment()
    bucket.pncounter("zero").decrement()
    product = bucket.map("product")
    product.lwwregister("").set("the empty field")
    product.orset("tags").update(["a", 1, 1.0, True])
    product.pncounter("stock").increment(5)
    if nested:
        product.map("more").map("and more").flag("deep").enable()


def objects(bucket: Any) -> list[tuple[str, str, str]]:
    return [(item.key, item.type, repr(item.value)) for item in bucket.items()]


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_what_is_exported_is_imported_exactly(run: Run, served: Process, tmp_path: Path, form: str) -> None:
    source, copy = os.environ["CRDTSYNC_BUCKET"], os.environ["CRDTSYNC_BUCKET"] + "-copy"
    with crdtsync.connect(served.addresses["programs"]) as client:
        fill(client.bucket(source), nested=form == "ndjson")
        first, second = tmp_path / f"first.{form}", tmp_path / f"second.{form}"
        done = run("export", "--to", str(first))
        assert (done.code, done.out) == (0, "") and "objects" in done.err
        assert run("import", str(first), "--bucket", copy).code == 0
        assert objects(client.bucket(copy)) == objects(client.bucket(source))
        assert run("export", "--to", str(second), "--bucket", copy).code == 0
        assert second.read_bytes() == first.read_bytes()


def test_streams_do_as_well_as_files(run: Run, tmp_path: Path) -> None:
    run("incr", "a", "5")
    variables = {name: os.environ[name] for name in ("CRDTSYNC_NODE", "CRDTSYNC_BUCKET")}
    done = command("export", **variables)
    assert done.out == '{"key":"a","type":"pncounter","value":5}\n'
    assert command("import", "-", stdin=done.out, **variables).code == 0
    assert run("get", "a", "--type", "pncounter").out == "10\n"
    assert command("export", "--format", "csv", **variables).out == "key,field,type,value\na,,pncounter,10\n"


def test_objects_larger_than_a_message_come_through(run: Run, served: Process, tmp_path: Path) -> None:
    """More than an answer and more than a batch may hold: elements are read in pages and written in pieces."""
    file = tmp_path / "large.ndjson"
    elements = [f"{number:060000d}" for number in range(150)]
    lines = [{"key": "large", "type": "orset", "value": elements}]
    lines += [{"key": "many", "type": "gset", "value": list(range(60_000))}]
    lines += [
        {"key": "map", "path": ["f"], "type": "gset", "value": elements},
        {"key": "z", "type": "flag", "value": True},
    ]
    file.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    assert run("import", str(file)).code == 0
    assert run("export", "--to", str(tmp_path / "again.ndjson")).code == 0
    assert (tmp_path / "again.ndjson").read_text() == file.read_text()
    listed = run("scan", "-o", "ndjson")
    assert [json.loads(line).get("omitted", False) for line in listed.out.splitlines()] == [True, False, True, False]
    assert "crdtsync export" in listed.err


# ---- wrong files


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "Not JSON"),
        ("[1]", '"key", "type" and "value"'),
        ('{"key":1,"type":"flag","value":true}', '"key" must be text'),
        ('{"key":"k","path":"f","type":"flag","value":true}', '"path" a list'),
        ('{"key":"k","type":"list","value":[]}', "no type 'list'"),
        ('{"key":"k","type":"map","value":{}}', "a map is its fields"),
        ('{"key":"k","type":"gcounter","value":-1}', "an integer from 0"),
        ('{"key":"k","type":"pncounter","value":true}', "an integer"),
        ('{"key":"k","type":"orset","value":"a"}', "a list"),
        ('{"key":"k","type":"flag","value":1}', "true or false"),
        ('{"key":"k","type":"lwwregister","value":{"$nope":1}}', "$nope"),
        ('{"key":"k","type":"mvregister","value":[1,2]}', "2 values"),
        ('{"key":"","type":"flag","value":true}', "A key is empty"),
        ('{"key":"k","type":"orset","value":[[1]]}', "cannot be hashed"),
    ],
)
def test_a_wrong_line_is_named_and_what_stood_before_it_counts(run: Run, tmp_path: Path, line: str, told: str) -> None:
    file = tmp_path / "wrong.ndjson"
    file.write_text('{"key":"first","type":"flag","value":true}\n\n' + line + "\n")
    done = run("import", str(file))
    assert (done.code, done.out) == (5, ""), done.err
    assert f"{file}" in done.err and "ine 3: " in done.err and told in done.err
    assert run("keys").out in ("first\n", "")  # its batch is one: all or nothing
    checked = run("import", str(file), "--dry-run")
    assert checked.code == 5 and f"{file}" in checked.err and "ine 3: " in checked.err and told in checked.err


def test_bytes_that_are_no_text_are_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b'{"key":"\xff"}\n')
    done = run("import", str(tmp_path / "f"))
    assert done.code == 5 and "line 1: Not UTF-8: byte 8" in done.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "first row"),
        ("key,key\n", "first row"),
        ("key,value\n", "no column type"),
        ("key,type,value\nk,flag\n", "line 2: The row has 2 cells; the first row has 3"),
        ('key,type,value\nk,lwwregister,"a" b\n', "line 2: Not CSV"),
        ("key,type,value\nk,gcounter,x\n", "line 2: The value of a gcounter"),
        ("key,type,value\nk,mvregister,x\nk,mvregister,y\n", "Lines 2 and 3 set one mvregister twice"),
    ],
)
def test_a_wrong_table_is_refused(run: Run, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    done = run("import", str(tmp_path / "t.csv"))
    assert (done.code, done.out) == (5, "") and told in done.err, done.err


def test_a_table_with_a_row_for_each_key(run: Run, tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("\ufeffsku,name,price\n1,Widget,12\n2,,\n007,Ünit,1e3\n")
    wide = ("import", str(tmp_path / "products.csv"), "--key-column", "sku", "--key-prefix", "product:")
    assert run(*wide).code == 0
    assert run("keys").out == "product:007\nproduct:1\n"
    assert json.loads(run("get", "product:1", "--type", "map", "-o", "json").out)["value"] == {
        "name": "Widget", "price": "12",
    }  # fmt: skip
    assert run(*wide, "--json").code == 0
    assert json.loads(run("get", "product:007", "-f", "price", "-o", "json").out)[0]["value"] == 1000.0
    assert run("import", str(tmp_path / "products.csv"), "--key-column", "nope").code == 5
    assert run("import", "-", "--key-column", "sku").code == 2


def test_a_file_that_is_there_is_not_replaced(run: Run, tmp_path: Path) -> None:
    run("incr", "a")
    (tmp_path / "e").write_text("precious")
    done = run("export", "--to", str(tmp_path / "e"))
    assert done.code == 2 and "--force" in done.err and (tmp_path / "e").read_text() == "precious"
    assert run("export", "--to", str(tmp_path / "e"), "--force").code == 0
    assert run("export", "--resume", str(tmp_path / "p")).code == 2
    done = run("export", "-o", str(tmp_path / "new"))
    assert done.code == 2 and "--to FILE" in done.err and not (tmp_path / "new").exists()
    assert run("export", "-o", "csv", "--to", str(tmp_path / "new")).code == 0
    assert (tmp_path / "new").read_text().startswith("key,field,type,value")
    assert run("import", str(tmp_path / "absent")).code == 2


@pytest.mark.parametrize("output", [["-o", "csv"], ["--output", "json"]])
def test_an_import_refuses_an_output_that_it_has_not(run: Run, tmp_path: Path, output: list[str]) -> None:
    (tmp_path / "e").write_text('{"key":"k","type":"pncounter","value":1}\n')
    done = run("import", *output, str(tmp_path / "e"))
    assert done.code == 2 and output[0] in done.err and run("keys").out == ""


# ---- cut off, and going on

COUNT = 10_000
FED = 5_250  # of them, to an import that is cut off: ten batches, and half of one


def numbers(path: Path, count: int) -> None:
    """A file of counters: one that is imported twice would show."""
    lines = (f'{{"key":"k{number:06d}","type":"pncounter","value":{number + 1}}}\n' for number in range(count))
    path.write_text("".join(lines))


def cut_off(number: int, lines: list[bytes], fed: Callable[[], bool], *arguments: str) -> int:
    """Feed an import some lines, and send it a signal once they are written; its exit code."""
    variables = {name: os.environ[name] for name in ("CRDTSYNC_NODE", "CRDTSYNC_BUCKET")}
    process = subprocess.Popen(
        [sys.executable, "-m", "crdtsync", "import", "-", *arguments], stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**environment(), **variables},
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(b"".join(lines))
    process.stdin.flush()
    end = time.monotonic() + PATIENCE
    while not fed():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(number)
    process.wait(PATIENCE)
    _, err = process.communicate(timeout=PATIENCE)
    assert b"Traceback" not in err
    return process.returncode


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_import_goes_on_exactly_where_it_was(run: Run, served: Process, tmp_path: Path, number: int) -> None:
    file, position = tmp_path / "numbers.ndjson", tmp_path / "position"
    numbers(file, COUNT)
    with crdtsync.connect(served.addresses["programs"]) as client:
        bucket = client.bucket(os.environ["CRDTSYNC_BUCKET"])
        last = bucket.pncounter(f"k{FED // 500 * 500 - 1:06d}")
        lines = file.read_bytes().splitlines(keepends=True)[:FED]
        code = cut_off(number, lines, lambda: last.exists, "--resume", str(position))
        assert code == {signal.SIGINT: 130, signal.SIGTERM: 143}.get(number, -number)
        assert not bucket.pncounter(f"k{FED:06d}").exists
        done = run("import", str(file), "--resume", str(position))
        assert done.code == 0, done.err
        assert [item.value for item in bucket.items()] == list(range(1, COUNT + 1))
        again = run("import", str(file), "--resume", str(position))
        assert again.code == 0 and "Imported 0 objects" in again.err
        with file.open("a") as more:
            more.write('{"key":"more","type":"pncounter","value":1}\n')
        assert "Imported 1 object " in run("import", str(file), "--resume", str(position)).err


def test_a_position_belongs_to_its_file_node_and_bucket(run: Run, served: Process, tmp_path: Path) -> None:
    file, position = tmp_path / "numbers.ndjson", str(tmp_path / "position")
    numbers(file, 3)
    assert run("import", str(file), "--resume", position).code == 0
    assert run("import", str(file), "--resume", position, "--bucket", "another").code == 2
    with crdtsync.open(None, name="other") as other, crdtsync.serve(other) as server:
        elsewhere = run("import", str(file), "--resume", position, "--node", server.address)
    assert elsewhere.code == 2 and "served" in elsewhere.err
    file.write_text(file.read_text().replace("k000002", "k000003"))
    done = run("import", str(file), "--resume", position)
    assert done.code == 5 and "not the one whose first 3 lines" in done.err
    Path(position).write_text("{}")
    assert run("import", str(file), "--resume", position).code == 5


def test_a_killed_export_goes_on_where_it_was(run: Run, served: Process, tmp_path: Path) -> None:
    file, out, position = tmp_path / "numbers.ndjson", tmp_path / "out.ndjson", tmp_path / "position"
    numbers(file, COUNT)
    assert run("import", str(file)).code == 0
    arguments = ("export", "--to", str(out), "--resume", str(position))
    from crdtsync.ops.files import exporting

    kept: list[ExportPosition] = []

    def stop(at: int) -> None:
        if at > COUNT // 2:
            raise KeyboardInterrupt

    partial = tmp_path / "out.ndjson.partial"
    with crdtsync.connect(served.addresses["programs"]) as client, partial.open("wb") as half:
        where = ExportPosition(prefix="", bucket=os.environ["CRDTSYNC_BUCKET"], format="ndjson")
        interval, exporting.SAVE_INTERVAL = exporting.SAVE_INTERVAL, 0.0
        try:
            with pytest.raises(KeyboardInterrupt):
                exporting.export(client.bucket(where.bucket), half, where, lambda at: kept.append(at), stop)
        finally:
            exporting.SAVE_INTERVAL = interval
    save(position, kept[-1])
    with partial.open("ab") as half:
        half.write(b'{"key":"k01500')  # of a page that the position does not know of
    assert run(*arguments, "--bucket", "another").code == 2
    whole = partial.read_bytes()
    partial.write_bytes(whole[:100])
    done = run(*arguments)
    assert done.code == 5 and "fewer bytes" in done.err
    partial.write_bytes(whole)
    assert not out.exists()
    done = run(*arguments)
    assert done.code == 0 and "Going on behind" in done.err
    assert out.read_bytes() == file.read_bytes()
    assert not position.exists() and not partial.exists()


def failing(at: int) -> Callable[[BinaryIO], None]:
    """Writes some of a file, and fails there."""

    def write(file: BinaryIO) -> None:
        file.write(b"x" * at)
        raise KeyboardInterrupt

    return write


def test_an_export_that_fails_leaves_the_file_that_is_there_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "e"
    target.write_text("precious")
    target.chmod(0o640)
    with pytest.raises(KeyboardInterrupt):
        write_export(target, True, failing(100_000))
    assert [path.name for path in tmp_path.iterdir()] == ["e"] and target.read_text() == "precious"
    write_export(target, True, lambda file: None)
    assert target.read_bytes() == b"" and target.stat().st_mode & 0o777 == 0o640
    with pytest.raises(FileThere):  # it has come there while the export ran
        write_export(tmp_path / "new", False, lambda file: (tmp_path / "new").write_text("another's") and None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e", "new"]


def test_an_export_is_gone_on_with_wherever_it_ended(run: Run, tmp_path: Path) -> None:
    """Before the first position, with all written but no name given, and with a name but the position left."""
    run("incr", "a")
    out, kept = tmp_path / "out", tmp_path / "position"
    partial = tmp_path / "out.partial"
    arguments = ("export", "--to", str(out), "--resume", str(kept))
    fresh = ExportPosition(prefix="", bucket=os.environ["CRDTSYNC_BUCKET"], format="ndjson")
    with pytest.raises(KeyboardInterrupt):
        go_on(out, False, fresh, False, lambda at: save(kept, at), failing(50))
    assert kept.exists() and partial.exists() and not out.exists()
    kept.unlink()
    done = run(*arguments)
    assert done.code == 2 and "out.partial" in done.err  # whose is it?
    assert run(*arguments, "--force").code == 0
    expected = out.read_bytes()
    assert expected == b'{"key":"a","type":"pncounter","value":1}\n' and not partial.exists()

    done_with = msgspec.structs.replace(fresh, done=True, end=len(expected))
    save(kept, done_with)  # killed behind the name
    assert run(*arguments).code == 0 and out.read_bytes() == expected and not kept.exists()
    save(kept, done_with)  # killed between the two names
    partial.hardlink_to(out)
    assert run(*arguments).code == 0 and out.read_bytes() == expected and not partial.exists()
    save(kept, done_with)  # killed before the name
    out.rename(partial)
    assert run(*arguments).code == 0 and out.read_bytes() == expected and not partial.exists()


def test_an_export_with_force_writes_into_a_device_and_does_not_replace_it(run: Run, tmp_path: Path) -> None:
    run("incr", "a")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with open(os.open(pipe, os.O_RDWR | os.O_NONBLOCK), "rb", buffering=0) as reader:
        assert run("export", "--to", str(pipe), "--force").code == 0
        assert reader.read(1000) == b'{"key":"a","type":"pncounter","value":1}\n'
    assert pipe.is_fifo()


@pytest.mark.parametrize("head", ["", "key,field,type,value\n"])
def test_an_object_without_end_is_refused_and_not_held(run: Run, tmp_path: Path, head: str) -> None:
    """A line break is missing, or a quote open."""
    file = tmp_path / ("f.csv" if head else "f.ndjson")
    good = "a,,pncounter,1\n" if head else '{"key":"a","type":"pncounter","value":1}\n'
    endless = 'b,,lwwregister,"' + "x,y\n" * 400 if head else '{"key":"' + "x" * 2000
    file.write_text(head + good + endless)
    done = run("import", str(file), "--line-bytes-max", "1000")
    assert done.code == 5 and "--line-bytes-max" in done.err, done.err
    assert f"{file}, line " in done.err and "more than 1,000 bytes" in done.err
    assert run("keys").out in ("a\n", "")  # as with any wrong line
    assert run("import", str(file), "--line-bytes-max", "0").code == 2
    assert run("import", str(file), "--dry-run", "--line-bytes-max", "1000").code == 5
    read = Counted(file.read_bytes())
    source = Source(read, "f", line_bytes_max=1000)
    with pytest.raises(InvalidValue, match="line_bytes_max"):
        list(source.csv(source.head(), None) if head else source.ndjson())
    assert read.largest <= 1001


class Counted(io.BytesIO):
    """Knows how much was asked for at once."""

    largest = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        self.largest = max(self.largest, 2**62 if size is None or size < 0 else size)
        return super().readline(size)


# ---- the parts


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.integers() | st.none())
def test_a_cell_comes_back_as_what_it_was(value: Any) -> None:
    again = from_cell(to_cell(value))
    assert (type(again), again) == (type(value), value)


@given(st.lists(st.tuples(st.integers(1, BATCH_BYTES * 2), st.booleans()), max_size=50), st.integers(1, 5), st.data())
def test_batches_are_the_same_from_wherever_one_goes_on(sizes: Any, objects: int, data: st.DataObject) -> None:
    lines, end = [], 0
    for number, (size, same) in enumerate(sizes):
        end += 0 if same and lines else size
        lines.append(Line(Object("k", (), "flag", True), number, end, size, 0))
    whole = list(batches(lines, objects, BATCH_BYTES))
    assert [line for batch in whole for line in batch] == lines
    if whole:
        begin = data.draw(st.integers(0, len(whole) - 1))
        rest = [line for batch in whole[begin:] for line in batch]
        assert list(batches(rest, objects, BATCH_BYTES)) == whole[begin:]
        for before, after in pairwise(whole):
            assert before[-1].end != after[0].end


def test_a_cell_may_be_as_large_as_a_value() -> None:
    for value in ("x" * 2**20, b"\0" * 2**20):
        text = to_csv(Object("k", (), "lwwregister", value))
        source = Source(io.BytesIO(b"key,field,type,value\r\n" + text.encode()), "f")
        (line,) = source.csv(source.head(), None)
        assert line.object.value == value


class Interrupting:
    """Raises KeyboardInterrupt before the line of Importer._write that is run as the nth."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, frame: Any, event: str, argument: Any) -> Any:
        return self.line if frame.f_code is Importer._write.__code__ else None

    def line(self, frame: Any, event: str, argument: Any) -> Any:
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self.line


def test_an_import_that_is_interrupted_anywhere_counts_nothing_twice() -> None:
    text = b"".join(to_ndjson(Object("k", (), "gcounter", 10**each)).encode() for each in range(6))
    interrupted, number = 0, 0
    while interrupted == number:
        number += 1
        with crdtsync.open(None) as node:
            saved = [ImportPosition(id="i", node=node.name, bucket="default", batch_objects=2, batch_bytes=2**20)]

            def go(node: Any = node, saved: Any = saved) -> None:
                source = Source(io.BytesIO(text[saved[-1].end :]), "f", saved[-1].line, saved[-1].end)
                keep = lambda position: saved.append(replace(position))  # noqa: E731
                Importer(node, replace(saved[-1]), keep, lambda *_: None).run(source.ndjson())

            before = sys.gettrace()
            sys.settrace(Interrupting(number))
            try:
                go()
            except KeyboardInterrupt:
                interrupted += 1
            finally:
                sys.settrace(before)
            go()
            assert node.gcounter("k").value == 111_111, f"interrupted before line {number}"
    assert interrupted > 10


def test_lines_added_while_the_last_batch_was_in_doubt_are_imported() -> None:
    text = b"".join(to_ndjson(Object("k", (), "gcounter", 10**each)).encode() for each in range(12))
    ends = [at + 1 for at, byte in enumerate(text) if byte == 10]
    for first, last in ((ends[2], ends[4]), (ends[2] - 1, ends[4]), (ends[2], ends[11]), (ends[6], ends[11])):
        with crdtsync.open(None) as node:
            saved = [ImportPosition(id="i", node=node.name, bucket="default", batch_objects=5, batch_bytes=2**20)]
            for end in (first, last):
                start = saved[-1].end
                lines = Source(io.BytesIO(text[start:end]), "f", saved[-1].line, start).ndjson()
                Importer(node, saved[-1], lambda position: saved.append(replace(position)), lambda *_: None).run(lines)  # noqa: B023
                if end == first:
                    saved.pop()  # as after a kill: the last batch was written, and that was not noted down
            assert node.gcounter("k").value == int("1" * text[:last].count(b"\n"))


def test_a_large_set_is_written_in_pieces() -> None:
    elements = ["x" * 100_000 + str(number) for number in range(12)]
    line = Line(Object("k", (), "orset", elements), 1, 2 * BATCH_BYTES, 2 * BATCH_BYTES, 0)
    parts = list(pieces([line], BATCH_BYTES))
    assert [element for (part,) in parts for element in part.object.value] == elements
    assert len(parts) == 3 and all(len(part.object.value) <= 5 for (part,) in parts)


def test_lines_know_where_they_end() -> None:
    one = Object("a", (), "lwwregister", "x\r\ny")
    raw = ("key,field,type,value\r\n" + to_csv(one) + to_csv(one)).encode()
    source = Source(io.BytesIO(raw), "f")
    lines = list(source.csv(source.head(), None))
    assert [line.object for line in lines] == [one, one]
    assert [(line.number, line.end) for line in lines] == [(3, (len(raw) + 22) // 2), (5, len(raw))]
    assert from_ndjson(to_ndjson(one)) == one
    with pytest.raises(InvalidValue, match="no column sku"):
        check_head(["key"], Wide("sku", "", False))
