"""An engine in this process: it runs actors where it is told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from fastapi_events import clock, envelope
from fastapi_events.handlers.task_queue import Actor, Engine, Message
from fastapi_events.handlers.task_queue.engine import unknown_actor
from fastapi_events.handlers.task_queue.messages import bell_in, is_batch
from fastapi_events.handlers.task_queue.worker.outcome import Attempt, GiveUp, TryAgain, decide
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.testing.faults import BrokerAway, Faults
from fastapi_events.testing.inline_broker import InlineBroker, PauseOf, Waiting


class _Died(BaseException):
    """The process ends here: its function has run, and nobody gets to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _MortalActor(Actor):
    """An actor whose process may die when its function has run.

    Parameters:
        faults: Say when.
    """

    faults: Faults

    def handle(self, *args: Any, **kwargs: Any) -> None:
        Actor.handle(self, *args, **kwargs)  # slots: no super() without arguments
        if self.subscription is not None and self.faults.crashes_after("run"):
            raise _Died


class InlineEngine(Engine):
    """Runs actors where it is told to, as a worker of a task queue would.

    Parameters:
        original: The engine in whose place it stands; its limits hold.
        handler: The handler in whose place that one stands which has it.
        broker: Where its messages wait.
        pause_of: Finds out how somebody has paused a subscription.
    """

    def __init__(self, original: Engine, handler: Any, broker: InlineBroker, *, pause_of: PauseOf) -> None:
        self.name = original.name
        self._original = original
        self.handler = handler
        self._broker = broker
        self.pause_of = pause_of
        self._actors: dict[str, Actor] = {}
        self.windows: dict[str, float] = {}
        """How long the first event of a batch waits for others, by the subscription."""
        self.kept: list[DeadLetter] = []
        """Dead letters that no store has taken."""

    @property
    def longest_delay(self) -> float:
        return self._original.longest_delay

    # Publisher

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        faults = self._broker.faults
        if faults.is_away(self.handler):
            raise BrokerAway("the broker is away, as the test has asked for")
        for message in messages:
            for _ in range(1 + faults.duplicates):
                self._put(message, asked_for=_is_asked_for(message))
        if faults.crashes_after("publish"):
            raise BrokerAway("the process died when the broker had the messages, as the test has asked for")

    def sends_on_loop(self) -> bool:
        return not self._broker.faults.crashes  # what fails on the loop would be sent once more by the thread

    async def send_on_loop(self, messages: Sequence[Message]) -> bool:
        self.send(messages)
        return True

    def keep(self, letter: DeadLetter) -> None:
        self.kept.append(letter)

    def declare(self, actor: Actor) -> None:
        given = {each.name: getattr(actor, each.name) for each in fields(Actor)}
        self._actors[actor.name] = _MortalActor(**given, faults=self._broker.faults)

    # Worker

    def described(self, attempt: Attempt, options: Mapping[str, Any], error: BaseException) -> Attempt | None:
        if isinstance(error, (KeyboardInterrupt, GeneratorExit, _Died)):
            return None
        return replace(attempt, policy=replace(attempt.policy, jitter=False))

    @property
    def is_away(self) -> bool:
        """Whether its broker is, so that no worker can receive anything."""
        return self._broker.faults.is_away(self.handler)

    def batch_size(self, task: str) -> int:
        """How many events a subscription takes at once."""
        subscription = self._actors[task].subscription
        return (subscription is not None and subscription.batch_size) or 1

    def deliver(self, message: Message) -> None:
        """Run the actor of a message, and do what follows a failure."""
        faults = self._broker.faults
        left = len(faults.crashes)
        actor = self._actors.get(message.task) or self._unknown(message)
        try:
            actor.run(message.argument)
        except (KeyboardInterrupt, GeneratorExit):
            raise  # of a function's own they have become `FunctionExited`
        except BaseException as error:
            if len(faults.crashes) == left:
                self._after_failure(actor, message, error)
                return
        if len(faults.crashes) < left:  # no process was left to acknowledge the message
            self._put(message)

    def _after_failure(self, actor: Actor, message: Message, error: BaseException) -> None:
        attempt = Attempt(
            handler=actor.worker.name, subscription=actor.name, queue=message.queue, message_id=message.id,
            policy=replace(actor.policy, jitter=False), arguments=(message.argument,),
            failed_before=message.failed,
        )  # fmt: skip
        outcome = decide(attempt, error)
        if isinstance(outcome, GiveUp):
            actor.worker.dead_letters.give_up(outcome.letter)
        elif isinstance(outcome, TryAgain):
            again = replace(message, delay=outcome.after, failed=outcome.failed)
            self._put(again, held=not outcome.counts)

    def _put(self, message: Message, *, asked_for: bool = False, held: bool = False) -> None:
        delay, events = message.delay, 0
        actor = self._actors.get(message.task)
        batch = None if actor is None or actor.subscription is None else actor.subscription.batch
        if batch is not None and is_batch(message.argument) and not message.failed:
            events = len(envelope.read_batch(message.argument))
            delay = self.windows.get(message.task, 0.0)
        self._broker.put(Waiting(self, message, clock.timestamp() + delay, asked_for, events, held))

    def _unknown(self, message: Message) -> Actor:
        anyone: Any = next(iter(self._actors.values()))
        return unknown_actor(anyone.worker, message.task, message.queue)


def _is_asked_for(message: Message) -> bool:
    """Whether it is an event that was dispatched with a delay, rather than another attempt."""
    return message.delay > 0 and message.failed == 0 and bell_in([message.argument], {}) is None
