"""Objects as lines: NDJSON for everything, CSV for what is flat.  docs/data-format.md has the rules."""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from crdtsync.datatypes import jsonform
from crdtsync.errors import CrdtsyncError, InvalidValue
from crdtsync.ops.reading import SETS, Object

TYPES = ("flag", "gcounter", "gset", "lwwregister", "mvregister", "orset", "pncounter")
COLUMNS = ("key", "field", "type", "value")
LINE_BYTES_MAX = 2**28  # bytes of one object in a file, unless `--line-bytes-max` says otherwise: it is held in memory


class Line(NamedTuple):
    """An object and where in its file it stands."""

    object: Object
    number: int  # of its last line, from 1
    end: int  # bytes of the file up to its end
    length: int  # bytes of its lines
    crc: int  # CRC-32 of them


# ---- NDJSON


def to_ndjson(one: Object) -> str:
    """One line."""
    plain = {"key": one.key, "path": list(one.path), "type": one.type, "value": jsonform.encode(one.value)}
    if not one.path:
        del plain["path"]
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def from_ndjson(text: str) -> Object:
    """The object of a line.  Raises InvalidValue."""
    plain = jsonform.parse(text)
    if type(plain) is not dict or not {"key", "type", "value"} <= plain.keys():
        raise InvalidValue('A line must be an object with "key", "type" and "value".', hint="")
    path = plain.get("path", [])
    if type(plain["key"]) is not str or type(path) is not list or not all(type(name) is str for name in path):
        raise InvalidValue('"key" must be text, and "path" a list of texts.', hint="")
    return _checked(Object(plain["key"], tuple(path), plain["type"], jsonform.decode(plain["value"])))


# ---- CSV


def to_csv(one: Object) -> str:
    """Its lines: one for each element of a set and each value of an MV-Register.  Raises InvalidValue when nested."""
    if len(one.path) > 1:
        raise InvalidValue(
            f"{one.key!r} holds a map in a map, which CSV has no place for.", hint="Export it as NDJSON."
        )
    several = one.type in SETS or one.type == "mvregister"
    out = io.StringIO()
    writer = csv.writer(out)  # lines end in CR LF, so that either is quoted in a cell
    for value in one.value if several else [one.value]:
        writer.writerow([_field(one.key), _field(one.path[0]) if one.path else "", one.type, to_cell(value)])
    return out.getvalue()


def _field(name: str) -> str:
    """A name in a cell; the empty field name is written as "" in quotes, since an empty cell is no field."""
    return json.dumps(name, ensure_ascii=False) if name == "" or name.startswith('"') else name


def _name(cell: str) -> str:
    if not cell.startswith('"'):
        return cell
    name = jsonform.parse(cell)
    if type(name) is not str:
        raise InvalidValue(f"{cell[:80]} is no name.", hint="")
    return name


def to_cell(value: Any) -> str:
    """A value in a cell: text as it is unless it reads as JSON, everything else in the JSON form."""
    if type(value) is str and not _reads_as_json(value):
        return value
    return jsonform.dumps(value)


def from_cell(text: str) -> Any:
    """The value in a cell: JSON when it reads as that, else text.  Raises InvalidValue for JSON that is no value."""
    return jsonform.loads(text) if _reads_as_json(text) else text


def _reads_as_json(text: str) -> bool:
    if text[:1] not in '{["-0123456789tfn' or not text:
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def from_row(row: dict[str, str]) -> Object:
    """The object of a row with the columns key, field, type and value.  Raises InvalidValue."""
    field = row.get("field") or ""
    value = from_cell(row["value"])
    kind = row["type"]
    if kind in SETS or kind == "mvregister":
        value = [value]
    return _checked(Object(_name(row["key"]), (_name(field),) if field else (), kind, value))


class Wide(NamedTuple):
    """How a table with a row for each key becomes maps: each other column is a field that holds a register."""

    key_column: str
    prefix: str
    as_json: bool

    def objects(self, row: dict[str, str]) -> Iterator[Object]:
        """The registers of a row; an empty cell is none.  Raises InvalidValue."""
        key = self.prefix + row[self.key_column]
        for column, text in row.items():
            if column != self.key_column and text:
                yield Object(key, (column,), "lwwregister", from_cell(text) if self.as_json else text)


# ---- what both refuse

_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "flag": (lambda value: type(value) is bool, "true or false"),
    "gcounter": (lambda value: type(value) is int and value >= 0, "an integer from 0"),
    "pncounter": (lambda value: type(value) is int, "an integer"),
    **dict.fromkeys(("gset", "orset", "mvregister"), (lambda value: type(value) is list, "a list")),
}


