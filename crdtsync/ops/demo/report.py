"""What one sees at the end: expected beside each replica, what it cost, and whether everything is equal."""

from __future__ import annotations

import sys

from rich import box
from rich.console import Console
from rich.table import Table

from crdtsync.ops.demo.compare import PER_CARRIER, Line
from crdtsync.ops.demo.outcome import Outcome

PLAIN_WIDTH = 110  # columns without a terminal


def print_report(outcome: Outcome) -> None:
    """Write the whole report to standard output."""
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    style = box.SIMPLE_HEAD if sys.stdout.isatty() else None
    console.print(answers_table(outcome, style))
    console.print(replicas_table(outcome, style))
    for airport, report in outcome.reports.items():
        console.print(f"digest of {airport}: {report['digest']}")
    for recovery in outcome.recoveries:
        console.print(f"{recovery.what}: {recovery.events:,} missed events were there after {recovery.seconds:.2f} s")
    console.print(
        f"{outcome.rows:,} flights in {outcome.seconds:.1f} s ({outcome.rate:,.0f} rows/s); "
        f"every replica had everything {outcome.settled:.2f} s after the last one"
    )
    console.print("; ".join(f"{name} {count:,}" for name, count in outcome.facts.items()))
    for example in outcome.comparison.examples:
        console.print(f"DIFFERENCE  {example}", style="bold red", markup=False)
    console.print(verdict(outcome), style="bold green" if outcome.equal else "bold red")


def answers_table(outcome: Outcome, style: box.Box | None) -> Table:
    airports = list(outcome.reports)
    table = Table(box=style, title="Expected, from the file alone, beside each replica", title_justify="left")
    table.add_column("what")
    for name in ("expected", *airports, "differences"):
        table.add_column(name, justify="right")
    for line in outcome.comparison.lines:
        ends = bool(line.name) and line.section == PER_CARRIER[-1]
        table.add_row(
            title(line),
            f"{line.expected:,}",
            *(f"{line.found[airport]:,}" for airport in airports),
            f"{line.differences:,}" if line.differences else "-",
            style="bold red" if line.differences else None,
            end_section=ends and style is not None,
        )
    return table


def title(line: Line) -> str:
    if line.name:
        return f"{line.name} {line.section.removesuffix(' per carrier')}"
    return f"{line.section}, all"


def replicas_table(outcome: Outcome, style: box.Box | None) -> Table:
    table = Table(box=style, title="Replicas, each since its last start", title_justify="left")
    table.add_column("")
    for airport in outcome.reports:
        table.add_column(airport, justify="right")
    reports = list(outcome.reports.values())
    table.add_row("dead rows uncollected", *(f"{report['dead']:,}" for report in reports))
    table.add_row("bytes sent per changed row", *(per_row(report) for report in reports))
    table.add_row("rows sent", *(f"{report['rows_sent']:,}" for report in reports))
    table.add_row("memory, MiB", *(f"{report['memory'] / 2**20:,.0f}" for report in reports))
    return table


def per_row(report: dict[str, int]) -> str:
    return f"{report['bytes_sent'] / report['rows_sent']:.1f}" if report["rows_sent"] else "-"


def verdict(outcome: Outcome) -> str:
    if outcome.equal:
        return f"EQUAL: {outcome.comparison.compared:,} answers compared, no difference; all digests are the same."
    digests = "" if len({report["digest"] for report in outcome.reports.values()}) == 1 else "; the digests differ"
    return f"NOT EQUAL: {outcome.comparison.differences:,} differences{digests}."
