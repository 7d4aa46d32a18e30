"""Draws line charts as SVG. The style sheet colours the classes s0, s1 ...; the page's script reads the points."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 560, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 10, 34
_MOST_POINTS = 500  # in a line; more are averaged
_STEPS = (1, 2, 2.5, 5, 10)
_FEW_POINTS = 40  # up to so many have dots, too

Point = tuple[float, float]


@dataclass
class Series:
    """A line of a chart."""

    name: str
    points: Sequence[Point]  # by rising x


@dataclass
class Chart:
    """A chart of numbers over the steps of a training."""

    title: str
    unit: str
    series: list[Series]
    note: str = ""

    @property
    def svg(self) -> Markup:
        """Inline SVG with a text alternative; empty if there are no points."""
        lines = [Series(one.name, thinned(one.points)) for one in self.series if one.points]
        return _svg(self, lines) if lines else Markup("")


def thinned(points: Sequence[Point], most: int = _MOST_POINTS) -> list[Point]:
    """Reduce a line to at most so many points: the means of equal shares, and the last point as it is."""
    if len(points) <= most:
        return list(points)
    bounds = [round(place * (len(points) - 1) / (most - 1)) for place in range(most)]
    shares = [points[start:end] for start, end in pairwise(bounds)]
    means = [tuple(sum(values) / len(share) for values in zip(*share, strict=True)) for share in shares]
    return [*means, points[-1]]  # type: ignore[list-item]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return evenly spread round numbers, from one at or below ``low`` to one at or above ``high``."""
    if high <= low:
        margin = abs(low) / 2 or 1.0
        low, high = low - margin, high + margin
    raw = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in _STEPS if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12 - math.floor(math.log10(step))) for number in range(first, last + 1)]


def number_text(value: float) -> str:
    """Write a number for an axis or a label: at most four digits, thousands as k, very small ones with an exponent."""
    if value and abs(value) < 0.001:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    for size, letter in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.4g}{letter}"
    return f"{value:.4g}"


def _svg(chart: Chart, lines: list[Series]) -> Markup:
    # The axes hold all points, and begin at step 0.
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x_ticks = [tick for tick in ticks(0, max(xs), 7) if tick <= max(xs)]
    y_ticks = ticks(min(ys), max(ys))
    x_low, x_high, y_low, y_high = 0.0, max(xs) or 1.0, y_ticks[0], y_ticks[-1]

    def place_x(x: float) -> float:
        return round(_LEFT + (x - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT), 1)

    def place_y(y: float) -> float:
        return round(_HEIGHT - _BOTTOM - (y - y_low) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM), 1)

    # A grid line and a number at each tick of the values, a number alone at each tick of the steps.
    parts = []
    for tick in y_ticks:
        y = place_y(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{number_text(tick)}</text>')
    for tick in x_ticks:
        parts.append(
            f'<text x="{place_x(tick)}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{number_text(tick)}</text>'
        )
    parts.append(f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 2}" text-anchor="end">steps</text>')

    # Each line with its values as text for the script, and with dots if it has few points.
    for index, line in enumerate(lines):
        places = [(place_x(x), place_y(y)) for x, y in line.points]
        path = "M" + "L".join(f"{x} {y}" for x, y in places)
        shown = [
            [x, y, number_text(step), number_text(value)]
            for (x, y), (step, value) in zip(places, line.points, strict=True)
        ]
        data = escape(json.dumps({"name": line.name, "points": shown}, separators=(",", ":")))
        parts.append(f'<path class="line s{index}" d="{path}" data-line="{data}"/>')
        if len(places) <= _FEW_POINTS:
            parts += [f'<circle class="dot s{index}" cx="{x}" cy="{y}" r="3"/>' for x, y in places]

    # The text for those who cannot see the drawing.
    label = escape(f"{chart.title}. {' '.join(map(_in_words, lines))} Arrow keys read the values.")
    return Markup(
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" tabindex="0" aria-label="{label}">'
        + "".join(parts)
        + "</svg>"
    )


def _in_words(line: Series) -> str:
    """Say where a line begins and ends, and between which values it stays."""
    (start, first), (end, last) = line.points[0], line.points[-1]
    values = [value for _, value in line.points]
    return (
        f"{line.name}: {number_text(first)} at step {number_text(start)}, {number_text(last)} at step"
        f" {number_text(end)}, from {number_text(min(values))} to {number_text(max(values))} between."
    )
