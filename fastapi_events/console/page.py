"""What a screen is: a template, and what it shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request

from fastapi_events.console.state import State
from fastapi_events.storage.base import read_cursor


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


def after_of(request: Request, read: Callable[[str], object] = read_cursor) -> str | None:
    """Behind what the page begins; None at the beginning.

    Parameters:
        read: Reads a cursor, or raises `ValueError`.

    Raises:
        HTTPException: 400 when the address has none of a page before.
    """
    after = request.query_params.get("after") or None
    if after is not None:
        try:
            read(after)
        except ValueError:
            raise HTTPException(
                400, f"after={after[:80]!r} is no place in this list: follow the link at the end of a page."
            ) from None
    return after
