"""Settings from everywhere: one table, four sources, and errors that say where the wrong value was written."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from unittest import mock

import msgspec
import pytest

from crdtsync.bounds import INTEGER_MAX
from crdtsync.config import ClusterSettings, Config, ConnectConfig, make_connect_config
from crdtsync.errors import ConfigError, InsecureAddress
from crdtsync.ops.settings.reading import checked, from_text
from crdtsync.ops.settings.service import ServiceSettings
from crdtsync.ops.settings.sources import Effective, effective, gather, line_of, problems
from crdtsync.ops.settings.table import settings
from tests.cli.running import Done, call, environment

OTHER = {
    bool: ("true", True), int: ("200", 200), float: ("0.25", 0.25), bool | None: ("false", False),
    tuple[str, ...]: ("127.0.0.1:9,127.0.0.1:10", ("127.0.0.1:9", "127.0.0.1:10")),
}  # fmt: skip


def crdtsync(*arguments: str, **variables: str) -> Done:
    with mock.patch.dict(os.environ, environment(**variables), clear=True):
        return call(*arguments)


def toml(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "node.toml"
    file.write_text(text)
    return file


def test_every_field_has_a_name_in_each_source_and_a_meaning() -> None:
    fields = [*msgspec.structs.fields(ServiceSettings), *msgspec.structs.fields(Config)]
    expected = {field.name for field in fields if field.name != "cluster"}
    expected |= {f"cluster.{name}" for name in ClusterSettings.__struct_fields__}
    assert set(settings()) >= expected
    assert len({setting.variable for setting in settings().values()}) == len(settings())
    assert len({setting.flag for setting in settings().values()}) == len(settings())
    for setting in settings().values():
        assert setting.section, setting.name
        assert setting.meaning or setting.unit or setting.name == "connect_timeout", setting.name


@pytest.mark.parametrize("name", sorted(settings()))
def test_every_setting_is_reached_by_file_variable_and_flag(name: str, tmp_path: Path) -> None:
    setting = settings()[name]
    text, value = OTHER.get(setting.type, ("x", "x"))
    lines = {bool: "true", bool | None: "false", int: "200", float: "0.25"}.get(setting.type, json.dumps(value))
    table, _, last = name.rpartition(".")
    file = toml(tmp_path, (f"[{table}]\n" if table else "") + f"{last} = {lines}\n")
    for given, origin in (
        (gather(file), f"{file}, line {2 if table else 1}"),
        (gather(environment={setting.variable: text}), f"environment variable {setting.variable}"),
        (gather(flags={name: text}), f"flag {setting.flag}"),
    ):
        (one,) = given
        assert (one.name, one.value, one.origin, one.problem) == (name, value, origin, None)


def test_flags_win_over_variables_over_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, 'name = "file"\nflush_interval = 0.25\n[cluster]\nkey_bytes_max = 100\n')
    environment = {"CRDTSYNC_NAME": "variable", "CRDTSYNC_CLUSTER__KEY_BYTES_MAX": "120", "HOME": "/"}
    result = effective(gather(file, environment, {"name": "flag"}))
    assert isinstance(result, Effective)
    assert result.config.name == "flag"
    assert result.config.cluster.key_bytes_max == 120
    assert result.config.flush_interval == 0.25
    assert result.config.listen == "127.0.0.1:7400"
    assert result.origins["name"] == "flag --name"
    assert result.origins["flush_interval"] == f"{file}, line 2"
    assert result.origins["push_delay"] == "default"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("segment_bytes", "64MiB", 64 * 2**20),
        ("segment_bytes", "1.5 GiB", 3 * 2**29),
        ("segment_bytes", "20MB", 20_000_000),
        ("flush_interval", "5ms", 0.005),
        ("joining_expiry", "10min", 600.0),
        ("close_timeout", "2", 2.0),
        ("insecure", "yes", True),
        ("journal_mapped", "none", None),
        ("join", " a:1 , b:2,", ("a:1", "b:2")),
    ],
)
def test_text_with_a_unit(name: str, text: str, value: object) -> None:
    assert from_text(settings()[name], text) == value
    if isinstance(value, int | float) and not isinstance(value, bool) and not text.isdigit():
        assert checked(settings()[name], text) == value


@pytest.mark.parametrize("text", ["a=" + "[" * 5_000 + "]" * 5_000, "fan_out=" + "9" * 5_000, "name = '\ud800'"])
def test_a_file_that_the_parser_cannot_take_is_told(text: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(text.encode(errors="surrogatepass"))
    (problem,) = problems(gather(file))
    assert problem.message.startswith(f"{file} is not TOML: ")


@pytest.mark.parametrize("name", [name for name, setting in settings().items() if setting.type is float])
@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "1e18"])
def test_a_time_beyond_its_range_is_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=name.removeprefix("server.")):
        effective(gather(flags={name: text}))


INTEGERS = [name for name, setting in settings().items() if setting.type is int]


@pytest.mark.parametrize("name", INTEGERS)
def test_a_whole_number_beyond_its_largest_is_refused(name: str) -> None:
    plain = name.removeprefix("server.")
    largest = INTEGER_MAX[plain]
    assert settings()[name].default <= largest
    for value in (largest + 1, 2**63, 10**30, 10**400):
        with pytest.raises(ConfigError, match=plain.rpartition(".")[2] + ".* may be ") as caught:
            effective(gather(flags={name: str(value)}))
        assert f"{largest:,}" in caught.value.message
    with contextlib.suppress(ConfigError):  # which may not fit with others, and is not too much by itself
        effective(gather(flags={name: str(largest)}))
        return
    with pytest.raises(ConfigError) as caught:
        effective(gather(flags={name: str(largest)}))
    assert " at most." not in caught.value.message or "may be" not in caught.value.message


def test_every_whole_number_has_its_largest() -> None:
    known = {name.removeprefix("server.") for name in INTEGERS}
    known |= {field.name for field in msgspec.structs.fields(ConnectConfig) if field.type is int}
    assert known == set(INTEGER_MAX)
    with pytest.raises(ConfigError, match=r"attempts is .* may be 1,000,000 at most"):
        make_connect_config({"attempts": 10**30})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("segment_bytes", "64 parsecs"), ("segment_bytes", "1.0000001KiB"), ("flush_interval", "5MiB"),
        ("fan_out", "2s"), ("fan_out", "many"), ("insecure", "perhaps"), ("insecure", ""), ("flush_interval", ""),
    ],
)  # fmt: skip
def test_text_that_is_no_value(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=name):
        from_text(settings()[name], text)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("flush_intervall = 1\n", "line 1: There is no setting flush_intervall.", "flush_interval?"),
        ("# one\n\nkey_bytes_max = 9\n", "line 3: There is no setting key_bytes_max.", "cluster.key_bytes_max?"),
        ("[cluster]\nkey_bytes = 9\n", "line 2: There is no setting cluster.key_bytes.", "cluster.key_bytes_max?"),
        ("[clutser]\ndepth_max = 9\n", "line 2: There is no setting clutser.depth_max.", "cluster.depth_max?"),
        ("fan_out = 2.5\n", "line 1: fan_out is 2.5; it must be an integer.", ""),
        ("insecure = 1\n", "line 1: insecure is 1; it must be a boolean.", ""),
        ("name = \n", "is not TOML", ""),
        ("fan_out = 0\n", "fan_out is 0; it must be a number above 0 (fan_out: ", ""),
        ('log_format = "xml"\n', "log_format is 'xml'; it may be one of text, json (log_format: ", ""),
        ("cluster = 5\n", "There is no setting cluster.", ""),
    ],
)
def test_a_wrong_file_says_what_and_where(text: str, message: str, hint: str, tmp_path: Path) -> None:
    file = toml(tmp_path, text)
    (problem,) = problems(gather(file))
    assert message in problem.message and str(file) in problem.message
    assert hint in problem.hint
    with pytest.raises(ConfigError):
        effective(gather(file))
    done = crdtsync("config", "validate", str(file))
    assert (done.code, done.out) == (5, "")
    assert message in done.err
    assert crdtsync("config", "show", "--config", str(file)).code == 2


def test_all_problems_of_a_file_are_told(tmp_path: Path) -> None:
    file = toml(tmp_path, 'nam = "a"\nfan_out = "x"\n[cluster]\ndepth = 1\n')
    assert [problem.message.partition(": ")[0] for problem in problems(gather(file))] == [
        f"{file}, line {line}" for line in (1, 2, 4)
    ]


def test_a_sound_file_is_told_on_standard_error(tmp_path: Path) -> None:
    file = toml(tmp_path, 'join = "127.0.0.1:1"\nsegment_bytes = "32MiB"\ncluster.depth_max = 8\n')
    done = crdtsync("config", "validate", str(file))
    assert (done.code, done.out) == (0, "")
    assert "is right" in done.err
    assert effective(gather(file)).origins["cluster.depth_max"] == f"{file}, line 3"


def test_error_of_an_address_keeps_its_class_and_names_its_origin() -> None:
    with pytest.raises(InsecureAddress, match="environment variable CRDTSYNC_LISTEN"):
        effective(gather(environment={"CRDTSYNC_LISTEN": "10.0.0.1:1"}))


def test_a_missing_or_unreadable_file_is_wrong_usage(tmp_path: Path) -> None:
    assert crdtsync("config", "validate", str(tmp_path / "absent.toml")).code == 2
    assert crdtsync("config", "validate", str(tmp_path)).code == 2
    done = crdtsync("config", "show", CRDTSYNC_CONFIG=str(tmp_path / "absent.toml"))
    assert done.code == 2 and "absent.toml" in done.err


def test_a_variable_that_there_is_not() -> None:
    done = crdtsync("config", "show", CRDTSYNC_LISTN="127.0.0.1:1")
    assert done.code == 2
    assert "CRDTSYNC_LISTN" in done.err and "Did you mean CRDTSYNC_LISTEN?" in done.err


def test_variables_that_kubernetes_makes_are_no_settings() -> None:
    made = {
        "CRDTSYNC_SERVICE_HOST": "10.0.0.1", "CRDTSYNC_SERVICE_PORT": "7410", "CRDTSYNC_SERVICE_PORT_DATA": "7410",
        "CRDTSYNC_PORT": "tcp://10.0.0.1:7410", "CRDTSYNC_DATA_PORT_7410_TCP_ADDR": "10.0.0.1",
        "CRDTSYNC_DATA_PORT_7410_TCP": "tcp://10.0.0.1:7410",
    }  # fmt: skip
    assert not problems(gather(environment=made))
    assert problems(gather(environment={"CRDTSYNC_PORTS": "1"}))


def test_show_tells_values_and_origins() -> None:
    done = crdtsync(
        "config", "show", "--output", "json", "--insecure", "--journal-mapped", "false", CRDTSYNC_FAN_OUT="4"
    )
    assert (done.code, done.err) == (0, "")
    rows = {row["setting"]: row for row in json.loads(done.out)}
    assert set(rows) == set(settings())
    assert (rows["fan_out"]["value"], rows["fan_out"]["origin"]) == (4, "environment variable CRDTSYNC_FAN_OUT")
    assert (rows["insecure"]["value"], rows["insecure"]["origin"]) == (True, "flag --insecure")
    assert rows["journal_mapped"]["value"] is False
    assert rows["close_timeout"] == {"setting": "close_timeout", "value": 5.0, "origin": "default"}
    done = crdtsync("config", "show", "--changed", "--join", "127.0.0.1:1", "--join", "127.0.0.1:2,127.0.0.1:3")
    assert done.out.splitlines()[1].split() == ["join", "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", "flag", "--join"]


def test_schema_lists_every_setting() -> None:
    done = crdtsync("config", "schema", "--output", "ndjson")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["setting"] for row in rows] == list(settings())
    (row,) = [row for row in rows if row["setting"] == "cluster.key_bytes_max"]
    assert (row["variable"], row["flag"]) == ("CRDTSYNC_CLUSTER__KEY_BYTES_MAX", "--cluster-key-bytes-max")
    assert (row["type"], row["unit"], row["default"]) == ("integer", "bytes", 255)


def test_help_shows_the_main_settings_and_help_all_every_one() -> None:
    short, whole = crdtsync("config", "show", "--help"), crdtsync("config", "show", "--help-all")
    assert (short.code, whole.code) == (0, 0)
    assert "--listen" in short.out and "--segment-bytes" not in short.out
    for setting in settings().values():
        assert setting.flag in whole.out or setting.name == "directory"


@pytest.mark.parametrize(
    ("text", "name", "line"),
    [
        ('a = "x = 1"\nx = 1', "x", 2),
        ("[t]\nx = 1\n[u]\nx = 2", "u.x", 4),
        ('"x" = 1', "x", 1),
        ("t.x = 1", "t.x", 1),
        ("t = { x = 1 }", "t.x", 1),
        ("# x = 1\n\tx=2", "x", 2),
    ],
)
def test_line_of_a_setting(text: str, name: str, line: int) -> None:
    assert line_of(text, name) == line


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_a_verdict_on_a_file_can_be_read_by_a_program(form: str, tmp_path: Path) -> None:
    done = crdtsync("config", "validate", str(toml(tmp_path, 'lisen = "x"\nflush_bytes = "many"\n')), "-o", form)
    told = json.loads(done.out)
    assert done.code == 5 and told["ok"] is False and len(told["problems"]) == 2 and "line 1" in told["problems"][0]
    done = crdtsync("config", "validate", str(toml(tmp_path, "fan_out = 3\n")), "-o", form)
    assert done.code == 0 and json.loads(done.out) == {"ok": True, "problems": []}
