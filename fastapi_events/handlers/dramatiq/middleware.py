"""The broker middleware that does what follows a failure of our actors."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import dramatiq
from dramatiq.broker import MessageProxy
from dramatiq.brokers.stub import StubBroker
from dramatiq.common import q_name
from dramatiq.middleware import AsyncIO, Middleware, Retries, SkipMessage

from fastapi_events import recorder
from fastapi_events.context import current_attempt
from fastapi_events.errors import DeliveredTooOften
from fastapi_events.handlers.dramatiq.actors import ACTOR, NotRun, UnknownActors, forget_rejected
from fastapi_events.handlers.dramatiq.consumption import ReportingMiddleware
from fastapi_events.handlers.dramatiq.crash_counter import crash_counter_on
from fastapi_events.handlers.dramatiq.event_loop import EventLoop
from fastapi_events.handlers.dramatiq.log_filter import WORKER_LOGGER, hide_payloads_of
from fastapi_events.handlers.dramatiq.retry_options import tell_exhausted, with_own_terms
from fastapi_events.handlers.task_queue.engine import Actor, UnknownActor, unknown_actor, until_done
from fastapi_events.handlers.task_queue.messages import events_in
from fastapi_events.handlers.task_queue.worker.dead_letters import failure_report
from fastapi_events.handlers.task_queue.worker.outcome import (
    NO_RETRY,
    Attempt,
    Drop,
    TryAgain,
    decide,
    traceback_of,
)
from fastapi_events.handlers.task_queue.worker.worker import Worker
from fastapi_events.storage.dead_letters import DeadLetter

DEAD = "fastapi_events_dead"
"""The message option that says why a message was given up."""

FAILED = "retries"
"""The message option that counts failed attempts; Dramatiq's own name for it."""

UNKNOWN_ATTEMPTS = "fastapi_events_unknown"
"""The message option that counts workers which did not know its subscription; no fault of the function's."""

_THROWS = "throws"
"""The message option that names errors which Retries leaves alone."""


