"""Replaying dead letters, many of them, so that it can be interrupted and begun again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.task_queue.handler import TaskQueueHandler

_PAGE = 500


def replay_all(
    handler: TaskQueueHandler, *, subscription: str | None = None, event_name: str | None = None
) -> Iterator[int]:
    """Replay a handler's dead letters page by page.

    A letter is discarded once the broker has confirmed its message. Whatever ends this halfway, what is left
    are the letters that have not been replayed; at most a page of them is sent twice, with the same ids.
    Letters that are buried meanwhile, because they failed again, are left, however soon that was.

    Parameters:
        subscription: Only letters to this subscription.
        event_name: Only letters about this event.

    Returns:
        How many were replayed, after each page.

    Raises:
        ConfigurationError: When the handler has no store of dead letters.
        NotPublished: When the broker did not take them.
        StorageError: When the store fails.
    """
    letters = handler.dead_letters
    if letters is None:
        raise ConfigurationError(f"{handler.name} has no store of dead letters: dead_letters=…")
    began = datetime.now(UTC)
    while True:
        page = letters.list(
            limit=_PAGE, handler=handler.name, subscription=subscription, event_name=event_name
        )
        page = [each for each in page if each.last_at < began]
        if not page:
            return
        handler.replay(page)
        letters.replayed(page)
        yield len(page)
