"""Writes docs/cli.md, the reference of the command line, from the commands themselves.

python docs/generate.py            # writes it: `make docs`
python docs/generate.py --check    # exit 1 when what is there differs (a test does the same)
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from crdtsync import errors
from crdtsync.ops.cli.flags import SettingOption, shown
from crdtsync.ops.cli.main import EXIT_CODES, SECTIONS, crdtsync
from crdtsync.ops.settings.service import LISTEN, SERVE
from crdtsync.ops.settings.table import OTHER_VARIABLES, Setting, settings

CONNECTION = {"node", "timeout", "insecure", "tls_ca", "tls_cert", "tls_key"}
SHARED = CONNECTION | {"output"}
FILE = Path(__file__).parent / "cli.md"
HEAD = f"""# The command line

This page is made from the commands (`make docs`); `crdtsync COMMAND --help` says the same.

**Which node.** Commands talk to a running node: `--node` is `host:port`, `unix:PATH`, or the directory of a node on
this machine, and `CRDTSYNC_NODE` spares repeating it. Without either it is {SERVE}, where `crdtsync start` serves
programs unless told otherwise; peers meet at {LISTEN}. What operators say (`status`, `members`, `join`, `leave`,
`evict`, `rescue`, `stop`) is taken only by the socket in the node's directory, or at the address of `--admin`; that one
takes data, too. With several `--node` the next one is tried when one does not answer.

**Output.** Data goes to standard output, everything else to standard error. `--output` is `table` for people, `json`
for one document, `ndjson` for a line for each row. Values are in the [JSON form](data-format.md). Whatever a key or
value holds, control characters are printed as escapes. Colours stay off with `NO_COLOR` and where there is no terminal.
Keys, values and output are UTF-8, whatever the locale says.
"""
SETTINGS_HEAD = """\
Of `crdtsync start`. A setting comes from its default, a TOML file (`--config`), the environment, or a flag; what comes
later in this list wins. A name that there is not is an error that says where it stands. Numbers are in the unit that
the setting names; with a unit of its own it is a text: `"64MiB"`, `"20MB"`, `"500ms"`, `"2s"`, `"10min"`. What no
machine could want is refused, with the largest that there may be. Lists are
separated by commas in variables and flags. Names with a dot belong to a table of the file:
"""


def markdown() -> str:
    """The whole page."""
    parts = [
        HEAD,
        *exit_codes(),
        *shared_options(),
        *(text for section in SECTIONS for text in commands_of(section)),
        *settings_page(),
    ]
    return "\n".join(parts).rstrip() + "\n"


# ---- exit codes


def exit_codes() -> Iterator[str]:
    yield "## Exit codes\n"
    yield from table(("code", "meaning", "errors of the [Python API](python-api.md#errors)"), exit_rows())


def exit_rows() -> Iterator[tuple[str, str, str]]:
    families = {errors.CrdtsyncError, *errors.CrdtsyncError.__subclasses__()}  # nobody meets one of these by itself
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.CrdtsyncError)]
    for code, meaning in EXIT_CODES.items():
        names = [f"`{kind.__name__}`" for kind in kinds if kind not in families and kind.exit_code == code]
        yield str(code), meaning, ", ".join(names)


# ---- commands


def commands_of(section: str) -> Iterator[str]:
    yield f"## {section}\n"
    context = click.Context(crdtsync, info_name="crdtsync")
    for name in SECTIONS[section]:
        command = crdtsync.get_command(context, name)
        assert command is not None
        yield from command_page(command, click.Context(command, parent=context, info_name=name))


def command_page(command: click.Command, context: click.Context) -> Iterator[str]:
    arguments = " ".join(command.collect_usage_pieces(context)).removeprefix("[OPTIONS]").strip()
    if isinstance(command, click.Group):
        arguments = "COMMAND"
    yield f"### `{' '.join([context.command_path, arguments]).strip()}`\n"
    if command.help is not None:
        yield from (f"{paragraph}\n" for paragraph in paragraphs(command.help))
    yield from options_of(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from command_page(inner, click.Context(inner, parent=context, info_name=name))


def options_of(command: click.Command, context: click.Context) -> Iterator[str]:
    options = [
        each for each in command.params if isinstance(each, click.Option) and not isinstance(each, SettingOption)
    ]
    names = {each.name for each in options}
    remote = names >= CONNECTION
    if own := [each for each in options if not (remote and each.name in SHARED)]:
        yield from table(("option", "meaning"), (option_row(option, context) for option in own))
    if remote:
        yield f"Besides, the [shared options](#shared-options){'' if names >= SHARED else ' but the last'}.\n"
    if any(isinstance(each, SettingOption) for each in command.params):
        yield "Besides, every [setting](#settings) has its flag.\n"


def shared_options() -> Iterator[str]:
    context = click.Context(crdtsync, info_name="crdtsync")
    command = crdtsync.get_command(context, "get")
    assert command is not None
    options = [each for each in command.params if isinstance(each, click.Option) and each.name in SHARED]
    yield "## Shared options\n"
    yield "Of every command that talks to a node:\n"
    yield from table(("option", "meaning"), (option_row(option, context) for option in options))


def paragraphs(text: str) -> Iterator[str]:
    """Of a docstring; one that click keeps as it is becomes a block."""
    for part in inspect.cleandoc(text).split("\n\n"):
        if part.startswith("\b"):
            yield f"```\n{part[1:].strip()}\n```"
        else:
            yield " ".join(part.split())


def option_row(option: click.Option, context: click.Context) -> tuple[str, str]:
    record = option.get_help_record(context)
    assert record is not None
    return f"`{record[0]}`", " ".join(record[1].split())


# ---- settings


def settings_page() -> Iterator[str]:
    yield "## Settings\n"
    yield SETTINGS_HEAD
    yield '```toml\nlisten = "127.0.0.1:7401"\nsegment_bytes = "32MiB"\n\n[cluster]\nkey_bytes_max = 200\n```\n'
    section = ""
    for setting in settings().values():
        if setting.section != section:
            rows = [each for each in settings().values() if each.section == setting.section]
            yield f"### {setting.section[:1].upper() + setting.section[1:]}\n"
            yield from table(("setting", "variable and flag", "default", "meaning"), map(setting_row, rows))
            section = setting.section
    yield "### Other variables\n"
    yield from table(("variable", "meaning"), ((f"`{name}`", text) for name, text in OTHER_VARIABLES.items()))


def setting_row(setting: Setting) -> tuple[str, ...]:
    flag = "DIR" if setting.name == "directory" else setting.flag
    return f"`{setting.name}`", f"`{setting.variable}` `{flag}`", f"`{shown(setting.default)}`", setting.description


# ---- Markdown


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A table, and an empty line."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def main() -> int:
    text = markdown()
    if "--check" in sys.argv[1:]:
        if not FILE.exists() or FILE.read_text() != text:
            print(f"{FILE} is not what the commands say: run `make docs`.", file=sys.stderr)
            return 1
        return 0
    FILE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
