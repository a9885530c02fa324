"""Logs of a server: lines for people, or one JSON object a line.  The library itself only uses `logging`."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from crdtsync.errors import ConfigError
from crdtsync.ops.text import safe

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
MESSAGE_MAX = 16_384  # characters of a message or traceback: a line stays one that log collectors take

# What every LogRecord has; the rest was given as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: ts, level, logger, message, node, thread, the extra fields, exception."""

    def __init__(self, node: str = "") -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record)[:MESSAGE_MAX],
            "thread": record.threadName,
        }
        if self._node:
            fields["node"] = self._node
        for name, value in vars(record).items():
            if name not in _STANDARD:
                fields.setdefault(name, _plain(value))
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)[-MESSAGE_MAX:]
        if record.stack_info:
            fields["stack"] = record.stack_info[-MESSAGE_MAX:]
        return json.dumps(fields)


class TextFormatter(logging.Formatter):
    """A record as a line for people; only tracebacks have lines of their own."""

    def __init__(self) -> None:
        super().__init__(TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """What others send, or name themselves, neither begins a line nor steers the terminal that shows it."""
        return safe(super().formatMessage(record)[:MESSAGE_MAX])


def _message(record: logging.LogRecord) -> str:
    """The message with its arguments; one whose arguments do not fit is told all the same."""
    try:
        return record.getMessage()
    except Exception:
        return f"{record.msg} {record.args!r}"


def _plain(value: object) -> object:
    """The value, or text for what JSON does not know, or would make too long."""
    try:
        return value if len(json.dumps(value, allow_nan=False)) <= MESSAGE_MAX else repr(value)[:MESSAGE_MAX]
    except (TypeError, ValueError, RecursionError):
        return repr(value)[:MESSAGE_MAX]


def configure(format: str = "text", level: str = "info", node: str = "", stream: TextIO | None = None) -> None:
    """Send the log of this process to `stream` (standard error), in place of whatever was configured.

    `node` names the process in each JSON object.  Raises ConfigError.
    """
    for name, value, allowed in (("log_format", format, FORMATS), ("log_level", level, LEVELS)):
        if value not in allowed:
            raise ConfigError(f"{name} is {value!r}; it may be one of {', '.join(allowed)}.")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(node) if format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
