"""`crdtsync bench`: workloads, measured on this machine beside what else could do the job."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crdtsync.errors import ConfigError
from crdtsync.ops.cli.options import output_option
from crdtsync.ops.cli.output import Printer, say

if TYPE_CHECKING:
    from crdtsync.ops.bench.results import Run
    from crdtsync.ops.bench.workload import Workload

RESULTS = Path("bench-results")
WRONG = 5  # exit status: a check after a run has failed
FAILED = 1  # exit status: a system came to no result
INTERRUPTED = 130  # exit status: ^C
WORSE = 1  # exit status: a figure is worse, beyond noise
SIZE = click.Choice(("quick", "default", "full"))
FOLDER = click.Path(file_okay=False, path_type=Path)
DOCUMENT = click.Path(exists=True, dir_okay=False, writable=True, path_type=Path)
RESULT = click.Path(exists=True, path_type=Path)


@click.group("bench")
def command() -> None:
    """Measure workloads on this machine, beside other systems, and report.

    It needs: pip install 'crdtsync[bench]'.  Peers that are not installed are skipped.
    """


@command.command("list")
@output_option
def listing(output: str) -> int:
    """List the workloads: what each stands for, and on which systems it runs."""
    from crdtsync.ops.bench.workload import find, names

    rows = (
        {
            "workload": each.name, "targets": ", ".join(sorted({target.id for target in each.targets})),
            "loop": each.loop, "systems": ", ".join(each.systems), "title": each.title,
        }
        for each in map(find, names())
    )  # fmt: skip
    Printer(output).rows(rows, ("workload", "targets", "loop", "systems", "title"))
    return 0


@command.command("run")
@click.argument("workloads", nargs=-1, metavar="[WORKLOAD]...")
@click.option("--size", type=SIZE, help="How large.  [default]")
@click.option("--quick", is_flag=True, help="As --size quick: seconds in all, a look and no claim.")
@click.option("--time", "seconds", type=click.FloatRange(min=0), metavar="S", help="No sample begins after S seconds.")
@click.option("--repetitions", type=click.IntRange(min=1), metavar="N", help="Samples of each.  [the workload's]")
@click.option("--warm-up", type=click.IntRange(min=0), default=1, metavar="N", help="Samples thrown away first.  [1]")
@click.option("--system", "systems", multiple=True, metavar="NAME", help="Only this system; may be repeated.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="Change a parameter; may be repeated.")
@click.option("--seed", type=int, metavar="N", help="Seed of arrivals and orders.")
@click.option("--directory", type=FOLDER, metavar="DIR", help="Where stores lie meanwhile: the disk to measure.")
@click.option("--out", type=FOLDER, default=RESULTS, metavar="DIR", help=f"Where results go.  [{RESULTS}]")
def running(
    workloads: tuple[str, ...], size: str | None, quick: bool, seconds: float | None, repetitions: int | None,
    warm_up: int, systems: tuple[str, ...], params: tuple[str, ...], seed: int | None, directory: Path | None,
    out: Path,
) -> int:  # fmt: skip
    """Run workloads (names, or TOML files; the default set without any), and write a JSON for each.

    Every sample is taken in a process of its own, systems in turns.  Exit status 5 when a check after a sample fails,
    1 when a system comes to no result; the others go on.  What was measured before ^C is kept.
    """
    import time

    from crdtsync.ops.bench import runner
    from crdtsync.ops.bench.results import save
    from crdtsync.ops.bench.workload import with_changes

    changes = dict(pair(text) for text in params)
    if quick and size not in (None, "quick"):
        raise ConfigError(f"--quick and --size {size} say different things.")
    size = "quick" if quick else size or "default"
    until = None if seconds is None else time.monotonic() + seconds
    right, failed = True, False
    for workload in list(chosen(workloads)):
        plan = runner.Plan(
            size=size, params=with_changes(workload.at(size), changes), systems=systems,
            repetitions=repetitions or workload.repetitions, warm_up=warm_up,
            seed=runner.SEED if seed is None else seed, directory=directory, command=["crdtsync", *sys.argv[1:]],
            until=until,
        )  # fmt: skip
        run = runner.run(workload, plan, say)
        right, failed = right and run.right, failed or run.failed or bool(run.ended)
        if run.ended:
            say(f"{workload.name} ended early: {run.ended}")
        if not run.systems:
            if run.ended == runner.INTERRUPTED:
                return INTERRUPTED
            continue
        path = out / f"{workload.name}-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
        save(run, path)
        click.echo(str(path))
        if run.ended == runner.INTERRUPTED:
            return INTERRUPTED
    return WRONG if not right else FAILED if failed else 0


@command.command("compare")
@click.argument("before", type=RESULT)
@click.argument("after", type=RESULT)
@output_option
def comparing(before: Path, after: Path, output: str) -> int:
    """Compare two results, or two directories of them, figure by figure.

    A difference counts when the medians differ by more than the noise of both runs.  Exit status 1 when one is worse.
    """
    from crdtsync.ops.bench.comparing import compare
    from crdtsync.ops.bench.report import latest

    old, new = ({(run.workload.name, run.size == "full"): run for run in latest(place)} for place in (before, after))
    both = [each for each in old if each in new]
    if not both:
        raise ConfigError(f"{before} and {after} have no workload in common.")
    rows = [
        {
            "workload": old[key].workload.name, "system": each.system, "figure": each.figure, "unit": each.unit,
            "before": rounded(each.difference.before.median), "after": rounded(each.difference.after.median),
            "change": f"{each.difference.ratio - 1:+.1%}", "noise": f"{each.difference.band:.1%}",
            "verdict": each.difference.verdict,
        }
        for key in both
        for each in compare(old[key], new[key])
    ]  # fmt: skip
    columns = ("workload", "system", "figure", "unit", "before", "after", "change", "noise", "verdict")
    Printer(output).rows(rows, columns)
    return WORSE if any(row["verdict"] == "worse" for row in rows) else 0


@command.command("report")
@click.argument("results", type=RESULT, default=RESULTS, metavar="[RESULTS]")
@click.option("--out", type=FOLDER, metavar="DIR", help="Where the report goes.  [beside the results]")
@click.option(
    "--markdown",
    "documents",
    multiple=True,
    type=DOCUMENT,
    metavar="FILE",
    help="Also write the table of targets into this document, between its marks; may be repeated.",
)
def reporting(results: Path, out: Path | None, documents: tuple[Path, ...]) -> int:
    """Write report.html, which needs no other file, and report.md, from the last result of each workload."""
    from crdtsync.ops.bench.report import latest, markdown, page, put_block

    runs = latest(results)
    for document in documents:
        put_block(document, runs)
        click.echo(str(document))
    place = out or (results if results.is_dir() else results.parent)
    place.mkdir(parents=True, exist_ok=True)
    for name, text in (("report.html", page(runs)), ("report.md", markdown(runs))):
        (place / name).write_text(text)
        click.echo(str(place / name))
    summarize(runs)
    return 0


def chosen(workloads: tuple[str, ...]) -> Iterable[Workload]:
    """The workloads that were named, or the default set: those with targets first, as time may be up before the end."""
    from crdtsync.ops.bench.workload import find, names

    if workloads:
        return [find(name) for name in workloads]
    return sorted((each for each in map(find, names()) if each.in_default_set), key=lambda each: not each.targets)


def pair(text: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ConfigError(f"--param is {text!r}; it must be NAME=VALUE.")
    return name, value


def rounded(value: float) -> float:
    """Four digits."""
    return float(f"{value:.4g}")


def summarize(runs: list[Run]) -> None:
    """The targets, on standard error."""
    from crdtsync.ops.bench.judging import verdicts

    for row in verdicts(runs):
        ratio = f", {row.ratio:.2f} x {row.peer.partition(' (')[0]}" if row.ratio is not None else ""
        figure = "-" if row.figure is None else f"{rounded(row.figure):,g} {row.unit}"
        say(f"{row.id:>4}  {row.what}: {figure}{ratio} (wanted {row.wanted}): {row.met}")
