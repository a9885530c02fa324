"""Runs as a page that needs nothing else, and as Markdown: targets first, then every workload with its systems."""

from __future__ import annotations

import html
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from crdtsync.errors import ConfigError
from crdtsync.ops.bench import histograms
from crdtsync.ops.bench.judging import ENOUGH, Verdict, complete, verdicts
from crdtsync.ops.bench.plots import bars, curves, number, sweeps
from crdtsync.ops.bench.results import Measured, Run, load
from crdtsync.ops.bench.spread import Summary, summary

LOOPS = {
    "closed": "Closed loop: each operation begins when the one before has ended, to find the peak.",
    "open": "Open loop: operations begin when they are due; response times count from then.",
    "fixed": "A fixed amount of work.",
}
FULL = "full"
CURVE = (0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)
STYLE = """body{font-family:sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left;
vertical-align:top}td.n{text-align:right}.no,.wrong{color:#b00020}.yes{color:#1b6e1b}pre{white-space:pre-wrap}"""
TARGETS = ("id", "target", "wanted", "figure", "its writes", "peer in the same run", "ratio", "met")
BEGIN, END = "<!-- crdtsync bench report: begin -->", "<!-- crdtsync bench report: end -->"
Row = Sequence[str]


def latest(place: Path) -> list[Run]:
    """The last run of each workload among the JSON files of a directory, or the run in a file.  Raises ConfigError.

    Runs of size full stand beside the others: what they are about cannot be had otherwise.
    """
    paths = sorted(place.glob("*.json")) if place.is_dir() else [place]
    found: dict[tuple[str, bool], Run] = {}
    for run in sorted(map(load, paths), key=lambda run: run.started):
        found[run.workload.name, run.size == FULL] = run
    if not found:
        raise ConfigError(f"There is no result in {place}.", hint="`crdtsync bench run` makes some.")
    return [found[key] for key in sorted(found)]


def notes(runs: Sequence[Run]) -> list[str]:
    """What must be known before the figures are read."""
    machine = runs[-1].machine
    loads = [value for run in runs for value in (run.machine["load_before"], run.machine["load_after"])]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, "
        f"{machine['system']}, {machine['file_system']}; Python {runs[-1].versions['python']}, "
        f"{runs[-1].versions['kernels']} kernels, commit {runs[-1].commit[:12] or 'unknown'}.",
        f"Load average of the machine during the runs: {min(loads):.1f} to {max(loads):.1f}.",
    ]
    if max(loads) > machine["cores"]:
        lines.append(
            "**The machine was busy with other things: trust ratios within one run, not absolute figures.** "
            "Systems take their samples in turns, so that they share what disturbs."
        )
    if any(run.repetitions < ENOUGH and run.size != FULL for run in runs):
        lines.append(f"Fewer than {ENOUGH} repetitions: a look, and no claim.")
    large = [f"{run.workload.name} ({run.repetitions})" for run in runs if run.size == FULL]
    if large:
        lines.append(f"Measured at size full, with so many samples, and no median where it is one: {', '.join(large)}.")
    return lines


def target_rows(rows: Iterable[Verdict]) -> list[Row]:
    """Cells of the table of targets."""
    return [
        (
            row.id, f"{row.what} (`{row.workload}`{_size(row)})", row.wanted, _with_unit(row.figure, row.unit),
            row.durability,
            f"{_with_unit(row.peer_figure, row.unit)}, {row.peer}" if row.peer_figure is not None else "",
            "" if row.ratio is None else f"{row.ratio:.2f}", row.met,
        )
        for row in rows
    ]  # fmt: skip


def system_rows(run: Run) -> tuple[Row, list[Row]]:
    """(head, cells) of a workload's table: a system a row, its figures as median [lowest, highest]."""
    figures = run.figures
    head = ("system", "version", "semantics", "durability", *map(_plain, figures), "checks")
    rows: list[Row] = []
    for measured in run.systems.values():
        cells = [_cell(measured.values(name), run.unit(name).unit) for name in figures]
        rows.append((measured.title, measured.version, measured.semantics, measured.durability, *cells, told(measured)))
    return head, rows


def told(measured: Measured) -> str:
    """Whether the checks held, and whether the figures count."""
    wrong = sorted({check.what for sample in measured.samples for check in sample.checks if not check.ok})
    if wrong:
        return f"WRONG: {'; '.join(wrong)}"
    if measured.faults:
        return f"INVALID: {'; '.join(measured.faults)}"
    return "; ".join(sorted({check.what for sample in measured.samples for check in sample.checks}))


def markdown(runs: Sequence[Run]) -> str:
    """All of it as Markdown."""
    parts = [*notes(runs), "\n".join(_markdown_table(TARGETS, target_rows(verdicts(runs))))]
    for run in runs:
        head, rows = system_rows(run)
        skipped = [f"{name} was skipped: {why}." for name, why in run.skipped.items()]
        parts += [f"### {_heading(run)} (`{run.workload.name}`)", _about(run), *skipped]
        parts.append("\n".join(_markdown_table(head, rows)))
        parts.append(f"`{_command(run)}`")
    return "\n\n".join(parts) + "\n"


