"""What a setting's text means: plain numbers in the documented unit, or with a unit of its own ("64MiB", "2s")."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from crdtsync.errors import ConfigError
from crdtsync.ops.settings.table import Setting

SIZES = {"B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "KB": 10**3, "MB": 10**6, "GB": 10**9}
SIZES["TB"] = 10**12
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
AMOUNT = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*\Z")


def from_text(setting: Setting, text: str) -> Any:
    """The value of a flag or variable.  Raises ConfigError."""
    if setting.type is str:
        return text
    if setting.type == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if setting.type in (bool, bool | None):
        return _boolean(setting, text)
    return checked(setting, _number(setting, text))


def checked(setting: Setting, value: Any) -> Any:
    """A value from a file, of the setting's type.  Raises ConfigError."""
    if isinstance(value, str) and setting.unit:
        value = with_unit(setting, value)
    if isinstance(value, str) and setting.type == tuple[str, ...]:
        value = [value]
    try:
        return msgspec.convert(value, setting.type)
    except (msgspec.ValidationError, UnicodeEncodeError):  # variables and flags may have bytes that are no text
        raise _unfit(setting, value) from None


def with_unit(setting: Setting, text: str) -> Any:
    """ "64MiB" in bytes, "2s" in seconds; a text that is no amount comes back as it is, for `checked` to refuse."""
    match = AMOUNT.match(text)
    if match is None:
        return text
    number, unit = match.groups()
    try:
        if setting.unit == "seconds" and unit.lower() in SECONDS:
            return float(number) * SECONDS[unit.lower()]
        if setting.unit == "bytes" and unit.upper() in SIZES:
            size = float(number) * SIZES[unit.upper()] if "." in number else int(number) * SIZES[unit.upper()]
            if size == int(size):
                return int(size)
    except (ValueError, OverflowError):  # "5_" is no number, and some are too long to be read
        pass
    return text


def _boolean(setting: Setting, text: str) -> bool | None:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if setting.type == bool | None and text.lower() in ("", "none"):
        return None
    raise _unfit(setting, text)


def _number(setting: Setting, text: str) -> Any:
    try:
        return setting.type(text)
    except ValueError:
        return with_unit(setting, text) if setting.unit else text


def _unfit(setting: Setting, value: Any) -> ConfigError:
    example = {"bytes": ' such as 67108864 or "64MiB"', "seconds": ' such as 0.5 or "500ms"'}.get(setting.unit, "")
    unit = f" of {setting.unit}" if setting.unit else ""
    article = "an" if setting.kind[0] in "aeio" else "a"
    return ConfigError(f"{setting.name} is {value!r}; it must be {article} {setting.kind}{unit}{example}.")
