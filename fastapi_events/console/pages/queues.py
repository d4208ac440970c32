"""Queues and workers: what waits, who takes it, and which processes there are."""

from __future__ import annotations

from starlette.requests import Request

from fastapi_events.console.page import Page
from fastapi_events.console.state import State


async def read(state: State, request: Request) -> Page:
    """Read the screen."""
    return Page("queues", "Queues and workers", "queues.html", {"statuses": await state.statuses()})
