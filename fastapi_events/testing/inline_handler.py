"""What stands in for one queue handler: a twin with the same functions, and the relay of its outbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from fastapi_events import envelope
from fastapi_events.errors import NotPublished
from fastapi_events.event import wire_name
from fastapi_events.handlers.task_queue import Actor, Message, TaskQueueHandler
from fastapi_events.process_loop import process_loop
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.catalogue import Pause
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.storage.outbox import MAX_ENTRIES as MOST_ENTRIES
from fastapi_events.subscriptions.subscription import Subscription
from fastapi_events.testing.inline_broker import InlineBroker
from fastapi_events.testing.inline_engine import InlineEngine
from fastapi_events.testing.twin import twin_of

_FLUSH_SECONDS = 60.0
"""Nothing is slow about memory, and a busy machine is no broker that hangs."""

Peers: TypeAlias = Callable[[TaskQueueHandler], Sequence[TaskQueueHandler]]


class InlineHandler:
    """A queue handler on an engine in this process.

    Parameters:
        original: The handler in whose place it stands.
        broker: Where its messages wait.
        store: Where its stores are.
        peers: Finds it and those on the same queue, whose functions its fan-out knows of, too.
    """

    def __init__(
        self, original: TaskQueueHandler, broker: InlineBroker, store: MemoryStore, *, peers: Peers
    ) -> None:
        self.original = original
        self._peers = peers
        self._broker = broker
        self._engine = InlineEngine(original.engine, original, broker, pause_of=self._pause_of)
        self._twin = twin_of(
            original, self._engine, store, dead_letters=store.dead_letters, flush_deadline=_FLUSH_SECONDS,
            can_pause=original.may_have_catalogue,
        )  # fmt: skip
        self._relay = None if self._twin.outbox is None else self._twin.relay_thread()
        self._copied: list[tuple[Subscription, tuple[str, ...]]] = []

    def current(self) -> TaskQueueHandler:
        """The twin, with the functions and overrides that the original has by now."""
        listeners = {each.name: each for peer in self._peers(self.original) for each in peer.subscriptions}
        there = [(each, each.patterns) for each in listeners.values()]
        if there != self._copied:
            self._copied = there
            copies = [self._copy(each) for each, _ in there]
            self._twin.subscriptions.replace(copies)
            for each in copies:
                self._declare(each)
        overrides = self._twin.dependency_overrides
        overrides.clear()
        overrides.update(self.original.dependency_overrides)
        return self._twin

    def _pause_of(self, subscription: str) -> Pause | None:
        """How somebody has paused a subscription; None where it is not, or goes on by itself."""
        catalogue = self._twin.catalogue
        if catalogue is None:
            return None
        known = catalogue.read(self._twin.name)
        return next(
            (
                each
                for each in known.paused
                if each.subscription == subscription
                and not each.half_open
                and (each.until is None or each.until > known.now)
            ),
            None,
        )

    def stands_in_by(self, handler: TaskQueueHandler) -> bool:
        """Whether a handler is the one that gets the events."""
        return handler is self._twin

    def _copy(self, subscription: Subscription) -> Subscription:
        around = self._broker.faults.around
        plan = subscription.plan
        plan = plan._replace(function=around(plan.function, is_async=plan.is_async))
        batch = subscription.batch
        if batch is not None:
            self._engine.windows[subscription.name] = batch.window
            # The engine has waited already for what is taken together.
            batch = batch._replace(function=around(batch.function, is_async=batch.is_async), window=0.0)
        retry = None if subscription.retry is None else replace(subscription.retry, jitter=False)
        return replace(subscription, plan=plan, batch=batch, retry=retry)

    def _declare(self, subscription: Subscription) -> None:
        self._engine.declare(
            Actor(
                name=subscription.name,
                queue=subscription.queue or self._twin.queue,
                policy=subscription.retry or RetryPolicy(jitter=False),
                options=subscription.options,
                worker=self._twin.worker,
                subscription=subscription,
            )
        )

    def deliver(self, message: Message) -> None:
        """Handle a message, with the functions and pauses that there are by now."""
        self.current().fleet.refresh()
        self._engine.deliver(message)

    def relay(self) -> int:
        """Publish what is due in the outbox, and ring lost bells, as a relay would; how many it was."""
        if self._engine.is_away:
            return 0
        rung = self._twin.look_after_lanes()
        try:
            return rung if self._relay is None else rung + self._relay.step()
        except (ConnectionError, NotPublished):  # as a relay, it tries again
            return rung

    def delayed(self) -> list[tuple[float, str]]:
        """What waits in the outbox for its time: when it is due, and the event's name; the next one first."""
        if self._twin.outbox is None:
            return []
        entries = self._twin.outbox.list(limit=MOST_ENTRIES)
        return sorted(
            (each.due.timestamp(), wire_name(envelope.unseal(each.envelope).name))
            for each in entries
            if each.due is not None
        )

    def broker_is_back(self) -> None:
        """Let the next flush find out that the broker is there, rather than wait for it."""
        self._twin._outlet.publisher.breaker.succeeded()  # noqa: SLF001 - our own

    def close(self) -> None:
        """End the threads that the twin has started."""
        process_loop().run(self._twin.on_shutdown())
