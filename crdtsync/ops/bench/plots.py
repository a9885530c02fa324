"""Plots as SVG by hand: bars of medians with their range, and latency by percentile."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

from crdtsync.ops.bench.spread import Summary

WIDTH, LEFT, RIGHT = 820, 280, 110  # px: whole, for names, for figures
BAR, GAP = 22, 10  # px
HEIGHT, BOTTOM = 260, 40  # px of a curve
COLOURS = ("#0b6e99", "#c2571a", "#3d7a3d", "#7a3d78", "#8a7a1f", "#555555", "#b03a48", "#2f4b7c")


def number(value: float) -> str:
    """A figure as people read it: three digits."""
    if value == 0 or 0.01 <= abs(value) < 100:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2e}"


def bars(figures: Mapping[str, Summary], unit: str) -> str:
    """Horizontal bars of medians; the line over each goes from the lowest to the highest repetition."""
    most = max((each.high for each in figures.values()), default=0.0) or 1.0
    height = len(figures) * (BAR + GAP) + GAP
    parts = [_begin(height)]
    for at, (name, each) in enumerate(figures.items()):
        y = GAP + at * (BAR + GAP)
        low, middle, high = (_x(value / most) for value in (each.low, each.median, each.high))
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end">{html.escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{middle - LEFT:.1f}" height="{BAR}" fill="{COLOURS[at % 8]}"/>',
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + BAR / 2}" y2="{y + BAR / 2}" stroke="#000"/>',
            f'<text x="{max(high, middle) + 6:.1f}" y="{y + 16}">{number(each.median)} {html.escape(unit)}</text>',
        ]
    return "".join([*parts, "</svg>"])


def curves(latencies: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Lines of (percentile, ms): nines to the right, a logarithmic scale of time upwards."""
    points = [ms for line in latencies.values() for _, ms in line if ms > 0]
    if not points:
        return ""
    low, high = math.floor(math.log10(min(points))), math.ceil(math.log10(max(points)) + 1e-9)
    span = max(1, high - low)
    parts = [_begin(HEIGHT + BOTTOM + 18 * len(latencies)), *_grid(low, span)]
    for at, (name, line) in enumerate(latencies.items()):
        places = " ".join(
            f"{_x(_nines(percentile) / 4):.1f},{_y((math.log10(ms) - low) / span):.1f}"
            for percentile, ms in line if ms > 0
        )  # fmt: skip
        y = HEIGHT + BOTTOM + 18 * at
        parts += [
            f'<polyline points="{places}" fill="none" stroke="{COLOURS[at % 8]}" stroke-width="2"/>',
            f'<text x="{LEFT}" y="{y}" fill="{COLOURS[at % 8]}">{html.escape(name)}</text>',
        ]
    return "".join([*parts, "</svg>"])


def sweeps(lines: Mapping[str, Sequence[tuple[float, Summary]]], unit: str) -> str:
    """Lines of medians over a size, both scales logarithmic; the bar at each point goes from lowest to highest."""
    points = [(at, value) for line in lines.values() for at, each in line for value in (each.low, each.high)]
    values = [math.log10(value) for _, value in points if value > 0]
    if not values:
        return ""
    low, span = _decades(values)
    left, width = _decades([math.log10(max(at, 1e-9)) for at, _ in points])
    parts = [_begin(HEIGHT + BOTTOM + 18 * len(lines)), *_decade_grid(low, span, left, width, unit)]

    def place(at: float, value: float) -> tuple[float, float]:
        return _x((math.log10(at) - left) / width), _y((math.log10(max(value, 10.0**low)) - low) / span)

    for index, (name, line) in enumerate(lines.items()):
        colour, y = COLOURS[index % 8], HEIGHT + BOTTOM + 18 * index
        middle = " ".join("{:.1f},{:.1f}".format(*place(at, each.median)) for at, each in line)
        parts.append(f'<polyline points="{middle}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for at, each in line:
            (x, bottom), (_, top) = place(at, each.low), place(at, each.high)
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.1f}" y2="{top:.1f}" stroke="{colour}"/>')
        parts.append(f'<text x="{LEFT}" y="{y}" fill="{colour}">{html.escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def _decades(logs: Sequence[float]) -> tuple[int, int]:
    """(lowest power of ten, powers from it to the highest) that hold all."""
    low = math.floor(min(logs))
    return low, max(1, math.ceil(max(logs) - 1e-9) - low)


def _decade_grid(low: int, span: int, left: int, width: int, unit: str) -> list[str]:
    lines = []
    for step in range(span + 1):
        y = _y(step / span)
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        label = html.escape(f"{10.0 ** (low + step):,g} {unit}")
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for step in range(width + 1):
        label = f"{10.0 ** (left + step):,g}"
        lines.append(f'<text x="{_x(step / width):.1f}" y="{HEIGHT + 18}" text-anchor="middle">{label}</text>')
    return lines


def _grid(low: int, span: int) -> list[str]:
    lines = []
    for step in range(span + 1):
        y = _y(step / span)
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0 ** (low + step):g} ms</text>')
    for nines, label in enumerate(("0 %", "90 %", "99 %", "99.9 %")):
        lines.append(f'<text x="{_x(nines / 4):.1f}" y="{HEIGHT + 18}" text-anchor="middle">{label}</text>')
    return lines


def _nines(percentile: float) -> float:
    """0 for 0 %, 1 for 90 %, 2 for 99 %; at most 4."""
    return min(4.0, -math.log10(max(1e-4, 1 - percentile / 100)))


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return 12 + (1 - share) * (HEIGHT - 12)


def _begin(height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="13">'
    )