def _checked(one: Object) -> Object:
    if one.type not in TYPES:
        raise InvalidValue(
            f"There is no type {one.type!r}.",
            hint=f"Types are {', '.join(TYPES)}; a map is its fields, each by its path.",
        )
    fits, what = _KINDS.get(one.type, (lambda value: True, ""))
    if not fits(one.value):
        raise InvalidValue(f"The value of a {one.type} must be {what}.", hint="")
    return one


# ---- files


class Source:
    """The lines of a file, counted: of each row, where it ends and what bytes it was."""

    def __init__(
        self, file: BinaryIO, name: str, number: int = 0, end: int = 0, line_bytes_max: int = LINE_BYTES_MAX
    ) -> None:
        """`number` lines, `end` bytes, have been read before; no object may have more than `line_bytes_max` bytes."""
        self._file, self._name, self._line_bytes_max = file, name, line_bytes_max
        self.number, self.end = number, end
        self._length = self._crc = 0

    def texts(self) -> Iterator[str]:
        """Its lines.  Raises InvalidValue for what is not UTF-8, or too long: a CSV row may have several of them."""
        while raw := self._file.readline(self._line_bytes_max - self._length + 1):
            self.number += 1
            self.end += len(raw)
            self._length += len(raw)
            if self._length > self._line_bytes_max:
                raise self.wrong(
                    InvalidValue(
                        f"An object of more than {self._line_bytes_max:,} bytes, line_bytes_max.",
                        hint="A quote may be open, or a line break missing; else allow more with --line-bytes-max.",
                    )
                )
            self._crc = zlib.crc32(raw, self._crc)
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self.wrong(InvalidValue(f"Not UTF-8: byte {error.start} of the line.", hint="")) from None

    def wrong(self, error: CrdtsyncError) -> CrdtsyncError:
        """The error with the place that it is about."""
        return type(error)(f"{self._name}, line {self.number}: {error.message}", hint=error.hint)

    def ndjson(self) -> Iterator[Line]:
        """The objects of an NDJSON file; empty lines are passed over.  Raises InvalidValue."""
        for text in self.texts():
            if text.strip():
                yield from self._lines(lambda: [from_ndjson(text)])  # noqa: B023 - called at once
            else:
                self._length = self._crc = 0

    def csv(self, head: list[str], wide: Wide | None) -> Iterator[Line]:
        """The objects of a CSV file behind its head.  Raises InvalidValue."""
        rows = self._rows()
        while (cells := self._next(rows)) is not None:
            if cells:
                yield from self._lines(lambda: _objects_of(head, cells, wide))
            self._length = self._crc = 0

    def head(self) -> list[str]:
        """The first row of a CSV file: the names of its columns.  Raises InvalidValue."""
        head = self._next(self._rows()) or []
        self._length = self._crc = 0
        if len(set(head)) < len(head) or not head:
            raise self.wrong(InvalidValue("The first row must name every column, each once.", hint=""))
        return [head[0].removeprefix("\ufeff"), *head[1:]]

    def _rows(self) -> Iterator[list[str]]:
        csv.field_size_limit(self._line_bytes_max)
        return csv.reader(self.texts(), strict=True)

    def _next(self, rows: Iterator[list[str]]) -> list[str] | None:
        try:
            return next(rows, None)
        except csv.Error as error:
            raise self.wrong(InvalidValue(f"Not CSV: {error}.", hint="")) from None

    def _lines(self, read: Callable[[], Iterable[Object]]) -> Iterator[Line]:
        """The objects of one row, all read before the first is told."""
        try:
            found = list(read())
        except CrdtsyncError as error:
            raise self.wrong(error) from None
        length, crc = self._length, self._crc
        self._length = self._crc = 0
        for one in found:
            yield Line(one, self.number, self.end, length, crc)


def check_head(head: list[str], wide: Wide | None) -> None:
    """Refuse a CSV file without the columns that it needs.  Raises InvalidValue."""
    needed = [wide.key_column] if wide is not None else ["key", "type", "value"]
    missing = [column for column in needed if column not in head]
    if missing:
        raise InvalidValue(
            f"The CSV file has no column {', '.join(missing)}; it has {', '.join(head)}.",
            hint="--key-column NAME reads a table with a row for each key." if wide is None else "",
        )


def _objects_of(head: list[str], cells: list[str], wide: Wide | None) -> list[Object]:
    if len(cells) != len(head):
        raise InvalidValue(f"The row has {len(cells)} cells; the first row has {len(head)}.", hint="")
    row = dict(zip(head, cells, strict=True))
    return [from_row(row)] if wide is None else list(wide.objects(row))
