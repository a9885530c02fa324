"""The one table of settings: each with its names in a file, in the environment and as a flag, and what it means.

It is made from the structs; the meaning is the comment beside the field, so that a setting is written down once.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import msgspec

from crdtsync.config import ClusterSettings, Config, ServeConfig
from crdtsync.ops.settings.service import START_DEFAULTS, ServiceSettings

PREFIX = "CRDTSYNC_"
SERVER = "server."  # the table of what bounds the service to programs and operators
# Variables that are no settings: they choose the build, the settings' file, and what client commands talk to.
OTHER_VARIABLES = {
    "CRDTSYNC_CONFIG": "TOML file of settings, as `--config`",
    "CRDTSYNC_NODE": "node to talk to, as `--node`; several are separated by commas",
    "CRDTSYNC_BUCKET": "bucket, as `--bucket`",
    "CRDTSYNC_TIMEOUT": "seconds that a command may take, as `--timeout`",
    "CRDTSYNC_OUTPUT": "form of the output, as `--output`",
    "CRDTSYNC_KERNELS": "native or pure: the kernels to use, instead of the fastest that are there",
    "CRDTSYNC_PURE": "1 when crdtsync is installed: build it without compiled kernels",
}


class Setting(NamedTuple):
    """One setting."""

    name: str  # in a file; those of a table have its name before a dot
    type: Any
    default: Any
    meaning: str
    section: str

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return PREFIX + self.name.upper().replace(".", "__")

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace(".", "-").replace("_", "-")

    @property
    def unit(self) -> str:
        """bytes, seconds, or nothing."""
        if self.type is int and "bytes" in self.name:
            return "bytes"
        return "seconds" if self.type is float and re.match(r"s\b", self.meaning) else ""

    @property
    def description(self) -> str:
        """What it means, where its unit is not told beside it."""
        return re.sub(r"^s\b", "seconds", self.meaning)

    @property
    def kind(self) -> str:
        """What it takes, in a word."""
        plain = {int: "integer", float: "number", bool: "boolean", str: "text", bool | None: "boolean or none"}
        return plain.get(self.type, "list of texts")


@cache
def settings() -> dict[str, Setting]:
    """Every setting by name, in the order of the structs."""
    found = [
        *_of(ServiceSettings),
        *_of(Config),
        *_of(ClusterSettings, "cluster.", "the same on all members"),
        *(setting for setting in _of(ServeConfig, SERVER) if not is_shared(setting.name.removeprefix(SERVER))),
    ]
    return {setting.name: setting for setting in found}


def is_shared(name: str) -> bool:
    """Whether a field of ServeConfig has its value from the setting of the same name outside of the table `server`."""
    return name in ("serve", "admin", "insecure") or name.startswith("tls_")


def _of(struct: type[msgspec.Struct], within: str = "", section: str = "") -> Iterator[Setting]:
    said = comments(struct)
    for field in msgspec.structs.fields(struct):
        if field.type is not ClusterSettings:
            meaning, heading = said.get(field.name, ("", ""))
            default = START_DEFAULTS.get(within + field.name, field.default)
            heading = section or (f"serving: {heading}" if within == SERVER else heading)
            yield Setting(within + field.name, field.type, default, meaning, heading)


def comments(struct: type) -> dict[str, tuple[str, str]]:
    """{field: (its comment, heading of its section)} of a struct's source; nothing where only bytecode is installed."""
    try:
        lines = inspect.getsource(struct).splitlines()
    except OSError:
        return {}
    (body,) = (node.body for node in ast.parse("\n".join(lines)).body if isinstance(node, ast.ClassDef))
    fields = {node.end_lineno: node.target.id for node in body if _is_field(node)}  # type: ignore[attr-defined]
    return dict(_comments(lines, fields))


def _is_field(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)


def _comments(lines: list[str], fields: dict[int | None, str]) -> Iterator[tuple[str, tuple[str, str]]]:
    section, name, meaning = "", "", ""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if number not in fields and text.startswith("# ") and not text.startswith("# -- "):
            meaning += " " + text[2:]  # goes on from the line before
            continue
        if name:
            yield name, (meaning, section)
        section = text[5:] if text.startswith("# -- ") else section
        name, meaning = fields.get(number, ""), line.partition("  # ")[2]
    if name:
        yield name, (meaning, section)
