"""What commands print: data on standard output as a table for people, or as JSON; the rest on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from crdtsync.ops.text import safe

FORMS = ("table", "json", "ndjson")


def as_json(value: Any) -> str:
    """One line of JSON, readable, with every character escaped that a terminal could take for a command."""
    narrow = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
    return safe(json.dumps(value, ensure_ascii=narrow, separators=(", ", ": ")))


def colours() -> bool | None:
    """False where colours and the like are unwanted or not understood; None: wherever there is a terminal."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def say(line: str = "") -> None:
    """A line for people, on standard error."""
    click.echo(safe(line), err=True)


class Printer:
    """Prints rows in one of the forms: a table, one array of JSON, or a line of JSON for each row."""

    def __init__(self, form: str) -> None:
        self.form = form

    def rows(self, rows: Iterable[dict[str, Any]], columns: Sequence[str], empty: str = "") -> None:
        """Print rows; `columns` are those of the table, in order.  `empty` is said when there is no row."""
        if self.form == "ndjson":
            for row in rows:
                click.echo(as_json(row))
        elif self.form == "json":
            click.echo("[" + ",\n ".join(as_json(row) for row in rows) + "]")
        else:
            whole = list(rows)
            if whole:
                self._table(whole, columns)
            elif empty:
                say(empty)

    def one(self, row: dict[str, Any], lines: Iterable[str]) -> None:
        """Print one record: as JSON, or as the `lines` for people, which must be safe to show."""
        if self.form == "table":
            for line in lines:
                click.echo(line)
        else:
            click.echo(as_json(row))

    def _table(self, rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
        for line in table([[cell(row.get(column)) for column in columns] for row in rows], columns):
            click.echo(line)


def table(rows: list[list[str]], columns: Sequence[str]) -> Iterable[str]:
    """Lines of a table: a head in capitals, then the rows; the last column is not padded."""
    grid = [[column.upper().replace("_", " ") for column in columns], *([safe(text) for text in row] for row in rows)]
    widths = [max(_width(row[at]) for row in grid) for at in range(len(columns))]
    for number, row in enumerate(grid):
        line = "  ".join([_padded(text, width) for text, width in zip(row[:-1], widths[:-1], strict=True)] + row[-1:])
        yield click.style(line, bold=True) if number == 0 and colours() is None and sys.stdout.isatty() else line


def cell(value: Any) -> str:
    """A value in a table: text as it is, everything else as JSON."""
    if value is None:
        return "-"
    return safe(value) if isinstance(value, str) else as_json(value)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
