"""Charts as SVG, light or dark as the reader has it: ours beside the peer's, and curves.

No library is needed for so little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from benchmarks.report import has_times, time
from benchmarks.results import Result

_WIDTH = 900
_LABELS = 400
_PAIR = 40
_STYLE = """<style>
.paper{fill:#fff}.ink{fill:#24292f}.quiet{fill:#656d76}.grid{stroke:#d0d7de}.ours{fill:#2a7f9e}.peer{fill:#b4bcc4}
.c0{fill:#2a7f9e}.c1{fill:#c8553d}.c2{fill:#7a9e2a}.c3{fill:#8a5a9e}.c4{fill:#9e7a2a}
.s0{stroke:#2a7f9e}.s1{stroke:#c8553d}.s2{stroke:#7a9e2a}.s3{stroke:#8a5a9e}.s4{stroke:#9e7a2a}
@media (prefers-color-scheme:dark){
.paper{fill:#16181d}.ink{fill:#e6edf3}.quiet{fill:#9aa4af}.grid{stroke:#3a424c}.ours{fill:#4fb3d4}.peer{fill:#5d6670}
.c0{fill:#4fb3d4}.c1{fill:#ef8268}.c2{fill:#a5cc4e}.c3{fill:#b98bd0}.c4{fill:#d0aa4e}
.s0{stroke:#4fb3d4}.s1{stroke:#ef8268}.s2{stroke:#a5cc4e}.s3{stroke:#b98bd0}.s4{stroke:#d0aa4e}
}</style>"""
_COLOURS = 5

Curves = Mapping[str, Sequence[tuple[float, float]]]


def bars(title: str, rows: Sequence[Result]) -> str:
    """How long it takes, ours above the peer's, each pair on a scale of its own; empty without figures."""
    lines = [(row, each) for row in rows for each in row["comparisons"] if has_times(each) and each["bound"]]
    if not lines:
        return ""
    across = _WIDTH - _LABELS - 90
    parts = [
        _text(16, 26, title, size=16),
        _rect(_LABELS, 15, 12, 12, "ours"), _text(_LABELS + 18, 26, "ours"),
        _rect(_LABELS + 70, 15, 12, 12, "peer"), _text(_LABELS + 88, 26, "the peer; the shorter, the faster"),
    ]  # fmt: skip
    for number, (row, each) in enumerate(lines):
        y = 48 + _PAIR * number
        longest = max(each["ours"], each["peer"])
        parts.append(_text(_LABELS - 8, y + 11, _short(f"{row['name']}: {each['what']}", 62), anchor="end"))
        parts.append(
            _text(_LABELS - 8, y + 25, _short(f"against {row['peer']}", 62), anchor="end", kind="quiet")
        )
        for below, who in ((0, "ours"), (14, "peer")):
            length = max(across * each[who] / longest, 1.5)
            parts.append(_rect(_LABELS, y + below + 1, length, 11, who))
            parts.append(_text(_LABELS + length + 6, y + below + 11, time(each[who])))
    return _svg(parts, 48 + _PAIR * len(lines) + 8)


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
        parts.append(_line(x_of(value), top, x_of(value), bottom))
        parts.append(_text(x_of(value), bottom + 18, f"{value:,.6g}", anchor="middle"))
    for value in _decades(low, max(high, low * 10)):
        parts.append(_line(left, y_of(value), right, y_of(value)))
        parts.append(_text(left - 8, y_of(value) + 4, f"{value:,.6g}", anchor="end"))
    for number, (name, points) in enumerate(lines.items()):
        colour = number % _COLOURS
        places = [(x_of(x), y_of(y)) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" class="s{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="c{colour}"/>' for x, y in places]
        parts.append(_rect(right + 16, top + 20 * number, 12, 12, f"c{colour}"))
        parts.append(_text(right + 34, top + 20 * number + 11, name))
    return _svg(parts, height)


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
    return "\n".join([f"{head} {font}>", _STYLE, _rect(0, 0, _WIDTH, height, "paper"), *parts, "</svg>\n"])


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{kind}"/>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="grid"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, kind: str = "ink") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" class="{kind}">'
        f"{escape(text)}</text>"
    )
