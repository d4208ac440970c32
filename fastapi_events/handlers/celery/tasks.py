"""What follows a failure of our tasks: another attempt, or the dead letters."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject, Retry, TaskRevokedError, WorkerShutdown, WorkerTerminate
from celery.worker import state

from fastapi_events import redaction
from fastapi_events.context import current_attempt
from fastapi_events.errors import DeliveredTooOften, reason_of
from fastapi_events.handlers.celery.crash_counter import CrashCounter
from fastapi_events.handlers.celery.eager import attempt_in_place
from fastapi_events.handlers.celery.foreign_messages import arguments_of, described
from fastapi_events.handlers.celery.passed_on import UNKNOWN, passed_on, priority_of
from fastapi_events.handlers.celery.publisher import CeleryPublisher, queue_of
from fastapi_events.handlers.celery.time_limits import Limits
from fastapi_events.handlers.task_queue.engine import Actor, unknown_actor, until_done
from fastapi_events.handlers.task_queue.messages import events_in
from fastapi_events.handlers.task_queue.worker.chained_events import ends_a_pool_process
from fastapi_events.handlers.task_queue.worker.dead_letters import original_of, unreadable_letter
from fastapi_events.handlers.task_queue.worker.outcome import NO_RETRY, Attempt, GiveUp, TryAgain, decide
from fastapi_events.handlers.task_queue.worker.worker import Worker


class FunctionFailed(RuntimeError):
    """Stands for an error of a function that would mean something else to Celery, such as `SystemExit`."""


class Tasks:
    """Runs an app's subscriptions; publishes a failed message's successor before acknowledging it.

    Celery's own `retry()` rejects a message for good when the broker is away just then, and keeps nothing of
    a task that it does not know.
    """

    def __init__(self, app: Celery, publisher: CeleryPublisher) -> None:
        self._app = app
        self._publisher = publisher
        self._limits = Limits()
        self._crashes = CrashCounter(app)
        self._stopping = threading.Event()
        self._actors: dict[str, Actor] = {}

    def start(self, worker: Any) -> None:
        """A worker starts in this process: its pool decides who enforces time limits."""
        self._limits.start(worker)

    def stop(self) -> None:
        """The worker stops: wait for no broker any more."""
        self._stopping.set()

    def function_of(self, actor: Actor) -> Callable[..., None]:
        """An actor as the function of a task, whose failures end here."""
        self._actors[actor.name] = actor

        def run(task: Task, *args: Any, **kwargs: Any) -> None:
            if task.request.is_eager:
                error = attempt_in_place(task, actor, _queue_of(task) or actor.queue, args, kwargs)
                if error is not None:
                    raise _as_celery_may_see_it(error, args) from _cause(error, args)
                return
            self._attempt(task, actor, partial(actor.run, *args, **kwargs), args, kwargs)

        return run

    def _attempt(
        self,
        task: Task,
        actor: Actor,
        step: Callable[[], object],
        arguments: Sequence[Any],
        keywords: Mapping[str, Any],
    ) -> None:
        with self._crashes.before(task, _queue_of(task) or actor.queue) as crashes:
            token = current_attempt.set(task.request.retries + 1)
            try:
                if crashes >= actor.worker.max_crashes:
                    raise DeliveredTooOften(crashes)
                with self._limits.of(task):
                    step()
            except BaseException as error:
                if _ends_the_worker(error) or _is_retried_already(error):
                    raise
                self._after_failure(task, actor, error, arguments, keywords)
            finally:
                current_attempt.reset(token)

    def _after_failure(
        self,
        task: Task,
        actor: Actor,
        error: BaseException,
        arguments: Sequence[Any],
        keywords: Mapping[str, Any],
    ) -> None:
        """Publish the next attempt or the dead letter.

        Raises:
            celery.exceptions.Retry: When there is a next attempt.
            celery.exceptions.Reject: When the worker stops while the broker is away; it is delivered again.
        """
        queue = _queue_of(task) or actor.queue
        attempt = Attempt(
            handler=actor.worker.name,
            subscription=actor.name,
            queue=queue,
            message_id=task.request.id,
            policy=NO_RETRY if _is_dropped(error) else actor.policy,
            arguments=arguments,
            keywords=keywords,
            failed_before=task.request.retries,
        )
        outcome = decide(attempt, error)
        if isinstance(outcome, GiveUp):
            actor.worker.dead_letters.give_up(outcome.letter)
            raise _as_celery_may_see_it(error, arguments) from _cause(error, arguments)
        if isinstance(outcome, TryAgain):
            self._again(task, queue, outcome, error)

    def _again(self, task: Task, queue: str, outcome: TryAgain, error: BaseException) -> None:
        again = task.signature_from_request(
            task.request, countdown=outcome.after, retries=outcome.failed, queue=queue
        )
        message: dict[str, Any] = {
            "name": task.name, "args": tuple(task.request.args), "kwargs": task.request.kwargs,
            "task_id": task.request.id, "queue": queue, "countdown": outcome.after,
            "retries": outcome.failed,
        }  # fmt: skip
        priority, expires = (task.request.delivery_info or {}).get("priority"), task.request.expires
        if priority is not None:
            message["priority"] = priority
        if expires is not None:
            message["expires"] = expires
        self.publish_until_done(message)
        arguments = task.request.args
        seen = _as_celery_may_see_it(error, arguments)
        raise Retry(exc=seen, when=outcome.after, sig=again) from _cause(error, arguments)

    def publish_until_done(self, message: Mapping[str, Any]) -> None:
        """Publish a message, however long the broker is away.

        Raises:
            celery.exceptions.Reject: When the worker stops meanwhile.
        """
        step = partial(self._publisher.publish, [message])
        if not until_done(step, self._stopping, partial(self._cannot_publish, message["task_id"])):
            raise Reject("the worker stops while the broker is away", requeue=True)

    def _cannot_publish(self, message_id: str, error: Exception) -> None:
        self._app.log.get_default_logger().warning(
            "The successor of message %r cannot be published: %s", message_id, error
        )

    # Messages that no task takes

    def keep_revoked(self, worker: Worker, sender: Task, request: Any, *, expired: bool) -> None:
        """Keep a subscription's message that Celery has dropped: it is too old, or it was revoked."""
        actor, arguments = self._actors.get(sender.name), request.args
        queue = queue_of(request.delivery_info)
        if queue is not None and sender.name == UNKNOWN and queue in worker.queues:  # it is on its way
            passed, *arguments = arguments
            actor = unknown_actor(worker, passed["task"], queue)
        if actor is None:
            return
        attempt = Attempt(
            handler=actor.worker.name,
            subscription=actor.name,
            queue=queue or actor.queue,
            message_id=request.id,
            policy=NO_RETRY,
            arguments=arguments,
            keywords=request.kwargs,
            failed_before=request.retries or 0,
            was_run=False,
        )
        outcome = decide(attempt, TaskRevokedError("expired" if expired else "revoked"))
        if isinstance(outcome, GiveUp):
            actor.worker.dead_letters.give_up(outcome.letter)
        state.revoked.discard(request.id)  # what is replayed has the same id

    def keep_unknown(self, worker: Worker, message: Any, name: str, identity: str, queue: str) -> None:
        """Keep a message whose task this worker does not have, for one that does.

        Where the fleet has one, the message goes back to its queue. One that is to wait goes to `UNKNOWN`
        meanwhile: whatever time it is due at, a worker is told at once that it does not have the task.
        """
        args, kwargs = arguments_of(message)
        passed = passed_on(message, name)
        sent: dict[str, Any] = {
            "name": UNKNOWN, "args": (passed, *args), "kwargs": kwargs, "task_id": identity, "queue": queue,
        }  # fmt: skip
        if (priority := priority_of(message)) is not None:
            sent["priority"] = priority
        seconds = worker.fleet.elsewhere(name, args)
        if seconds is None:
            self._app.log.get_default_logger().warning(
                "Message %s is for %r, which this worker does not have: it goes to %s",
                identity, name, UNKNOWN,
            )  # fmt: skip
        elif (wait := max(seconds, _seconds_until(passed["eta"]))) > 0:
            sent["countdown"] = wait
        elif passed["expires"] is None:
            sent |= {"name": name, "args": tuple(args), "retries": passed["retries"]}
        self.publish_until_done(sent)

    def keep_unreadable(self, worker: Worker, message: Any, fault: str, queue: str) -> None:
        """Keep a message as a dead letter that is none of Celery's."""
        letter = unreadable_letter(
            worker.name, queue, str(uuid.uuid4()), original_of(message.body or b""), described(fault, message)
        )
        worker.dead_letters.give_up(letter)

    def take_unknown(self, task: Task, worker: Worker, queue: str, args: Any, kwargs: Any) -> None:
        """The task `UNKNOWN`: hand a message on, should this worker know its task."""
        passed, *rest = args
        name = passed["task"]
        actor = unknown_actor(worker, name, queue)
        step: Callable[[], object] = partial(actor.run, *rest, **kwargs)
        if name in self._app.tasks:  # which a consumer of another class has not found out
            message = {"name": name, "args": rest, "kwargs": kwargs, "task_id": task.request.id,
                       "retries": passed["retries"], "expires": passed["expires"]}  # fmt: skip
            if (priority := (task.request.delivery_info or {}).get("priority")) is not None:
                message["priority"] = priority
            step = partial(self._publisher.publish, [{**message, "queue": queue}])
        self._attempt(task, actor, step, rest, kwargs)


