"""Groups that import a command's module when that command is called, so that `--help` stays quick."""

from __future__ import annotations

import keyword
from importlib import import_module
from typing import Any

import click


def module_name(command: str) -> str:
    """The module of a command; `import` is no name for one."""
    name = command.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


class LazyGroup(click.Group):
    """A group of commands, each in a module of its own: {section: {name: summary}}.

    `package` is where the modules are; a command `a-b` lives in the module `a_b`, under the name `command`.
    """

    def __init__(self, *args: Any, package: str, sections: dict[str, dict[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.package, self.sections = package, sections
        self.summaries = {name: text for section in sections.values() for name, text in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.summaries:
            return None
        module = import_module(f"{self.package}.{module_name(cmd_name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.summaries))
        for heading, commands in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), text) for name, text in commands.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self.summaries, 1)
            if near and ctx.command is self:
                raise click.UsageError(f"{error.message.rstrip('.')}. Did you mean {near[0]}?", ctx) from None
            raise
