"""The dead letter of a message: what is kept of it, and who need not wait for it any longer."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from fastapi_events.errors import StorageError
from fastapi_events.event import wire_name
from fastapi_events.handlers.task_queue.handler import TaskQueueHandler
from fastapi_events.handlers.task_queue.messages import Epitaph, events_in
from fastapi_events.storage.dead_letters import DeadLetter

logger = logging.getLogger(__name__)


def bury(
    handler: TaskQueueHandler,
    grave: Epitaph,
    *,
    message_id: str,
    subscription: str,
    queue: str,
    arguments: Sequence[Any],
    first_at: datetime | None = None,
) -> bool:
    """Keep a message that is given up in the handler's store of dead letters.

    Parameters:
        grave: Why it was given up.
        first_at: When it was first tried, if that is known.

    Returns:
        Whether it is kept; if not, the engine has to do it.
    """
    if handler.dead_letters is None:
        return False
    now = datetime.now(UTC)
    events = events_in(arguments)
    try:
        handler.dead_letters.add(
            DeadLetter(
                id=message_id,
                handler=handler.name,
                subscription=subscription,
                queue=queue,
                event_id=events[0].id if events else None,
                event_name=wire_name(events[0].name) if events else None,
                argument=_text(arguments),
                reason=grave["reason"],
                traceback=grave["traceback"],
                attempts=grave["attempts"],
                first_at=first_at or now,
                last_at=now,
            )
        )
    except StorageError as error:
        logger.error(
            "The dead letter of %s for %s goes to the engine's own: %s", message_id, subscription, error
        )
        return False
    return True


def let_others_go_on(handler: TaskQueueHandler, subscription: str, arguments: Sequence[Any]) -> None:
    """A message is among the dead letters: nobody waits for it, or for its receipt, any longer."""
    for event in events_in(arguments):
        try:
            handler.given_up(subscription, event)
        except Exception as error:  # the store's; a lane is swept, and an event sent again, in a while
            logger.warning("Those behind event %s in %s have to wait: %s", event.id, subscription, error)


def _text(arguments: Sequence[Any]) -> str:
    only = arguments[0] if len(arguments) == 1 else list(arguments)
    if isinstance(only, str):
        return only
    try:
        return to_json(only, fallback=repr, inf_nan_mode="strings").decode()
    except ValueError:  # lone surrogates, or nested deeper than pydantic goes; both have been read from JSON
        return json.dumps(only, default=repr)
