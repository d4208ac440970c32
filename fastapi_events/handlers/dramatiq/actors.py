"""Our actors in Dramatiq: those of a handler, and those for messages whose actor a worker does not have."""

from __future__ import annotations

import threading
from typing import Any

import dramatiq
from dramatiq.broker import MessageProxy
from dramatiq.brokers.stub import StubBroker
from dramatiq.common import q_name
from dramatiq.middleware import MiddlewareError

from fastapi_events.errors import UnknownSubscription
from fastapi_events.handlers.dramatiq.log_filter import hide_payloads_of
from fastapi_events.handlers.task_queue.engine import Actor, UnknownActor
from fastapi_events.handlers.task_queue.worker.outcome import TryLater

ACTOR = "fastapi_events"
"""The option of our actors in Dramatiq that holds what they are to us."""

_MOST_UNKNOWN_NAMES = 1_000
"""For so many names of actors that it does not have, a worker lets messages wait for another worker."""


class NotRun(MiddlewareError, dramatiq.Retry):
    """Carries an error past Dramatiq, which runs the actor whatever else a middleware raises.

    Being a `Retry`, it is not logged with the whole message.
    """


def declare(broker: dramatiq.Broker, actor: Actor) -> None:
    """Let Dramatiq run an actor."""
    options: dict[str, Any] = {**actor.options, ACTOR: actor}
    made = dramatiq.actor(actor_name=actor.name, queue_name=actor.queue, broker=broker, **options)(
        _Guarded(actor).run
    )
    hide_payloads_of(made.logger)


class _Guarded:
    """An actor that can postpone a message without an error in Dramatiq's log."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def run(self, *args: Any, **kwargs: Any) -> None:
        try:
            self._actor.run(*args, **kwargs)
        except (TryLater, UnknownSubscription) as nobodys_fault:
            raise NotRun from nobodys_fault


class UnknownActors:
    """Declares an actor, which fails, for each name that messages in our queues have and this worker has not.

    Parameters:
        broker: Whose actors they are.
    """

    def __init__(self, broker: dramatiq.Broker) -> None:
        self._broker = broker
        self._learning = threading.Lock()
        self._names: set[str] = set()

    def learn(self, actor: UnknownActor) -> bool:
        """Declare an actor unless there is one of its name; whether it is one of these now."""
        with self._learning:
            if actor.name in self._broker.actors or len(self._names) >= _MOST_UNKNOWN_NAMES:
                return actor.name in self._names
            self._names.add(actor.name)
            declare(self._broker, actor)
        return True


def forget_rejected(broker: Any, message: MessageProxy) -> None:
    """Remove a message from the dead letters of a broker from which that can be done."""
    queue = q_name(message.queue_name)
    if isinstance(broker, StubBroker):
        broker.dead_letters_by_queue[queue].remove(message)
    elif (identity := message.options.get("redis_message_id")) is not None:
        dead = f"{broker.namespace}:{queue}.XQ"
        broker.client.zrem(dead, identity)
        broker.client.hdel(f"{dead}.msgs", identity)
