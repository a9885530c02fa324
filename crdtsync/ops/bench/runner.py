"""Runs a workload: systems in turns, a process for each sample, checks after each, one Run at the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

import crdtsync
from crdtsync.errors import ConfigError, EnvironmentFault
from crdtsync.ops.bench import machine
from crdtsync.ops.bench.adapters import adapter
from crdtsync.ops.bench.bench import Task, params_of
from crdtsync.ops.bench.drivers import driver
from crdtsync.ops.bench.results import FAILED, Check, Measured, Run, Sample
from crdtsync.ops.bench.workload import Params, Workload

SEED = 20_130_101
INTERRUPTED = "it was interrupted"
TIME_IS_UP = "the time for all workloads was up"
LOG_LINES = 15  # of a process that failed
Tell = Callable[[str], None]


class Plan(msgspec.Struct, kw_only=True):
    """How a workload is run."""

    size: str = "default"
    params: Params
    systems: tuple[str, ...] = ()  # empty: all of the workload
    repetitions: int = 5
    warm_up: int = 1
    seed: int = SEED
    directory: Path | None = None  # where stores lie; None: the directory for temporary files
    command: list[str] = []
    until: float | None = None  # time.monotonic() after which no sample begins


def run(workload: Workload, plan: Plan, tell: Tell) -> Run:
    """Run it.  Raises ConfigError, ExtraMissing.  A system of which a sample fails is skipped from there on.

    When it is interrupted, or its time is up, what was measured until then is the result, and `ended` says why.
    """
    units = driver(workload.driver).UNITS
    params_of(driver(workload.driver), plan.params)
    begun, started = time.perf_counter(), datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="crdtsync-bench-", dir=plan.directory) as place:
        described = machine.describe(Path(place))
        systems, skipped = _systems(workload, plan, tell)
        ended = ""
        try:
            _turns(workload, plan, Path(place, "sample"), systems, skipped, tell)
        except KeyboardInterrupt:
            ended = INTERRUPTED
        except TimeoutError as late:
            ended = str(late)
        for name in [name for name, measured in systems.items() if not measured.samples]:
            skipped[name] = ended
            del systems[name]
        described["load_after"] = os.getloadavg()[0]
    return Run(
        workload=workload, size=plan.size, params=plan.params, seed=plan.seed, repetitions=plan.repetitions,
        warm_up=plan.warm_up, started=started.isoformat(timespec="seconds"), seconds=time.perf_counter() - begun,
        command=plan.command, machine=described, versions=machine.versions(), commit=machine.commit(), units=units,
        systems=systems, skipped=skipped, ended=ended,
    )  # fmt: skip


def _turns(
    workload: Workload, plan: Plan, place: Path, systems: dict[str, Measured], skipped: dict[str, str], tell: Tell
) -> None:
    """A sample of each system, as often as planned.  Raises TimeoutError when there is no time for another."""
    for turn in range(-plan.warm_up, plan.repetitions):
        for name, measured in list(systems.items()):
            if plan.until is not None and time.monotonic() >= plan.until:
                raise TimeoutError(TIME_IS_UP)
            try:
                sample = _sample(workload, plan, name, place, plan.seed + turn)
            except EnvironmentFault as fault:  # the others go on
                skipped[name] = f"{FAILED}{fault.message}"
                del systems[name]
                tell(f"{workload.name}: {name}: {fault.message} {fault.hint}")
                continue
            if turn >= 0:
                measured.samples.append(sample)
            tell(_line(workload, name, turn, plan, sample))


def _systems(workload: Workload, plan: Plan, tell: Tell) -> tuple[dict[str, Measured], dict[str, str]]:
    """Systems that can be measured here, and why others cannot."""
    wanted = plan.systems or workload.systems
    for name in wanted:
        if name not in workload.systems:
            known = ", ".join(workload.systems)
            raise ConfigError(f"Workload {workload.name} does not know the system {name!r}; it knows {known}.")
    systems: dict[str, Measured] = {}
    skipped: dict[str, str] = {}
    for name in wanted:
        kind = adapter(name)
        reason = kind.missing()
        if reason:
            skipped[name] = reason
            tell(f"{workload.name}: {name} is skipped: {reason}")
        else:
            systems[name] = Measured(
                kind.title, kind.version(), kind.semantics, kind.durability, keeps=kind.keeps
            )
    return systems, skipped


def _sample(workload: Workload, plan: Plan, system: str, place: Path, seed: int) -> Sample:
    """One sample, and what a fresh process finds after its kill."""
    task = Task(workload.driver, system, plan.params, str(place), seed)
    try:
        sample = process(task, workload.timeout)
        if sample.expected is not None:
            after = msgspec.structs.replace(task, expected=sample.expected)
            sample.checks += process(after, workload.timeout).checks
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return sample


def process(task: Task, timeout: float) -> Sample:
    """Run the process of one task, in a session of its own: whatever it has started ends with it."""
    here = os.pathsep.join(filter(None, [str(Path(crdtsync.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "crdtsync.ops.bench.child"]
    pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONPATH": here, "PYTHONHASHSEED": "0"}
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
    ) as running:
        try:
            out, told = running.communicate(msgspec.json.encode(task), timeout)
        except subprocess.TimeoutExpired as late:
            text = f"{task.driver} on {task.system} took more than {timeout:g} s."
            raise EnvironmentFault(text, changed="") from late
        finally:
            with suppress(ProcessLookupError):  # nobody is left
                os.killpg(running.pid, signal.SIGKILL)
    lines = out.splitlines()
    if not lines:
        log = told.decode(errors="replace").splitlines()[-LOG_LINES:]
        print(*log, sep="\n", file=sys.stderr)
        text = f"{task.driver} on {task.system} ended with status {running.returncode}."
        raise EnvironmentFault(text, hint=log[-1] if log else "", changed="")
    return msgspec.json.decode(lines[-1], type=Sample)


def _line(workload: Workload, system: str, turn: int, plan: Plan, sample: Sample) -> str:
    at = "warm-up" if turn < 0 else f"{turn + 1}/{plan.repetitions}"
    shown = ", ".join(f"{name} {value:,.4g}" for name, value in list(sample.figures.items())[:3])
    wrong = [f"; WRONG: {failed(check)}" for check in sample.checks if not check.ok]
    late = [f"; INVALID: {fault}" for fault in sample.faults]
    return f"{workload.name}: {system} {at}: {shown}{''.join(wrong)}{''.join(late)}"


def failed(check: Check) -> str:
    """What a check says that does not hold."""
    return f"{check.what} ({check.detail})" if check.detail else check.what
