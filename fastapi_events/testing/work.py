"""What a worker works at: the handlers that stand in, their messages, and the clock."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastapi_events import checks, clock, under_test
from fastapi_events.delivery import call_dispatch_hooks
from fastapi_events.errors import ConfigurationError, InvalidSetting, leaves
from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.null import NullHandler
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.subscriptions.subscription import Subscription
from fastapi_events.testing.application import Application
from fastapi_events.testing.faults import Faults
from fastapi_events.testing.function_results import Function
from fastapi_events.testing.inline_broker import InlineBroker
from fastapi_events.testing.inline_handler import InlineHandler
from fastapi_events.testing.log import Entry, Log, last_errors
from fastapi_events.testing.results import Outstanding

MOST_MESSAGES = 10_000
"""After so many messages at once, functions are taken to call one another without end."""

_FORWARDING = ("fastapi_events.handlers.aws", "fastapi_events.handlers.gcp")


class Work:
    """The events of an application's handlers, and how far they have come.

    Parameters:
        given: The handlers; those of the application if there are none.
    """

    runs = True

    def __init__(self, given: Sequence[BaseEventHandler]) -> None:
        self._given = given
        self._application = Application()
        self.faults: Faults = Faults()
        self.broker: InlineBroker = InlineBroker(self.faults)
        self.log: Log = Log()
        self.inline: dict[int, InlineHandler] = {}
        self._stores: dict[str, MemoryStore] = {}
        self.errors: list[BaseException] = []
        self._told = 0
        self._outside = _Outside(self.targets)

    # In the place of handlers

    def stand_in(self, handler: Any) -> Any | None:
        """Who gets the events of a handler; None for one that is left as it is."""
        if self._given and not any(each is handler for each in self._given):
            return None
        if isinstance(handler, TaskQueueHandler):
            return self.inline_handler(handler).current()
        return NullHandler() if type(handler).__module__ in _FORWARDING else None

    def outside(self) -> Sequence[Any]:
        """Who gets what the test itself dispatches."""
        return [self._outside]

    def inline_handler(self, handler: TaskQueueHandler) -> InlineHandler:
        """What stands in for a queue handler."""
        if id(handler) not in self.inline:
            store = self._stores.setdefault(handler.name, MemoryStore(clock=clock.timestamp))
            self.inline[id(handler)] = InlineHandler(handler, self.broker, store, peers=self._peers)
        return self.inline[id(handler)]

    def checked_queue(self, name: str, handler: BaseEventHandler) -> TaskQueueHandler:
        """A queue handler whose events it handles; the original where one that stands in is given.

        Parameters:
            name: What the argument is called.

        Raises:
            InvalidSetting: When it is another.
        """
        found = checks.instance(name, handler, TaskQueueHandler, such_as="DramatiqHandler(broker)")
        for each in self.inline.values():
            if each.stands_in_by(found):
                return each.original
        if self._given and not any(each is handler for each in self._given):
            raise InvalidSetting(f"{name}={checks.shown(handler)}: the worker was not given it.")
        return found

    def handlers(self) -> list[BaseEventHandler]:
        """Whose events it handles, as far as it knows by now."""
        found = self._given or self._application.handlers()
        seen = [each.original for each in self.inline.values()]
        return list({id(each): each for each in [*found, *seen]}.values())

    def targets(self) -> list[Any]:
        """The handlers, or those that stand in for them, to which a test's own events go.

        Raises:
            ConfigurationError: When there are none.
        """
        handlers = self._given or self._application.handlers()
        if not handlers:
            raise ConfigurationError(
                "No handler was found in this process: import the application, name its handlers by "
                "fastapi_events_handlers in pytest's settings, or write InlineWorker(handler)."
            )
        return [self.stand_in(each) or each for each in handlers]

    def subscriptions(self, function: Function) -> list[Subscription]:
        """The subscriptions of a function.

        Raises:
            ConfigurationError: When no handler has any, or it is no function.
        """
        if not function or not (isinstance(function, str) or callable(function)):
            raise ConfigurationError(
                f"{checks.shown(function)}: expected the function itself, not called, or the name of its "
                "subscription."
            )
        known = [each for handler in self.handlers() for each in getattr(handler, "subscriptions", ())]
        if found := _subscriptions_of(function, known):
            return found
        names = sorted({each.name for each in known})
        shown = function if isinstance(function, str) else getattr(function, "__qualname__", repr(function))
        short = [name.rpartition(".")[2] for name in names]
        hint = (
            checks.guess(shown, [*names, *short]) or f"there are {', '.join(names) or 'no functions at all'}."
        )
        raise ConfigurationError(f"{shown} is registered with none of the handlers; {hint}")

    # Working

    def until_idle(self) -> None:
        """Handle messages until none is due, and no retry waits.

        Raises:
            RuntimeError: When there is no end to it.
        """
        for _ in range(MOST_MESSAGES):
            if self._step():
                continue
            due = self.broker.next_due(asked_for=False)
            if due is None or self.faults.is_away(None):
                return
            _set_clock(due)
        raise self._endless()

    def until(self, end: float) -> None:
        """Handle messages, each at its time, until a time.

        Raises:
            RuntimeError: When there is no end to it.
        """
        for _ in range(MOST_MESSAGES):
            if self._step():
                continue
            due = min([due for due, _ in self._delayed_in_outboxes()], default=end)
            in_broker = self.broker.next_due(asked_for=True)
            due = due if in_broker is None else min(due, in_broker)
            if due > end or clock.timestamp() >= end or self.faults.is_away(None):
                _set_clock(end)
                return
            _set_clock(due)
        raise self._endless()

    def _step(self) -> bool:
        """Do the next thing that can be done now; whether there was one."""
        if self._outside.events:
            self._outside.deliver()
            return True
        if any(each.relay() for each in list(self.inline.values())):
            return True
        waiting = self.broker.take()
        if waiting is None:
            return False
        self._consumer_of(waiting.engine.handler, waiting.message.task).deliver(waiting.message)
        return True

    def _consumer_of(self, handler: TaskQueueHandler, task: str) -> InlineHandler:
        """Who handles a message on the queue of a handler: it, or another's worker that has the function."""
        peers = (each for each in self._peers(handler) if each.subscriptions.named(task) is not None)
        return self.inline_handler(next(peers, handler))

    def _peers(self, handler: TaskQueueHandler) -> list[TaskQueueHandler]:
        """A handler, and those on the same queue whose functions run for its events, too.

        What was found in this process may be of other brokers; it is asked only for one without functions.
        """
        if not self._given and len(handler.subscriptions) > 0:
            return [handler]
        others = self._given or self._application.everything()
        queues = [each for each in others if isinstance(each, TaskQueueHandler) and each.name == handler.name]
        return list({id(each): each for each in (handler, *queues)}.values())

    def _endless(self) -> RuntimeError:
        last = [f"{each.subscription}" for each in self.log.entries if each.hook == "started"][-4:]
        return RuntimeError(
            f"Still not done after {MOST_MESSAGES:,} messages; the last functions were {', '.join(last)}. "
            "Does one dispatch an event that leads back to it?"
        )

    def close(self) -> None:
        """End the threads that handlers have started."""
        for each in self.inline.values():
            each.close()

    # What came of it

    def outstanding(self) -> Outstanding:
        """What waits for a test to set the clock ahead, or to end a pause."""
        now = clock.timestamp()
        delayed = [(each.due, each.name) for each in self.broker.delayed()] + self._delayed_in_outboxes()
        return Outstanding(
            delayed=[(due - now, name) for due, name in sorted(delayed)],
            paused={
                task: None if pause.until is None else pause.until - now
                for task, pause in self.broker.paused().items()
            },
        )

    def _delayed_in_outboxes(self) -> list[tuple[float, str]]:
        now = clock.timestamp()
        return [each for handler in self.inline.values() for each in handler.delayed() if each[0] > now]

    def news(self) -> list[Entry]:
        """What has happened since it was asked last."""
        entries = self.log.entries[self._told :]
        self._told = len(self.log.entries)
        return entries

    def is_told(self, error: BaseException) -> bool:
        """Whether an error was raised by handling events, and the log has it, or a test has asked for it."""
        told = {id(each.error) for each in self.log.entries[self._told :] if each.error is not None}
        return all(id(each) in told or self.faults.is_wanted(each) for each in leaves(error))

    def errors_of(self, entries: Sequence[Entry]) -> list[BaseException]:
        """What functions raised whose messages were given up; not what a test has asked for."""
        errors, self.errors = self.errors, []
        for at, each in enumerate(entries):
            if each.hook == "dead":
                errors += last_errors(entries[:at], each)
        return [each for each in errors if not self.faults.is_wanted(each)]


