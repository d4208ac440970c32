"""Masks what nobody may see in the log of Dramatiq's workers, which shows messages whole."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from typing import Any, Final

from dramatiq.broker import MessageProxy

from fastapi_events import redaction
from fastapi_events.handlers.task_queue.messages import events_in

WORKER_LOGGER: Final = "dramatiq.worker.WorkerThread"
"""Says which message has failed, with its arguments."""


class HidePayloads(logging.Filter):
    """Lets records about messages show only the ids of events that have something to hide."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record through, whatever it says by then."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        events = [event for each in arguments for event in events_in(_given_to(each))]
        if any(redaction.hides(each) for each in events):
            record.args = tuple(_shown(each) for each in arguments)
            if record.exc_info and record.exc_info[1] is not None:
                text = "".join(traceback.format_exception(record.exc_info[1]))
                record.exc_text, record.exc_info = redaction.scrubbed(text, events), None
        return True


_hide_payloads: Final = HidePayloads()


def hide_payloads_of(logger: logging.Logger) -> None:
    """Filter what a logger says about messages; to do so twice is harmless."""
    logger.addFilter(_hide_payloads)


def _given_to(argument: object) -> Sequence[Any]:
    """The arguments of an actor, where it is them or a message that is logged."""
    if isinstance(argument, MessageProxy):
        return argument.args
    return argument if isinstance(argument, tuple) else ()


def _shown(argument: object) -> object:
    events = events_in(_given_to(argument))
    if not events:
        return argument
    ids = ", ".join(each.id for each in events)
    return f"{argument.actor_name}({ids})" if isinstance(argument, MessageProxy) else f"({ids})"
