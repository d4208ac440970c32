"""Audit: who replayed, discarded, expired or paused what."""

from __future__ import annotations

from starlette.requests import Request

from fastapi_events.console.page import Page
from fastapi_events.console.state import State
from fastapi_events.storage.journal import MAX_ACTIONS

_LIMIT = 200


async def read(state: State, request: Request) -> Page:
    """Read the screen."""
    told = await state.of_journals(
        "actions",
        lambda journal: [each for each in journal.actions(limit=MAX_ACTIONS) if each.handler in state.names],
    )
    actions = sorted((told and told.value) or (), key=lambda each: -each.at)
    return Page("audit", "Audit", "audit.html", {"told": told, "actions": actions[:_LIMIT]})
