"""Where the events of a handler go: its fan-out, and its subscriptions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastapi_events.event import Event, EventName
from fastapi_events.handlers.task_queue.fleet import Fleet, Listener
from fastapi_events.handlers.task_queue.messages import (
    Message,
    fan_out_message,
    fan_out_name,
    message_id,
)
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.subscriptions.subscription import Subscriptions


class Addresses:
    """Makes the messages to a handler's fan-out and subscriptions.

    Parameters:
        routes: Its queues.
        subscriptions: What it has.
        fleet: What workers of other processes have.
    """

    def __init__(self, routes: Routes, subscriptions: Subscriptions, fleet: Fleet) -> None:
        self.routes = routes
        self.fleet = fleet
        self.subscriptions = subscriptions
        self.fan_outs: frozenset[str] = frozenset(fan_out_name(each) for each in routes)
        """The names of the actors that fan out."""

    @property
    def queues(self) -> tuple[str, ...]:
        """Every queue that a worker has to consume: the default one, those of routes and subscriptions."""
        own = (each.queue or self.routes.default for each in self.subscriptions)
        return tuple(dict.fromkeys([*self.routes, *own]))

    def to_subscription(
        self, subscription: Listener, event: Event, text: str, *, delay: float = 0.0, failed: int = 0
    ) -> Message:
        """The message of one event to a subscription."""
        return Message(
            subscription.name, self.queue(subscription, event.name), text,
            message_id(event.id, subscription.name), delay, failed, event.dispatched_at,
        )  # fmt: skip

    def to_batches(self, subscription: Listener, items: Sequence[tuple[Event, str]]) -> Iterator[Message]:
        """The messages of many events to a subscription that takes many at once."""
        size = subscription.batch_size or 1
        queues: dict[str, list[tuple[Event, str]]] = {}
        for event, text in items:
            queues.setdefault(self.queue(subscription, event.name), []).append((event, text))
        for queue, waiting in queues.items():
            for begin in range(0, len(waiting), size):
                part = waiting[begin : begin + size]
                identity = message_id(subscription.name, *(event.id for event, _ in part))
                yield Message(subscription.name, queue, f"[{','.join(text for _, text in part)}]", identity)

    def to_fan_out_of_unreadable(self, text: str) -> Message:
        """The message that carries something unreadable back to fan-out, to be given up alone."""
        return fan_out_message(self.routes.default, [text], text)

    def queue(self, subscription: Listener, name: EventName) -> str:
        """Where events of a name wait for a subscription."""
        return self.routes.to_subscription(subscription.queue, self.routes.queue_for(name))