class Redelivery(Middleware):
    """Does what follows a failure of our actors: another attempt, or the dead letters.

    Dramatiq's own Retries enqueues the next attempt while errors are swallowed and acknowledges the message
    whatever came of it (https://github.com/Bogdanp/dramatiq/pull/545): a broker that is away just then costs
    the message. Here it is acknowledged only when its successor is known to be in the broker.
    """

    def __init__(self, broker: dramatiq.Broker) -> None:
        self._workers: dict[str, Worker] = {}
        self._broker = broker
        self._stopping = threading.Event()
        self._crashes = crash_counter_on(broker)
        self._unknown = UnknownActors(broker)
        self._replaced: set[str] = set()
        self._left_to_do: dict[str, Callable[[], object]] = {}
        """What is still to be done for messages, while the worker stops, before they may be rejected."""
        self._publisher: Publisher | None = None

    @property
    def actor_options(self) -> set[str]:
        return {ACTOR}

    def publish_by(self, publisher: Publisher | None) -> None:
        """Enqueue by what waits for the broker's answer, and not for ever; by the broker itself if None."""
        self._publisher = publisher

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> None:
        """Enqueue a message; it is in the broker once this has returned."""
        if self._publisher is None:
            self._broker.enqueue(message, delay=delay)
        else:
            self._publisher.publish([(message, delay)], timeout=None)

    def serve(self, queue: str, worker: Worker) -> None:
        """Take care of messages on a queue whose actor this worker does not have."""
        self._workers.setdefault(queue, worker)

    def worker_of(self, queue: str) -> Worker | None:
        """The worker of the handler that owns a queue, or its delayed messages; None if no handler does."""
        return self._workers.get(q_name(queue))

    def until_done(self, step: Callable[[], object], message_id: str) -> bool:
        """Do something that needs the broker, however long it is away; False when the worker stops."""
        return until_done(step, self._stopping, partial(self._cannot_enqueue, message_id))

    def before_worker_boot(self, broker: dramatiq.Broker, worker: Any) -> None:
        self._stopping.clear()
        for each in dict.fromkeys(self._workers.values()):
            each.fleet.boot(worker.consumer_whitelist or each.queues, engine="dramatiq")
            each.start()
        hide_payloads_of(logging.getLogger(WORKER_LOGGER))

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: Any) -> None:
        self._stopping.set()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: Any) -> None:
        for each in dict.fromkeys(self._workers.values()):
            each.leave()
        recorder.flush_all()  # the process ends without `atexit`

    # Messages of our actors

    def before_process_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        if DEAD in message.options:
            message.fail()  # the actor is not run, and the message rejected
            return
        actor = self._actor(message)
        if actor is None:
            return
        current_attempt.set(int(message.options.get(FAILED, 0)) + 1)
        crashes = self._crashes.before(message)
        if crashes >= actor.worker.max_crashes:
            raise NotRun from DeliveredTooOften(crashes)

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        self._crashes.ended(message)
        current_attempt.set(1)  # the thread goes on to others
        message.options.pop(_THROWS, None)  # see _Shield
        if isinstance(exception, NotRun):
            exception = exception.__cause__
        actor = None if exception is None else self._actor(message)
        if exception is not None and actor is not None:
            self._after_failure(message, actor, exception)

    def after_skip_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        """A middleware or the function itself has dropped the message, such as one that is too old."""
        self._crashes.ended(message)
        actor = self._actor(message)
        if DEAD in message.options:
            message.fail()
        elif actor is not None:
            reason = sys.exception() or SkipMessage("a middleware has skipped it")
            self._after_failure(message, actor, reason, dropped=True)

    def _actor(self, message: MessageProxy) -> Actor | None:
        """The subscription's actor that a message is for; None if an application's own actor gets it."""
        declared = self._broker.actors.get(message.actor_name)
        return None if declared is None else declared.options.get(ACTOR)

    def _after_failure(
        self, message: MessageProxy, actor: Actor, error: BaseException, *, dropped: bool = False
    ) -> None:
        # Until a successor is in the broker. Should anything fail here, Dramatiq would only log it; then the
        # message is rejected, and kept, rather than acknowledged.
        message.fail()
        counter = UNKNOWN_ATTEMPTS if isinstance(actor, UnknownActor) else FAILED
        failed_before = int(message.options.get(counter, 0))
        attempt = Attempt(
            handler=actor.worker.name,
            subscription=actor.name,
            queue=q_name(message.queue_name),
            message_id=message.message_id,
            policy=NO_RETRY if dropped else actor.policy,
            arguments=message.args,
            keywords=message.kwargs,
            failed_before=failed_before,
            was_run=not dropped,
        )
        if not dropped:
            attempt = with_own_terms(attempt, actor.options, error)
        outcome = decide(attempt, error)
        if isinstance(outcome, Drop):
            message.failed = False
        elif isinstance(outcome, TryAgain):
            counted = (
                {counter: outcome.failed, "traceback": traceback_of(error, events_in(message.args))}
                if outcome.counts
                else {}
            )
            self._try_again(message, outcome, counted)
        elif self._give_up(message, actor, outcome.letter, error):
            tell_exhausted(self._broker, message.asdict(), actor.options, failed_before, actor.policy)

    def _try_again(self, message: MessageProxy, outcome: TryAgain, counted: dict[str, Any]) -> None:
        successor = message.copy(options={**counted, "requeue_timestamp": int(time.time() * 1000)})
        delay = int(outcome.after * 1000)
        if outcome.counts and isinstance(self._broker, StubBroker):
            delay = 0  # it is there for tests, which wait for each attempt
        step = partial(self.enqueue, successor, delay=delay or None)
        if self.until_done(step, message.message_id):
            message.failed = False
        else:
            self._left_to_do[message.message_id] = step

    def _give_up(self, message: MessageProxy, actor: Actor, letter: DeadLetter, error: BaseException) -> bool:
        """Keep a dead letter in the handler's store, or else in the broker's dead-letter queue."""
        letters = actor.worker.dead_letters
        report = {DEAD: failure_report(letter)}
        if letters.is_stored(letter):
            message.failed = False
        elif isinstance(self._broker, StubBroker):  # whose dead letters are the messages themselves
            message.options.update(report)
            message.stuff_exception(error)  # for join() to raise
        else:
            # What a broker moves to its dead-letter queue is the message as it was sent.
            dead = message.copy(options=report)
            step = partial(self.enqueue, dead)
            if not self.until_done(step, message.message_id):
                self._left_to_do[message.message_id] = partial(
                    _one_after_the_other, step, partial(letters.tell, letter)
                )
                return False
            message.failed = False
        letters.tell(letter)
        return True

    def _cannot_enqueue(self, message_id: str, error: Exception) -> None:
        self._broker.logger.warning("The successor of message %r cannot be enqueued: %s", message_id, error)

    # Messages whose actor this worker does not have

    def expect(self, actor: UnknownActor) -> None:
        """Have an actor for messages that are for other workers, before the first of them comes."""
        self._unknown.learn(actor)

    def before_nack(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        """Keep a message that Dramatiq is about to reject because it does not have the actor.

        Dramatiq asks no middleware before, and during a rolling deploy that is too early. From the first such
        message on there is an actor of its name, which fails; the message itself is enqueued once more.
        """
        self._do_what_is_left(message)
        worker = self.worker_of(message.queue_name)
        if DEAD in message.options or worker is None:
            return
        if not self._unknown.learn(unknown_actor(worker, message.actor_name, q_name(message.queue_name))):
            return
        if self.until_done(partial(self.enqueue, message.copy()), message.message_id):
            self._replaced.add(message.message_id)

    def after_nack(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        """Remove the copy of a message that has been replaced, where that can be done."""
        self._do_what_is_left(message)  # who could reject it can be asked
        self._left_to_do.pop(message.message_id, None)
        if message.message_id in self._replaced:
            self._replaced.discard(message.message_id)
            forget_rejected(broker, message)

    def _do_what_is_left(self, message: MessageProxy) -> None:
        """Do what the worker could not do for a message before it had to stop.

        Dramatiq rejects it then, once the broker is there for that: without a successor it would be given up.
        """
        step = self._left_to_do.get(message.message_id)
        if step is None:
            return
        try:
            step()
        except Exception as error:  # whatever the broker's client raises
            self._cannot_enqueue(message.message_id, error)
        else:
            del self._left_to_do[message.message_id]
            self._replaced.add(message.message_id)


class Publisher(Protocol):
    """Enqueues messages, each with its delay in milliseconds, and waits until the broker has them."""

    def publish(
        self, messages: Sequence[tuple[dramatiq.Message[Any], int | None]], *, timeout: float | None
    ) -> None: ...


def _one_after_the_other(*steps: Callable[[], object]) -> None:
    for step in steps:
        step()


class _Shield(Middleware):
    """Keeps Dramatiq's Retries, which is asked right after it, from retrying our actors.

    For an error that is "thrown", Retries leaves the message alone. Nobody else sees it: `Redelivery`, which
    is asked next, takes it away.
    """

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        declared = broker.actors.get(message.actor_name)
        if exception is not None and declared is not None and ACTOR in declared.options:
            message.options[_THROWS] = BaseException


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
        broker.add_middleware(_Shield(), after=Retries)
    else:
        broker.add_middleware(middleware)
    # Before AsyncIO starts its loop: a worker that is refused afterwards would wait for it for ever.
    beside = next((type(each) for each in broker.middleware if isinstance(each, AsyncIO)), None)
    broker.add_middleware(EventLoop(), before=beside)
    broker.add_middleware(ReportingMiddleware(), before=Redelivery)
    return middleware
