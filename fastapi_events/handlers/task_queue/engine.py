"""The face of an engine: what Dramatiq, Celery or another task queue has to offer."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi_events.errors import UnknownSubscription
from fastapi_events.handlers.task_queue.dead_queues import DeadQueues, NoDeadQueues
from fastapi_events.handlers.task_queue.depth import QueueDepth
from fastapi_events.handlers.task_queue.diagnosis import Finding
from fastapi_events.handlers.task_queue.messages import bell_in
from fastapi_events.handlers.task_queue.options import EngineOptions
from fastapi_events.handlers.task_queue.queue_search import QueueSearch, cannot_look
from fastapi_events.handlers.task_queue.sender import Sender
from fastapi_events.handlers.task_queue.settings import TaskQueueSettings
from fastapi_events.handlers.task_queue.worker.outcome import TryLater
from fastapi_events.handlers.task_queue.worker.worker import Worker
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.catalogue import Catalogue
from fastapi_events.subscriptions.subscription import Subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Something that an engine runs when a message names it: a subscription, or a fan-out.

    Parameters:
        name: What messages for it are called.
        queue: Where they wait, unless a route sends them elsewhere.
        policy: When it is tried again.
        options: The engine's own, as `register` was given them.
        worker: Runs it, and knows what follows a failure.
        subscription: Which it is; None for a fan-out.
    """

    name: str
    queue: str
    policy: RetryPolicy
    options: Mapping[str, Any]
    worker: Worker
    subscription: Subscription | None = None

    @property
    def counts_as(self) -> str:
        """Whose attempts are counted at an event with an ordering key."""
        return "failed"

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Run it with the arguments of a message.

        Raises:
            BaseException: When the attempt has failed, or `TryLater` when it was not its turn: ask
                `decide` of `task_queue.worker.outcome` what follows.
        """
        bell = bell_in(args, kwargs)
        if bell is not None:
            self.worker.hear(self, bell)
        else:
            self.handle(*args, **kwargs)

    def handle(self, *args: Any, **kwargs: Any) -> None:
        """Run it for the event that the arguments carry."""
        if self.subscription is None:
            self.worker.fan_out(*args, **kwargs)
        else:
            self.worker.perform(self.subscription, *args, **kwargs)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownActor(Actor):
    """What a message is for that names a subscription which this worker does not have.

    The message goes back to its queue for a worker that has it, without counting an attempt. Where the fleet
    knows of none it fails, and is tried again for a while, as during a rolling deploy.
    """

    @property
    def counts_as(self) -> str:
        return "unknown"

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Pass it on to the workers that have it, or fail.

        Raises:
            TryLater: When the fleet has the subscription.
            UnknownSubscription: When nobody has.
        """
        seconds = self.worker.fleet.elsewhere(self.name, args)
        if seconds is not None:
            raise TryLater(seconds)
        Actor.run(self, *args, **kwargs)  # slots: no super() without arguments

    def handle(self, *args: Any, **kwargs: Any) -> None:
        """Fail.

        Raises:
            UnknownSubscription: Always.
        """
        raise UnknownSubscription(f"no worker of this queue has {self.name!r}")


def unknown_actor(worker: Worker, name: str, queue: str) -> UnknownActor:
    """The actor for messages in a handler's queue that name no known actor."""
    return UnknownActor(name=name, queue=queue, policy=worker.unknown_retry, options={}, worker=worker)


