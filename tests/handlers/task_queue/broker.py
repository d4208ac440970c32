"""A queue handler whose broker is a list, which a test can take away."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.handlers.task_queue.messages import Outgoing
from fastapi_events.subscriptions.subscription import Subscription


class ListHandler(TaskQueueHandler):
    """Publishes into `sent`, unless `refusing` holds an error."""

    _engine = "list"
    _options_of = "nothing"

    def __init__(self, **settings: Any) -> None:
        self.sent: list[Outgoing] = []
        self.tried = 0
        self.refusing: Exception | None = None
        super().__init__(**settings)

    def run(self, limit: int = 10_000) -> None:
        """Do what workers would: take message after message, until there are none left."""
        for _ in range(limit):
            if not self.sent:
                return
            message = self.sent.pop(0)
            subscription = self.subscriptions.named(message.task)
            if subscription is None:
                self.fan_out(message.argument)
            else:
                self.perform(subscription, message.argument)
        raise AssertionError("there is always another message")

    def _send(self, messages: Sequence[Outgoing], *, from_web: bool) -> None:
        self.tried += 1
        if self.refusing is not None:
            raise self.refusing
        self.sent.extend(messages)

    def _disconnect(self) -> None:
        pass

    def _declare(self, subscription: Subscription) -> None:
        pass

    def _known_options(self) -> Collection[str]:
        return ()
