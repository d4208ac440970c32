"""The form in which a message waits for a worker that has its task."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from kombu.message import Message
from kombu.serialization import dumps

UNKNOWN = "fastapi_events.unknown"
"""The task that takes messages for subscriptions which its worker does not have."""

_NO_TASK = "its first argument does not say which task it is for"


def passed_on(message: Any, name: str) -> dict[str, Any]:
    """What is known of a message beside its arguments; the first argument of one to `UNKNOWN`.

    Celery is not told when it expires: a worker that does not have its task would drop it.

    Parameters:
        name: Of its task.
    """
    head = message.headers if "task" in message.headers else message.payload
    return {
        "task": name, "retries": int(head.get("retries") or 0), "eta": head.get("eta"),
        "expires": head.get("expires"),
    }  # fmt: skip


def fault_of_passed_on(args: Any) -> str | None:
    """Why these are no arguments of `UNKNOWN`; None if they are."""
    first = next(iter(args or ()), None)
    if not isinstance(first, Mapping) or not isinstance(first.get("task"), str):
        return _NO_TASK
    return None if isinstance(first.get("retries"), int) else _NO_TASK


def priority_of(message: Any) -> int | None:
    """The priority that a message was sent with; RabbitMQ and Redis have it in different places."""
    found: int | None = (message.properties or {}).get("priority")
    return found if found is not None else (message.delivery_info or {}).get("priority")


def opened(message: Any, tasks: Container[str]) -> Any:
    """A message that was passed on, as it was before, for a worker that has its task; any other as it is.

    The worker does not send it once more: RabbitMQ gives messages to its consumers in turn, so that with two
    of them it could come back to the other one each time.

    Parameters:
        message: As kombu has received it, and without a fault.
        tasks: The names of those that the worker has.
    """
    old = "task" not in message.headers
    body = message.payload if old or message.headers["task"] == UNKNOWN else None
    if body is None or (old and body["task"] != UNKNOWN):
        return message
    args = body.get("args") if old else body[0]
    passed, *rest = args
    if passed["task"] not in tasks:
        return message
    content = {**body, **passed, "args": rest} if old else [rest, *body[1:]]
    content_type, encoding, text = dumps(content, serializer="json")
    headers = message.headers if old else {**message.headers, **passed}
    return Message(
        body=text, content_type=content_type, content_encoding=encoding,
        headers={name: value for name, value in headers.items() if name != "compression"},
        delivery_tag=message.delivery_tag, delivery_info=message.delivery_info,
        properties=message.properties, accept=message.accept, channel=message.channel,
    )  # fmt: skip
