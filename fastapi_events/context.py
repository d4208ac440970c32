"""The variables that tie a `dispatch()` to what surrounds it: the only global state of the package."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from fastapi_events.consequences import Consequences
from fastapi_events.event import Event
from fastapi_events.ids import NamedIds

handler_store: defaultdict[int, Iterable[Any]] = defaultdict(list)
"""The handlers of each middleware (or other scope), by its id."""

event_store: ContextVar[deque[Event]] = ContextVar("fastapi_event_store")
"""The events that the current scope has collected."""

in_req_res_cycle: ContextVar[bool | None] = ContextVar("fastapi_in_req_res_cycle", default=None)
"""Whether a scope is open: its events wait for the flush, instead of being handled at once."""

middleware_identifier: ContextVar[int] = ContextVar("fastapi_middleware_identifier")
"""Whose handlers get the events."""

current_event: ContextVar[Event | None] = ContextVar("fastapi_events_current_event", default=None)
"""The event that is being handled, which causes what its subscription dispatches."""

current_subscription: ContextVar[str | None] = ContextVar("fastapi_events_subscription", default=None)
"""The name of the subscription that runs."""

current_attempt: ContextVar[int] = ContextVar("fastapi_events_attempt", default=1)
"""Which attempt of it that is; a worker's engine knows."""

chained_ids: ContextVar[NamedIds | None] = ContextVar("fastapi_events_chained_ids", default=None)
"""The ids of events that the subscription dispatches, where it may run again and they are to be the same."""

handling_loop: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("fastapi_events_loop", default=None)
"""The loop on which the surrounding scope handles its events, for functions that run in threads."""

dispatched_model: ContextVar[Any] = ContextVar("fastapi_events_model", default=None)
"""The model of which the payload that is being dispatched was made."""

consequences: ContextVar[Consequences | None] = ContextVar("fastapi_events_consequences", default=None)
"""Who waits for the events that are dispatched while events are handled; None where nobody does."""

reported: ContextVar[dict[int, BaseException] | None] = ContextVar("fastapi_events_reported", default=None)
"""The errors that the observers know of already, in the current delivery, by their `id()`."""
