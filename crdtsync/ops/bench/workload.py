"""Workloads: small TOML files that say what is measured, on which systems, at which size, and what it has to reach."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from crdtsync.errors import ConfigError

PACKAGED = Path(__file__).parent / "workloads"
SIZES = ("quick", "default", "full")
Params = dict[str, int | float | str | bool]


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row of the table of targets: a bound on a figure of crdtsync, or on its ratio to a peer's figure."""

    id: str  # P1 ...
    what: str
    figure: str
    system: str = "crdtsync"  # whose figure it is
    peer: str = ""  # a system of the same workload that stands beside it
    bound: str = "ratio"  # ratio | figure: what the bounds are of, when there is a peer
    peer_figure: str = ""  # the peer's figure, where it has another name
    least: float | None = None
    most: float | None = None
    repetitions: int = 5  # below which it is not judged; 1 for what does not depend on time, and takes long
    size: str = ""  # the size that it is about, at which alone it is judged; empty: any

    @property
    def relative(self) -> bool:
        """Whether the bounds are of the ratio to the peer."""
        return bool(self.peer) and self.bound == "ratio"


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One workload as its file describes it."""

    name: str = ""  # the file's
    title: str
    stands_for: str  # the application that this is a model of
    driver: str
    systems: tuple[str, ...]
    loop: str  # closed | open | fixed: see docs/benchmarks.md
    repetitions: int = 5
    timeout: float = 300.0  # s that one sample may take
    in_default_set: bool = True
    params: Params = {}
    quick: Params = {}  # what is different at this size: seconds in all, for tests and a first look
    full: Params = {}  # the sizes that the targets name
    targets: tuple[Target, ...] = ()

    def at(self, size: str) -> Params:
        """The parameters at one of SIZES.  Raises ConfigError."""
        if size not in SIZES:
            raise ConfigError(f"There is no size {size!r}; there are {', '.join(SIZES)}.")
        changes: Params = {"quick": self.quick, "full": self.full}.get(size, {})
        return {**self.params, **changes}


def names() -> list[str]:
    """Names of the workloads that come with the package, sorted."""
    return sorted(path.stem for path in PACKAGED.glob("*.toml"))


def find(name: str) -> Workload:
    """A workload by its name, or by the path of a TOML file.  Raises ConfigError."""
    packaged = PACKAGED / f"{name}.toml"
    path = packaged if packaged.is_file() else Path(name)
    if path.suffix != ".toml" or not path.is_file():
        raise ConfigError(f"There is no workload {name!r}.", hint="`crdtsync bench list` shows those that there are.")
    return load(path)


def load(path: Path) -> Workload:
    """Read one file.  Raises ConfigError that names the file and what is wrong in it."""
    try:
        found = msgspec.convert(tomllib.loads(path.read_text()), Workload)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}.") from error
    if found.loop not in ("closed", "open", "fixed"):
        raise ConfigError(f"{path}: loop is {found.loop!r}; it may be closed, open or fixed.")
    return msgspec.structs.replace(found, name=path.stem)


def with_changes(params: Mapping[str, Any], changes: Mapping[str, str]) -> Params:
    """Parameters with some replaced by texts from the command line, each read as the kind that it replaces."""
    result = dict(params)
    for name, text in changes.items():
        if name not in params:
            raise ConfigError(f"The workload has no parameter {name!r}; it has {', '.join(sorted(params))}.")
        kind = type(params[name])
        try:
            result[name] = msgspec.convert(text, kind, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{name} is {text!r}; it must be of type {kind.__name__}.") from error
    return result