class _Outside(NullHandler):
    """Keeps what the test itself dispatches, outside of any scope, until the worker runs.

    Parameters:
        targets: Who gets it.
    """

    def __init__(self, targets: Callable[[], Iterable[Any]]) -> None:
        self.events: list[Event] = []
        self._targets = targets

    def on_dispatch(self, event: Event) -> None:
        call_dispatch_hooks(self._targets(), event)
        self.events.append(event)

    def deliver(self) -> None:
        events, self.events = self.events, []
        with collect_events(self._targets()) as backlog:
            for event in events:
                backlog.append_committed(event)


def _set_clock(due: float) -> None:
    under_test.seconds_ahead += max(due - clock.timestamp(), 0.0)


def _subscriptions_of(function: Function, known: Sequence[Subscription]) -> list[Subscription]:
    if isinstance(function, str):
        return [each for each in known if _is_called(each.name, function)]
    wrapped: Any = function
    while not (found := [each for each in known if each.function == wrapped]):
        # What a decorator has made of a function after that was registered.
        wrapped = getattr(wrapped, "__wrapped__", None)
        if wrapped is None:
            break
    return found


def _is_called(name: str, asked: str) -> bool:
    return name == asked or name.endswith(f".{asked}") or fnmatch.fnmatchcase(name, asked)
