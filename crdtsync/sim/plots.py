"""Plots of the scale study as PNG, by matplotlib (the extra `study`)."""

from __future__ import annotations

from pathlib import Path

from crdtsync.sim.study import Figures, Study

CURVES = {
    "rounds": "gossip rounds from the last write until all agree",
    "burst": "s from a burst until all agree",
    "partition": "s from the end of a partition until all agree",
    "messages": "messages sent by a node in a second",
    "bytes": "bytes sent by a node in a second",
    "redundancy": "rows sent to rows that were news",
}


def save_plots(study: Study, directory: Path) -> str:
    """Write one NAME.png for each of CURVES, against nodes, a line for each loss; gives why not, if not."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        return f"no plots: {error}; pip install 'crdtsync[study]'"
    for name, label in CURVES.items():
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.add_subplot(xlabel="nodes", ylabel=label, xscale="log")
        for loss in sorted({run.loss for run in study.runs}):
            points = [(run.nodes, value) for run in study.runs if run.loss == loss and (value := _of(run, name))]
            axes.plot([nodes for nodes, _ in points], [value for _, value in points], "o-", label=f"{loss:.0%} lost")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
        figure.savefig(directory / f"{name}.png", dpi=120)
    return ""


def _of(run: Figures, name: str) -> float | None:
    value: float | None = getattr(run, name)
    return value
