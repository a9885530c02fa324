"""python -m crdtsync.sim: run seeds, print a readable trace and the verdict; shrink one that fails; measure crowds."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import msgspec

from crdtsync.sim.campaign import campaign
from crdtsync.sim.crowd import CROWD
from crdtsync.sim.plan import TROUBLES, Plan, chosen
from crdtsync.sim.plots import save_plots
from crdtsync.sim.shrinking import Case, shrink
from crdtsync.sim.study import Study, study
from crdtsync.sim.trial import Verdict, run


def main(arguments: list[str] | None = None) -> int:
    """Run the seeds asked for; 0 when all are clean, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m crdtsync.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="run one seed")
    parser.add_argument("--seeds", metavar="A..B", help="run seeds A to B (A:B: to B - 1)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that run seeds side by side")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write there what --seeds met, or --nodes gave")
    parser.add_argument("--case", type=Path, metavar="FILE", help="run a case that --shrink has saved")
    parser.add_argument("--trace", action="store_true", help="print every step as it happens")
    parser.add_argument("--without", action="append", default=[], metavar="TROUBLE", help="leave a trouble out")
    parser.add_argument("--only", action="append", default=[], metavar="TROUBLE", help="no trouble but this")
    parser.add_argument("--shrink", action="store_true", help="make a seed that fails into a small case, and tell it")
    parser.add_argument("--nodes", metavar="N,N", help="the scale study: clusters of so many nodes, instead of seeds")
    parser.add_argument("--loss", metavar="%%,%%", default="0,5,20,50", help="of the study: messages lost, in percent")
    parser.add_argument("--seconds", type=float, default=3.0, help="of the study: how long nodes write in each story")
    parser.add_argument("--save", type=Path, metavar="FILE", help="where --shrink saves the case")
    options = parser.parse_args(arguments)
    if options.nodes is not None:
        return _study(options, parser)
    if [options.seed, options.seeds, options.case].count(None) != 2:
        parser.error("give one of --seed, --seeds, --case and --nodes")
    if options.case is not None:
        return _case(options.case, options.trace)
    if options.seeds is not None:
        return _many(*_range(options.seeds, parser), options)
    if options.shrink:
        return _shrink(options.seed, chosen(options.seed, _left_out(options)), options.save)
    return _one(options.seed, chosen(options.seed, _left_out(options)), options.trace)


def _range(text: str, parser: argparse.ArgumentParser) -> tuple[int, int]:
    """First and last seed of "A..B" (B among them) or "A:B" (B not among them)."""
    first, dots, last = text.partition("..") if ".." in text else text.partition(":")
    try:
        return int(first), int(last) - (dots == ":")
    except ValueError:
        parser.error(f"--seeds takes A..B or A:B, not {text!r}")


def _study(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Measure clusters of several sizes, one after the other; what there is is written after each."""
    try:
        nodes = [int(count) for count in options.nodes.split(",")]
        losses = [float(share) / 100 for share in options.loss.split(",")]
    except ValueError:
        parser.error("--nodes takes numbers of nodes, --loss percents, with commas between them")
    members_max = CROWD.members_max
    if min(nodes) < 2 or max(nodes) > members_max or min(losses) < 0 or max(losses) > 0.9 or options.seconds <= 0:
        parser.error(f"--nodes takes 2 to {members_max:,}, --loss 0 to 90, --seconds more than 0")

    def told(so_far: Study) -> None:
        print(so_far.text() if len(so_far.runs) == 1 else so_far.text().splitlines()[-1] + "\n", end="", flush=True)
        if options.report is not None:
            so_far.save(options.report)

    found = study(nodes, losses, options.seed or 0, options.seconds, told)
    if options.report is not None and (why := save_plots(found, options.report)):
        print(why, file=sys.stderr)
    return 0 if all(run.agreed for run in found.runs) else 1


def _left_out(options: argparse.Namespace) -> frozenset[str]:
    """The troubles that are not wanted."""
    unknown = {*options.without, *options.only} - TROUBLES
    if unknown:
        raise SystemExit(f"There is no trouble {sorted(unknown)[0]!r}; there are {', '.join(sorted(TROUBLES))}.")
    return frozenset(options.without) | (TROUBLES - {*options.only} if options.only else frozenset())


def _case(file: Path, trace: bool) -> int:
    case = msgspec.json.decode(file.read_bytes(), type=Case)
    return _told(case.run(trace=print if trace else None), trace)


def _shrink(seed: int, plan: Plan, save: Path | None) -> int:
    """Tell a small case of what a seed finds."""
    case = shrink(seed, plan, told=lambda line: print(line, file=sys.stderr, flush=True))
    if case is None:
        print(f"seed {seed} does not fail")
        return 0
    encoded = msgspec.json.format(msgspec.json.encode(case))
    case.run(trace=print)
    print(encoded.decode())
    if save is not None:
        save.write_bytes(encoded + b"\n")
    return 1


def _one(seed: int, plan: Plan, trace: bool) -> int:
    return _told(run(seed, print if trace else None, plan), trace)


def _told(verdict: Verdict, trace: bool) -> int:
    if not trace and not verdict.ok:
        print("\n".join(verdict.tail))
    print(verdict.summary())
    for name, count in sorted(verdict.counters.items()):
        print(f"  {count:7} {name}")
    return 0 if verdict.ok else 1


def _many(first: int, last: int, options: argparse.Namespace) -> int:
    """Run seeds `first` to `last`, and say what they met."""

    def told(verdict: Verdict) -> None:
        if not verdict.ok:
            print(verdict.summary(), flush=True)

    planner = partial(chosen, leave_out=_left_out(options))
    report = campaign(first, last, planner, options.jobs, told)
    print(report.text(), end="")
    if options.report is not None:
        report.save(options.report)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
