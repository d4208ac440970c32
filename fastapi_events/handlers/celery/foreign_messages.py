"""Messages that Celery would drop, or die of, before it asks anybody."""

from __future__ import annotations

from typing import Any

from fastapi_events.handlers.celery.passed_on import UNKNOWN, fault_of_passed_on
from fastapi_events.handlers.task_queue.messages import MAX_BYTES_PER_MESSAGE

_NUMBER = (int, float, type(None))


def fault_of(message: Any) -> str | None:
    """Why a message is none that a worker can take; None if it is.

    Celery itself drops some of them and ends at others, over and over, since they are delivered again.

    Parameters:
        message: As kombu has received it. What is decoded here is not decoded once more.
    """
    try:
        body = message.payload
    except Exception as error:  # of whatever decodes its content type
        return f"{type(error).__name__}: {error}"
    head = message.headers if "task" in message.headers else body
    if not isinstance(head, dict):
        return f"the body is a {type(body).__name__}, and no header names a task"
    for field in ("task", "id"):
        if not isinstance(head.get(field), str):
            return f"{field} is a {type(head.get(field)).__name__}, not a str"
    if not isinstance(head.get("retries"), (int, type(None))):
        return f"retries is a {type(head['retries']).__name__}, not an int"
    limits = head.get("timelimit")
    if limits and not (
        isinstance(limits, list) and [isinstance(each, _NUMBER) for each in limits] == [True] * 2
    ):
        return "timelimit is no pair of seconds"
    return _fault_of_arguments(head["task"], body)


def arguments_of(message: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a message without a fault, of either version of Celery's protocol."""
    body = message.payload
    if isinstance(body, dict):
        return body.get("args") or [], body.get("kwargs") or {}
    return body[0], body[1]


def described(fault: str, message: Any) -> str:
    """A fault, in the words of a dead letter: which task the message names, and whether it is kept whole."""
    named = message.headers.get("task")
    task = f", for the task {named[:200]!r}" if isinstance(named, str) else ""
    size = len(message.body or b"")
    cut = f", cut to {MAX_BYTES_PER_MESSAGE:,} of {size:,}" if size > MAX_BYTES_PER_MESSAGE else ""
    return f"{task}{cut}: {fault}"


def _fault_of_arguments(task: str, body: Any) -> str | None:
    args, kwargs = body, {}
    if isinstance(body, dict):
        args, kwargs = body.get("args", []), body.get("kwargs", {})
    elif isinstance(body, (list, tuple)) and len(body) == 3:
        args, kwargs, _embedded = body
    else:
        return "the body holds no arguments of a task"
    if not isinstance(args, (list, tuple, type(None))) or not isinstance(kwargs, (dict, type(None))):
        return "the body holds no arguments of a task"
    return fault_of_passed_on(args) if task == UNKNOWN else None
