"""Logs of a server: one JSON object a line, whatever is logged."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import crdtsync
from crdtsync import Node
from crdtsync.errors import ConfigError
from crdtsync.ops.logs import MESSAGE_MAX, configure

PACKAGE = Path(crdtsync.__file__).parent


@pytest.fixture(autouse=True)
def unchanged_root() -> Iterator[None]:
    """The root logger afterwards as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []
    yield
    root.handlers, root.level = before, level


def logged(*arguments: Any, level: int = logging.INFO, **options: Any) -> dict[str, Any]:
    """One record, as it comes out."""
    stream = io.StringIO()
    configure("json", "debug", node="a", stream=stream)
    logging.getLogger("crdtsync.test").log(level, *arguments, **options)
    line = stream.getvalue()
    assert line.count("\n") == 1 and line.endswith("\n")
    found = json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    assert isinstance(found, dict)
    return found


def test_a_line_is_an_object() -> None:
    began = datetime.now(UTC).replace(microsecond=0)
    found = logged("%d rows of %r", 3, "x\ny", extra={"bucket": "default", "rows": 3}, level=logging.WARNING)
    stamp = found.pop("ts")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
    assert began <= datetime.fromisoformat(stamp) <= datetime.now(UTC)
    assert found == {
        "level": "warning", "logger": "crdtsync.test", "message": "3 rows of 'x\\ny'", "node": "a",
        "thread": "MainThread", "bucket": "default", "rows": 3,
    }  # fmt: skip


def test_an_exception_is_told_in_its_line() -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        found = logged("it failed", exc_info=True, level=logging.ERROR)
    assert found["exception"].startswith("Traceback") and found["exception"].endswith("division by zero")
    assert "test_an_exception" in logged("here", stack_info=True)["stack"]


@pytest.mark.parametrize(
    "value",
    [
        object(), {1, 2}, b"\0", float("nan"), float("inf"), {(1, 2): 3}, ["a", {"b": object()}], "\ud800",
        "\u2028\r\n", 2**70,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_whatever_is_logged_stays_one_json_line(value: Any) -> None:
    found = logged("%s", value, extra={"field": value})
    assert "field" in found
    loop: list[Any] = []
    loop.append(loop)
    assert logged("x", extra={"field": loop})["field"] == "[[...]]"


def test_what_is_logged_wrongly_is_told_all_the_same() -> None:
    assert logged("%d of %d", "one")["message"] == "%d of %d ('one',)"
    assert logged({"a": 1})["message"] == "{'a': 1}"


def test_extra_fields_do_not_take_the_place_of_ours() -> None:
    found = logged("x", extra={"node": "evil", "level": "evil", "ts": "evil"})
    assert (found["node"], found["level"]) == ("a", "info") and found["ts"] != "evil"


def test_lines_are_bounded() -> None:
    found = logged("x" * 1_000_000, extra={"field": "y" * 1_000_000, "rows": list(range(100_000))})
    assert len(found["message"]) == MESSAGE_MAX
    assert len(json.dumps(found)) < 4 * MESSAGE_MAX


def test_text_is_for_people_and_levels_are_kept() -> None:
    stream = io.StringIO()
    configure("text", "warning", stream=stream)
    logging.getLogger("crdtsync.test").info("not told")
    logging.getLogger("crdtsync.test").warning("told")
    assert re.fullmatch(r"\d{4}-\S+ \S+ WARNING crdtsync\.test: told\n", stream.getvalue())
    for wrong in ({"format": "xml"}, {"level": "loud"}):
        with pytest.raises(ConfigError):
            configure(**wrong)


@pytest.mark.parametrize("value", ["x\n2026-01-01 00:00:00 INFO crdtsync.node: all is well", "\x1b[2J", "\r", "\u2028"])
def test_what_others_say_begins_no_line_of_text(value: str) -> None:
    stream = io.StringIO()
    configure("text", stream=stream)
    logging.getLogger("crdtsync.test").info("refused at %s: %s", "peer", value)
    try:
        raise ValueError("traceback")
    except ValueError:
        logging.getLogger("crdtsync.test").exception("failed")
    first, second, *traceback = stream.getvalue().split("\n")
    assert value not in first and "\\u" in first
    assert second.endswith("failed") and traceback[0].startswith("Traceback")
    logging.getLogger("crdtsync.test").info("x" * 1_000_000)
    assert len(stream.getvalue()) < 2 * MESSAGE_MAX


def test_refusals_of_a_node_are_lines(node: Node) -> None:
    stream = io.StringIO()
    configure("json", "info", stream=stream)
    with pytest.raises(crdtsync.errors.InvalidKey):
        node.flag("")
    (line,) = [json.loads(line) for line in stream.getvalue().splitlines() if "refused" in line]
    assert line["logger"] == "crdtsync.node" and "is empty" in line["message"] and "node" not in line
    assert line["error"] == "invalid_key"


def test_what_replication_does_is_told_in_fields(node: Node) -> None:
    stream = io.StringIO()
    configure("json", "info", stream=stream)
    node._network._notify("rescued", {"bucket": "default", "rows": 3})
    node._network._engine.core.count(crdtsync.errors.BadFrame("Nonsense."), "b")
    rescued, fault = map(json.loads, stream.getvalue().splitlines())
    assert (rescued["level"], rescued["event"]) == ("error", "rescued")
    assert rescued["details"] == {"bucket": "default", "rows": 3}
    assert (fault["level"], fault["error"], fault["peer"]) == ("warning", "bad_frame", "b")


def test_the_library_configures_nothing() -> None:
    """Not at import, nor when a node is used: that is for the program that embeds it."""
    code = "import logging, crdtsync; crdtsync.open(None).close(); print(logging.getLogger().handlers)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
    for path in PACKAGE.rglob("*.py"):
        if "basicConfig(" in path.read_text():
            assert path.relative_to(PACKAGE).parts[0] in ("ops", "sim"), path
