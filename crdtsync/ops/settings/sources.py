"""Where settings come from, and what they come to together: file, environment and flags over the defaults."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from crdtsync.config import Config, ServeConfig, make_config, make_serve_config
from crdtsync.errors import ConfigError, CrdtsyncError
from crdtsync.ops.settings.reading import checked, from_text
from crdtsync.ops.settings.service import ServiceSettings
from crdtsync.ops.settings.table import OTHER_VARIABLES, PREFIX, SERVER, Setting, is_shared, settings

DEFAULT = "default"
# Kubernetes tells every pod of a Service "crdtsync" or "crdtsync-data" in variables like CRDTSYNC_DATA_SERVICE_HOST.
KUBERNETES = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)\Z")


class Given(NamedTuple):
    """A setting as it was given, or what is wrong with it."""

    name: str
    value: Any
    origin: str
    problem: ConfigError | None = None


class Effective(NamedTuple):
    """What all sources come to."""

    values: dict[str, Any]
    origins: dict[str, str]
    config: Config
    service: ServiceSettings
    server: dict[str, Any]  # what crdtsync.serve takes


def gather(
    file: Path | None = None, environment: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> list[Given]:
    """What was given, weakest first: a file, then variables, then flags ({setting name: text}).  Raises OSError."""
    return [
        *(from_file(file) if file is not None else ()),
        *from_environment(environment or {}),
        *(_read(settings()[name], text, f"flag {settings()[name].flag}") for name, text in (flags or {}).items()),
    ]


def effective(given: Iterable[Given]) -> Effective:
    """The settings that hold, each with its origin.  Raises ConfigError that says where the wrong one came from."""
    values = {name: setting.default for name, setting in settings().items()}
    origins = dict.fromkeys(values, DEFAULT)
    for each in given:
        if each.problem is not None:
            raise each.problem
        values[each.name], origins[each.name] = each.value, each.origin
    try:
        service = ServiceSettings(**{name: values[name] for name in ServiceSettings.__struct_fields__}).validate()
        config = make_config(_for_node(values))
        server = _for_server(values)
        make_serve_config({**server, "admin": "unix:checked-later"})
    except ConfigError as error:
        raise _traced(error, origins) from None
    return Effective(values, origins, config, service, server)


def problems(given: Iterable[Given]) -> list[ConfigError]:
    """Everything that is wrong: names and types each on their own, and, when these are right, how they fit together."""
    given = list(given)
    found = [each.problem for each in given if each.problem is not None]
    if not found:
        try:
            effective(given)
        except ConfigError as error:
            found.append(error)
    return found


def _for_node(values: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {"cluster": {}}
    for name, value in values.items():
        if name.startswith("cluster."):
            plain["cluster"][name.removeprefix("cluster.")] = value
        elif name not in ServiceSettings.__struct_fields__ and not name.startswith(SERVER):
            plain[name] = value
    return plain


def _for_server(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: values[name if is_shared(name) else SERVER + name]
        for name in ServeConfig.__struct_fields__
        if (name if is_shared(name) else SERVER + name) in values
    }


def _traced(error: ConfigError, origins: Mapping[str, str]) -> ConfigError:
    """The same error, with where the settings that it names were set."""
    words = re.findall(r"[a-z_]+(?:\.[a-z_]+)?", error.message)
    named = dict.fromkeys(name for word in words for name in (word, SERVER + word))
    where = [f"{name}: {origins[name]}" for name in named if origins.get(name, DEFAULT) != DEFAULT]
    told = f"{error.message.rstrip('.')} ({'; '.join(where)})." if where else error.message
    return type(error)(told, hint=error.hint, changed=error.changed)


# ---- the file --------------------------------------------------------------------------------------------------------


def from_file(path: Path) -> Iterator[Given]:
    """What a TOML file sets.  Raises OSError when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # besides tomllib's own: no UTF-8, a number of too many digits
        yield Given("", None, str(path), ConfigError(f"{path} is not TOML: {error}."))
        return
    for name, value in _flat(content):
        line = line_of(text, name)
        origin = f"{path}, line {line}" if line else str(path)
        setting = settings().get(name)
        if setting is None:
            yield Given(name, value, origin, _unknown(f"{origin}: There is no setting {name}.", name, settings()))
        else:
            yield _read(setting, value, origin)


def _flat(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", of_it) for inner, of_it in value.items())
        else:
            yield name, value


def line_of(text: str, name: str) -> int:
    """The line, from 1, that sets `name` in a TOML text; 0 when it is written in a way that is not searched for."""
    table, _, last = name.rpartition(".")
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            here = header[1].strip("\"'")
        key = re.match(r"\s*([^=#]+?)\s*=", line)
        if key is not None:
            spelled = re.sub(r"[\"'\s]", "", key[1])
            if (here, spelled) in ((table, last), ("", name)) or (not here and spelled == table):
                return number
    return 0


# ---- the environment, and one value ----------------------------------------------------------------------------------


def from_environment(environment: Mapping[str, str]) -> Iterator[Given]:
    """What variables set.  One that begins with CRDTSYNC_ and is no setting is a problem."""
    by_variable = {setting.variable: setting for setting in settings().values()}
    for variable in sorted(environment):
        setting = by_variable.get(variable)
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        if setting is None and KUBERNETES.search(variable):
            continue
        if setting is None:
            message = f"There is no setting for the environment variable {variable}."
            yield Given(variable, None, variable, _unknown(message, variable, by_variable))
        else:
            yield _read(setting, environment[variable], f"environment variable {variable}")


def _read(setting: Setting, value: Any, origin: str) -> Given:
    """A value of any source: variables and flags are texts, what a file has is typed."""
    plain_text = origin.startswith(("flag ", "environment "))
    try:
        return Given(setting.name, (from_text if plain_text else checked)(setting, value), origin)
    except CrdtsyncError as error:
        return Given(setting.name, value, origin, ConfigError(f"{origin}: {error.message}"))


def _unknown(message: str, name: str, known: Iterable[str]) -> ConfigError:
    within_cluster = [f"cluster.{name}"] if f"cluster.{name}" in settings() else []
    near = within_cluster or difflib.get_close_matches(name, list(known), 1)
    hint = f"Did you mean {near[0]}?" if near else "`crdtsync config schema` lists them."
    return ConfigError(message, hint=hint)
