"""A flag for every setting, made from the table of settings, and the help that groups them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from crdtsync.ops.cli.options import FilePath
from crdtsync.ops.settings import sources
from crdtsync.ops.settings.table import Setting, settings

SHORT = ("the process", "who and where", "TLS")  # sections that `--help` shows; the others need `--help-all`


class SettingOption(click.Option):
    """The flag of one setting."""

    def __init__(self, setting: Setting) -> None:
        # A flag's text is read as a variable's is; a boolean may also stand alone.
        single = {"is_flag": False, "flag_value": "true"} if setting.type in (bool, bool | None) else {}
        metavar = {"integer": "N", "number": "N", "boolean": "[BOOL]"}.get(setting.kind, "TEXT")
        several = setting.type == tuple[str, ...]
        super().__init__(
            [setting.flag, dest(setting.name)],
            metavar={"seconds": "SECONDS", "bytes": "BYTES"}.get(setting.unit, metavar),
            help=f"{setting.description}  [{shown(setting.default)}]",
            multiple=several,
            **single,  # type: ignore[arg-type]
        )
        self.section = setting.section

    @property
    def brief(self) -> bool:
        """Whether the short help shows it."""
        return any(self.section.startswith(section) for section in SHORT)


def dest(name: str) -> str:
    """The Python name under which click hands a setting over."""
    return name.replace(".", "__")


def shown(default: Any) -> str:
    """A default as one would write it on the command line."""
    if default in ("", (), None):
        return "none"
    if isinstance(default, tuple):
        return ",".join(default)
    return str(default).lower() if isinstance(default, bool) else str(default)


class SettingsCommand(click.Command):
    """A command that takes every setting: they are grouped in its help as they are in the settings' structs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        here = {parameter.name for parameter in self.params}
        flags = [SettingOption(setting) for setting in settings().values() if setting.name != "directory"]
        self.params += [flag for flag in flags if flag.name not in here]
        self.params.append(
            click.Option(["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_help_all,
                         help="Show this with every setting, and exit.")
        )  # fmt: skip

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        whole = ctx.meta.get("whole", False)
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None and (whole or not isinstance(parameter, SettingOption) or parameter.brief):
                section = getattr(parameter, "section", "Options")
                sections.setdefault(section[:1].upper() + section[1:], []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def _help_all(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.meta["whole"] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--config FILE`."""
    option = click.option(
        "--config",
        envvar="CRDTSYNC_CONFIG",
        type=FilePath(exists=True),
        metavar="FILE",
        help="TOML file of settings; variables and flags win over it.  [CRDTSYNC_CONFIG]",
    )
    return option(function)


def given(file: Path | None, flags: Mapping[str, Any]) -> list[sources.Given]:
    """What file, environment and flags say.  `flags` are click's arguments by their Python names."""
    texts = {}
    for name in settings():
        value = flags.get(dest(name))
        if value not in (None, ()):
            texts[name] = ",".join(value) if isinstance(value, tuple) else str(value)
    return sources.gather(file, os.environ, texts)
