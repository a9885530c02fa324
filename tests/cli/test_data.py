"""The data commands, each against a node in another process: what they print, where, and their exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import crdtsync
from tests.cli.conftest import Run
from tests.cli.running import PATIENCE, Done, Process, call, command, environment


def rows(done: Done) -> list[dict[str, object]]:
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def quiet(done: Done) -> None:
    assert done == Done(0, "", "")


# ---- every type, written and read


def test_counters_go_up_and_down(run: Run) -> None:
    quiet(run("incr", "stock"))
    quiet(run("incr", "stock", "12"))
    quiet(run("decr", "stock", "5"))
    quiet(run("incr", "stock", "3", "--type", "gcounter"))
    assert run("get", "stock").out == "TYPE       VALUE\ngcounter   3\npncounter  8\n"
    assert run("get", "stock", "--type", "pncounter").out == "8\n"


def test_what_begins_with_a_dash_goes_behind_two(run: Run) -> None:
    done = run("set", "temperature", "-5")
    assert done.code == 2 and "set KEY -- -5" in done.err
    quiet(run("set", "temperature", "--", "-5"))
    assert run("get", "temperature", "--type", "lwwregister").out == "-5\n"


def test_sets_gain_and_lose_elements(run: Run) -> None:
    quiet(run("add", "tags", "sale", "new", "12"))
    quiet(run("discard", "tags", "new", "absent"))
    quiet(run("add", "tags", "12", '{"$bytes": "AAE="}', "--json"))
    quiet(run("add", "seen", "a", "--type", "gset"))
    assert run("get", "tags", "--type", "orset").out == '12\n12\nsale\n{"$bytes": "AAE="}\n'
    (row,) = rows(run("get", "tags", "-o", "ndjson"))
    assert row == {"key": "tags", "path": [], "type": "orset", "value": [12, "12", "sale", {"$bytes": "AAE="}]}
    assert json.loads(run("get", "seen", "-o", "json").out)[0]["value"] == ["a"]


def test_registers_are_set(run: Run) -> None:
    quiet(run("set", "name", "Widget"))
    quiet(run("set", "name", "[1]", "--mv"))
    quiet(run("set", "price", '{"amount": {"$decimal": "25.00"}, "n": null}', "--json"))
    assert run("get", "name").out == 'TYPE         VALUE\nlwwregister  Widget\nmvregister   ["[1]"]\n'
    assert rows(run("get", "price", "-o", "ndjson"))[0]["value"] == {"amount": {"$decimal": "25.00"}, "n": None}


def test_flags_are_switched(run: Run) -> None:
    quiet(run("enable", "shiny"))
    assert run("get", "shiny", "--type", "flag").out == "true\n"
    quiet(run("disable", "shiny"))
    assert run("get", "shiny") == Done(1, "", "There is nothing under shiny.\n")


def test_fields_of_maps_at_any_depth(run: Run) -> None:
    quiet(run("set", "product", "Widget", "--field", "name"))
    quiet(run("incr", "product", "-f", "views", "--type", "gcounter"))
    quiet(run("add", "product", "a", "-f", "more", "-f", "tags"))
    quiet(run("enable", "product", "-f", "more", "-f", "shiny"))
    assert rows(run("get", "product", "-o", "ndjson"))[0]["value"] == {
        "name": "Widget", "views": 1, "more": {"tags": {"$set": ["a"]}, "shiny": True},
    }  # fmt: skip
    assert run("get", "product", "-f", "more", "-f", "tags", "--type", "orset").out == "a\n"
    quiet(run("delete", "product", "-f", "more", "-f", "tags"))
    assert run("get", "product", "-f", "more").out == 'TYPE  VALUE\nmap   {"shiny": true}\n'


def test_delete_takes_one_type_or_all(run: Run) -> None:
    run("incr", "k"), run("enable", "k"), run("set", "k", "v")
    quiet(run("delete", "k", "--type", "flag"))
    assert [row["type"] for row in rows(run("get", "k", "-o", "ndjson"))] == ["lwwregister", "pncounter"]
    quiet(run("delete", "k"))
    quiet(run("delete", "k"))
    assert run("get", "k").code == 1


def test_keys_and_scan_go_in_order_and_in_pages(run: Run) -> None:
    for name in ("b", "a", "ab", "aa"):
        run("incr", name)
    run("enable", "a")
    assert run("keys").out == "a\naa\nab\nb\n"
    assert run("keys", "a", "--limit", "2").out == "a\naa\n"
    assert rows(run("keys", "b", "-o", "ndjson")) == [{"key": "b"}]
    assert json.loads(run("keys", "nothing", "-o", "json").out) == []
    first = run("scan", "a", "--limit", "2", "-o", "ndjson")
    assert [(row["key"], row["type"]) for row in rows(first)] == [("a", "flag"), ("a", "pncounter")]
    cursor = first.err.split("--cursor ")[1].strip()
    rest = run("scan", "a", "--cursor", cursor, "-o", "ndjson")
    assert [row["key"] for row in rows(rest)] == ["aa", "ab"] and rest.err == ""
    assert [row["key"] for row in rows(run("scan", "--type", "flag", "-o", "ndjson"))] == ["a"]
    assert run("scan", "b").out == "KEY  TYPE       VALUE\nb    pncounter  1\n"


def test_tokens_lead_from_a_write_to_a_read(run: Run) -> None:
    token = run("incr", "k", "--token").out.strip()
    assert rows(run("get", "k", "-o", "ndjson", "--after", token))[0]["value"] == 1
    assert run("keys", "--after", token).out == "k\n"
    assert json.loads(run("set", "k", "v", "--sync", "-o", "json").out)["token"]
    quiet(run("wait-for", run("token").out.strip()))
    told = run("get", "k", "--after", "nonsense")
    assert (told.code, told.out) == (5, "") and "not a token" in told.err


def test_digest_is_that_of_the_node(run: Run, served: Process, directory: Path) -> None:
    run("incr", "k")
    (one,) = rows(run("digest", "-o", "ndjson"))
    assert (one["node"], len(str(one["digest"]))) == ("served", 32)
    same = call("digest", "--node", str(directory), "--node", served.addresses["programs"], "-o", "ndjson")
    assert [row["digest"] for row in rows(same)] == [one["digest"], one["digest"]]
    with crdtsync.open(None) as other, crdtsync.serve(other) as server:
        different = call("digest", "--node", str(directory), "--node", server.address)
        assert different.code == 1 and len(different.out.splitlines()) == 3


# ---- what a key may hold must not steer a terminal


def test_keys_and_values_cannot_steer_the_terminal(run: Run) -> None:
    bad = "\x1b[2Jkey\n\u202e"
    quiet(run("set", bad, "\x1b]0;title\x07\x9b"))
    for form in ("table", "json", "ndjson"):
        for done in (run("keys", "-o", form), run("scan", "-o", form), run("get", bad, "-o", form)):
            assert done.code == 0
            assert not set(done.out) & set("\x1b\x07\x9b\u202e")
    assert rows(run("scan", "-o", "ndjson"))[0]["key"] == bad
    assert "\\u001b" in run("get", "\x1b").err


def test_a_terminal_with_fewer_characters_than_the_data(run: Run) -> None:
    run("set", "键", "值\u2028")
    variables = {name: os.environ[name] for name in ("CRDTSYNC_NODE", "CRDTSYNC_BUCKET")}
    for form in ("table", "json", "ndjson"):
        done = command("scan", "-o", form, PYTHONIOENCODING="latin-1", **variables)
        assert done.code == 0 and done.out.isascii()
        assert form != "ndjson" or json.loads(done.out)["key"] == "键"


def test_what_a_node_says_cannot_steer_the_terminal_either(run: Run) -> None:
    run("set", "m", "x", "-f", "\x1b[2J")
    done = run("incr", "m", "-f", "\x1b[2J")
    assert done.code == 2 and "\x1b" not in done.err


# ---- which node


def test_a_node_is_named_in_three_ways(run: Run, served: Process, directory: Path) -> None:
    run("incr", "k", "7")
    for node in (served.addresses["programs"], f"unix:{directory}/admin.sock", str(directory)):
        assert run("get", "k", "--type", "pncounter", "--node", node).out == "7\n"


def test_the_next_node_is_tried(run: Run, served: Process) -> None:
    run("incr", "k", "7")
    nodes = ("--node", "127.0.0.1:1", "--node", served.addresses["programs"])
    assert run("get", "k", "--type", "pncounter", *nodes).out == "7\n"
    assert run("get", "k", "--type", "pncounter", "--node", f"127.0.0.1:1,{served.addresses['programs']}").out == "7\n"


def test_a_directory_with_spaces_and_commas(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    where = tmp_path / "my data, here"
    with crdtsync.open(where) as node, crdtsync.serve(node, admin=f"unix:{where}/admin.sock"):
        node.bucket(os.environ["CRDTSYNC_BUCKET"]).pncounter("k").increment(7)
        done = run("get", "k", "--node", str(where))
        assert done.code == 2 and "comma" in done.err
        monkeypatch.chdir(where)
        assert run("get", "k", "--type", "pncounter", "--node", ".").out == "7\n"
        (tmp_path / "my data").symlink_to(where)
        monkeypatch.setenv("CRDTSYNC_NODE", f"127.0.0.1:1,{tmp_path}/my data")
        assert run("get", "k", "--type", "pncounter").out == "7\n"


@pytest.mark.parametrize("node", ["127.0.0.1:1", "unix:/nowhere/admin.sock"])
def test_an_unreachable_node_is_status_3(run: Run, node: str) -> None:
    done = run("get", "k", "--node", node, "--timeout", "2")
    assert (done.code, done.out) == (3, "") and node in done.err


def test_a_directory_without_a_node_is_status_3(run: Run, tmp_path: Path) -> None:
    done = run("get", "k", "--node", str(tmp_path))
    assert (done.code, done.out) == (3, "") and "No node runs in" in done.err


def test_somebody_who_never_answers_is_status_3(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        node = f"127.0.0.1:{silent.getsockname()[1]}"
        done = run("get", "k", "--node", node, "--timeout", "0.3")
        assert (done.code, done.out) == (3, "") and node in done.err


def test_a_node_elsewhere_without_tls_is_refused(run: Run) -> None:
    done = run("get", "k", "--node", "192.0.2.1:7410")
    assert done.code == 2 and "not encrypted" in done.err


# ---- what is wrong


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ["get"]),
        (2, ["get", "k", "--type", "list"]),
        (2, ["get", "k", "--output", "xml"]),
        (2, ["incr", "k", "0"]),
        (2, ["incr", "k", "many"]),
        (2, ["decr", "k", "--type", "gcounter"]),
        (2, ["add", "k"]),
        (2, ["set", "k"]),
        (2, ["keys", "--limit", "0"]),
        (2, ["delete", "k", "--type", "flag", "--field", "f"]),
        (2, ["get", "k", "--timeout", "0"]),
        (5, ["get", ""]),
        (5, ["get", "k" * 300]),
        (5, ["set", "k", "{", "--json"]),
        (5, ["set", "k", '{"$nope": 1}', "--json"]),
        (5, ["set", "k", "x" * 2_000_000]),
        (5, ["set", "k", "v", "--bucket", "b" * 100]),
        (5, ["scan", "--cursor", "!"]),
        (5, ["watch", "--after", "nonsense"]),
        (5, ["wait-for", "nonsense"]),
        (2, ["incr", "k", str(2**63)]),
    ],
)
def test_wrong_calls_have_their_exit_code(run: Run, code: int, arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (code, ""), done.err
    assert done.err and "Traceback" not in done.err
    assert run("keys").out == ""


def test_a_field_has_one_type(run: Run) -> None:
    run("set", "product", "x", "-f", "name")
    done = run("incr", "product", "-f", "name")
    assert done.code == 2 and "product / name" in done.err


# ---- watching


class Watching:
    """A `crdtsync watch` in a process of its own, as its output is read while it goes on."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "crdtsync", "watch", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**environment(), **{k: v for k, v in os.environ.items() if k.startswith("CRDTSYNC_")}},
        )  # fmt: skip
        self._killer = threading.Timer(PATIENCE, self.process.kill)
        self._killer.start()
        assert self.process.stderr is not None and self.process.stdout is not None
        assert self.process.stderr.readline().startswith("Watching served")

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=PATIENCE)
        self._killer.cancel()
        return self.process.returncode, err


