"""Doctor: what would lose events, or keep them where nobody looks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from fastapi_events.console.page import Page
from fastapi_events.console.reads import Told
from fastapi_events.console.state import State
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.handlers.task_queue.diagnosis import Finding
from fastapi_events.inspection import examine

_GOOD_FOR_SECONDS = 30.0
"""It changes with a deploy, and asks much."""

_ORDER = {"danger": 0, "advice": 1, "ok": 2}


@dataclass(frozen=True, slots=True)
class Examined:
    """A handler with what there is to be said about it."""

    handler: TaskQueueHandler
    told: Told[list[Finding]]


async def examined(state: State) -> list[Examined]:
    """What `doctor` says of each handler, the dangers first."""
    told = await asyncio.gather(
        *(
            state.reads.ask(
                f"The doctor of {each.name}", "doctor", _examining(each), good_for=_GOOD_FOR_SECONDS
            )
            for each in state.handlers
        )
    )
    return [Examined(*pair) for pair in zip(state.handlers, told, strict=True)]


async def read(state: State, request: Request) -> Page:
    """Read the screen."""
    return Page("doctor", "Doctor", "doctor.html", {"examined": await examined(state)})


def _examining(handler: TaskQueueHandler) -> Callable[[], list[Finding]]:
    return lambda: sorted(examine(handler), key=lambda each: _ORDER[each.severity])
