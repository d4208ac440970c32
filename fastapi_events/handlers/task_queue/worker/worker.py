"""The half of a queue handler that runs in a worker."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi_events.errors import ConfigurationError, UnreadableEnvelope
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.task_queue.addresses import Addresses
from fastapi_events.handlers.task_queue.audit import Audit
from fastapi_events.handlers.task_queue.encryption import Encryption
from fastapi_events.handlers.task_queue.fleet import Fleet
from fastapi_events.handlers.task_queue.lookout import Lookout
from fastapi_events.handlers.task_queue.messages import Bell
from fastapi_events.handlers.task_queue.once import Once
from fastapi_events.handlers.task_queue.ordering import Order
from fastapi_events.handlers.task_queue.publish.flush_outcome import Flusher
from fastapi_events.handlers.task_queue.sender import Sender
from fastapi_events.handlers.task_queue.settings import ContextFrom
from fastapi_events.handlers.task_queue.worker.chained_events import Chained
from fastapi_events.handlers.task_queue.worker.dead_letters import DeadLetterKeeper
from fastapi_events.handlers.task_queue.worker.fan_out import FanOut
from fastapi_events.handlers.task_queue.worker.pause_gate import PauseGate
from fastapi_events.handlers.task_queue.worker.perform import Perform
from fastapi_events.handlers.task_queue.worker.perform_batch import PerformBatch
from fastapi_events.handlers.task_queue.worker.receipts import Receipts
from fastapi_events.handlers.task_queue.worker.turn import Performer, Turns
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.dead_letters import DeadLetters
from fastapi_events.storage.inbox import Inbox
from fastapi_events.storage.outbox import Outbox
from fastapi_events.subscriptions.dependencies import Overrides

# Fan-out fails only with its broker, or when a message is no batch of events.
FAN_OUT_RETRY = RetryPolicy(max_retries=20, max_backoff=60.0, give_up_on=UnreadableEnvelope)


class Worker:
    """What an engine's workers call: fan out, perform, and keep what is given up.

    Parameters:
        handler: Whose half it is.
        sender: The engine.
        addresses: Where its events go.
        flusher: Publishes what a function has dispatched, or raises.
        overrides: Dependencies to replace.
        unknown_retry: When a message for a subscription that no running worker has is tried again.
        context_from: Makes the context that a function runs in, of its event.
        encryption: Of the values of sensitive fields.
        max_crashes: How many workers may die of a message before it is given up.
        audit: Gets to know when a subscription pauses itself.
        outbox: Gets receipts, where it waits for them.
        inbox: Remembers what subscriptions with `once=True` have completed.
        dead_letters: Keeps what is given up.
        order: Lets events with an ordering key pass one after the other.
        keeps_unmatched: Whether events that nobody listens to are kept among the dead letters.
    """

    def __init__(
        self,
        handler: BaseEventHandler,
        sender: Sender,
        addresses: Addresses,
        flusher: Flusher,
        overrides: Overrides,
        *,
        unknown_retry: RetryPolicy,
        max_crashes: int,
        audit: Audit,
        outbox: Outbox | None,
        inbox: Inbox | None,
        dead_letters: DeadLetters | None,
        order: Order | None,
        context_from: ContextFrom | None = None,
        encryption: Encryption | None = None,
        keeps_unmatched: bool = False,
    ) -> None:
        self.name: str = handler.name
        """The handler's."""
        self.unknown_retry = unknown_retry
        self.max_crashes = max_crashes
        self._addresses = addresses
        self.fleet: Fleet = addresses.fleet
        """What the other workers of the handler have."""
        once = None if inbox is None else Once(handler.name, inbox)
        receipts = Receipts(outbox)
        chained = Chained(handler, flusher)
        self.dead_letters: DeadLetterKeeper = DeadLetterKeeper(
            handler.name, dead_letters, sender, fan_outs=addresses.fan_outs, order=order, receipts=receipts
        )
        self.fan_out: FanOut = FanOut(
            handler.name, addresses, sender, outbox=outbox, order=order,
            keep_in=dead_letters if keeps_unmatched else None,
        )  # fmt: skip
        gate = PauseGate(handler.name, self.fleet, audit)
        self.gate: PauseGate = gate
        self.perform: Perform = Perform(
            handler,
            overrides,
            chained,
            PerformBatch(
                handler, overrides, chained, addresses=addresses, sender=sender, gate=gate,
                dead_letters=self.dead_letters, receipts=receipts, once=once, encryption=encryption,
            ),
            gate=gate,
            receipts=receipts,
            once=once,
            context_from=context_from,
            encryption=encryption,
        )  # fmt: skip
        self._turns: Turns | None = None
        self.lookout: Lookout | None = None
        """Looks after the lanes, where there are any."""
        if order is not None:
            self.lookout = Lookout(order)
            self._turns = Turns(
                order, sender, self.dead_letters, max_crashes=max_crashes, lookout=self.lookout
            )

    def hear(self, actor: Performer, bell: Bell) -> None:
        """Take a turn at the lanes that a bell names.

        Raises:
            ConfigurationError: When this worker has no lanes.
            StorageError: When they cannot be reached.
        """
        if self._turns is None:
            raise ConfigurationError(
                f"{self.name} was told of events with an ordering key, and has no lanes: pass the workers "
                "the same lanes= as the processes that dispatch."
            )
        if actor.name in self._addresses.fan_outs:
            self._turns.fan_out(actor, bell, self.fan_out)
        else:
            self._turns.perform(actor, bell)

    def start(self) -> None:
        """Start the threads that signal that this worker is alive and look after the lanes."""
        self.fleet.start()
        if self.lookout is not None:
            self.lookout.start()

    def leave(self) -> None:
        """Announce that this worker ends, and end its threads."""
        if self.lookout is not None:
            self.lookout.stop()
        self.fleet.leave()

    @property
    def queues(self) -> Sequence[str]:
        """Every queue that a worker has to consume: the handler's, those of its routes and subscriptions."""
        return self._addresses.queues
