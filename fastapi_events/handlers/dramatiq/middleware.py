"""The broker middleware that decides what follows a failure of our actors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import dramatiq
from dramatiq.broker import MessageProxy
from dramatiq.common import q_name
from dramatiq.middleware import Middleware, MiddlewareError, Retries

from fastapi_events.errors import DeliveredTooOften, UnknownSubscription
from fastapi_events.handlers.dramatiq.crash_counter import deliveries_on
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.handlers.task_queue.messages import Epitaph, TryLater, epitaph, event_in, traceback_of
from fastapi_events.handlers.task_queue.worker.dead_letters import bury, let_others_go_on
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.retry import RetryPolicy

UNKNOWN = "fastapi_events.unknown"
"""The actor that takes messages for subscriptions which its worker does not have."""

DEAD = "fastapi_events_dead"
"""The message option that says why a message was given up."""

UNKNOWN_ATTEMPTS = "fastapi_events_unknown"
"""The message option that counts workers which did not know its subscription; no fault of the function's."""

BINDING = "fastapi_events"
"""The actor option by which our middleware knows our actors."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What our middleware knows of an actor of ours."""

    name: str
    policy: RetryPolicy
    retry_when: Callable[[int, BaseException], bool] | None = None
    on_retry_exhausted: str | None = None
    counter: str = "retries"
    """The message option that counts its failed attempts."""
    handler: TaskQueueHandler | None = None
    """Whose it is."""

    @property
    def max_crashes(self) -> int:
        """How often its worker may die while it has a message."""
        return 3 if self.handler is None else self.handler.max_crashes


class _NotRun(MiddlewareError, dramatiq.Retry):
    """Carries an error past Dramatiq, which runs the actor whatever else a middleware raises.

    Being a `Retry`, it is not logged with the whole message.
    """


class Redelivery(Middleware):
    """Decides what follows a failure of our actors: another attempt, or the dead letters.

    Dramatiq's own Retries enqueues the next attempt while errors are swallowed and acknowledges the message
    whatever came of it (https://github.com/Bogdanp/dramatiq/pull/545): a broker that is away just then costs
    the message. Here it is acknowledged only when its successor is known to be in the broker.

    A message given up is enqueued once more with its reason, and then rejected, because what a broker moves
    to its dead-letter queue is the message as it was sent.
    """

    def __init__(self, broker: dramatiq.Broker) -> None:
        self._queues: dict[str, TaskQueueHandler] = {}
        self._broker = broker
        self._stopping = threading.Event()
        self._deliveries = deliveries_on(broker)

    @property
    def actor_options(self) -> set[str]:
        return {BINDING}

    def serve(self, queue: str, handler: TaskQueueHandler) -> None:
        """Take care of messages on a queue whose actor this worker does not have."""
        self._queues.setdefault(queue, handler)

    def handler_of(self, queue: str) -> TaskQueueHandler | None:
        """Whose messages are on a queue, delayed ones included; None if it is nobody's of ours."""
        return self._queues.get(q_name(queue))

    def before_worker_boot(self, broker: dramatiq.Broker, worker: Any) -> None:
        self._stopping.clear()
        if UNKNOWN not in broker.actors:
            queue = next(iter(self._queues))
            unknown = dramatiq.actor(
                actor_name=UNKNOWN, queue_name=queue, broker=broker, **left_to_us(broker)
            )
            unknown(_take_unknown)
            broker.actors = _KnownActors(broker.actors)

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: Any) -> None:
        self._stopping.set()

    def before_process_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        if DEAD in message.options:
            message.fail()  # the actor is not run, and the message rejected
            return
        binding = broker.get_actor(message.actor_name).options.get(BINDING)
        if binding is None:  # not ours, or nobody's: what takes unknown messages kills no worker
            return
        deaths = self._deliveries.deaths(message)
        if deaths >= binding.max_crashes:
            raise _NotRun from DeliveredTooOften(deaths)

    def after_skip_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        self._deliveries.ended(message)

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        self._deliveries.ended(message)
        if isinstance(exception, _NotRun):
            exception = exception.__cause__
        binding = self._binding(broker, message) if exception is not None else None
        if exception is None or binding is None:
            return
        # Until a successor is in the broker. Should anything fail here, Dramatiq would only log it; then the
        # message is rejected, and kept, rather than acknowledged.
        message.fail()
        if isinstance(exception, TryLater):
            self._replace(broker, message, _requeued(message), delay=int(exception.seconds * 1000))
            return
        attempt = int(message.options.get(binding.counter, 0)) + 1
        if isinstance(exception, DeliveredTooOften):
            attempt = exception.deliveries
        wait = _next_wait(binding, message, attempt, exception)
        if wait is None:
            self._bury(broker, message, binding, attempt, exception)
        else:
            self._try_again(broker, message, binding, attempt, wait, exception)

    def _binding(self, broker: dramatiq.Broker, message: MessageProxy) -> Binding | None:
        actor = broker.get_actor(message.actor_name)
        if actor.actor_name == UNKNOWN:
            handler = self.handler_of(message.queue_name)
            if handler is None:  # not a queue of ours: what Dramatiq does itself
                message.fail()
                return None
            return Binding(
                message.actor_name, handler.unknown_retry, counter=UNKNOWN_ATTEMPTS, handler=handler
            )
        return actor.options.get(BINDING)

    def _try_again(
        self,
        broker: dramatiq.Broker,
        message: MessageProxy,
        binding: Binding,
        attempt: int,
        wait: float,
        exception: BaseException,
    ) -> None:
        counted = {binding.counter: attempt, "traceback": traceback_of(exception)}
        again = _requeued(message, **counted)
        event = event_in(message.args)
        if event is not None:
            tell(
                Lifecycle.retried,
                event,
                subscription=binding.name,
                error=exception,
                attempt=attempt,
                wait=wait,
            )
        self._replace(broker, message, again, delay=int(wait * 1000))

    def _bury(
        self,
        broker: dramatiq.Broker,
        message: MessageProxy,
        binding: Binding,
        attempts: int,
        exception: BaseException,
    ) -> None:
        grave = epitaph(binding.name, exception, attempts=attempts)
        tell(
            Lifecycle.dead,
            event_in(message.args),
            subscription=binding.name,
            reason=grave["reason"],
            attempts=attempts,
        )
        if self._keep(message, binding, grave) and binding.on_retry_exhausted:
            broker.get_actor(binding.on_retry_exhausted).send(
                message.asdict(), {"retries": attempts - 1, "max_retries": binding.policy.max_retries}
            )

    def _keep(self, message: MessageProxy, binding: Binding, grave: Epitaph) -> bool:
        """Keep a dead letter in the handler's store, or else in the broker's dead-letter queue."""
        handler = binding.handler
        kept = handler is not None and bury(
            handler,
            grave,
            message_id=message.message_id,
            subscription=binding.name,
            queue=q_name(message.queue_name),
            arguments=message.args,
            first_at=datetime.fromtimestamp(message.message_timestamp / 1000, UTC),
        )
        if kept:
            message.failed = False
        elif not self._replace(self._broker, message, message.copy(options={DEAD: grave})):
            return False
        if handler is not None:
            let_others_go_on(handler, binding.name, message.args)
        return True

    def _replace(
        self, broker: dramatiq.Broker, message: MessageProxy, successor: Any, *, delay: int | None = None
    ) -> bool:
        """Enqueue a message's successor and let it be acknowledged; never the second without the first."""
        pause = 0.1
        while True:
            try:
                broker.enqueue(successor, delay=delay)
            except Exception as error:  # whatever a broker's client raises
                broker.logger.warning(
                    "The successor of message %r cannot be enqueued: %s", message.message_id, error
                )
                if self._stopping.wait(pause):
                    # It stays rejected: should the broker be back for that, the message is in its
                    # dead-letter queue; if not, it is delivered again.
                    return False
                pause = min(pause * 2, 5.0)
            else:
                message.failed = False
                return True


