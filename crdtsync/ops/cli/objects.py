"""What the data commands share: handles by their type's name, values from the command line, the print of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from crdtsync.ops.cli.options import Remote
from crdtsync.ops.cli.output import as_json
from crdtsync.ops.text import safe


def write(
    remote: Remote, bucket: str, key: str, fields: Sequence[str], kind: str, act: Callable[[Any], None],
    *, sync: bool, token: bool,
) -> None:  # fmt: skip
    """Carry out one write, and tell its token when it was asked for."""
    from crdtsync.ops.reading import handle

    with remote.client() as client:
        within = client.bucket(bucket)
        with within.batch(sync=sync) as scope:
            act(handle(within, key, fields, kind))
        if token or remote.output != "table":
            remote.printer.one({"token": scope.token}, [safe(scope.token)])


def given(text: str, as_json: bool) -> Any:
    """A value from the command line.  Raises InvalidValue."""
    from crdtsync.datatypes import jsonform

    return jsonform.loads(text) if as_json else text


def row(key: str, path: Sequence[str], kind: str, value: Any) -> dict[str, Any]:
    """One object as a row of output; values are in their JSON form."""
    from crdtsync.datatypes import jsonform

    elements = jsonform.in_order(value) if isinstance(value, set) else value
    return {"key": key, "path": list(path), "type": kind, "value": jsonform.encode(elements)}


def for_table(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the fields of a map behind their key."""
    return [{**each, "key": "/".join([each["key"], *each["path"]])} for each in rows]


def bare(value: Any) -> list[str]:
    """A value alone, for scripts: text as it is, a line for each element of a list."""
    return [text for one in (value if isinstance(value, list) else [value]) for text in [_bare(one)]]


def _bare(value: Any) -> str:
    return safe(value) if isinstance(value, str) else as_json(value)