def test_watch_tells_changes_and_resumes(run: Run) -> None:
    begin = run("token").out.strip()
    watching = Watching("w:", "-o", "ndjson", "--after", begin)
    run("incr", "w:a", "3")
    first = json.loads(watching.line())
    assert {"bucket", "token"} < first.keys()
    assert (first["key"], first["path"], first["type"], first["value"], first["deleted"]) == (
        "w:a", [], "pncounter", 3, False,
    )  # fmt: skip
    run("incr", "other")
    run("delete", "w:a")
    assert json.loads(watching.line())["deleted"] is True
    code, err = watching.end()
    assert code == 130 and "Traceback" not in err
    token = err.split("--after ")[1].strip()
    run("set", "w:b", "x", "-f", "field")
    (again,) = rows(run("watch", "w:", "--after", token, "--limit", "1", "-o", "ndjson"))
    assert (again["key"], again["path"], again["value"]) == ("w:b", ["field"], "x")
    shown = run("watch", "w:", "--after", token, "--limit", "1")
    assert shown.out == "w:b/field  lwwregister  x\n" and f"--after {again['token']}" in shown.err


def test_watch_says_where_to_go_on_when_it_is_terminated(run: Run) -> None:
    begin = run("token").out.strip()
    watching = Watching("t:", "--after", begin)
    run("incr", "t:a")
    assert watching.line() == "t:a  pncounter  1\n"
    code, err = watching.end(signal.SIGTERM)
    assert code == 143 and "terminated" in err and "Traceback" not in err
    token = re.search(r"Go on with --after (\S+)", err)[1]  # type: ignore[index]
    run("incr", "t:b")
    assert run("watch", "t:", "--after", token, "--limit", "1").out == "t:b  pncounter  1\n"