class Engine(Sender, Protocol):
    """What runs subscriptions in workers. Derive a class from it, and hand an instance to `TaskQueueHandler`.

    In the process that publishes, `send` is called. In a worker the engine receives the messages that were
    sent, runs the actors that they name, and does with those that fail what `decide` says; it acknowledges a
    message only when that is done. `docs/extending.md` has a whole engine.
    """

    name: str
    """The engine's name, in lower case; the first half of the handler's."""

    has_quorum_queues: bool = False
    """Whether `queue_type="quorum"` means something to it."""

    def configure(self, settings: TaskQueueSettings) -> None:
        """Get to know the settings of the handler, before anything else is called.

        Raises:
            ConfigurationError: When the engine cannot do what they say.
        """
        return

    # Publisher

    @property
    def longest_delay(self) -> float:
        """Seconds that a message may wait for its time, as before a retry."""
        return 0.0

    async def close_on_loop(self) -> None:
        """Close what `send_on_loop` keeps open on the running loop; `close` follows."""
        return

    def close(self) -> None:
        """Close the connections that `send` keeps for the process that publishes; the next opens others."""
        return

    # Registration

    @property
    def options(self) -> EngineOptions:
        """What `register` may be given beside its own parameters, and what it is refused."""
        return EngineOptions()

    def policy(self, policy: RetryPolicy, options: Mapping[str, Any]) -> RetryPolicy:
        """A subscription's policy, in which the engine's own options count as well."""
        return policy

    @abstractmethod
    def declare(self, actor: Actor) -> None:
        """Let workers run an actor. A handler's fan-outs are declared first, when the handler is made.

        Raises:
            ConfigurationError: When its name is taken, or the engine cannot do what its options say.
        """

    def expect(self, actor: UnknownActor) -> None:
        """Messages may come for an actor that only other workers have; asked again and again in a worker.

        For an engine that would otherwise complain of the first of them.
        """
        return

    # Looking at it

    def catalogue(self) -> Catalogue | None:
        """The catalogue of the fleet in the broker's own store; None where that can keep none.

        Raises:
            Exception: Whatever the broker's client raises, should it be away.
        """
        return None

    def depths(self, queues: Collection[str], *, timeout: float) -> Sequence[QueueDepth]:
        """How many messages wait in queues; unknown where an engine does not implement it.

        It changes nothing, and declares no queue.

        Parameters:
            timeout: Seconds that each step may take.

        Raises:
            Exception: Whatever the broker's client raises, when there is no answer.
        """
        return [QueueDepth(queue=each) for each in queues]

    def search(self, queues: Collection[str], prefix: str, *, timeout: float) -> QueueSearch:
        """Look into queues for events whose ids begin with a prefix. Nothing is taken out of them for that.

        Parameters:
            timeout: Seconds that each step may take.

        Raises:
            Exception: Whatever the broker's client raises, when there is no answer.
        """
        return cannot_look(queues, f"the engine {self.name} does not show what is in them")

    def dead_queues(
        self, handler: str, queues: Collection[str], *, timeout: float, to_take: bool = False
    ) -> AbstractContextManager[DeadQueues]:
        """The dead letters that the engine keeps by its own means, while the block runs.

        Parameters:
            handler: The handler's name.
            queues: Whose dead letters.
            timeout: Seconds that each step may take.
            to_take: Whether they are to be removed, too. Without it, those are left out that cannot be looked
                at without harm.
        """
        return nullcontext(NoDeadQueues())

    def diagnose(
        self, subscriptions: Sequence[Subscription], queues: Collection[str], *, confirms_handled: bool
    ) -> Iterable[Finding]:
        """What `fastapi-events doctor` should know of the engine and its broker.

        Parameters:
            confirms_handled: Whether an outbox keeps events until their functions have run.
        """
        return ()


def until_done(
    step: Callable[[], object], stopping: threading.Event, failed: Callable[[Exception], None]
) -> bool:
    """Do something that needs a broker, however long that is away; once more when the worker stops.

    Parameters:
        stopping: Set when the worker stops, and waits for nobody any more.
        failed: Called with the error of each try.

    Returns:
        Whether it is done; if not, the worker stops, and the message has to be put back.
    """
    pause = 0.1
    while True:
        try:
            step()
        except Exception as error:  # whatever a broker's client raises
            failed(error)
            if stopping.wait(pause):
                return _is_done(step, failed)
            pause = min(pause * 2, 5.0)
        else:
            return True


def _is_done(step: Callable[[], object], failed: Callable[[Exception], None]) -> bool:
    """Whether the last try has done it."""
    try:
        step()
    except Exception as error:  # whatever a broker's client raises
        failed(error)
        return False
    return True
