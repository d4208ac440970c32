"""All rows, in the order of their numbers."""

from __future__ import annotations

from benchmarks.groups import (
    growth,
    limits,
    listening,
    outages,
    publishing,
    requests,
    settings,
    web,
    workers,
)  # fmt: skip
from benchmarks.rows import Row

ROWS: tuple[Row, ...] = tuple(
    sorted(
        (
            row
            for module in (requests, listening, publishing, web, workers, settings, outages, growth, limits)
            for row in module.ROWS
        ),
        key=lambda row: row.number,
    )
)

GROUPS: dict[str, str] = {
    "requests": "Requests",
    "listening": "Subscriptions",
    "publishing": "Publishing",
    "web": "Web processes",
    "workers": "Workers",
    "outages": "Outages",
    "growth": "Growth",
    "limits": "Limits",
}
"""The groups in order, each with its title."""
