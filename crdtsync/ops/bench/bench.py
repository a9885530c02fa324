"""One sample as a process takes it: which system, what size, where; and what a driver is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import msgspec

from crdtsync.errors import ConfigError
from crdtsync.ops.bench.results import Check, Sample, Unit
from crdtsync.ops.bench.workload import Params


class Task(msgspec.Struct, frozen=True):
    """What the process of one sample is told, as JSON on standard input."""

    driver: str
    system: str
    params: Params
    directory: str
    seed: int
    expected: dict[str, Any] | None = None  # set: do not measure, but verify what a killed process has left

    @property
    def place(self) -> Path:
        """Where the sample may write."""
        return Path(self.directory)


class Driver(Protocol):
    """A module of `drivers`: what is measured, whatever the system."""

    Params: type[msgspec.Struct]
    UNITS: dict[str, Unit]

    def measure(self, task: Task, params: Any) -> Sample:
        """Take one sample.  With `expected` set in it the process is killed with SIGKILL afterwards, as it stands."""

    def verify(self, task: Task, params: Any) -> list[Check]:
        """In a fresh process, after the kill: what of `task.expected` is true of the directory."""


def params_of(driver: Driver, params: Params) -> Any:
    """The driver's parameters, checked.  Raises ConfigError."""
    try:
        return msgspec.convert(params, driver.Params)
    except msgspec.ValidationError as error:
        raise ConfigError(f"The parameters do not fit the driver: {error}.") from error
