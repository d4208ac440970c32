"""All rows, in the order of their numbers."""

from __future__ import annotations

from benchmarks.groups import (
    durable,
    growth,
    importing,
    latency,
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

_MODULES = (
    requests, listening, publishing, web, durable, latency, workers, settings, outages, growth, importing,
    limits,
)  # fmt: skip

ROWS: tuple[Row, ...] = tuple(
    sorted(
        (row for module in _MODULES for row in module.ROWS),
        key=lambda row: row.number,
    )
)

GROUPS: dict[str, str] = {
    "requests": "Requests",
    "listening": "Subscriptions",
    "publishing": "Publishing",
    "web": "Web processes",
    "latency": "Until a function begins",
    "workers": "Workers",
    "outages": "Outages",
    "growth": "Growth",
    "importing": "Importing",
    "limits": "Limits",
}
"""The groups in order, each with its title."""