# ---- where the locale is not UTF-8


ASCII = {"LC_ALL": "C", "LANG": "", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(params=["ASCII", "KOI8-R", "EUC-JP"])
def locale(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a locale of this encoding, which is made here."""
    if request.param == "ASCII":
        return ASCII
    place = tmp_path_factory.mktemp("locales")
    source = {"KOI8-R": "ru_RU", "EUC-JP": "ja_JP"}[request.param]
    making = ["localedef", "-i", source, "-f", request.param, str(place / f"x.{request.param}")]
    try:
        subprocess.run(making, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"localedef makes no {source}.{request.param} here: {error}")
    return {**ASCII, "LC_ALL": f"x.{request.param}", "LOCPATH": str(place)}


def test_keys_and_values_are_utf8_in_any_locale(run: Run, locale: dict[str, str]) -> None:
    variables = {**locale, **{name: os.environ[name] for name in ("CRDTSYNC_NODE", "CRDTSYNC_BUCKET")}}
    assert command("set", "ключ", "значение", **variables) == (0, "", "")
    assert command("get", "ключ", "--type", "lwwregister", **variables).out == "значение\n"
    (found,) = rows(command("scan", "-o", "ndjson", **variables))
    assert (found["key"], found["value"]) == ("ключ", "значение") and rows(run("scan", "-o", "ndjson")) == [found]
    done = command("get", os.fsdecode("ключ".encode("koi8-r")), **variables)
    assert done.code == 5 and "UTF-8" in done.err


@pytest.mark.parametrize("arguments", [["get", "\udcff"], ["set", "k", "\udcff"], ["add", "s", "ok", "\udcff"]])
def test_bytes_that_are_not_utf8_are_refused(run: Run, arguments: list[str]) -> None:
    variables = {**ASCII, **{name: os.environ[name] for name in ("CRDTSYNC_NODE", "CRDTSYNC_BUCKET")}}
    done = command(*arguments, **variables)
    assert done.code == 5 and "UTF-8" in done.err, done.err
    assert run("scan").out == ""


# ---- as processes: streams, colours, broken pipes


def test_output_and_errors_have_their_own_streams(run: Run) -> None:
    run("incr", "k")
    variables = {name: os.environ[name] for name in ("CRDTSYNC_NODE", "CRDTSYNC_BUCKET")}
    done = command("get", "k", "-o", "json", **variables)
    assert json.loads(done.out)[0]["value"] == 1 and done.err == ""
    done = command("get", "absent", **variables)
    assert (done.code, done.out, done.err) == (1, "", "There is nothing under absent.\n")


def test_a_reader_that_leaves_early_is_met_with_silence(run: Run) -> None:
    run("add", "big", *(f"{number:0100d}" for number in range(3000)))
    variables = {name: os.environ[name] for name in ("CRDTSYNC_NODE", "CRDTSYNC_BUCKET")}
    process = subprocess.Popen(
        [sys.executable, "-m", "crdtsync", "get", "big", "--type", "orset"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**environment(), **variables},
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(PATIENCE) == 1