def block(runs: Sequence[Run]) -> str:
    """The table of all targets between its marks, as it stands in documents."""
    said = notes(runs) if runs else ["Nothing was measured."]
    lines = [BEGIN, *said, "\n".join(_markdown_table(TARGETS, target_rows(complete(runs)))), END]
    return "\n\n".join(lines)


def put_block(document: Path, runs: Sequence[Run]) -> None:
    """Write the table into a document, in place of the one between the marks.  Raises ConfigError without them."""
    text = document.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ConfigError(f"{document} has no place for the table.", hint=f"Put {BEGIN} and {END} where it belongs.")
    document.write_text(f"{before}{block(runs)}{after}")


def page(runs: Sequence[Run]) -> str:
    """All of it as one HTML page with its plots inside."""
    body = ["<h1>crdtsync benchmarks</h1>"]
    body += [f"<p>{html.escape(line.replace('**', ''))}</p>" for line in notes(runs)]
    body.append("<h2>Targets</h2>" + _html_table(TARGETS, target_rows(verdicts(runs))))
    for run in runs:
        body += _section(run)
    head = f"<meta charset='utf-8'><title>crdtsync benchmarks</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(body)}</body></html>\n"


def _section(run: Run) -> Iterator[str]:
    yield f"<h2>{html.escape(_heading(run))}</h2><p>{html.escape(_about(run))}</p>"
    for name, why in run.skipped.items():
        yield f"<p>{html.escape(name)} was skipped: {html.escape(why)}.</p>"
    for figure in (name for name in run.figures if "@" not in name):
        unit = run.unit(figure)
        values = {each.title: summary(each.values(figure)) for each in run.systems.values() if each.values(figure)}
        if values and _plotted(figure):
            better = "more" if unit.higher else "less"
            yield f"<h4>{html.escape(unit.what or figure)} ({better} is better)</h4>{bars(values, unit.unit)}"
    for figure, unit in run.units.items():
        swept = sweep(run, figure)
        if swept:
            yield f"<h4>{html.escape(unit.what or figure)}</h4>{sweeps(swept, unit.unit)}"
    lines = latencies(run)
    if lines:
        yield f"<h4>Latency by percentile, all repetitions together</h4>{curves(lines)}"
    yield _html_table(*system_rows(run)) + f"<pre>{html.escape(_command(run))}</pre>"


def sweep(run: Run, figure: str) -> dict[str, list[tuple[float, Summary]]]:
    """{system: [(point, figure there)]} of a figure that was measured at several points."""
    found: dict[str, list[tuple[float, Summary]]] = {}
    for measured in run.systems.values():
        names = [name for name in run.figures if name.startswith(f"{figure}@") and measured.values(name)]
        line = [(float(name.partition("@")[2]), summary(measured.values(name))) for name in names]
        if line:
            found[measured.title] = sorted(line, key=lambda point: point[0])
    return found


def latencies(run: Run) -> dict[str, list[tuple[float, float]]]:
    """{"system, what": [(percentile, ms)]} of all histograms, those of the repetitions added."""
    found = {}
    for measured in run.systems.values():
        for what in sorted({name for sample in measured.samples for name in sample.histograms}):
            total = histograms.empty()
            for sample in measured.samples:
                if what in sample.histograms:
                    total.add(histograms.unpacked(sample.histograms[what]))
            line = [(at, total.get_value_at_percentile(at) / 1e6) for at in CURVE]
            found[f"{measured.title}: {what}"] = line
    return found


def _plotted(figure: str) -> bool:
    """Percentiles have a plot of their own."""
    return not any(part in figure for part in ("_p9", "_p5", "_max"))


def _heading(run: Run) -> str:
    return run.workload.title + (f", size {FULL}" if run.size == FULL else "")


def _about(run: Run) -> str:
    params = ", ".join(f"{name} {value}" for name, value in run.params.items())
    return (
        f"{run.workload.stands_for} {LOOPS[run.workload.loop]} Size {run.size}: {params}. Medians of "
        f"{run.repetitions} repetitions [lowest, highest] after {run.warm_up} for warm-up, seed {run.seed}."
        f"{f' It ended early: {run.ended}.' if run.ended else ''}"
    )


def _command(run: Run) -> str:
    return shlex.join(run.command)


def _cell(values: Sequence[float], unit: str) -> str:
    if not values:
        return ""
    found = summary(values)
    return f"{number(found.median)} [{number(found.low)}, {number(found.high)}] {unit}".rstrip()


def _size(row: Verdict) -> str:
    if row.size != FULL:
        return ""
    return f", size {FULL}, {'one sample' if row.samples == 1 else f'{row.samples} samples'}"


def _with_unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{number(value)} {unit}".rstrip()


def _plain(figure: str) -> str:
    return figure.replace("_", " ").replace("@", " at ")


def _markdown_table(head: Row, rows: Iterable[Row]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"


def _html_table(head: Row, rows: Iterable[Row]) -> str:
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = [f"<tr>{cells}</tr>"]
    for row in rows:
        cells = "".join(f"<td{_class(cell)}>{html.escape(cell)}</td>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _class(cell: str) -> str:
    if cell in ("yes", "no"):
        return f" class='{cell}'"
    return " class='wrong'" if cell.startswith(("WRONG", "INVALID")) else ""
