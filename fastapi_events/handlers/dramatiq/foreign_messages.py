"""Messages that no worker can take, and what is kept of them."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.errors import DecodeError

from fastapi_events.handlers.dramatiq.middleware import DEAD, Redelivery
from fastapi_events.handlers.task_queue.messages import message_id
from fastapi_events.handlers.task_queue.worker.dead_letters import (
    UNREADABLE,
    failure_report,
    original_of,
    unreadable_letter,
)
from fastapi_events.handlers.task_queue.worker.worker import Worker
from fastapi_events.storage.dead_letters import DeadLetter

_TYPES: dict[str, type] = {"message_id": str, "actor_name": str, "kwargs": dict, "options": dict}


def fault_of(message: Any, queue: str, identity: str | None = None) -> str | None:
    """Why a message that was decoded would bring down the thread that takes it; None if it would not.

    Dramatiq's decoder only checks that all fields are there.

    Parameters:
        message: A message or its proxy.
        queue: Where it was found.
        identity: Its id in Redis, where it is known.
    """
    for field, kind in _TYPES.items():
        if not isinstance(getattr(message, field), kind):
            return f"{field} is a {type(getattr(message, field)).__name__}, not a {kind.__name__}"
    if message.queue_name != queue:
        return f"queue_name is {message.queue_name!r}, in queue {queue!r}"
    named = message.options.get("redis_message_id")
    if not isinstance(named, str) or identity not in (None, named):
        return f"redis_message_id is {named!r}, not the message's id"
    return None


def fault_in(body: bytes, queue: str, identity: str) -> str | None:
    """Why a message as it is stored cannot be taken; None if it can."""
    try:
        return fault_of(dramatiq.Message.decode(body), queue, identity)
    except DecodeError as error:
        cause = error.__cause__ or error
        return f"{type(cause).__name__}: {cause}"


def worker_of(broker: dramatiq.Broker, queue: str) -> Worker | None:
    """The worker of the handler that owns a queue; None if no handler of this broker does."""
    for each in broker.middleware:
        if isinstance(each, Redelivery):
            return each.worker_of(queue)
    return None


def letter_of(worker: Worker | None, body: bytes, queue: str, identity: str, fault: str) -> DeadLetter:
    """The dead letter of an unreadable message; the same one, should it be found again."""
    name = "nobody" if worker is None else worker.name
    return unreadable_letter(
        name, queue, message_id(UNREADABLE, queue, identity), original_of(body), f": {fault}"
    )


def substitute(letter: DeadLetter, identity: str) -> dramatiq.Message[Any]:
    """What stands in Dramatiq's dead letters for an unreadable message.

    Whoever lists them expects messages. This one has the original as its argument.
    """
    return dramatiq.Message(
        queue_name=letter.queue,
        actor_name=UNREADABLE,
        args=(letter.argument,),
        kwargs={},
        options={"redis_message_id": identity, DEAD: failure_report(letter)},
    )
