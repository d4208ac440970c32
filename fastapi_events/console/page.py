"""What a screen is: a template, and what it shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from starlette.requests import Request

from fastapi_events.console.state import State


@dataclass(frozen=True, slots=True)
class Page:
    """A screen with what was read for it.

    Parameters:
        key: The entry of the navigation that it belongs to.
        title: Its title.
        template: The template that shows it.
        values: What the template shows.
        status: The response's.
    """

    key: str
    title: str
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another page shows it.

    Parameters:
        path: Its path below the console.
        parts: What follows, to be quoted.
    """

    path: str
    parts: tuple[str, ...] = ()


Read: TypeAlias = Callable[[State, Request], Awaitable[Page | Elsewhere]]
