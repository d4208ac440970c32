"""Charts as SVG: a group's figures against their goals, and curves. No library is needed for so little."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from benchmarks.report import shown
from benchmarks.results import Result

_WIDTH = 900
_LABELS = 400
_ROW = 26
_COLOURS = ("#2a7f9e", "#c8553d", "#7a9e2a", "#8a5a9e", "#9e7a2a")
_GOOD, _POOR, _INK, _PAPER, _GRID = "#3a8f5c", "#c8553d", "#24292f", "#ffffff", "#d0d7de"

Curves = Mapping[str, Sequence[tuple[float, float]]]


def bars(title: str, rows: Sequence[Result]) -> str:
    """How far each figure is beyond its goal, or short of it, on a logarithmic scale."""
    lines = [
        (f"{row['number']} {row['name']}: {each['what']}", each, _score(each))
        for row in rows
        for each in row["comparisons"]
        if each["bound"]
    ]
    low = min([0.5, *(score for *_, score in lines)])
    high = max([2.0, *(score for *_, score in lines)])
    across = _WIDTH - _LABELS - 130

    def x(score: float) -> float:
        return _LABELS + across * math.log(score / low) / math.log(high / low)

    parts = [_text(16, 26, title, size=16)]
    height = 44 + _ROW * len(lines) + 34
    for number, (label, each, score) in enumerate(lines):
        y = 44 + _ROW * number
        left, right = sorted((x(1.0), x(score)))
        colour = _GOOD if each["reached"] else _POOR
        parts.append(_text(_LABELS - 8, y + 15, _short(label, 62), anchor="end"))
        parts.append(_rect(left, y + 3, max(right - left, 1.5), _ROW - 10, colour))
        parts.append(_text(right + 6, y + 15, f"{shown(each)} ({each['goal']})"))
    bottom = 44 + _ROW * len(lines)
    parts.append(_line(x(1.0), 38, x(1.0), bottom, _INK))
    parts.append(_text(x(1.0), 34, "goal", anchor="middle"))
    parts.append(_text(_LABELS, bottom + 18, "← short of it"))
    parts.append(_text(_WIDTH - 16, bottom + 18, "beyond it, log scale →", anchor="end"))
    return _svg(parts, height)


def curves(title: str, across: str, upwards: str, lines: Curves, *, log_y: bool = True) -> str:
    """Lines over a logarithmic axis.

    Parameters:
        across: What the horizontal axis counts.
        upwards: What the vertical axis shows, and in which unit.
    """
    height, left, right, top, bottom = 420, 80, _WIDTH - 220, 60, 360
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    x_of = _scale(min(xs), max(xs), left, right)
    low, high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))
    y_of = _scale(low, max(high, low * 10), bottom, top)
    parts = [_text(16, 26, title, size=16), _text(left, top - 14, upwards)]
    parts.append(_text(right, bottom + 42, across, anchor="end"))
    for value in _decades(min(xs), max(xs)):
        parts.append(_line(x_of(value), top, x_of(value), bottom, _GRID))
        parts.append(_text(x_of(value), bottom + 18, f"{value:,.6g}", anchor="middle"))
    for value in _decades(low, max(high, low * 10)):
        parts.append(_line(left, y_of(value), right, y_of(value), _GRID))
        parts.append(_text(left - 8, y_of(value) + 4, f"{value:,.6g}", anchor="end"))
    for number, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(x_of(x), y_of(y)) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(_rect(right + 16, top + 20 * number, 12, 12, colour))
        parts.append(_text(right + 34, top + 20 * number + 11, name))
    return _svg(parts, height)


def _score(each: Result) -> float:
    """1 where the goal is just reached, more beyond."""
    value = max(each["median"], 1e-9)
    ratio: float = value / each["bound"] if each["upwards"] else each["bound"] / value
    return min(max(ratio, 0.01), 100.0)


def _scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    span = math.log(high / low) or 1.0
    return lambda value: begin + (end - begin) * math.log(value / low) / span


def _decades(low: float, high: float) -> list[float]:
    return [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _svg(parts: Sequence[str], height: float) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}"'
    font = 'font-family="system-ui, sans-serif" font-size="12"'
    return "\n".join([f"{head} {font}>", _rect(0, 0, _WIDTH, height, _PAPER), *parts, "</svg>\n"])


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{_INK}">'
        f"{escape(text)}</text>"
    )
