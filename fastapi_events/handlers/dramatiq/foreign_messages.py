"""Messages that no worker can take, and what is kept of them."""

from __future__ import annotations

import base64
from typing import Any

import dramatiq
from dramatiq.errors import DecodeError

from fastapi_events.errors import UnreadableEnvelope
from fastapi_events.handlers.dramatiq.middleware import DEAD, Redelivery
from fastapi_events.handlers.task_queue.messages import Epitaph, epitaph, message_id
from fastapi_events.handlers.task_queue.worker.dead_letters import bury

UNREADABLE = "fastapi_events.unreadable"
"""The actor that a substitute for an unreadable message names; there is none."""

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


def bury_unreadable(broker: dramatiq.Broker, body: bytes, queue: str, identity: str, grave: Epitaph) -> bool:
    """Keep an unreadable message in the dead letters of the handler whose queue it was found in.

    Found again, because its worker died just then, it is the same letter.

    Returns:
        Whether it is kept; if not, its substitute has to be.
    """
    for each in broker.middleware:
        handler = each.handler_of(queue) if isinstance(each, Redelivery) else None
        if handler is not None:
            return bury(
                handler,
                grave,
                message_id=message_id(UNREADABLE, queue, identity),
                subscription=UNREADABLE,
                queue=queue,
                arguments=(_original(body),),
            )
    return False


def fault_as_epitaph(fault: str) -> Epitaph:
    """What is said of an unreadable message, wherever it is kept."""
    return epitaph(UNREADABLE, UnreadableEnvelope(f"no message that a worker can take: {fault}"), attempts=0)


def substitute(body: bytes, queue: str, identity: str, grave: Epitaph) -> dramatiq.Message[Any]:
    """What stands in Dramatiq's dead letters for an unreadable message.

    Whoever lists them expects messages. This one has the original as its argument.
    """
    return dramatiq.Message(
        queue_name=queue,
        actor_name=UNREADABLE,
        args=(_original(body),),
        kwargs={},
        options={"redis_message_id": identity, DEAD: grave},
    )


def _original(body: bytes) -> Any:
    """A message as it was found: as text, or where it is none, as `{"base64": …}`."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
