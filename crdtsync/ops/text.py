"""Text for terminals and logs, whoever has made it up."""

from __future__ import annotations

import re

# Control characters, and those that reorder or hide text: a key must not be able to steer the terminal that shows it.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def safe(text: str) -> str:
    """The text in one line: what is not printable is written as an escape."""
    return UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
