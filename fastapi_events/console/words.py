"""How the console writes times, lengths of time, numbers and states."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from fastapi_events import clock
from fastapi_events.storage.base import moment

AGES: Final = {
    "15m": timedelta(minutes=15), "1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7),
}  # fmt: skip
"""What can be chosen as `since`."""

UNKNOWN: Final = "\u2013"
"""What nobody could tell."""

Tone: TypeAlias = Literal["good", "bad", "warn", "busy", "plain"]
"""The colour of a word; the word says the same."""

_TONES: Final[dict[str, Tone]] = {
    "succeeded": "good", "running": "good", "ok": "good", "handled": "good",
    "lost": "bad", "dead": "bad", "failed": "bad", "failing": "bad", "nobody": "bad", "danger": "bad",
    "retried": "warn", "unmatched": "warn", "paused": "warn", "advice": "warn", "discarded": "warn",
    "waiting": "busy", "started": "busy", "replayed": "busy",
}  # fmt: skip

_SAID: Final = {
    "nobody": "no worker", "fanned_out": "fanned out", "retried": "retrying", "unmatched": "nobody listens",
    "started": "running",
}  # fmt: skip


def number(value: float | None) -> str:
    """A count, with thin spaces between thousands."""
    return UNKNOWN if value is None else f"{value:,.0f}".replace(",", "\u202f")


def seconds(value: float | None) -> str:
    """A length of time, as short as it can be read."""
    if value is None:
        return UNKNOWN
    if value < 1:
        return f"{value * 1_000:.0f} ms" if value else "0 s"
    if value < 120:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    for size, unit in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if value >= 2 * size:
            return f"{value / size:.0f} {unit}"
    return f"{value / 60:.0f} min"


def ago(at: float | datetime | None) -> str:
    """A time, as its distance from now."""
    if at is None:
        return UNKNOWN
    distance = clock.timestamp() - _timestamp(at)
    if abs(distance) < 1:
        return "now"
    text = seconds(float(round(abs(distance)))).replace(".0 ", " ")
    return f"{text} ago" if distance > 0 else f"in {text}"


def exactly(at: float | datetime | None) -> str:
    """A time with its distance from UTC, for a `title`."""
    if at is None:
        return ""
    time = at if isinstance(at, datetime) else moment(at)
    return time.astimezone().isoformat(sep=" ", timespec="milliseconds")


def iso(at: float | datetime) -> str:
    """A time for programs."""
    return (at if isinstance(at, datetime) else moment(at)).isoformat(timespec="milliseconds")


def tone(state: str) -> Tone:
    """The colour of a state."""
    return _TONES.get(state.split(",")[0], "plain")


def said(state: str) -> str:
    """A state in words."""
    return _SAID.get(state, state.replace("_", " "))


def short(text: str, length: int = 12) -> str:
    """The beginning of an id, which commands and the search take as well."""
    return text if len(text) <= length + 2 else f"{text[:length]}…"


def _timestamp(at: float | datetime) -> float:
    return at.timestamp() if isinstance(at, datetime) else at
