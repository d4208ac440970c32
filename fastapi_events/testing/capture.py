"""`capture_events`: what is dispatched is recorded, and goes nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from fastapi_events.delivery import call_dispatch_hooks
from fastapi_events.event import Event
from fastapi_events.handlers.null import NullHandler
from fastapi_events.handlers.strict_names import StrictNames
from fastapi_events.handlers.task_queue import Actor, Engine, Message, TaskQueueHandler
from fastapi_events.lifecycle import Lifecycle, forget, observe
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.testing.dispatched import DispatchedEvents
from fastapi_events.testing.stand_ins import installed
from fastapi_events.testing.twin import twin_of


class Recorder(Lifecycle):
    """Remembers events that were dispatched, but for those that were discarded."""

    def __init__(self) -> None:
        self._recorded: list[Event] = []
        self.events: DispatchedEvents = _Recording(self._recorded)

    def dispatched(self, event: Event) -> None:
        self._recorded.append(event)

    def discarded(self, event: Event) -> None:
        self._recorded[:] = [each for each in self._recorded if each is not event]


class _Recording(DispatchedEvents):
    def __init__(self, events: list[Event]) -> None:
        self._events = events


class capture_events:  # noqa: N801 - used like a function
    """Record the events that are dispatched in a `with` block; nothing runs, and no broker is asked.

        with capture_events() as events:
            client.post("/orders", json={"n": 1})
        events.assert_dispatched("order-placed", number=1)

    Every handler of this process is stood in for. A payload that cannot travel, or a delay that is too long,
    is refused on the line that dispatches it, as ever. An event that is discarded, because its request failed
    or its transaction was rolled back, is not among those recorded. Code that dispatches outside of a request
    is recorded, too. In the block of an `InlineWorker` events are recorded, and the worker gets them.
    """

    def __init__(self) -> None:
        self._recorder = Recorder()
        self._leaving = ExitStack()

    def __enter__(self) -> DispatchedEvents:
        observe(self._recorder)
        self._leaving.callback(forget, self._recorder)
        self._leaving.enter_context(installed(_Captured()))
        return self._recorder.events

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.close()


class _Captured:
    """Stands in for every handler by one that takes events and forgets them."""

    runs = False

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, NullHandler]] = {}

    def stand_in(self, handler: Any) -> NullHandler:
        if id(handler) not in self._known:
            self._known[id(handler)] = handler, _Checking(handler)
        return self._known[id(handler)][1]

    def outside(self) -> Sequence[Any]:
        return [NullHandler()]


class _Checking(NullHandler):
    """Refuses what a handler would refuse where it is dispatched, and forgets the rest.

    Parameters:
        handler: In whose place it stands.
    """

    def __init__(self, handler: Any) -> None:
        self._asked = NullHandler() if isinstance(handler, StrictNames) else handler
        if isinstance(handler, TaskQueueHandler):
            # Only the broker would know whether a function listens to a name.
            self._asked = twin_of(handler, _Nowhere(handler.engine), MemoryStore(), strict_names=False)

    def on_dispatch(self, event: Event) -> None:
        call_dispatch_hooks([self._asked], event)


class _Nowhere(Engine):
    """An engine that is never asked to send anything."""

    def __init__(self, original: Engine) -> None:
        self.name = original.name
        self._original = original

    @property
    def longest_delay(self) -> float:
        return self._original.longest_delay

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        pass

    def keep(self, letter: DeadLetter) -> None:
        pass

    def declare(self, actor: Actor) -> None:
        pass