def _seconds_until(eta: Any) -> float:
    """How long it is until a message is due, as its header says."""
    try:
        due = datetime.fromisoformat(eta)
    except (TypeError, ValueError):
        return 0.0
    due = due if due.tzinfo is not None else due.replace(tzinfo=UTC)
    return max((due - datetime.now(UTC)).total_seconds(), 0.0)


def _queue_of(task: Task) -> str | None:
    """The queue that the task's message came from, which a route may have chosen."""
    return queue_of(task.request.delivery_info)


def item_attempt(attempt: Attempt, error: BaseException) -> Attempt | None:
    """A failed attempt at an event with an ordering key; None where the error ends the worker."""
    if _ends_the_worker(error):
        return None
    if _is_dropped(error):
        return replace(attempt, policy=NO_RETRY)
    # The function has called `retry()` of its task, which says when.
    asked = error.when if isinstance(error, Retry) and isinstance(error.when, (int, float)) else None
    return replace(attempt, wait=asked)


def _is_dropped(error: BaseException) -> bool:
    """Whether the function wants its message forgotten."""
    return isinstance(error, Ignore) or (isinstance(error, Reject) and not error.requeue)


def _ends_the_worker(error: BaseException) -> bool:
    """Whether it comes from Celery or its pool, not from the function: the message is delivered again."""
    own = (WorkerShutdown, WorkerTerminate, GeneratorExit)
    return isinstance(error, own) or type(error).__name__ == "GreenletExit" or ends_a_pool_process(error)


def _is_retried_already(error: BaseException) -> bool:
    """Whether the function has called `retry()` of its task, which has published a successor."""
    return isinstance(error, Retry) and error.sig is not None


def _as_celery_may_see_it(error: BaseException, arguments: Sequence[Any]) -> Exception:
    """The error, or one in its place that Celery, which logs it, may show and does not take for its own."""
    if _hides(arguments):
        return FunctionFailed(redaction.scrubbed(reason_of(error), events_in(arguments)))
    if isinstance(error, Exception) and not isinstance(error, (Reject, Retry)):
        return error
    return FunctionFailed(f"{type(error).__name__}: {error}")


def _cause(error: BaseException, arguments: Sequence[Any]) -> BaseException | None:
    """What Celery may log as the cause: nothing where it may show what nobody may see."""
    return None if _hides(arguments) else error


def _hides(arguments: Sequence[Any]) -> bool:
    return any(redaction.hides(each) for each in events_in(arguments))
