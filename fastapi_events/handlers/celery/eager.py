"""Tasks run in place, with `task_always_eager`: no broker, no waits, and retries one after the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery, Task

from fastapi_events.handlers.task_queue.engine import Actor
from fastapi_events.handlers.task_queue.in_place import raise_at_flush
from fastapi_events.handlers.task_queue.messages import Message
from fastapi_events.handlers.task_queue.worker.outcome import Attempt, Drop, GiveUp, decide
from fastapi_events.storage.dead_letters import DeadLetter

logger: logging.Logger = logging.getLogger(__name__)


def is_eager(app: Celery) -> bool:
    """Whether an app runs its tasks in place; asked each time, since tests say so after the app is made."""
    return bool(app.conf.task_always_eager)


def run_in_place(app: Celery, messages: Sequence[Message]) -> None:
    """Run the tasks of messages, one after the other; what fails is given up, and the others run.

    Tasks are applied, not sent: Celery warns of an eager app that sends by name, and sends all the same.
    """
    for each in messages:
        app.tasks[each.task].apply(
            args=(each.argument,), task_id=each.id, retries=each.failed, throw=False, routing_key=each.queue
        )


def attempt_in_place(
    task: Task, actor: Actor, queue: str, arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> BaseException | None:
    """Run an actor until it succeeds or is given up; between attempts nobody waits, as with Celery's own.

    Returns:
        The error of the last attempt, if it is given up.
    """
    failed = task.request.retries
    while True:
        try:
            actor.run(*arguments, **keywords)
        except BaseException as error:  # the caller decides what may be raised
            outcome = decide(_attempt(task, actor, queue, arguments, keywords, failed), error)
            if isinstance(outcome, GiveUp):
                actor.worker.dead_letters.give_up(outcome.letter)
                if task.app.conf.task_eager_propagates:
                    raise_at_flush(error)
                return error
            if isinstance(outcome, Drop):
                return error
            if not outcome.counts:  # its turn comes when another thread is done
                time.sleep(outcome.after)
            failed = outcome.failed
        else:
            return None


def _attempt(
    task: Task, actor: Actor, queue: str, arguments: Sequence[Any], keywords: Mapping[str, Any], failed: int
) -> Attempt:
    return Attempt(
        handler=actor.worker.name,
        subscription=actor.name,
        queue=queue,
        message_id=task.request.id,
        policy=actor.policy,
        arguments=arguments,
        keywords=keywords,
        failed_before=failed,
    )


def log_letter(letter: DeadLetter) -> None:
    """Keep a dead letter where there is neither a store nor a broker."""
    logger.error(
        "Nothing keeps the dead letter of event %r (%s) for %s but this log: the handler has no store, "
        "and an eager app no broker. %s", letter.event_name, letter.event_id, letter.subscription,
        letter.reason,
    )  # fmt: skip
