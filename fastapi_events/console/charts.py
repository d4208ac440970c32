"""Charts as SVG, made by the server: shapes only, which stretch; what is written beside them is HTML.

Colours come from the classes of the style sheet, since the policy of the pages allows no inline style.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from fastapi_events.console.words import seconds

_WIDTH, _HEIGHT, _TRACK = 720, 120, 12


@dataclass(frozen=True, slots=True)
class Series:
    """How often something happened in each minute.

    Parameters:
        name: What is counted, as a class of the style sheet and in words.
        values: One a minute, the last one now.
    """

    name: str
    values: Sequence[int]

    @property
    def total(self) -> int:
        """How often in all."""
        return sum(self.values)


@dataclass(frozen=True, slots=True)
class Bars:
    """A chart of bars, with the top of its scale."""

    svg: Markup
    top: float
    series: Sequence[Series]
    minutes: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Something on a time axis.

    Parameters:
        row: The line that it stands in.
        label: What it is.
        begin: When it began; seconds since 1970.
        end: When it ended; the same as `begin` for a moment.
        kind: A class of the style sheet: how it ended.
    """

    row: str
    label: str
    begin: float
    end: float
    kind: str


@dataclass(frozen=True, slots=True)
class Axis:
    """What happened along time: a track for each row, and the length of all."""

    tracks: Sequence[tuple[str, Markup]]
    begin: float
    length: str


def sparkline(values: Sequence[int], *, label: str) -> Markup:
    """A line without axes, for a cell of a table.

    Parameters:
        label: What it shows, for those who do not see it.
    """
    highest, step = max(values, default=0) or 1, 120 / max(len(values) - 1, 1)
    points = " ".join(f"{at * step:.1f},{22 - value / highest * 20:.1f}" for at, value in enumerate(values))
    return _svg("sparkline", 120, 24, label, [f'<polyline points="{points}"/>'])


def bars(series: Sequence[Series], *, label: str) -> Bars:
    """Bars for each minute, those of the series beside one another.

    Parameters:
        label: What it shows, for those who do not see it.
    """
    minutes = max([1, *(len(each.values) for each in series)])
    top = nice(max((value for each in series for value in each.values), default=0))
    svg = _svg("bars", _WIDTH, _HEIGHT, label, (*_grid(), *_columns(series, minutes, top)))
    return Bars(svg, top, series, minutes)


def axis(stretches: Sequence[Stretch]) -> Axis | None:
    """What happened along time, a track for each row; None where nothing did."""
    if not stretches:
        return None
    first, last = min(each.begin for each in stretches), max(each.end for each in stretches)
    length = max(last - first, 0.001)
    tracks = []
    for row in dict.fromkeys(each.row for each in stretches):
        own = [each for each in stretches if each.row == row]
        said = f"{row}: {'; '.join(each.label for each in own)}"
        marks = [f'<line x1="0" x2="{_WIDTH}" y1="6" y2="6"/>', *(_mark(each, first, length) for each in own)]
        tracks.append((row, _svg("track", _WIDTH, _TRACK, said, marks)))
    return Axis(tracks, first, seconds(last - first))


def nice(value: float) -> float:
    """The next larger number that is easily read."""
    if value <= 4:
        return 4
    size = 10.0 ** (len(str(int(value))) - 1)
    return next(step * size for step in (1, 2, 2.5, 5, 10) if step * size >= value)


def _svg(kind: str, width: int, height: int, label: str, parts: Iterable[str]) -> Markup:
    return Markup(  # noqa: S704 - names are escaped where they come in
        f'<svg class="{kind}" role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'aria-label="{escape(label)}" preserveAspectRatio="none">{"".join(parts)}</svg>'
    )


def _grid() -> Iterator[str]:
    for y in (0.5, _HEIGHT / 2, _HEIGHT - 0.5):
        yield f'<line x1="0" x2="{_WIDTH}" y1="{y}" y2="{y}"/>'


def _columns(series: Sequence[Series], minutes: int, top: float) -> Iterator[str]:
    room = _WIDTH / minutes
    width = (room - 2) / max(len(series), 1)
    for number, each in enumerate(series):
        for at, value in enumerate(each.values):
            if value:
                tall = max(value / top * _HEIGHT, 2)
                back = minutes - 1 - at
                when = f"{back} min ago" if back else "this minute"
                yield (
                    f'<rect class="series-{escape(each.name)}" x="{at * room + 1 + number * width:.1f}" '
                    f'y="{_HEIGHT - tall:.1f}" width="{width:.1f}" height="{tall:.1f}">'
                    f"<title>{when}: {value} {escape(each.name)}</title></rect>"
                )


def _mark(stretch: Stretch, first: float, length: float) -> str:
    width = max((stretch.end - stretch.begin) / length * _WIDTH, 4)
    x = min((stretch.begin - first) / length * _WIDTH, _WIDTH - width)
    return (
        f'<rect class="mark-{escape(stretch.kind)}" x="{x:.1f}" y="1" width="{width:.1f}" height="10">'
        f"<title>{escape(stretch.label)}</title></rect>"
    )
