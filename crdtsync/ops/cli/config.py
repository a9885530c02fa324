"""`crdtsync config`: which settings there are, which hold, and whether a file of them is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from crdtsync.ops.cli.flags import SettingsCommand, config_option, given, shown
from crdtsync.ops.cli.options import FilePath, output_option
from crdtsync.ops.cli.output import Printer, say

INVALID = 5  # exit status: the file is wrong


@click.group("config")
def command() -> None:
    """Show, check and list settings.

    A setting comes from its default, a TOML file, the environment or a flag; what comes later in this list wins.
    """


@command.command("show", cls=SettingsCommand)
@config_option
@click.option("--changed", is_flag=True, help="Only those that differ from their default.")
@output_option
def show(config: Path | None, changed: bool, output: str, **flags: Any) -> None:
    """Show the settings that `crdtsync start` would run with, and where each comes from.

    It takes the same file, variables and flags as `crdtsync start`.
    """
    from crdtsync.ops.settings.sources import DEFAULT, effective

    result = effective(given(config, flags))
    rows = [
        {"setting": name, "value": value, "origin": result.origins[name]}
        for name, value in result.values.items()
        if not changed or result.origins[name] != DEFAULT
    ]
    if output == "table":
        rows = [{**row, "value": shown(row["value"])} for row in rows]
    Printer(output).rows(rows, ("setting", "value", "origin"), empty="Every setting has its default.")


@command.command("validate")
@click.argument("file", type=FilePath(exists=True), metavar="FILE")
@output_option
def validate(file: Path, output: str) -> int:
    """Check a TOML file of settings: names, types, ranges, and how they fit together.

    Nothing is read but the file.  Exit status 5 when something is wrong with it, with a line for each problem.
    """
    from crdtsync.ops.settings.sources import gather, problems

    found = [" ".join(part for part in (each.message, each.hint) if part) for each in problems(gather(file))]
    for line in found or [f"{file} is right."]:
        say(line)
    if output != "table":
        Printer(output).one({"ok": not found, "problems": found}, ())
    return INVALID if found else 0


@command.command("schema")
@output_option
def schema(output: str) -> None:
    """List every setting with its names in a file, in the environment and as a flag, its unit and its default."""
    from crdtsync.ops.settings.table import settings

    rows: list[dict[str, Any]] = [
        {
            "setting": setting.name,
            "variable": setting.variable,
            "flag": setting.flag if setting.name != "directory" else "DIR",
            "type": setting.kind,
            "unit": setting.unit or None,
            "default": shown(setting.default) if output == "table" else setting.default,
            "meaning": setting.description,
        }
        for setting in settings().values()
    ]
    Printer(output).rows(rows, ("setting", "type", "default", "meaning"))