class _KnownActors(dict[str, Any]):
    """A worker's actors; any other name gets the actor that takes unknown messages.

    Dramatiq moves a message for an actor that it does not know to the dead-letter queue at once, before any
    middleware is asked, which during a rolling deploy is too early.
    """

    def __missing__(self, name: str) -> Any:
        return self[UNKNOWN]


def _requeued(message: MessageProxy, **options: Any) -> dramatiq.Message[Any]:
    copy: dramatiq.Message[Any] = message.copy(
        options={**options, "requeue_timestamp": int(time.time() * 1000)}
    )
    return copy


def guarded(function: Callable[..., None]) -> Callable[..., None]:
    """An actor's function, which may say that its turn has not come without an error in Dramatiq's log."""

    def run(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except TryLater as later:
            raise _NotRun from later

    return run


def left_to_us(broker: dramatiq.Broker) -> dict[str, Any]:
    """The option that keeps Dramatiq's Retries from retrying our actors, which Redelivery does.

    For an error that an actor "throws", Retries leaves the message to the middleware around it.
    """
    return {"throws": BaseException} if "throws" in broker.actor_options else {}


def _take_unknown(*args: Any, **kwargs: Any) -> None:
    raise UnknownSubscription("this worker does not have the subscription that the message is for")


def _next_wait(
    binding: Binding, message: MessageProxy, attempt: int, exception: BaseException
) -> float | None:
    policy = binding.policy
    if isinstance(exception, DeliveredTooOften):
        return None
    if binding.retry_when is not None:  # takes precedence over the number of retries, as in Dramatiq
        if not binding.retry_when(attempt - 1, exception):
            return None
        policy = replace(policy, max_retries=max(policy.max_retries, attempt))
    wait = policy.next_wait(attempt, exception)
    if wait is not None and isinstance(exception, dramatiq.Retry) and exception.delay is not None:
        return exception.delay / 1000
    return wait


def middleware_of(broker: dramatiq.Broker) -> Redelivery:
    """The broker's one instance of our middleware, added where it belongs.

    Middleware is asked in reverse order after a message: before Retries in the list means to decide after
    it, and before whoever looks at the outcome, such as Callbacks.
    """
    for each in broker.middleware:
        if isinstance(each, Redelivery):
            return each
    middleware = Redelivery(broker)
    if any(isinstance(each, Retries) for each in broker.middleware):
        broker.add_middleware(middleware, before=Retries)
    else:
        broker.add_middleware(middleware)
    return middleware
